"""
Where nodes learn who the relay is (C{docs/protocol.md}, "Identity").

The documents never change while the daemon runs, so they are made once.
"""

from __future__ import annotations

from klein import Klein
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from socialrelay.diaspora.identity import HTML_TYPE, JRD_TYPE, JSON_TYPE, NODEINFO_VERSIONS, XRD_TYPE, Introduction
from socialrelay.web.answers import answer, application, sentence

ANYBODY = {"Access-Control-Allow-Origin": "*"}
"""Scripts of any page may read it (RFC 7033, section 5)."""

NO_ACTIVITYPUB = "This version of the relay does not speak ActivityPub yet; it speaks the Diaspora federation protocol."


class IdentityPages:
    """The relay introduces itself to nodes."""

    app: Klein = application()

    def __init__(self, introduction: Introduction) -> None:
        self._introduction = introduction
        self._webfinger = introduction.webfinger()
        self._legacy_webfinger = introduction.legacy_webfinger()
        self._hcard = introduction.hcard()
        self._host_meta = introduction.host_meta()
        self._nodeinfo_links = introduction.nodeinfo_links()
        self._nodeinfo = {version: introduction.nodeinfo(version) for version in NODEINFO_VERSIONS}
        self._preferences = introduction.preferences()

    @app.route("/.well-known/webfinger", methods=["GET"])
    def webfinger(self, request: Request) -> bytes:
        """The JRD of the relay's handle."""
        return self._account(request, b"resource", self._webfinger, JRD_TYPE)

    @app.route("/webfinger", methods=["GET"])
    def legacy_webfinger(self, request: Request) -> bytes:
        """The XRD to which host-meta points; diaspora* until 0.7.17 and old Hubzillas read it."""
        return self._account(request, b"q", self._legacy_webfinger, XRD_TYPE)

    def _account(self, request: Request, argument: bytes, document: bytes, content_type: str) -> bytes:
        given = request.args.get(argument, [b""])[0].decode("utf-8", "replace")
        if not given:
            return sentence(request, 400, f"Which account? Ask with ?{argument.decode()}=acct:user@host.", headers=ANYBODY)
        if not self._introduction.is_me(given):
            return sentence(request, 404, "There is no such account here.", headers=ANYBODY)
        return answer(request, document, content_type, headers=ANYBODY)

    @app.route("/hcard/users/<guid>", methods=["GET"])
    def hcard(self, request: Request, guid: str) -> bytes:
        """Name, key and pictures."""
        if guid != self._introduction.guid:
            return sentence(request, 404, "Nobody here has this guid.")
        return answer(request, self._hcard, HTML_TYPE)

    @app.route("/.well-known/host-meta", methods=["GET"])
    def host_meta(self, request: Request) -> bytes:
        """Where the XRDs are."""
        return answer(request, self._host_meta, XRD_TYPE, headers=ANYBODY)

    @app.route("/.well-known/nodeinfo", methods=["GET"])
    def nodeinfo_links(self, request: Request) -> bytes:
        """Which versions of the next there are."""
        return answer(request, self._nodeinfo_links, JSON_TYPE, headers=ANYBODY)

    @app.route("/nodeinfo/<version>", methods=["GET"])
    def nodeinfo(self, request: Request, version: str) -> bytes:
        """Which software this is."""
        if version not in self._nodeinfo:
            raise NotFound
        return answer(request, self._nodeinfo[version], JSON_TYPE, headers=ANYBODY)

    @app.route("/.well-known/x-social-relay", methods=["GET"])
    def preferences(self, request: Request) -> bytes:
        """The relay is no subscriber of other relays."""
        return answer(request, self._preferences, JSON_TYPE, headers=ANYBODY)

    @app.route("/fetch/<kind>/<guid>", methods=["GET"])
    def fetch(self, request: Request, kind: str, guid: str) -> bytes:
        """Nodes ask the author's own node for what they miss."""
        return sentence(request, 404, "The relay hands out no posts; ask the author's node.")

    @app.route("/actor", methods=["GET"])
    @app.route("/inbox", methods=["GET", "POST"])
    def activitypub(self, request: Request) -> bytes:
        """Not yet."""
        return sentence(request, 404, NO_ACTIVITYPUB)

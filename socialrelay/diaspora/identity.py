"""
The documents by which nodes learn who the relay is.

They are what today's nodes take (tables in C{docs/protocol.md}, "Identity"): where the federation library writes that, it does, and every
value is checked before it gets it, since it escapes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape
from urllib.parse import unquote

from attrs import Attribute, field, frozen
from federation.hostmeta.generators import RFC7033Webfinger, generate_hcard, generate_host_meta, generate_legacy_webfinger

JRD_TYPE = "application/jrd+json; charset=utf-8"
XRD_TYPE = "application/xrd+xml; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"
JSON_TYPE = "application/json; charset=utf-8"

SOFTWARE = "socialrelay"
NODEINFO_VERSIONS = ("2.0", "2.1")

_LONGEST_NAME = 70
_LONGEST_PART = 32
_BASE = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
_USER = re.compile(r"[a-z0-9._-]+")
_GUID = re.compile(r"[0-9A-Za-z_@.:-]{15,254}[0-9A-Za-z]")


def _matching(pattern: re.Pattern[str]) -> Callable[[object, Attribute[str], str], None]:
    def check(instance: object, attribute: Attribute[str], value: str) -> None:
        if not pattern.fullmatch(value):
            raise ValueError(f"not publishable: {value!r}")

    return check


@frozen
class Introduction:
    """
    The relay, as it introduces itself to nodes.

    @ivar base_url: scheme, host and perhaps port, without final slash.
    @ivar host: of the handle.
    @ivar guid: 16 to 255 characters; like the handle and the key it must never change.
    @ivar name: for people; what nodes would refuse in it is left out.
    @ivar public_pem: SubjectPublicKeyInfo, PEM.
    @ivar version: of the software.
    @ivar source: URL of its source code, if it is known.
    @ivar photos: paths of pictures, 300, 100 and 50 pixels wide. Without all three pods refuse the relay.
    """

    base_url: str = field(validator=_matching(_BASE))
    username: str = field(validator=_matching(_USER))
    host: str
    guid: str = field(validator=_matching(_GUID))
    name: str
    public_pem: str
    version: str
    photos: tuple[str, str, str] = ("/static/logo-300.png", "/static/logo-100.png", "/static/logo-50.png")
    source: str = ""

    @property
    def handle(self) -> str:
        """C{username@host}."""
        return f"{self.username}@{self.host}"

    def is_me(self, resource: str) -> bool:
        """Whether the C{resource} of a webfinger query means the relay: with C{acct:} or without, in any case, percent-encoded or not."""
        return unquote(resource[:1000]).strip().lower().removeprefix("acct:") == self.handle.lower()

    def webfinger(self) -> bytes:
        """The answer to a webfinger query for the relay: a JRD."""
        library = RFC7033Webfinger(self.base_url, self.handle, self.guid, self.base_url, profile_path="/")
        document = library.render()
        document["aliases"] = [f"{self.base_url}/"]
        document["links"] = [link for link in document["links"] if link["rel"] != "self"]  # promises an ActivityPub actor
        return _json(document)

    def hcard(self) -> bytes:
        """The page at C{/hcard/users/GUID}."""
        name = self._name()
        photos = [self.base_url + path for path in self.photos]
        texts = {
            "hostname": f"{self.base_url}/",
            "fullname": name,
            "firstname": name[:_LONGEST_PART],
            "lastname": "",
            "photo300": photos[0],
            "photo100": photos[1],
            "photo50": photos[2],
            "searchable": "false",
            "guid": self.guid,
            "public_key": self.public_pem.strip(),
            "username": self.username,
        }
        page: str = generate_hcard("diaspora", **{name: escape(text) for name, text in texts.items()})
        return page.encode()

    def host_meta(self) -> bytes:
        """C{/.well-known/host-meta}: an XRD that names C{/webfinger?q={uri}}."""
        document: bytes = generate_host_meta("diaspora", webfinger_host=self.base_url)
        return document

    def legacy_webfinger(self) -> bytes:
        """C{/webfinger?q=}: the XRD that nodes read until diaspora* 0.7.17."""
        document: bytes = generate_legacy_webfinger(
            "diaspora", handle=self.handle, host=self.base_url, guid=self.guid, public_key=self.public_pem
        )
        return document

    def nodeinfo_links(self) -> bytes:
        """C{/.well-known/nodeinfo}."""
        rel = "http://nodeinfo.diaspora.software/ns/schema/"
        return _json({"links": [{"rel": rel + version, "href": f"{self.base_url}/nodeinfo/{version}"} for version in NODEINFO_VERSIONS]})

    def nodeinfo(self, version: str) -> bytes:
        """
        C{/nodeinfo/VERSION}.

        @param version: one of L{NODEINFO_VERSIONS}.
        """
        software = {"name": SOFTWARE, "version": self.version}
        if self.source and version != "2.0":  # whose schema has no place for it
            software["repository"] = self.source
        return _json(
            {
                "version": version,
                "software": software,
                "protocols": ["diaspora"],
                "services": {"inbound": [], "outbound": []},
                "openRegistrations": False,
                "usage": {"users": {}},
                "metadata": {"nodeName": self._name()},
            }
        )

    def preferences(self) -> bytes:
        """C{/.well-known/x-social-relay}: the relay wants no posts from relays."""
        return _json({"subscribe": False, "scope": "", "tags": []})

    def _name(self) -> str:
        """The name as pods accept it: of at most 70 characters, without C{;}."""
        return " ".join(self.name.replace(";", " ").split())[:_LONGEST_NAME] or self.handle[:_LONGEST_NAME]


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()

"""C{/check}: a node's administrator sees what the relay reads from the node, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from jinja2 import Template
from klein import Klein
from twisted.web.server import Request

from socialrelay.boundaries import Cache, SelfService, Unavailable
from socialrelay.config import Config
from socialrelay.diaspora.identity import Introduction
from socialrelay.web.addresses import limited_as
from socialrelay.web.answers import HTML, answer, application, as_json
from socialrelay.web.pages import shielded, site_facts
from socialrelay.web.request import client_address
from socialrelay.web.templating import STRICT, sentence, templates
from socialrelay.words import counted

PER_CLIENT = 10
IN_ALL = 60
WINDOW = 60.0
"""Checks by one client and by all together in so many seconds: each makes the relay connect to a host that a stranger names."""

PER_DOMAIN = 60
DOMAIN_WINDOW = 3600.0
"""Checks of hosts below one domain of two labels, likewise: whoever has a domain has any number of names, and each may subscribe."""

_LONGEST = 300

SHOWN_TAGS = 30
"""Hashtags that are seen at once; the others are unfolded."""

MOST_TAGS = 2000

STATES = {
    "active": "It takes posts.",
    "deferred": "It does not take posts at the moment. They wait, and it is tried again.",
    "dead": "It has not taken posts for so long that what waited is given up. It is tried once a week.",
    "gone": "It answered 410 Gone, so nothing is sent for a week.",
    "suspended": "The relay’s operator has halted deliveries; posts wait.",
}
"""What the states of a destination mean to its administrator."""

REMEDIES = {
    "name does not resolve": "Is the name right, and does the DNS have an A or AAAA record for it that everybody can see?",
    "connection refused": "Is the web server up, and does the firewall let everybody in on port 443?",
    "no answer in time": "The relay waits for at most 15 seconds: is the machine overloaded, or does a firewall drop what comes in?",
    "certificate": "The certificate must be valid, for this name, and be sent with its intermediate certificates.",
    "tls": "The server must speak TLS 1.2 or 1.3 on port 443.",
    "address not allowed": "The name leads to a private address; it must lead to a public one.",
    "answered 404": "Set it up as the first page of this relay says for your software.",
    "http 404": "Is a server that takes Diaspora’s posts running there, and is the protocol enabled?",
    "http 405": "Is a server that takes Diaspora’s posts running there, and is the protocol enabled?",
    "http 403": "Is the Diaspora protocol enabled, or does a firewall or bot filter keep the relay out?",
    "http 401": "Does a password or bot filter keep the relay out?",
    "http 429": "It asks the relay to come less often: is a rate limit set that is too low?",
    "http 3": "A redirect is not followed for deliveries: let the address itself take posts.",
    "http 5": "Look into the log of your server: it had an error of its own.",
    "subscribe: false": "If you want posts, set subscribe to true, or the scope to tags or all, and check again.",
    "410": "If you want posts after all, publish your preferences again, and check again.",
    "could not be read": "Open the address in a browser of another network, and see what it says.",
}
"""What to do about a trouble, by words that it is told in; the first that is found counts."""


@frozen
class Verdict:
    """
    All in one line.

    @ivar kind: C{good}, C{warm} (something should be looked at), C{bad} (nothing comes, although it was asked for) or empty.
    @ivar text: what follows, if anything does.
    """

    kind: str
    title: str
    text: str = ""


def remedy(trouble: str) -> str:
    """What to do about a trouble; empty if nobody knows."""
    words = trouble.casefold()
    return next((advice for sign, advice in REMEDIES.items() if sign in words), "")


def verdict(result: Mapping[str, Any]) -> Verdict:
    """
    Whether all is well.

    @param result: as L{SelfService.check} gives it.
    """
    subscription, deliveries, faults = result["subscription"], result["deliveries"], result["faults"]
    why = sentence(subscription["why"])
    if subscription["scope"] == "none":
        refused = result["preferences"] is not None and result["preferences"]["scope"] == "none"
        return Verdict("" if refused else "bad", "Not subscribed.", why)
    what = "all public posts" if subscription["scope"] == "all" else counted(len(subscription["tags"]), "hashtag")
    title = f"Subscribed to {what}."
    state = deliveries["state"] if deliveries else "active"
    if state != "active":
        return Verdict("bad" if state in ("dead", "gone") else "warm", f"{title} Posts do not arrive.", STATES.get(state, ""))
    if faults:
        return Verdict("warm", f"{title} Something is wrong with what it publishes.", why)
    return Verdict("good", f"{title} All is well.", why)


def typed_host(text: str) -> str:
    """
    The host that somebody meant: what an address bar shows, a handle, or the name alone.

    @return: not vetted; empty if there is none.
    """
    text = re.sub(r"\s+", "", text[:_LONGEST])
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//", "", text)
    text = re.split(r"[/?#]", text, maxsplit=1)[0]
    return text.rpartition("@")[2].removesuffix(":443").lower()


def wants_json(request: Request) -> bool:
    """Whether the client would rather have JSON: it says C{?format=json}, or accepts it and does not accept HTML."""
    if b"format" in request.args:
        return bool(request.args[b"format"][0].lower() == b"json")
    accept = b",".join(request.requestHeaders.getRawHeaders(b"Accept", [])).lower()
    return b"application/json" in accept and b"text/html" not in accept


class CheckPage:
    """The form, the result, and what goes wrong with either."""

    app: Klein = application()

    def __init__(self, self_service: SelfService, cache: Cache, config: Config, introduction: Introduction) -> None:
        self._self_service = self_service
        self._cache = cache
        environment = templates()
        environment.globals.update(
            site_facts(config, introduction), states=STATES, remedy=remedy, shown_tags=SHOWN_TAGS, most_tags=MOST_TAGS
        )
        self._page: Template = environment.get_template("check.html")

    @app.route("/check", methods=["GET"])
    async def check(self, request: Request) -> bytes:
        """Without C{node} the form."""
        typed = request.args.get(b"node", [b""])[0].decode("utf-8", "replace")
        host = typed_host(typed)
        if not host and not typed:
            return self._answer(request, "")
        if request.method == b"HEAD":  # link checkers and previews do not set the relay to work
            return self._answer(request, host)
        refusal, wait = await self._refusal(request, host)
        if refusal:
            return self._answer(request, host, refusal, code=429, headers={"Retry-After": str(int(wait))})
        try:
            result = await shielded(self._self_service.check(host))
            return self._answer(request, host, result=result)
        except ValueError as error:
            return self._answer(request, host, str(error), code=400)
        except Unavailable:
            return self._answer(request, host, "The relay cannot look this up at the moment; please try again.", code=503)

    async def _refusal(self, request: Request, host: str) -> tuple[str, float]:
        """Why not, empty if nothing speaks against it, and for how many seconds."""
        client = limited_as(client_address(request))
        if await self._cache.count(f"check:client:{client}", WINDOW) > PER_CLIENT:
            return f"That was more than {PER_CLIENT} checks in a minute; please wait a moment.", WINDOW
        if await self._cache.count("check:all", WINDOW) > IN_ALL:
            return "Many nodes are being checked at this moment; please try again in a minute.", WINDOW
        domain = ".".join(host.rsplit(".", 2)[-2:])
        if await self._cache.count(f"check:domain:{domain}", DOMAIN_WINDOW) > PER_DOMAIN:
            return f"That was more than {PER_DOMAIN} checks of names below one domain in an hour; please come back later.", DOMAIN_WINDOW
        return "", 0.0

    def _answer(
        self,
        request: Request,
        host: str,
        error: str = "",
        *,
        result: dict[str, object] | None = None,
        code: int = 200,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        headers = {"Cache-Control": "no-store", "Vary": "Accept"} | (headers or {})
        if wants_json(request):
            document = {"error": error} if error else result or {"error": "Which node? Ask with ?node=HOST."}
            return as_json(request, document, code=400 if not (error or result) else code, headers=headers)
        page = self._page.render(host=host, error=error, code=code, result=result, verdict=verdict(result) if result else None)
        return answer(request, page.encode(), HTML, code=code, headers=STRICT | headers)

"""C{/check}: a node's administrator sees what the relay reads from the node, and what follows from it."""

from __future__ import annotations

import re

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
from socialrelay.web.templating import STRICT, templates

PER_CLIENT = 10
IN_ALL = 60
WINDOW = 60.0
"""Checks by one client and by all together in so many seconds: each makes the relay connect to a host that a stranger names."""

PER_DOMAIN = 60
DOMAIN_WINDOW = 3600.0
"""Checks of hosts below one domain of two labels, likewise: whoever has a domain has any number of names, and each may subscribe."""

_LONGEST = 300

STATES = {
    "active": "well",
    "deferred": "does not take posts at the moment; they wait, and it is tried again",
    "dead": "has not taken posts for a week; it is tried once a week",
    "gone": "answers 410 Gone; nothing is sent",
    "suspended": "the operator has halted deliveries",
}
"""What the states of a destination mean to its administrator."""


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
        environment.globals.update(site_facts(config, introduction), states=STATES)
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
            return self._answer(request, host, result=await shielded(self._self_service.check(host)))
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
        page = self._page.render(host=host, error=error, result=result)
        return answer(request, page.encode(), HTML, code=code, headers=STRICT | headers)

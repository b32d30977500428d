"""How the operators' pages are made: one frame, filled for whoever looks at it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Protocol

from attrs import define, field
from jinja2 import Environment
from markupsafe import Markup, escape
from twisted.web.server import Request

from socialrelay import __version__
from socialrelay.config import Config
from socialrelay.web.admin.gate import Visit
from socialrelay.web.answers import HTML, answer
from socialrelay.web.templating import LIVE, read, templates

HEADERS = LIVE | {
    # A browser that must not say where a form stood does not say it of our own either: it sends the origin "null".
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
}

SECTIONS = (
    ("", "Overview", "identity"),
    ("nodes", "Nodes", "nodes"),
    ("queue", "Queue", "queue"),
    ("rejected", "Rejected", "rejected"),
    ("rules", "Rules", "rules"),
    ("bus", "Bus", "bus"),
    ("events", "Events", ""),
)
"""The pages in the head of each: address below C{/admin/}, name, and the view without which it is not there."""


class Named(Protocol):
    """Who the relay is, as the pages say it."""

    @property
    def name(self) -> str: ...


def away(request: Request, where: str) -> bytes:
    """Send the browser to another page of ours, with GET."""
    return answer(request, code=303, headers={"Location": where, "Cache-Control": "no-store"})


def ago(value: object) -> str:
    """A span of seconds as an operator reads it: C{3 min}, C{5 d}."""
    if not isinstance(value, (int, float)):
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:.0f} {unit}"
    return f"{value:.0f} s"


def size(value: object) -> str:
    """A number of bytes for people."""
    if not isinstance(value, (int, float)):
        return "–"
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def coded(text: object) -> Markup:
    """A sentence as an element's content; what stands between backticks is code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts))


@define(eq=False)
class Look:
    """Renders the templates below C{admin/}."""

    _environment: Environment = field(factory=templates)

    @classmethod
    def of(cls, config: Config, relay: Named, views: Container[str]) -> Look:
        """
        For this relay.

        @param views: names of those that there are.
        """
        look = cls()
        look._environment.filters.update(ago=ago, size=size, coded=coded)
        look._environment.globals.update(
            relay={"name": relay.name},
            operator=config.operator,
            development=config.federation.enabled and not config.production,
            version=__version__,
            sections=[(path, label) for path, label, view in SECTIONS if not view or view in views],
        )
        environment = look._environment
        read(environment, *environment.list_templates(filter_func=lambda name: name.startswith("admin/")))
        return look

    def page(
        self,
        request: Request,
        name: str,
        visit: Visit | None,
        facts: Mapping[str, object],
        *,
        here: str | None = None,
        code: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """
        A whole page.  What acts said to this visitor is shown on it, and on no other.

        @param name: of the template below C{admin/}.
        @param facts: what this template names.
        @param here: which of L{SECTIONS} it belongs to.
        """
        told = visit.session.told() if visit is not None else []
        text = self._environment.get_template(f"admin/{name}").render(
            {**facts, "visit": visit, "csrf": visit.session.token if visit is not None else "", "flashes": told, "here": here}
        )
        return answer(request, text.encode(), HTML, code=code, headers=HEADERS | dict(headers))

    def trouble(
        self,
        request: Request,
        visit: Visit | None,
        code: int,
        title: str,
        text: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """A page that says what is wrong."""
        return self.page(request, "trouble.html", visit, {"title": title, "text": text}, code=code, headers=headers)

"""HTML pages: templates that escape what they are given, and headers that let a browser do no more than show them."""

from __future__ import annotations

import re
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

STRICT = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), interest-cohort=()",
}
"""For every page of HTML."""


def number(value: object) -> str:
    """A count for people: digits in groups of three, with thin spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else "–"


def moment(value: object) -> str:
    """A time in ISO 8601, for people."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%-d %B %Y, %H:%M UTC")
    except ValueError:
        return str(value)


def duration(days: float) -> str:
    """A number of days for people."""
    return "1 day" if days == 1 else f"{days:g} days"


def contact(text: str) -> Markup:
    """An address of mail or of a page as a link, anything else as it is."""
    if re.fullmatch(r"[^\s@:/]+@[^\s@:/]+", text):
        return Markup('<a href="mailto:{0}">{0}</a>').format(text)
    if re.match("https?://", text):
        return Markup('<a href="{0}">{0}</a>').format(text)
    return escape(text)


def sentence(text: str) -> str:
    """A clause as a sentence: with a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def templates() -> Environment:
    """The environment of all templates; names in them that nobody set are errors."""
    environment = Environment(
        loader=PackageLoader("socialrelay.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, moment=moment, duration=duration, contact=contact, sentence=sentence)
    return environment


def static_file(name: str) -> bytes:
    """The bytes of a file that is shipped with this package."""
    return files("socialrelay.web").joinpath("static", name).read_bytes()

"""HTML pages: templates that escape what they are given, and headers that let a browser do no more than show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
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

LIVE = STRICT | {
    "Content-Security-Policy": f"{STRICT['Content-Security-Policy']}; script-src 'self'; connect-src 'self'",
}
"""For those that keep themselves up to date with a script of ours."""


def number(value: object) -> str:
    """A count for people: digits in groups of three, with thin spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else "–"


def _in_utc(value: object) -> datetime:
    """
    @param value: a C{datetime}, or one in ISO 8601; without a zone it is UTC.
    @raise ValueError: it is neither.
    """
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def moment(value: object) -> str:
    """A time in ISO 8601, for people."""
    try:
        return f"{_in_utc(value):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return str(value)


def when(value: object, form: str = "%-d %B %Y, %H:%M UTC") -> Markup:
    """
    A time as an element that says it to people and to programs; anything else as it is.

    @param form: what people see, as L{datetime.strftime} takes it.
    """
    try:
        found = _in_utc(value)
    except ValueError:
        return escape(str(value))
    return Markup('<time datetime="{0}">{1}</time>').format(found.isoformat(timespec="seconds"), found.strftime(form))


def seconds(value: object) -> str:
    """A span of seconds for people, in the unit that fits."""
    if not isinstance(value, (int, float)):
        return "–"
    if 0 < value < 0.095:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


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


@cache
def asset(name: str) -> str:
    """The address of a file that is shipped: another one when it changes, so that nobody sees a new page in an old style."""
    return f"/static/{name}?v={sha256(static_file(name)).hexdigest()[:8]}"


def sentence(text: str) -> str:
    """A clause as a sentence: with a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


SHARED = ("base.html", "parts.html", "check-form.html")
"""What other templates are made of: read at the start, else the first visitor would wait for it."""


class _Compiled(BytecodeCache):
    """Templates that were compiled, for all environments: each page is compiled once, in some tens of milliseconds."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """As L{BytecodeCache.load_bytecode}."""
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """As L{BytecodeCache.dump_bytecode}."""
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def templates() -> Environment:
    """The environment of all templates; names in them that nobody set are errors."""
    environment = Environment(
        loader=PackageLoader("socialrelay.web"),
        bytecode_cache=_COMPILED,
        auto_reload=False,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, moment=moment, when=when, seconds=seconds, duration=duration, contact=contact, sentence=sentence
    )
    environment.globals["asset"] = asset
    return read(environment, *SHARED)


def read(environment: Environment, *names: str) -> Environment:
    """Compile templates before somebody waits for them: each holds up the reactor for some tens of milliseconds."""
    for name in names:
        environment.get_template(name)
    return environment


def static_file(name: str) -> bytes:
    """The bytes of a file that is shipped with this package."""
    return files("socialrelay.web").joinpath("static", name).read_bytes()

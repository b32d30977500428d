"""What somebody asks who was not there when it was said, in the words of HTTP and of the acknowledging socket."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from socialrelay.bus.topics import MAX_TOPIC, is_topic
from socialrelay.bus.wire import MAX_PAGE, MAX_WAIT

_GREATEST = 2**63 - 1
"""A sequence number is a C{bigint} of PostgreSQL."""


class BadQuery(ValueError):
    """It asks for nothing that there is; the message is a sentence without its full stop."""


@frozen
class Query:
    """
    @ivar since: messages after this number; C{None}: from now on.
    @ivar topic: what their topics begin with.
    @ivar wait: seconds to wait for one if there is none.
    """

    since: int | None = None
    topic: str = ""
    limit: int = MAX_PAGE
    wait: float = 0.0


def read_query(said: Mapping[str, object]) -> Query:
    """
    @param said: name -> what JSON says; what is C{None} is not said.
    @raise BadQuery: it names what there is not, or a value that cannot be.
    """
    for name in said:
        if name not in _NAMES:
            raise BadQuery(f"there is no {name[:50]!r} here; there are {', '.join(_NAMES)}")
    given = {name: value for name, value in said.items() if value is not None}
    topic = given.get("topic", "")
    if not isinstance(topic, str) or not (topic == "" or is_topic(topic)) or not _is_unicode(topic):
        raise BadQuery(f"'topic' must be a text of at most {MAX_TOPIC} bytes, without control characters")
    return Query(
        since=_whole("since", given["since"], 0, _GREATEST) if "since" in given else None,
        topic=topic,
        limit=_whole("limit", given.get("limit", MAX_PAGE), 1, MAX_PAGE),
        wait=_seconds(given.get("wait", 0.0)),
    )


def read_texts(said: Mapping[str, str]) -> Query:
    """
    The same, where all values are texts: the query of a URL.

    @raise BadQuery: likewise.
    """
    return read_query({name: _number(text) if name in ("since", "limit", "wait") else text for name, text in said.items()})


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a pair, which JSON can say and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _whole(name: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadQuery(f"{name!r} must be a whole number from {least} to {most}")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MAX_WAIT:  # type: ignore[operator]  # mypy does not see the types
        raise BadQuery(f"'wait' must be a number of seconds from 0 to {MAX_WAIT:.0f}")
    return float(value)  # type: ignore[arg-type]


def _number(text: str) -> object:
    """As JSON would say it; what is no number stays a text, which is refused."""
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    whole, _, part = text.partition(".")
    if text.isascii() and whole.isdecimal() and part.isdecimal() and len(text) < 20:
        return float(text)
    return text


_NAMES = ("since", "topic", "limit", "wait")

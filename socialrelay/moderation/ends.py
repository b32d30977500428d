"""When a rule ends, as operators say it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(r"([0-9]{1,5})([mhdw])")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?")


class BadEnd(ValueError):
    """That is no time at which a rule could end; the message says why, in one sentence."""


def end_of(text: str, now: datetime) -> datetime:
    """
    Read a length of time from now on, such as C{90m}, C{12h}, C{7d} or C{4w}, or a time as in RFC 3339; without a zone it is in UTC, and a
    date alone is its beginning.

    @raise BadEnd: it is neither, or not in the future.
    """
    text = text.strip()
    length = _LENGTH.fullmatch(text)
    try:
        if length:
            end = now + timedelta(**{_UNITS[length[2]]: int(length[1])})
        elif _TIME.fullmatch(text):
            end = datetime.fromisoformat(text.upper())
            end = end if end.tzinfo else end.replace(tzinfo=UTC)
        else:
            raise BadEnd(f"{text[:50]!r} is no end: say a length of time such as 12h, 7d or 4w, or a time such as 2027-01-31T12:00Z.")
    except (ValueError, OverflowError) as error:
        if isinstance(error, BadEnd):
            raise
        raise BadEnd(f"There is no time {text[:50]!r}.") from error
    if end <= now:
        raise BadEnd(f"{end:%Y-%m-%d %H:%M} UTC is not in the future.")
    return end.astimezone(UTC)

"""Texts that other servers sent, made fit for operators and for arithmetic.  Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_LINE = 200
"""Characters of a text from outside that an operator is shown."""

_UNPRINTABLE = re.compile(r"[^ -~]")


def one_line(text: str) -> str:
    """A text from outside as an operator may read it: printable ASCII, the rest escaped, cut off."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text[:MAX_LINE])[:MAX_LINE]


def retry_after(value: str, now: datetime) -> float | None:
    """
    Read C{Retry-After} (RFC 9110, 10.2.3): seconds, or a date.

    @return: seconds from C{now}, not negative; C{None} if it is neither.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())

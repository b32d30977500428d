"""
Batches on their way to PostgreSQL.

A batch travels as one JSON text and becomes rows with C{json_to_recordset}: psycopg2 quotes a list value by value, in Python, which for a
thousand rows of twenty columns would hold up the reactor for as long as the rest of the work takes together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

LOG_LOCK = 7_310_200_116_002
"""The advisory lock under which positions and destination numbers are given."""

LAZY = "SELECT set_config('synchronous_commit', 'off', true);"
"""Put before a statement whose effect may be lost when the machine fails, but not when the relay does."""

REACHED = """
    least(CASE WHEN destination.following THEN greatest(destination.cursor, log_state.followed) ELSE destination.cursor END,
          (destination.missed -> 0 ->> 0)::bigint)
"""
"""SQL: up to where a destination is settled, of a row of C{destination} and the one of C{log_state}."""


def of_host(column: str) -> str:
    """SQL: the column holds C{%(host)s} or a subdomain of it; never for an empty one."""
    return f"(%(host)s <> '' AND ({column} = %(host)s OR right({column}, length(%(host)s) + 1) = '.' || %(host)s))"


def host_in(column: str) -> str:
    """SQL: the host of the handle in the column, without its port."""
    return f"split_part(split_part({column}, '@', 2), ':', 1)"


class Literal:
    """
    A long text as a parameter.  libpq's quoting looks at each byte by itself, ten times as long as it takes to look for quotes.

    Every connection is made with C{standard_conforming_strings}: within quotes only a quote means something.
    """

    def __init__(self, text: bytes) -> None:
        """@param text: UTF-8 without null bytes."""
        self._text = text

    def __conform__(self, protocol: object) -> Literal:
        """It quotes itself."""
        return self

    def getquoted(self) -> bytes:
        """As psycopg2 asks for it."""
        return b"'%b'" % self._text.replace(b"'", b"''")


def rows(values: Iterable[Mapping[str, object]]) -> str:
    """The JSON text of rows; times become ISO 8601, sets lists, and bytes what PostgreSQL reads as C{bytea}."""
    return _encode(list(values))


def array(texts: Iterable[str]) -> str:
    """The text of an array of texts, as PostgreSQL reads it."""
    return "{" + ",".join(f'"{_escaped(text)}"' for text in texts) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


def rows_with_body(values: Iterable[Mapping[str, object]]) -> str:
    """The same, of rows whose C{body} is bytes or C{None}: it is not looked through for what JSON must escape."""
    return f"[{','.join(map(_with_body, values))}]"


def _with_body(row: Mapping[str, object]) -> str:
    rest = dict(row)
    body = rest.pop("body")
    return f'{{"body":"\\\\x{body.hex()}",{_encode(rest)[1:]}' if isinstance(body, bytes) else _encode(row)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode

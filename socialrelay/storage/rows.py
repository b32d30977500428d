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


def of_host(column: str) -> str:
    """SQL: the column holds C{%(host)s} or a subdomain of it; never for an empty one."""
    return f"(%(host)s <> '' AND ({column} = %(host)s OR right({column}, length(%(host)s) + 1) = '.' || %(host)s))"


def host_in(column: str) -> str:
    """SQL: the host of the handle in the column, without its port."""
    return f"split_part(split_part({column}, '@', 2), ':', 1)"


def rows(values: Iterable[Mapping[str, object]]) -> str:
    """The JSON text of rows; times become ISO 8601, sets become lists."""
    return json.dumps(list(values), default=_plain, separators=(",", ":"))


def bytea(value: bytes) -> str:
    """Bytes as PostgreSQL reads them from text."""
    return "\\x" + value.hex()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")

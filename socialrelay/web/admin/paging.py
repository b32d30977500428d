"""Long lists in pages, and the addresses that lead through them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from attrs import frozen
from twisted.web.server import Request

PAGE = 50
DIRECTIONS = ("0", "1")
"""How addresses say that a table is sorted upwards, and downwards; those that say neither mean the way of the column's first click."""


def query_of(request: Request) -> dict[str, str]:
    """What the address says after C{?}: the last value of each name, cut at 300 characters."""
    return {name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace").strip()[:300] for name, values in request.args.items()}


def address(path: str, fields: Mapping[str, object]) -> str:
    """A path with a query; what is empty is not in it."""
    query = urlencode({name: value for name, value in fields.items() if value not in ("", None, False)})
    return f"{path}?{query}" if query else path


@frozen
class Paging:
    """
    Where in a list the reader is.

    @ivar number: of the page, from 1.
    @ivar total: how many entries the list has.
    """

    path: str
    fields: Mapping[str, object]
    number: int
    total: int
    size: int = PAGE

    @property
    def pages(self) -> int:
        """How many there are; a list without entries has one."""
        return max(1, -(-self.total // self.size))

    @property
    def before_number(self) -> str:
        """The address of each page, up to its number."""
        start = address(self.path, self.fields)
        return f"{start}{'&' if '?' in start else '?'}page="


def page_number(text: str) -> int:
    """The page that an address names; the first if it names none."""
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 7 else 1


@frozen
class Column:
    """
    A column of a table that can be sorted.

    @ivar key: what it is sorted by; empty: it is not.
    @ivar number: it holds numbers.
    @ivar downwards: whoever sorts by it first wants the largest first.
    """

    title: str
    key: str = ""
    number: bool = False
    downwards: bool = False


@frozen
class Heading:
    """
    A column's head as it stands on the page.

    @ivar sorted: C{ascending}, C{descending}, or empty.
    @ivar link: leads to the table sorted by this column; by the one that it is sorted by, the other way round.
    """

    column: Column
    sorted: str
    link: str


def headings(columns: tuple[Column, ...], path: str, fields: Mapping[str, object], sort: str, descending: bool) -> list[Heading]:
    """The heads of a table that is sorted so."""
    made = []
    for column in columns:
        here = bool(column.key) and column.key == sort
        downwards = (not descending) if here else column.downwards
        link = address(path, {**fields, "sort": column.key, "desc": DIRECTIONS[downwards]}) if column.key else ""
        made.append(Heading(column, ("descending" if descending else "ascending") if here else "", link))
    return made

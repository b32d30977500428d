"""What is held in memory because of what others do, and how much of it there may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from attrs import frozen


class Bounded(Protocol):
    """
    A collection that has a bound.

    @ivar limit: how many entries it may hold.
    @ivar forgotten: how many it has forgotten, or not taken, for want of room.
    """

    @property
    def limit(self) -> int: ...
    @property
    def forgotten(self) -> int: ...
    def __len__(self) -> int: ...


@frozen
class Bound:
    """
    One thing that is held.

    @ivar what: its name in the metrics; stands in the code, and is nobody else's.
    @ivar entries: how many there are now.
    @ivar limit: how many there may be.
    @ivar full: how often one gave way, or was not taken, because there was no room, since the start; C{None} where nobody counts that.
    """

    what: str
    entries: Callable[[], int]
    limit: Callable[[], int]
    full: Callable[[], int] | None = None


def bound_of(what: str, held: Callable[[], Bounded]) -> Bound:
    """@param held: asked each time, since it may be another one by then."""
    return Bound(what, lambda: len(held()), lambda: held().limit, lambda: held().forgotten)


def bound_of_answers(what: str, functions: Iterable[Any]) -> Bound:
    """Of functions that remember their latest answers (C{functools.lru_cache}), all together."""
    kept = tuple(function.cache_info for function in functions)
    return Bound(
        what,
        lambda: sum(info().currsize for info in kept),
        lambda: sum(info().maxsize for info in kept),
    )

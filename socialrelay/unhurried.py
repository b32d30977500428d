"""Long work in the reactor's thread, a few milliseconds at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

T = TypeVar("T")

SLICE = 0.005
"""Seconds, unless something else is said."""


@frozen
class Unhurried:
    """
    @ivar seconds: a clock for durations.
    @ivar pause: fires when the reactor has done what else there was to do.
    @ivar slice: seconds of work, after which others have their turn.
    """

    _seconds: Callable[[], float]
    _pause: Callable[[], Deferred[None]]
    _slice: float = SLICE

    async def over(self, items: Iterable[T]) -> AsyncIterator[T]:
        """The items, with a pause whenever what is done with them has taken its time."""
        until = self._seconds() + self._slice
        for item in items:
            yield item
            if self._seconds() >= until:
                await self._pause()
                until = self._seconds() + self._slice

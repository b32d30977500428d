"""
Which connections are worth keeping.  Pure.

A relay sends each post to all its subscribers in turn.  With more of them than connections may be kept, the usual rule, to close the one
least recently used, closes every connection just before it is needed.  So the places go to those that are used most, and a newcomer takes a
place only when it is used clearly more than the least used holder.
"""

from __future__ import annotations

from attrs import define

from socialrelay.bounds import Bound

_HALF_LIFE = 600.0
_CLEARLY_MORE = 1.5
OFTEN = 4
"""Uses after which a connection besides a host's first is worth keeping: one that was wanted in a rush is not."""
_ASIDE = 4
"""Candidates that are counted, per place."""


@define
class _Use:
    """A count of uses that halves every ten minutes."""

    weight: float
    at: float

    def count(self, now: float) -> float:
        return float(self.weight * 0.5 ** ((now - self.at) / _HALF_LIFE))


class Places:
    """
    A bounded number of places for connections.

    @ivar forgotten: of connections that are not kept, those whose uses are not counted any more, for want of room.
    @ivar not_kept: how often a connection was not.
    @ivar _lowest: the weight of the least used holder, and who that is, looked up at most once a second: (when, weight, holder).
    """

    def __init__(self, places: int, often: int = OFTEN) -> None:
        """@param often: uses after which a connection besides a host's first is kept."""
        self._places = places
        self._aside = places * _ASIDE
        self._often = often
        self.forgotten = self.not_kept = 0
        self._holders: dict[tuple[str, int], _Use] = {}
        self._candidates: dict[tuple[str, int], _Use] = {}
        self._lowest: tuple[float, float, tuple[str, int] | None] = (-1.0, 0.0, None)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            Bound("connections-kept", lambda: len(self._holders), lambda: self._places, lambda: self.not_kept),
            Bound("connections-counted", lambda: len(self._candidates), lambda: self._aside, lambda: self.forgotten),
        )

    def keep(self, host: str, nth: int, now: float) -> bool:
        """
        Count a use, and say whether its connection is to be kept afterwards.

        @param nth: how many other transfers to the host are under way: each connection to a host takes a place of its own.
        @param now: seconds, of any clock that does not go back.
        """
        key = (host, nth)
        use = self._holders.get(key)
        if use is not None:
            use.weight, use.at = use.count(now) + 1, now
            return True
        use = self._candidates.pop(key, None) or _Use(0, now)
        use.weight, use.at = use.count(now) + 1, now
        if len(self._holders) < self._places and (not nth or use.weight > self._often - 0.5):
            self._holders[key] = use
            return True
        self._candidates[key] = use
        if len(self._candidates) > self._aside:
            del self._candidates[next(iter(self._candidates))]
            self.forgotten += 1
        displaces = len(self._holders) >= self._places and self._displaces(key, use, now)
        self.not_kept += not displaces
        return displaces

    def _displaces(self, key: tuple[str, int], use: _Use, now: float) -> bool:
        at, weight, holder = self._lowest
        if holder not in self._holders or now - at >= 1.0:
            if not self._holders:
                return False
            holder = min(self._holders, key=lambda each: self._holders[each].count(now))
            weight = self._holders[holder].count(now)
            self._lowest = (now, weight, holder)
        if holder is None or use.weight <= weight * _CLEARLY_MORE + 1:
            return False
        self._candidates[holder] = self._holders.pop(holder)
        self._holders[key] = self._candidates.pop(key)
        return True

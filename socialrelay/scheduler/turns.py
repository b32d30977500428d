"""
Whose turn it is: max-min fairness between hosts, new posts before those that were missed, and hosts that fail apart from both.

A host with less under way goes before one with more, so that what there is in all is shared evenly, whatever the number of posts that wait
for each.  A destination that has missed posts waiting has its turn when no other is ready.  Hosts that fail stand in a queue of their own:
however many of them wait to be probed, nobody steps over them.
"""

from __future__ import annotations

from collections import deque

from socialrelay.scheduler.destination import Destination

LEVELS = 5


class Turns:
    """Destinations that may be sent something now, each in here once."""

    def __init__(self) -> None:
        self._new = tuple(deque[Destination]() for _ in range(LEVELS))
        self._late = tuple(deque[Destination]() for _ in range(LEVELS))
        self._probes = deque[Destination]()

    def __bool__(self) -> bool:
        return any(self._new) or any(self._late) or bool(self._probes)

    def add(self, destination: Destination) -> None:
        """It waits for its turn."""
        if not destination.ready:
            destination.ready = True
            self._put(destination)

    def next(self, late: bool, probes: bool) -> Destination | None:
        """
        Whose turn it is; it is in here no more.

        @param late: those that have missed posts waiting may have a turn.
        @param probes: those whose host fails may have a turn.
        """
        return self._first(self._new) or (self._first_probe() if probes else None) or (self._first(self._late) if late else None)

    def _first_probe(self) -> Destination | None:
        while self._probes:
            destination = self._probes.popleft()
            if destination.host.probing:
                destination.ready = False
                return destination
            self._put(destination)
        return None

    def _first(self, levels: tuple[deque[Destination], ...]) -> Destination | None:
        for level, waiting in enumerate(levels):
            while waiting:
                destination = waiting.popleft()
                here = levels is self._late or not destination.has_its_turn_late
                if here and _level(destination) <= level and not destination.host.probing:
                    destination.ready = False
                    return destination
                self._put(destination)  # it has more under way than when it was put here, fell behind since, or fails
        return None

    def _put(self, destination: Destination) -> None:
        if destination.host.probing:
            self._probes.append(destination)
        else:
            levels = self._late if destination.has_its_turn_late else self._new
            levels[_level(destination)].append(destination)


def _level(destination: Destination) -> int:
    return min(destination.host.in_flight, LEVELS - 1)

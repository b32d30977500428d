"""What changed since it was last written down."""

from __future__ import annotations

from collections.abc import Mapping

from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DeferredDelivery, Gap, Progress


class Journal:
    """
    Gathers what is to be written in one transaction.  What is taken counts as written, unless it comes back.

    A destination that changes often is written once, as it is then.
    """

    def __init__(self) -> None:
        self._changed: dict[int, Destination] = {}
        self._deferred: dict[tuple[int, int], DeferredDelivery] = {}
        self._over: set[tuple[int, int]] = set()
        self._gaps: list[Gap] = []

    def __bool__(self) -> bool:
        return bool(self._changed or self._deferred or self._over or self._gaps)

    def changed(self, destination: Destination) -> None:
        """It is not as it was written."""
        destination.dirty = True
        self._changed[destination.number] = destination

    def deferred(self, entry: DeferredDelivery) -> None:
        """A post is tried on its own."""
        key = entry.destination, entry.position
        self._deferred[key] = entry
        self._over.discard(key)

    def over(self, destination: Destination, position: int) -> None:
        """It is no more."""
        key = destination.number, position
        self._deferred.pop(key, None)
        self._over.add(key)

    def gap(self, gap: Gap) -> None:
        """A stretch of the log was given up."""
        self._gaps.append(gap)

    def take(self, now: Moment) -> Progress:
        """All of it; the journal is empty then."""
        changed = [destination for _, destination in sorted(self._changed.items())]
        progress = Progress(
            tuple(destination.record(now) for destination in changed), tuple(self._deferred.values()), tuple(self._over), tuple(self._gaps)
        )
        for destination in changed:
            destination.dirty = False
        self._changed, self._deferred, self._over, self._gaps = {}, {}, set(), []
        return progress

    def put_back(self, progress: Progress, destinations: Mapping[int, Destination]) -> None:
        """
        It could not be written: it belongs to what is taken next, as far as nothing newer is known.

        @param destinations: by number, as they are now.
        """
        for record in progress.destinations:
            self._changed[record.number] = destinations[record.number]
        for entry in progress.deferred:
            if entry.position in destinations[entry.destination].deferred:
                self._deferred.setdefault((entry.destination, entry.position), entry)
        self._over.update(progress.settled)
        self._gaps[:0] = progress.gaps

"""The hosts and their destinations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from socialrelay.scheduler.backoff import longest_wait
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DestinationRecord


class Roster:
    """
    Who is served.

    @ivar at: destinations by their number.
    """

    def __init__(self, window: int) -> None:
        """@param window: deliveries to one host at a time, at most."""
        self.at: dict[int, Destination] = {}
        self.window = window
        self._of_host: dict[str, tuple[Destination, ...]] = {}

    def add(self, record: DestinationRecord, now: Moment) -> Destination:
        """A destination that is new here, and its host if that is new too."""
        others = self._of_host.get(record.host, ())
        if others:
            host = others[0].host
        else:
            host = Host(record.host, self.window)
            host.restore(record, now, longest_wait(record))
        destination = self.at[record.number] = Destination(record, host)
        self._of_host[host.name] = (*others, destination)
        return destination

    def host(self, name: str) -> Host | None:
        """The host of that name, if anything was ever delivered to it."""
        found = self._of_host.get(name)
        return found[0].host if found else None

    def of_host(self, name: str) -> Sequence[Destination]:
        """Its destinations."""
        return self._of_host.get(name, ())

    def all(self) -> Iterable[Destination]:
        """All destinations."""
        return self.at.values()

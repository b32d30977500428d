"""How much waits to be judged, counted in the process, so that a bound is checked without a query."""

from __future__ import annotations

from collections.abc import Iterable

from socialrelay.boundaries import Full, HostFull
from socialrelay.config import Receive


class Usage:
    """
    Rows and bytes per host, what is being written included.

    @ivar bounds: how much there may be.
    @ivar known: it was loaded, and nothing has happened since that would make it wrong.
    """

    def __init__(self, bounds: Receive) -> None:
        self.bounds = bounds
        self._hosts: dict[str, tuple[int, int]] = {}
        self.known = False
        self.rows = 0
        self.bytes = 0

    def load(self, found: Iterable[tuple[str, int, int]]) -> None:
        """Take what the database says: host, rows, bytes."""
        self._hosts = {host: (rows, size) for host, rows, size in found}
        self.rows = sum(rows for rows, _ in self._hosts.values())
        self.bytes = sum(size for _, size in self._hosts.values())
        self.known = True

    def forget(self) -> None:
        """A statement's outcome is not known: load it again."""
        self.known = False

    def reserve(self, host: str, size: int) -> None:
        """
        Room for a row that is to be written.

        @raise HostFull: there is none for this host.
        @raise Full: there is none at all.
        """
        if any(self.lacking(host, size)):
            raise HostFull("this author's host has as much waiting as it may")
        if self.bytes + size > self.bounds.waiting_bytes or self.rows >= self.bounds.waiting_rows:
            raise Full("as much is waiting to be judged as may be")
        self._change(host, 1, size)

    def lacking(self, host: str, size: int) -> tuple[int, int]:
        """How many rows and bytes must go before a row of so many bytes has room in the host's share."""
        rows, held = self._hosts.get(host, (0, 0))
        return max(rows + 1 - self.bounds.waiting_rows_per_host, 0), max(held + size - self.bounds.waiting_bytes_per_host, 0)

    def release(self, host: str, size: int) -> None:
        """A row is gone, or was not written."""
        self._change(host, -1, -size)

    def _change(self, host: str, rows: int, size: int) -> None:
        had_rows, had = self._hosts.get(host, (0, 0))
        has_rows = max(had_rows + rows, 0)
        has = max(had + size, 0) if has_rows else 0
        self.rows += has_rows - had_rows
        self.bytes += has - had
        if has_rows:
            self._hosts[host] = (has_rows, has)
        else:
            self._hosts.pop(host, None)

"""How much of what one client address sent may wait to be judged."""

from __future__ import annotations


class ClientQuota:
    """
    Counts what waits by client address, in memory only: addresses are not stored, and after a restart nobody owes anything.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._held: dict[str, tuple[int, int]] = {}
        self._owners: dict[int, tuple[str, int]] = {}

    def has_room(self, client: str, size: int) -> bool:
        """One more body of so many bytes may wait."""
        rows, held = self._held.get(client, (0, 0))
        return rows < self._max_rows and held + size <= self._max_bytes

    def took(self, client: str, number: int, size: int) -> None:
        """Row C{number} of C{incoming} came from there."""
        rows, held = self._held.get(client, (0, 0))
        self._held[client] = rows + 1, held + size
        self._owners[number] = client, size

    def released(self, number: int) -> None:
        """The row is over."""
        owner = self._owners.pop(number, None)
        if owner is None:
            return
        client, size = owner
        rows, held = self._held[client]
        if rows <= 1:
            del self._held[client]
        else:
            self._held[client] = rows - 1, held - size

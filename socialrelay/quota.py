"""How much of what one client address sent may wait to be judged."""

from __future__ import annotations

import os
from zlib import crc32

PLACES = 16
_SALT = os.urandom(16)


def place_of(client: str, salt: bytes = _SALT) -> str:
    """
    Where a message to the relay is counted until its sender is known.

    A host may have only so many bodies waiting; a message that is encrypted shows no host, and whoever fills one common place would keep
    all others out.  So there are some, and the client's address decides which, in a way that changes with each start: it tells nothing of
    the address, and nobody can choose.

    @return: a text that is no host name.
    """
    return f"private-{crc32(salt + client.encode()) % PLACES}"


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

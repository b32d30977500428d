"""How much of what one client address sent may wait to be judged."""

from __future__ import annotations

import os
from collections import Counter
from zlib import crc32

from attrs import Factory, define

PLACES = 16
HOSTS = 50
"""Of so many authors' hosts bodies of one client may wait: each that does not exist makes the search for the others' keys slower."""
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


@define
class _Held:
    bytes: int = 0
    hosts: Counter[str] = Factory(Counter)
    """How many rows of each host."""


class ClientQuota:
    """
    Counts what waits by client address, in memory only: addresses are not stored, and after a restart nobody owes anything.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.rows = max_rows
        self.bytes = max_bytes
        self._held: dict[str, _Held] = {}
        self._owners: dict[int, tuple[str, str, int]] = {}

    def has_room(self, client: str, host: str, size: int) -> bool:
        """One more body of so many bytes, by an author of that host, may wait."""
        held = self._held.get(client) or _Held()
        known = host in held.hosts or len(held.hosts) < HOSTS
        return known and held.hosts.total() < self.rows and held.bytes + size <= self.bytes

    def took(self, client: str, number: int, host: str, size: int) -> None:
        """Row C{number} of C{incoming} came from there."""
        held = self._held.setdefault(client, _Held())
        held.hosts[host] += 1
        held.bytes += size
        self._owners[number] = client, host, size

    def released(self, number: int) -> None:
        """The row is over."""
        owner = self._owners.pop(number, None)
        if owner is None:
            return
        client, host, size = owner
        held = self._held[client]
        held.bytes -= size
        held.hosts[host] -= 1
        if not held.hosts[host]:
            del held.hosts[host]
        if not held.hosts:
            del self._held[client]

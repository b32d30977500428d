"""The operators' password: how its hash is made, and how a password is held against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from twisted.internet.defer import Deferred, DeferredLock

from socialrelay.boundaries import Full

SHORTEST = 10
LONGEST = 1024
WAITING = 10
"""Checks that may wait for their turn: one takes 64 MiB of memory and a tenth of a second."""

_NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$c29jaWFscmVsYXkuLi4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""Checked where no password is set: the answer is no, and takes as long as where one is."""


def password_hash(password: str) -> str:
    """
    What stands in the configuration. Takes a tenth of a second.

    @raise ValueError: it is too short, or too long.
    """
    if len(password) < SHORTEST:
        raise ValueError(f"That is too short: it must have at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise ValueError(f"That is too long: it may have {LONGEST} characters.")
    return PasswordHasher().hash(password)


def matches(known: str, password: str) -> bool:
    """Whether a password has this hash. Takes a tenth of a second; for a hash that is none, less."""
    try:
        return PasswordHasher().verify(known, password[:LONGEST])
    except (Argon2Error, InvalidHashError):
        return False


class Passwords:
    """Checks passwords in a thread, one at a time."""

    def __init__(self, known: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        """
        @param known: the hash; empty: no password is right.
        @param in_thread: runs a function with its arguments elsewhere.
        """
        self.known = known
        self._in_thread = in_thread
        self._lock = DeferredLock()

    async def right(self, password: str) -> bool:
        """
        Whether this is the password.

        @raise Full: too many ask at once.
        """
        if len(self._lock.waiting) >= WAITING:
            raise Full("many passwords are being checked")
        await self._lock.acquire()
        try:
            fits = bool(await self._in_thread(matches, self.known or _NOBODYS, password))
        finally:
            self._lock.release()
        return fits and bool(self.known)

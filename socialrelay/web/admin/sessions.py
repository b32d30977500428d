"""Who is logged in, and by which links one may still log in. All of it is in memory: after a restart everybody logs in again."""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Callable
from hashlib import sha256

from attrs import Factory, define, field, frozen

from socialrelay.config import Memory
from socialrelay.ratelimit import Lru

LONGEST = 30 * 86400.0
"""Seconds after which a session ends, however much it is used."""
LINKS = 20
LINK_LIFETIME = 300.0
_BYTES = 32


@frozen
class Flash:
    """
    What an act said, to be shown once.

    @ivar well: it was done.
    @ivar notes: further sentences.
    """

    message: str
    well: bool = True
    notes: tuple[str, ...] = ()


@define(eq=False)
class Session:
    """
    Somebody who is logged in.

    @ivar user: by name; C{admin} after the password, which is everybody's.
    @ivar way: as in L{socialrelay.operators.who.done_by}.
    @ivar token: stands in each form of this session, and nowhere else.
    @ivar alive: until it has ended, by itself or by logging out.
    """

    user: str
    way: str
    began: float
    used: float
    token: str = field(factory=lambda: secrets.token_urlsafe(_BYTES), repr=False)
    flashes: deque[Flash] = Factory(lambda: deque(maxlen=5))
    alive: bool = True

    def holds(self, token: str) -> bool:
        """Whether a form is one of this session's; takes the same time for each that is not."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def told(self) -> list[Flash]:
        """What is to be shown now, and not again."""
        told = list(self.flashes)
        self.flashes.clear()
        return told


class Sessions:
    """
    All sessions, by the digest of their id: who reads this memory cannot log in with it.

    @ivar lifetime: seconds without use after which one ends.
    """

    def __init__(self, lifetime: float, seconds: Callable[[], float], limit: int = Memory().sessions) -> None:
        """@param limit: with one more, the one that was not used for longest ends."""
        self.lifetime = lifetime
        self._seconds = seconds
        self._sessions: Lru[bytes, Session] = Lru(limit)

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def limit(self) -> int:
        """How many there may be."""
        return self._sessions.limit

    @property
    def forgotten(self) -> int:
        """How many gave way."""
        return self._sessions.forgotten

    def begin(self, user: str, way: str) -> tuple[str, Session]:
        """
        Log somebody in.

        @return: the id, which only the client's cookie knows, and the session.
        """
        name = secrets.token_urlsafe(_BYTES)
        now = self._seconds()
        session = Session(user, way, began=now, used=now)
        self._sessions[_digest(name)] = session
        return name, session

    def end_all(self) -> None:
        """Everybody logs in again."""
        for key in list(self._sessions):
            session = self._sessions.discard(key)
            if session is not None:
                session.alive = False

    def find(self, name: str) -> Session | None:
        """The session with this id, which is used now."""
        session = self._sessions.get(_digest(name))
        if session is None:
            return None
        if not self.holds(session):
            self.end(name)
            return None
        session.used = self._seconds()
        return session

    def holds(self, session: Session) -> bool:
        """Whether a session goes on; it is not used by asking."""
        now = self._seconds()
        return session.alive and now - session.used <= self.lifetime and now - session.began <= LONGEST

    def end(self, name: str) -> None:
        """Log somebody out."""
        session = self._sessions.discard(_digest(name))
        if session is not None:
            session.alive = False


class Links:
    """Links that log their holder in, once, within L{LINK_LIFETIME} seconds."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._links: Lru[bytes, tuple[str, float]] = Lru(LINKS)

    def make(self, user: str) -> str:
        """@return: the code for a link that logs this user in."""
        code = secrets.token_urlsafe(_BYTES)
        self._links[_digest(code)] = (user, self._seconds() + LINK_LIFETIME)
        return code

    def holds(self, code: str) -> bool:
        """Whether a code would log somebody in."""
        return self._user(self._links.get(_digest(code))) is not None

    def use(self, code: str) -> str | None:
        """@return: the user; from now on the code is worth nothing."""
        return self._user(self._links.discard(_digest(code)))

    def _user(self, found: tuple[str, float] | None) -> str | None:
        return found[0] if found is not None and self._seconds() <= found[1] else None


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()

"""Several who want the same thing at the same time share one piece of work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.ratelimit import Lru

T = TypeVar("T")


class Crowded(Exception):
    """As much is under way, or as many wait, as may be."""


class Coalescing(Generic[T]):
    """
    Work in progress, by key; all who ask for a key meanwhile get the one result.

    Who cancels leaves; the work goes on for the others, and even for nobody.

    @ivar limit: how many keys may be under way.
    @ivar forgotten: how many more there would have been.
    @ivar waiters_limit: how many may wait, for all keys together.
    @ivar turned_away: how many more would have waited.
    """

    _log = Logger()

    def __init__(self, works: int, waiters: int) -> None:
        """
        @param works: how many keys may be under way.
        @param waiters: how many may wait, for all keys together.
        """
        self.limit = works
        self.waiters_limit = waiters
        self.forgotten = self.turned_away = 0
        self._waiting: dict[str, list[Deferred[T]]] = {}
        self._count = 0
        self._idle: list[Deferred[None]] = []

    def __contains__(self, key: object) -> bool:
        return key in self._waiting

    def __len__(self) -> int:
        """How many keys are under way."""
        return len(self._waiting)

    @property
    def waiters(self) -> int:
        """How many wait."""
        return self._count

    def ask(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """
        Join the work on C{key}, or begin it.

        @raise Crowded: (through the Deferred) there is no room.
        """
        new = key not in self._waiting
        full = self._count >= self.waiters_limit
        if full or (new and len(self._waiting) >= self.limit):
            self.turned_away += full
            self.forgotten += not full
            return fail(Crowded(f"{len(self._waiting)} are under way, {self._count} wait"))
        answer: Deferred[T] = Deferred(lambda cancelled: self._leave(key, cancelled))
        self._waiting.setdefault(key, []).append(answer)
        self._count += 1
        if new:
            Deferred.fromCoroutine(work()).addBoth(self._finished, key)
        return answer

    def idle(self) -> Deferred[None]:
        """Fires when nothing is under way."""
        if not self._waiting:
            return succeed(None)
        answer: Deferred[None] = Deferred()
        self._idle.append(answer)
        return answer

    def _leave(self, key: str, answer: Deferred[T]) -> None:
        waiting = self._waiting.get(key, [])
        if answer in waiting:
            waiting.remove(answer)
            self._count -= 1

    def _finished(self, result: T | Failure, key: str) -> None:
        answers = self._waiting.pop(key)
        self._count -= len(answers)
        if isinstance(result, Failure) and not answers:
            self._log.debug("Nobody waits any more for {subject}, which failed: {reason}", subject=key, reason=result.getErrorMessage())
        for answer in answers:
            if not answer.called:  # one of those before it may have cancelled it
                answer.callback(result)
        if not self._waiting:
            idle, self._idle = self._idle, []
            for one in idle:
                one.callback(None)


class Lasting(Generic[T]):
    """Answers that take work: one piece of work answers all who ask meanwhile, and for a while after it."""

    def __init__(self, seconds: Callable[[], float], works: int, waiters: int, kept: int) -> None:
        """
        @param seconds: a clock for durations.
        @param works, waiters: as for L{Coalescing}.
        @param kept: so many answers are kept at a time.
        """
        self._seconds = seconds
        self._held: Lru[str, tuple[float, T]] = Lru(kept)
        self._running: Coalescing[T] = Coalescing(works, waiters)

    def ask(self, key: str, work: Callable[[], Coroutine[Any, Any, T]], lifetime: float) -> Deferred[T]:
        """
        The answer for C{key}.

        @param lifetime: seconds for which it is given again.
        @raise Crowded: (through the Deferred) there is no room.
        """
        held = self._held.get(key)
        if held is not None and self._seconds() < held[0]:
            return succeed(held[1])

        async def anew() -> T:
            answer = await work()
            self._held[key] = self._seconds() + lifetime, answer
            return answer

        return self._running.ask(key, anew)

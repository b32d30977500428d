"""
Services that wait for one another, and periodic work that outlives its errors.

Twisted's C{MultiService} starts its children without waiting and stops them all at once; the relay's parts stand on each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries.errors import Unavailable
from socialrelay.rounds import Rounds

T = TypeVar("T")

_log = Logger()

PATIENCE = 5.0
"""Seconds for which a stop waits for a start in hand."""


class StartFailed(Exception):
    """
    A part of the relay could not start; the message is one line: which part, and why.

    @ivar name: the part.
    @ivar reason: an exception's own words, for the operator.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class Unfinished(Exception):
    """
    A part was stopped before it had done all that it had taken on; the process ends with 1.  The message is a sentence, which was not
    logged yet.
    """


def reason_of(error: BaseException | None) -> str:
    """An exception as one line for the operator."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    known = type(error).__module__.startswith("socialrelay.")
    return text if known and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def within(waited: Deferred[T], seconds: float, clock: IReactorTime) -> Deferred[bool]:
    """
    Wait for something, but not for ever, and without cancelling it.

    @return: fires with whether it came in time; a failure of it counts as having come, and is logged.
    """
    answer: Deferred[bool] = Deferred()
    timer = clock.callLater(seconds, answer.callback, False)

    def came(result: object) -> None:
        if isinstance(result, Failure):
            _log.failure("Failed while it was waited for.", result)
        if timer.active():
            timer.cancel()
            answer.callback(True)

    waited.addBoth(came)
    return answer


class Sequence(Service):
    """
    Starts its children one after another, each when the one before it runs, and stops them in reverse order in the same way.

    A child whose start fails ends the start; it is stopped as well, like those before it, when the sequence is stopped.

    @ivar stop_timeout: seconds for the stop of all.  A child that takes longer is left behind; the others still get their turn.
    """

    _log = Logger()

    def __init__(self, children: Iterable[tuple[str, IService]], clock: IReactorTime, stop_timeout: float) -> None:
        """@param children: (name for the operator, service), in the order in which they start."""
        self._children = list(children)
        self._clock = clock
        self.stop_timeout = stop_timeout
        self._started: list[tuple[str, IService]] = []
        self._starting: Deferred[None] = succeed(None)
        self._stopping: Deferred[Unfinished | None] | None = None
        self._unfinished: Unfinished | None = None

    def privilegedStartService(self) -> None:
        """Hand it on: a child may bind a port while the process still is root."""
        super().privilegedStartService()
        for _, child in self._children:
            child.privilegedStartService()

    def startService(self) -> Deferred[None]:
        """
        Start the children.

        @return: fires when all run.
        @raise StartFailed: one could not start, or the sequence was stopped meanwhile.
        """
        super().startService()
        self._stopping = self._unfinished = None
        answer: Deferred[None] = Deferred()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addBoth(answer.callback)
        return answer

    def stopService(self) -> Deferred[None]:
        """
        @return: fires when all that was started is stopped, or its time is over.
        @raise Unfinished: a child could not finish; all the same the others are stopped.
        """
        if self._stopping is None:
            super().stopService()
            self._stopping = Deferred.fromCoroutine(self._stop())
        answer: Deferred[None] = Deferred()

        def ended(unfinished: Unfinished | None) -> Unfinished | None:
            answer.callback(None) if unfinished is None else answer.errback(unfinished)
            return unfinished

        self._stopping.addCallback(ended)
        return answer

    async def _start(self) -> None:
        for name, child in self._children:
            if not self.running:
                raise StartFailed(name, "the relay was stopped before it had started")
            self._started.append((name, child))
            try:
                await maybeDeferred(child.startService)
            except Exception as error:
                if not isinstance(error, (OSError, StartFailed)) and not type(error).__module__.startswith("socialrelay."):
                    self._log.failure("The start of {part} failed.", part=name)
                raise error if isinstance(error, StartFailed) else StartFailed(name, reason_of(error)) from error

    async def _stop(self) -> Unfinished | None:
        end = self._clock.seconds() + self.stop_timeout
        await within(self._starting, min(PATIENCE, self.stop_timeout / 4), self._clock)
        reserve = self.stop_timeout / 20
        while self._started:
            name, child = self._started.pop()
            allowed = max(end - self._clock.seconds() - reserve * len(self._started), reserve)
            stopped = maybeDeferred(child.stopService)
            stopped.addErrback(self._failed_to_stop, name)
            if not await within(stopped, allowed, self._clock):
                self._log.warn("{part} did not stop within {delay} s and is left behind.", part=name, delay=round(allowed, 1))
        return self._unfinished

    def _failed_to_stop(self, failure: Failure, name: str) -> None:
        if isinstance(failure.value, Unfinished):
            self._unfinished = failure.value
            return
        self._log.failure("The stop of {part} failed.", failure, part=name)


class Periodic(Rounds, Service):
    """Work done again and again.  A round that fails is logged, and the next comes all the same; rounds never overlap."""

    _log = Logger()

    def __init__(
        self,
        work: Callable[[], Awaitable[object] | object],
        interval: float,
        clock: IReactorTime,
        *,
        name: str,
        first: float = 0.0,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """
        @param work: one round; it sets a deadline on each thing that it waits for.
        @param interval: seconds from the beginning of a round to the next.
        @param name: what it is called in the log.
        @param first: seconds until the first round.
        @param jitter: a factor, drawn once for the first wait and once for the interval.
        """
        super().__init__(name, interval, clock.seconds)
        self.setName(name)
        self._work = work
        self._first = first
        self._jitter = jitter
        self._clock = clock
        self._loop = LoopingCall(self._round)
        self._loop.clock = clock
        self._ended: Deferred[Any] = succeed(None)
        self._waiting: IDelayedCall | None = None

    def startService(self) -> None:
        """The first round comes when its time is there; nobody waits for it."""
        super().startService()
        self.begun()
        self._waiting = self._clock.callLater(self._first * self._jitter(), self._begin)

    def stopService(self) -> Deferred[None]:
        """@return: fires when no round is in hand any more."""
        super().stopService()
        self.stopped()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._loop.running:
            self._loop.stop()
        answer: Deferred[None] = Deferred()
        self._ended.addCallback(lambda _: answer.callback(None))
        return answer

    def _begin(self) -> None:
        self._waiting = None
        self._ended = self._loop.start(self.interval * self._jitter())

    def _round(self) -> Deferred[None]:
        return maybeDeferred(self._work).addCallbacks(lambda _: self.went_well(), self._failed)

    def _failed(self, failure: Failure) -> None:
        # A round that raised would be the last one: LoopingCall ends with the first error.
        self.went_wrong(reason_of(failure.value))
        if failure.check(Unavailable):  # an error of the database, which is told elsewhere, and none of ours
            self._log.warn("A round of {part} failed: {reason}; the next one comes.", part=self.name, reason=self.last_error.rstrip("."))
        else:
            self._log.failure("A round of {part} failed; the next one comes.", failure, part=self.name)

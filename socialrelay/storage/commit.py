"""Group commit: what arrives while a batch is being written becomes the next batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Generic, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socialrelay.boundaries import Full, Unavailable

T = TypeVar("T")
R = TypeVar("R")

ROWS = 128
BYTES = 4 * 1024 * 1024

SLICE = 0.002
"""Seconds for which those whose items are written are answered, before everybody else has his turn."""


@define(eq=False)
class _Entry(Generic[T, R]):
    item: T
    keys: Collection[Hashable]
    size: int
    answer: Deferred[R]


class GroupCommit(Generic[T, R]):
    """
    One batch is under way, the rest waits, up to a bound in items and one in bytes.

    If a batch is refused for what one of its items says, its items are written one by one, so that it spoils only itself.

    @ivar limit: how many items may wait.
    @ivar bytes_limit: and how many bytes of them.
    """

    def __init__(self, write: Callable[[list[T]], Deferred[list[R]]], clock: IReactorTime, *, waiting: int, waiting_bytes: int) -> None:
        """
        @param write: writes items; answers with a result for each of them, in order.
        @param waiting: how many items may wait.
        @param waiting_bytes: and how many bytes of them; one item may wait whatever its size.
        """
        self.limit = waiting
        self._write = write
        self._clock = clock
        self.bytes_limit = waiting_bytes
        self._queue: deque[_Entry[T, R]] = deque()
        self._batch: list[_Entry[T, R]] = []
        self._bytes = 0
        self._writing = False
        self._flushing = False
        """The next batches are being begun: whoever is answered meanwhile, and submits more, does not begin them."""
        self._singly = 0
        self._written: deque[tuple[_Entry[T, R], R]] = deque()
        self._answering = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def submit(self, item: T, size: int, keys: Collection[Hashable]) -> Deferred[R]:
        """
        @param size: bytes, roughly.
        @param keys: two items that share one are never in the same batch: the later one meets what the first has left.
        @raise Full: too many are waiting.
        """
        if len(self._queue) >= self.limit or (self._queue and self._bytes + size > self.bytes_limit):
            return fail(Full("too much is waiting to be written"))
        entry: _Entry[T, R] = _Entry(item, keys, size, Deferred())
        self._queue.append(entry)
        self._bytes += size
        if not self._writing:
            self._flush()
        return entry.answer

    def settled(self) -> Deferred[None]:
        """@return: fires when all that was submitted until now is written, or failed; never fails."""
        return DeferredList([entry.answer for entry in self._unanswered()]).addCallback(lambda _: None)

    def _unanswered(self) -> Iterator[_Entry[T, R]]:
        yield from (entry for entry, _ in self._written)
        yield from self._batch
        yield from self._queue

    def refuse_waiting(self, reason: str) -> None:
        """Fail what waits and is not yet being written."""
        waiting, self._queue, self._bytes = self._queue, deque(), 0
        for entry in waiting:
            entry.answer.errback(Failure(Unavailable(reason)))

    def _flush(self) -> None:
        if self._flushing:
            return
        self._flushing = True
        while not self._writing and (batch := self._take()):
            self._batch = batch
            self._writing = True
            # One that cannot even be sent is refused like one that the database refuses.
            written = maybeDeferred(self._write, [entry.item for entry in batch])
            written.addCallbacks(self._done, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))
        if not self._writing:
            self._batch = []
        self._flushing = False

    def _take(self) -> list[_Entry[T, R]]:
        rows = 1 if self._singly else ROWS
        self._singly = max(self._singly - 1, 0)
        batch: list[_Entry[T, R]] = []
        later: list[_Entry[T, R]] = []
        seen: set[Hashable] = set()
        size = 0
        while self._queue and len(batch) < rows and size < BYTES:
            entry = self._queue.popleft()
            if seen.isdisjoint(entry.keys):
                batch.append(entry)
                size += entry.size
                self._bytes -= entry.size
            else:
                later.append(entry)
            seen.update(entry.keys)
        self._queue.extendleft(reversed(later))
        return batch

    def _done(self, results: list[R], batch: list[_Entry[T, R]]) -> None:
        self._writing = False
        self._written.extend(zip(batch, results, strict=True))
        self._flush()
        if not self._answering:
            self._answering = True
            self._answer()

    def _answer(self) -> None:
        """In order, for a slice of this turn; those who are left in the next ones."""
        until = self._clock.seconds() + SLICE
        while self._written:
            entry, result = self._written.popleft()
            entry.answer.callback(result)
            if self._written and self._clock.seconds() >= until:
                self._clock.callLater(0.0, self._answer)
                return
        self._answering = False

    def _failed(self, failure: Failure, batch: list[_Entry[T, R]]) -> None:
        self._writing = False
        if failure.check(Unavailable):
            self.refuse_waiting(failure.getErrorMessage())
        elif len(batch) > 1:
            self._queue.extendleft(reversed(batch))
            self._bytes += sum(entry.size for entry in batch)
            self._singly = len(batch)
            batch = []
        self._flush()
        for entry in batch:
            entry.answer.errback(failure)

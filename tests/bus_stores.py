"""A store of the bus of which a test decides when it answers, and what becomes of what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from socialrelay.boundaries import BusMessage, BusStore, Extent, Kept, StoredMessage, Unavailable
from socialrelay.storage.memory import MemoryTables, memory_storage

T = TypeVar("T")

REFUSED = "refused by the database"
"""A topic that the database does not take."""


@define(eq=False)
class _Question:
    name: str
    ask: Callable[[], Deferred[Any]]
    answer: Deferred[Any]


class ScriptedBus:
    """
    A store in memory.

    @ivar prompt: it answers at once.
    @ivar asked: the names of all that it was asked.
    @ivar batches: the C{msg_id}s that it was given, batch by batch.
    @ivar open: questions that are not answered yet.
    """

    def __init__(self, tables: MemoryTables) -> None:
        self.prompt = True
        self.asked: list[str] = []
        self.batches: list[list[str]] = []
        self.open: deque[_Question] = deque()
        self._late: list[Callable[[], object]] = []
        self._tables = tables
        self._bus: BusStore = memory_storage(tables).bus

    @property
    def stored(self) -> dict[int, StoredMessage]:
        return self._tables.bus

    @property
    def noted(self) -> int:
        """Up to where it was told that all is published."""
        return self._tables.bus_published

    def add(self, messages: Sequence[BusMessage], now: datetime, published: int) -> Deferred[list[Kept]]:
        self.batches.append([message.msg_id for message in messages])

        def ask() -> Deferred[list[Kept]]:
            if any(message.topic == REFUSED for message in messages):
                raise LookupError(REFUSED)
            return self._bus.add(messages, now, published)

        def asked() -> Deferred[list[Kept]]:
            late, self._late = self._late, []
            for each in late:
                with suppress(LookupError):
                    each()
            return ask()

        return self._asked("add", asked)

    def read(self, after: int, topic: str, limit: int) -> Deferred[tuple[list[StoredMessage], int]]:
        return self._asked("read", lambda: self._bus.read(after, topic, limit))

    def extent(self) -> Deferred[Extent]:
        return self._asked("extent", self._bus.extent)

    def mark_published(self, seq: int) -> Deferred[None]:
        return self._asked("mark_published", lambda: self._bus.mark_published(seq))

    def prune(self, before: datetime, most: int, most_own: int) -> Deferred[int]:
        return self._asked("prune", lambda: self._bus.prune(before, most, most_own))

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[int]:
        return self._asked("erase", lambda: self._bus.erase(author=author, guid=guid, host=host))

    def _asked(self, name: str, ask: Callable[[], Deferred[T]]) -> Deferred[T]:
        self.asked.append(name)
        question = _Question(name, ask, Deferred())
        self.open.append(question)
        if self.prompt:
            self.well()
        return question.answer

    def well(self, name: str = "") -> None:
        """It does what it was asked first, or first of a kind, and says so."""
        question = next(each for each in self.open if each.name.startswith(name))
        self.open.remove(question)
        try:
            done = question.ask()
        except LookupError:
            question.answer.errback(Failure())
        else:
            done.chainDeferred(question.answer)

    def away(self) -> None:
        """It does nothing."""
        self.open.popleft().answer.errback(Failure(Unavailable("the database is away")))

    def lost(self) -> None:
        """It does what it was asked first, and nobody hears of it."""
        question = self.open.popleft()
        with suppress(LookupError):
            question.ask()
        question.answer.errback(Failure(Unavailable("the connection was lost")))

    def late(self) -> None:
        """The same, but it does it only when it is given the next batch, which waits for it."""
        question = self.open.popleft()
        if question.name == "add":
            self._late.append(question.ask)
        question.answer.errback(Failure(Unavailable("the connection was lost")))


_conforms: type[BusStore] = ScriptedBus

"""Nodes that come and go each half minute: the real queue and its journal on simulated time."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from socialrelay.federation import DeliveryRequest
from socialrelay.scheduler.orders import Limits
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from socialrelay.scheduler.record import Progress, State
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.bookkeeping import Books
from tests.chaos.finding import Finding

PHASE = 30.0
MINUTES = 30.0
EVERY = 2.0
"""Seconds between two posts."""
ANSWERS = 0.2
UP_PHASES = 2
WRITES = 10.0
"""A second: a write each quarter of a second, and those for which a node has to wait."""
STEP = 0.1


@define
class Flapping:
    """
    Nodes, of which each is up for half a minute and down for another, each beginning at a time of its own.

    @ivar offsets: host -> seconds by which it is ahead of the others.
    """

    clock: Any = None
    offsets: dict[str, float] = field(factory=dict)
    taken: dict[str, int] = field(factory=dict)
    refused: int = 0
    slow: list[Any] = field(factory=list)

    def phase(self, host: str) -> int:
        """How often it has gone up or down; it is up when that is even."""
        return int((self.clock.seconds() + self.offsets[host]) // PHASE)

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        host = request.url.split("/")[2]
        if self.phase(host) % 2:
            self.refused += 1
            return succeed(NoAnswer(Trouble.CONNECT))
        answer: Deferred[Reply] = Deferred()

        def answered() -> None:
            if not answer.called:
                self.taken[host] = self.taken.get(host, 0) + 1
                answer.callback(Answer(202))

        self.clock.callLater(ANSWERS, answered)
        return answer


class Written:
    """
    The destinations of a store.

    @ivar writes: how often progress was written; C{rows}: of destinations in it; C{states}: of these, with another state than before.
    """

    def __init__(self, destinations: Any) -> None:
        self._destinations = destinations
        self._states: dict[int, object] = {}
        self.writes = self.rows = self.states = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destinations, name)

    def save(self, progress: Progress) -> Deferred[None]:
        self.writes += 1
        self.rows += len(progress.destinations)
        for record in progress.destinations:
            self.states += self._states.get(record.number) not in (None, record.state)
            self._states[record.number] = record.state
        return self._destinations.save(progress)  # type: ignore[no-any-return]


@define
class Waiting:
    """
    How long nodes were behind.

    @ivar began: host -> phase in which it fell behind, and when.
    @ivar phases: up-phases in which a node was behind, for each time; C{longest}: seconds.
    """

    began: dict[str, tuple[int, float]] = field(factory=dict)
    phases: list[int] = field(factory=list)
    longest: float = 0.0

    def look(self, books: Books, nodes: Flapping) -> None:
        """Who is behind, and who is not any more."""
        now = books.clock.seconds()
        for destination in books.manager.all():
            host, well = destination.host.name, destination.host.state is State.ACTIVE
            if host not in self.began and not well:
                self.began[host] = nodes.phase(host), now
            elif host in self.began and well and destination.following and not destination.queue:
                self.end(host, nodes.phase(host), now)

    def end(self, host: str, phase: int, now: float) -> None:
        """It has all."""
        began, since = self.began.pop(host)
        self.phases.append(sum(each % 2 == 0 for each in range(began + 1, phase + 1)))
        self.longest = max(self.longest, now - since)


def prove(full: bool) -> Finding:
    hosts, minutes = (200, 30) if full else (40, 8)
    chance = Random(8)
    nodes = Flapping()
    books = Books(memory_storage(MemoryTables()), nodes=nodes, limits=Limits(), chance=chance.random)
    nodes.clock = books.clock
    books.destinations = written = Written(books.storage.destinations)  # type: ignore[assignment]
    Deferred.fromCoroutine(books.load())
    names = [f"flapping-{number}.example" for number in range(hosts)]
    for name in names:
        nodes.offsets[name] = chance.uniform(0.0, 2 * PHASE)
        books.subscribe(name)
    waiting = Waiting()
    seconds = 60.0 * minutes
    end = books.clock.seconds() + seconds
    next_post, posts = books.clock.seconds(), 0
    while books.clock.seconds() < end:
        if books.clock.seconds() >= next_post and books.clock.seconds() < end - 4 * PHASE:
            books.post(names, f"author{chance.randrange(50)}@pod.example")
            next_post, posts = next_post + EVERY, posts + 1
        books.clock.advance(STEP)
        waiting.look(books, nodes)
    for host in list(waiting.began):
        waiting.end(host, nodes.phase(host), end)
    most, lost = max(waiting.phases), hosts * posts - sum(nodes.taken.values())
    writes = written.writes / seconds
    return Finding(
        done=f"{hosts} nodes that are up for {PHASE:.0f} s and down for {PHASE:.0f} s, for {minutes} simulated minutes, {posts} posts to all",
        figure=f"each of {len(waiting.phases)} times drained within {most} of its up-phases, {waiting.longest:.0f} s at most after its first "
        f"failure; {lost} of {hosts * posts} deliveries missing; {writes:.1f} writes a second, of {written.rows / seconds:.0f} rows",
        held=most <= UP_PHASES and lost == 0 and writes <= WRITES and not books.in_memory(),
        figures={
            "up_phases_most": most,
            "seconds_most": waiting.longest,
            "writes_per_second": writes,
            "state_changes": written.states / seconds,
        },
        remark="One write a second was aimed at, and is not kept: where a node has taken three posts a write is begun at once, since what is "
        "not written comes twice after a crash (P1). What changes meanwhile is written together, in one transaction, however many nodes flap.",
    )

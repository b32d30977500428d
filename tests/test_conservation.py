"""Of each post at each node it is known what became of it: whatever happens, in any order that hypothesis thinks of."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.boundaries import Unavailable
from socialrelay.config import Retention
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DestinationRecord, State
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.postgres import open_storage
from tests import servers
from tests.bookkeeping import AUTHORS, FATES, HOSTS, LIFETIME, REPLIES, Books
from tests.fuzzing import FULL, counts, examples

EXAMPLES = examples(200, 10_000)
STEPS = 20
LIVES = examples(6, 60)
"""In PostgreSQL."""
MOMENTS = 60
WAITS = [0.0, 0.3, 40.0, 700.0, 3700.0, 86400.0, LIFETIME + 3600.0]
LEAPS = [-400.0, -1.0, 1.0, 400.0]
"""Days."""
RETENTIONS = [Retention(), Retention(bodies_max_bytes=300)]
ALL_WELL = 30
"""Days after which nothing may be pending any more: two probes of a node that is dead, and a post on its own that is tried in between."""
TURNS = 10
"""Of the relay, that are not missed while time passes."""


def now(done: Deferred[Any]) -> Any:
    """What it fired with; it must have."""
    results: list[Any] = []
    done.addBoth(results.append)
    assert results, "it still waits"
    if isinstance(results[0], Failure) and not results[0].check(Unavailable):
        results[0].raiseException()
    return results[0]


class Machine(RuleBasedStateMachine):
    """
    Posts, outcomes of each kind, nodes that come and go, operators, a database that is away or loses writes, and processes that die.

    @cvar examples: how many there were; C{steps}: how many things happened; C{crashes}.
    """

    examples: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    crashes: ClassVar[int] = 0
    posts: ClassVar[int] = 0

    @initialize(
        spread=st.sampled_from([0.0, 30.0]), newest_beyond=st.sampled_from([float("inf"), 3.0]), retention=st.sampled_from(RETENTIONS)
    )
    def begin(self, spread: float, newest_beyond: float, retention: Retention) -> None:
        self.tables = MemoryTables()
        self.retention = retention
        self.books = Books(memory_storage(self.tables, retention=retention), spread=spread, newest_beyond=newest_beyond)
        now(Deferred.fromCoroutine(self.books.load()))
        for host in HOSTS:
            self.do(self.books.subscribe(host))

    def do(self, *done: Deferred[Any]) -> None:
        """It is done, or could not be; then the relay has its turn."""
        type(self).steps += 1
        for each in done:
            now(each)
        self.pass_time(0.0)

    def pass_time(self, seconds: float) -> None:
        """What is due next happens when it is due, what comes later with what is due at the end."""
        books = self.books
        until = books.clock.seconds() + seconds
        for _ in range(TURNS):
            due = min((call.getTime() for call in books.clock.getDelayedCalls()), default=until)
            books.clock.advance(max(min(due, until) - books.clock.seconds(), 0.0))
        books.clock.advance(until - books.clock.seconds())
        if self.tables.healthy:
            for retired in books.retire():
                now(retired)

    @rule(hosts=st.sets(st.sampled_from(HOSTS), min_size=1), author=st.sampled_from(AUTHORS), told=st.integers(0, 9))
    def post(self, hosts: set[str], author: str, told: int) -> None:
        self.do(self.books.post(sorted(hosts), author, told=told > 0))

    @rule(count=st.sampled_from([10, 45]), author=st.sampled_from(AUTHORS))
    def burst(self, count: int, author: str) -> None:
        self.do(*(self.books.post(HOSTS, author if number % 2 else AUTHORS[0]) for number in range(count)))

    @rule(hosts=st.sets(st.sampled_from(HOSTS), min_size=1), mood=st.sampled_from(sorted(REPLIES)))
    def fortune(self, hosts: set[str], mood: str) -> None:
        self.books.nodes.moods.update(dict.fromkeys(hosts, mood))
        self.do()

    @rule(which=st.integers(0, 9), mood=st.sampled_from(sorted(REPLIES)))
    def answer(self, which: int, mood: str) -> None:
        self.books.nodes.answer(which, mood)
        self.do()

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.do()

    @rule(days=st.sampled_from(LEAPS))
    def leap(self, days: float) -> None:
        self.books.skew += timedelta(days=days)
        self.do()

    @rule(host=st.sampled_from(HOSTS), straggler=st.booleans())
    def come_or_go(self, host: str, straggler: bool) -> None:
        """Who leaves may still be named by a post that is on its way into the log."""
        if not self.tables.healthy:
            return
        number = self.books.numbers.get(host)
        if number is None:
            self.do(self.books.subscribe(host))
        else:
            self.do(self.books.unsubscribe(host))
            if straggler:
                self.do(self.books.post((), AUTHORS[0], known={number}))

    @precondition(lambda self: self.tables.healthy)
    @rule(host=st.sampled_from(HOSTS), again=st.booleans())
    def hold_back(self, host: str, again: bool) -> None:
        self.do(self.books.suspend(host, again))

    @rule(host=st.sampled_from(HOSTS), reopen=st.booleans())
    def sign_of_life(self, host: str, reopen: bool) -> None:
        self.books.dispatcher.alive(host, reopen)
        self.do()

    @precondition(lambda self: self.tables.healthy)
    @rule(host=st.sampled_from(HOSTS))
    def requeue(self, host: str) -> None:
        self.do(self.books.requeue(host))

    @precondition(lambda self: self.tables.healthy)
    @rule(which=st.integers(0, 30))
    def retract(self, which: int) -> None:
        positions = [position for position in self.tables.posts if position not in self.tables.cancelled]
        if positions:
            self.do(self.books.retract(positions[which % len(positions)]))

    @rule(author=st.sampled_from(AUTHORS), erase=st.booleans())
    def block(self, author: str, erase: bool) -> None:
        self.do(self.books.block(author, erase))

    @rule()
    def storage(self) -> None:
        (self.tables.go_away if self.tables.healthy else self.tables.come_back)()
        self.do()

    @rule(fate=st.sampled_from(FATES))
    def lose_writes(self, fate: str) -> None:
        self.books.destinations.fate = fate

    @rule()
    def come_late(self) -> None:
        self.do(*self.books.destinations.come_late())

    @rule(after=st.sampled_from([0.0, 0.3]), late=st.booleans())
    def crash(self, after: float, late: bool) -> None:
        """The process dies; what it still had on its way to the database may come when the next one has begun."""
        self.pass_time(after)
        before = self.books.destinations
        self.books.end()
        self.tables.come_back()
        self.books.begin(memory_storage(self.tables, retention=self.retention))
        now(Deferred.fromCoroutine(self.books.load()))
        self.do(*(before.come_late() if late else ()))

    @precondition(lambda self: self.tables.healthy)
    @rule()
    def restart(self) -> None:
        """The process ends as it should."""
        self.books.destinations.fate = "written"
        stopped = Deferred.fromCoroutine(self.books.dispatcher.stop(0.0))
        self.pass_time(3.0)
        now(stopped)
        self.crash(0.0, False)

    @precondition(lambda self: self.tables.healthy)
    @rule()
    def prune(self) -> None:
        self.do(self.books.storage.log.prune(self.books.now()))

    @invariant()
    def books_are_even(self) -> None:
        """By what is stored and by what the scheduler holds; and the relay says so itself."""
        if not hasattr(self, "books"):
            return
        assert self.books.in_memory() == {}, self.books.in_memory()
        alone = Counter(number for number, _ in self.tables.deferred)
        stored = self.books.differences(self.tables.destinations.values(), alone)
        assert stored == {}, stored
        if self.tables.healthy:
            assert self.examined() == {}, self.examined()

    def examined(self) -> dict[str, int]:
        found = now(self.books.storage.accounts.examine(-1, 100, 10_000))
        return {account.host: account.difference for account in found.accounts if account.difference}

    def teardown(self) -> None:
        """All is well again: nothing is pending any more, and no delivery is counted that was none."""
        if not hasattr(self, "books"):
            return
        books = self.books
        self.tables.come_back()
        books.destinations.fate = "written"
        books.nodes.moods = dict.fromkeys(HOSTS, "taken")
        for host in HOSTS:
            books.dispatcher.resume(host)
        while books.nodes.slow:
            books.nodes.answer(0, "taken")
            self.pass_time(0.0)
        self.pass_time(1.0)
        for _ in range(2 * ALL_WELL):
            if not self.left():
                break
            self.pass_time(43200.0)
            self.pass_time(1.0)
        self.books_are_even()
        alone = Counter(number for number, _ in self.tables.deferred)
        for record in self.tables.destinations.values():
            check_over(books, self.tables_record(record), alone[record.number])
        machine = type(self)
        machine.examples += 1
        machine.crashes += books.crashes
        machine.posts += len(books.log)

    def left(self) -> bool:
        """Something is still to come."""
        waiting = any(self.books.pending(self.tables_record(record), 0) for record in self.tables.destinations.values())
        return waiting or bool(self.tables.deferred) or self.books.manager.unsaved

    def tables_record(self, record: DestinationRecord) -> DestinationRecord:
        """As it is: the row of one that follows is brought up to date once an hour."""
        for destination in self.books.manager.all():
            if destination.number == record.number:
                return destination.record(Moment(self.books.clock.seconds(), self.books.now()))
        return record


def check_over(books: Books, record: DestinationRecord, alone: int) -> None:
    """Nothing waits for a destination that takes posts; and it took what it is said to have taken."""
    taken = len(books.nodes.taken[record.host])
    assert record.delivered <= taken, (record.host, record.delivered, taken)
    if record.state is State.ACTIVE:
        assert books.pending(record, alone) == 0, record


class MemoryTests(SynchronousTestCase):
    def test_conserved(self) -> None:
        """
        After every step, by what is stored, by what is in memory, and by what the relay itself examines: what is delivered, bounced, expired,
        cancelled and pending at a node is together what named it; and when all is well again, nothing is pending.
        """
        many = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, derandomize=not FULL)
        run_state_machine_as_test(Machine, settings=many)
        self.assertGreaterEqual(Machine.examples, EXAMPLES)
        self.assertGreater(Machine.crashes, EXAMPLES // 10)
        counts.note(examples=Machine.examples, steps=Machine.steps, crashes=Machine.crashes, posts=Machine.posts)


class PostgresTests(TestCase):
    timeout = 240

    async def test_conserved(self) -> None:
        """
        The same, with a real database, and with chance.
        """
        pairs = 0
        for seed in range(LIVES):
            pairs += await self.live(Random(seed))
        self.assertGreater(pairs, 10 * LIVES)
        counts.note(lives=LIVES, moments=LIVES * MOMENTS)

    async def live(self, chance: Random) -> int:
        """A relay's life; how many pairs of a post and a node there were in it."""
        self.dsn = servers.database()
        self.storage = await open_storage(reactor, self.dsn)
        self.books = books = Books(self.storage, spread=chance.choice([0.0, 30.0]), newest_beyond=chance.choice([float("inf"), 3.0]))
        await books.load()
        for host in HOSTS:
            await books.subscribe(host)
        for _ in range(MOMENTS):
            await self.moment(chance)
            await self.check()
        books.destinations.fate = "written"
        books.nodes.moods = dict.fromkeys(HOSTS, "taken")
        for host in HOSTS:
            books.dispatcher.resume(host)
        while books.nodes.slow:
            books.nodes.answer(0, "taken")
            await self.turn()
        for _ in range(2 * ALL_WELL):
            await self.turn(1.0)
            await self.turn(43200.0)
        await self.check()
        alone = Counter(each.destination for each in await self.storage.destinations.deferred())
        for record in await self.storage.destinations.load():
            current = [each for each in books.manager.all() if each.number == record.number]
            now = Moment(books.clock.seconds(), books.now())
            check_over(books, current[0].record(now) if current else record, alone[record.number])
        books.end()
        await self.storage.close()
        return sum(map(len, books.log.values()))

    async def moment(self, chance: Random) -> None:
        """One thing happens."""
        books, host = self.books, chance.choice(HOSTS)
        what = chance.choice(["post"] * 4 + ["burst", "fortune", "fortune", "answer", "wait", "wait", "come or go", "hold back", "requeue"]
                             + ["retract", "block", "lose writes", "come late", "crash", "prune", "sign of life"])  # fmt: skip
        if what == "post":
            await books.post(chance.sample(HOSTS, 2), chance.choice(AUTHORS), told=chance.random() < 0.9)
        elif what == "burst":
            await DeferredList([books.post(HOSTS, AUTHORS[number % 2]) for number in range(chance.choice([10, 45]))])
        elif what == "fortune":
            books.nodes.moods[host] = chance.choice(sorted(REPLIES))
        elif what == "answer":
            books.nodes.answer(chance.randrange(9), chance.choice(sorted(REPLIES)))
        elif what == "wait":
            await self.turn(chance.choice(WAITS))
        elif what == "come or go":
            number = books.numbers.get(host)
            await (books.subscribe(host) if number is None else books.unsubscribe(host))
            if number is not None and chance.random() < 0.5:
                await books.post((), AUTHORS[0], known={number})
        elif what == "hold back":
            await books.suspend(host, chance.random() < 0.7)
        elif what == "requeue":
            await books.requeue(host)
        elif what == "retract" and books.log:
            await books.retract(chance.choice(list(books.log)))
        elif what == "block":
            await books.block(chance.choice(AUTHORS), chance.random() < 0.5)
        elif what == "lose writes":
            books.destinations.fate = chance.choice(FATES)
        elif what == "come late":
            await DeferredList(books.destinations.come_late())
        elif what == "crash":
            await self.crash(chance.choice([0.0, 0.3]))
        elif what == "prune":
            await self.storage.log.prune(books.now())
        else:
            books.dispatcher.alive(host)
        await self.turn()

    async def crash(self, after: float) -> None:
        """The process dies; what it had on its way to the database is done, or comes too late."""
        self.books.clock.advance(after)
        before, old = self.books.destinations, self.storage
        self.books.end()
        self.storage = await open_storage(reactor, self.dsn)
        self.books.begin(self.storage)
        await self.books.load()
        await DeferredList(before.come_late())
        await old.close()

    async def turn(self, seconds: float = 0.0) -> None:
        """Time passes, and the relay has its turn, until it waits for nothing but time."""
        books = self.books
        books.clock.advance(seconds)
        dispatcher = books.dispatcher
        while dispatcher._work or dispatcher._saving is not None or dispatcher._turn is not None:
            await deferLater(reactor, 0.001)
            books.clock.advance(0.0)
        for retired in books.retire():
            await retired

    async def check(self) -> None:
        """The books are even."""
        alone = Counter(each.destination for each in await self.storage.destinations.deferred())
        stored = self.books.differences(await self.storage.destinations.load(), alone)
        found = await self.storage.accounts.examine(-1, 100, 10_000)
        examined = {account.host: account.difference for account in found.accounts if account.difference}
        self.assertEqual((self.books.in_memory(), stored, examined), ({}, {}, {}))

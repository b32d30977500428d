"""A queue manager with a log in memory and a network that does as it is told, for tests of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from attrs import define, evolve, field

from socialrelay.boundaries import LogEntry
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.destination import RANGE
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Abandon, Attempt, Event, Limits, Load, Settled
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble, judge
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import Bounce, DeferredDelivery, DestinationRecord, Gap

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
START = Moment(1000.0, EPOCH)

OK = Answer(202)
REFUSED = NoAnswer(Trouble.CONNECT)
BROKEN = Answer(500)


def record(number: int, host: str = "", cursor: int = 0, **more: object) -> DestinationRecord:
    """A destination, by default C{node-NUMBER.example}."""
    host = host or f"node-{number}.example"
    return DestinationRecord(number, host, "diaspora", f"https://{host}/receive/public", cursor, **more)  # type: ignore[arg-type]


def reversed_in_place(numbers: list[int]) -> None:
    """A shuffle that leaves nothing to chance."""
    numbers.sort(reverse=True)


@define
class World:
    """
    A relay without I/O: the log, what is stored of the destinations, and a network.

    @ivar reply: what a host answers to a position.
    @ivar storage: whether it can be reached.
    @ivar reading: stretches of the log that were asked for.
    @ivar counting: likewise.
    @ivar rows: that were read.
    @ivar gaps: that were written down.
    @ivar bounces: likewise.
    @ivar arrived: (host, position), in the order of the answers.
    @ivar again: of these, the most that one host will get again because of one crash.
    """

    reply: Callable[[str, int], Reply] = lambda host, position: OK
    limits: Limits = Limits(window=2)
    spread: float = 0.0
    at_once: int = 10
    now: Moment = START
    log: list[tuple[LogEntry, frozenset[int]]] = field(factory=list)
    arrived: list[tuple[str, int]] = field(factory=list)
    again: int = 0
    tried: list[tuple[str, int]] = field(factory=list)
    events: list[Event] = field(factory=list)
    settled: list[Settled] = field(factory=list)
    stored: dict[int, DestinationRecord] = field(factory=dict)
    deferred: dict[tuple[int, int], DeferredDelivery] = field(factory=dict)
    bounces: dict[tuple[int, int], Bounce] = field(factory=dict)
    under_way: list[Attempt] = field(factory=list)
    storage: bool = True
    followed: int = 0
    taken: dict[int, int] = field(factory=dict)
    rows: int = 0
    gaps: list[Gap] = field(factory=list)
    reading: list[Load] = field(factory=list)
    counting: list[Abandon] = field(factory=list)
    manager: QueueManager = field(init=False)
    _before: int = 0

    def __attrs_post_init__(self) -> None:
        self.manager = self._new_manager()

    def _new_manager(self) -> QueueManager:
        return QueueManager(
            self.limits,
            Backoff(HOST_STEPS, lambda: 0.5),
            Backoff(POST_STEPS, lambda: 0.5),
            len(self.log),
            Pacer(self.spread, reversed_in_place, self.at_once),
        )

    def subscribe(self, *numbers: int) -> None:
        """New destinations, or such that come back, from the end of the log on."""
        for number in numbers:
            old = self.stored.get(number, record(number))
            begin = {"cursor": len(self.log)} if number not in self.stored else {"begin": len(self.log)}
            self.stored[number] = evolve(old, subscribed=True, following=False, **begin)
            self.manager.open(self.stored[number], self.now)

    def unsubscribe(self, number: int) -> None:
        """It wants nothing any more."""
        self.stored[number] = evolve(self.stored[number], subscribed=False)
        self.manager.close(number, "it wants nothing")

    def post(self, recipients: Iterable[int], author: str = "", told: bool = True) -> int:
        """
        One more post in the log; its position.

        @param told: the manager is told of it.
        """
        position = len(self.log) + 1
        entry = LogEntry(position, author or f"author{position}@pod.example", self.now.wall, 100)
        self.log.append((entry, frozenset(recipients)))
        if told:
            self.manager.admit(entry, frozenset(recipients), self.now)
        return position

    def cancel(self, position: int) -> None:
        """A post is wanted no more."""
        entry, to = self.log[position - 1]
        self.log[position - 1] = (evolve(entry, cancelled=True), to)
        self.manager.cancel([position], "blocked", self.now)

    def requeue(self, number: int, position: int) -> str:
        """The operator wants a post that bounced to be tried once more, if it is stored as such; why not, or nothing."""
        assert (number, position) in self.bounces
        [found] = [found for found in self.manager.all() if found.number == number]
        return self.manager.requeue(found, position, self.now)

    def begin(self) -> list[Attempt]:
        """Do what the manager wants, but let no answer come; what is newly under way."""
        begun = self.ask()
        while self.reading or self.counting:
            self.read()
            begun += self.ask()
        return begun

    def ask(self) -> list[Attempt]:
        """Begin what the manager wants; what is newly under way."""
        if self.manager.pressing and self.storage:
            self.save()
        begun = self.manager.take(self.now)
        self.reading += self.manager.loads(self.now)
        self.counting += self.manager.abandons()
        self.under_way += begun
        self.tried += [(attempt.destination.host.name, attempt.entry.position) for attempt in begun]
        self._note()
        return begun

    def read(self) -> None:
        """What was asked of storage is answered, as the log is now."""
        reading, self.reading = self.reading, []
        counting, self.counting = self.counting, []
        for load in reading:
            assert load.upto - load.after <= RANGE
            if self.storage:
                found = self._named(load.destination.number, load.after, load.upto)
                self.rows += len(found)
                self.manager.loaded(load, found, self.now)
            else:
                self.manager.load_failed(load, self.now)
        for abandon in counting:
            if self.storage:
                posts = len(self._named(abandon.destination.number, abandon.after, abandon.upto))
                self.manager.abandoned(abandon, posts, self.now)
            else:
                self.manager.abandon_failed(abandon, self.now)
        self._note()

    def _named(self, number: int, after: int, upto: int) -> list[LogEntry]:
        return [entry for entry, to in self.log[after:upto] if number in to]

    def answer(self, attempt: Attempt, reply: Reply | None = None) -> None:
        """The answer to an attempt comes in."""
        self.under_way.remove(attempt)
        host, position = attempt.destination.host.name, attempt.entry.position
        reply = reply or self.reply(host, position)
        if reply == OK:
            self.arrived.append((host, position))
        self.manager.ended(attempt, judge(reply), self.now)
        self._note()

    def run(self) -> None:
        """Go on until nothing can be done at this time."""
        while self.begin() or self.under_way:
            for attempt in list(self.under_way):
                self.answer(attempt)

    def wait(self, seconds: float) -> None:
        """Let time pass, doing what is due when it is due."""
        until = self.now.seconds + seconds
        self.run()
        while (wake := self.manager.next_wake()) is not None and wake <= until:
            self.now = self.now.later(max(wake - self.now.seconds, 0.0))
            self.run()
        self.now = self.now.later(until - self.now.seconds)
        self.run()

    def save(self) -> None:
        """Write down what changed."""
        progress = self.manager.changes(self.now)
        if not self.storage:
            self.manager.restore(progress)
            return
        self.manager.written(self.now)
        self.followed = progress.followed
        if progress.taken is not None:
            self.taken = dict(progress.taken)
        for found in progress.destinations:
            self.stored[found.number] = evolve(found, subscribed=self.stored[found.number].subscribed)
        self.gaps += progress.gaps
        for key in progress.settled:
            self.deferred.pop(key, None)
        for key in progress.requeued:
            self.bounces.pop(key, None)
        for bounce in progress.bounces:
            self.bounces[bounce.destination, bounce.position] = bounce
        for entry in progress.deferred:
            self.deferred[entry.destination, entry.position] = entry

    def crash(self) -> None:
        """The process dies; another one begins with what was written down."""
        self.under_way.clear()
        self.reading.clear()
        self.counting.clear()
        self._settle_followers()
        self.manager = self._new_manager()
        for number, found in self.stored.items():
            if found.subscribed:
                waiting = [entry for entry in self.deferred.values() if entry.destination == number]
                self.manager.open(found, self.now, waiting)
        self._count_again()

    def _count_again(self) -> None:
        since, self._before = self.arrived[self._before :], len(self.arrived)
        for destination in self.manager.all():
            taken = {position for host, position in since if host == destination.host.name}
            self.again = max(self.again, sum(destination.pending(each) or each in destination.deferred for each in taken))

    def _settle_followers(self) -> None:
        """As L{socialrelay.boundaries.Destinations.settle_followers}."""
        for number, found in self.stored.items():
            if found.following and found.subscribed:
                cursor = max(found.cursor, self.followed)
                taken = {entry.position for entry in self._named(number, found.cursor, self.followed)}
                taken |= {position for position, takers in self.taken.items() if position > found.cursor and takers >> number & 1}
                self.stored[number] = evolve(
                    found,
                    cursor=cursor,
                    ahead=tuple(sorted(p for p in taken.union(found.ahead) if p > cursor)),
                    delivered=found.delivered + len(taken.difference(found.ahead)),
                )
            self.stored[number] = evolve(self.stored[number], following=False)
        self.taken = {}

    def _note(self) -> None:
        events, settled = self.manager.news()
        self.events += events
        self.settled += settled

    def named(self, number: int, since: int = 0) -> int:
        """How many posts after a position name a destination."""
        return len(self._named(number, since, len(self.log)))

    def accounted(self, number: int) -> int:
        """Of how many the scheduler can say what became of them, or that they are pending."""
        [found] = [found for found in self.manager.all() if found.number == number]
        waiting = [entry for entry in self._named(number, found.cursor, len(self.log)) if entry.position not in found.ahead]
        waiting += [e for each in found.missed for e in self._named(number, each.after, each.upto) if e.position not in each.done]
        ending = [position for position in found.in_flight if not found.pending(position) and position not in found.deferred]
        settled = found.delivered + found.bounced - found.requeued + found.expired + found.cancelled
        return settled + len(waiting) + len(ending) + len(found.deferred)

    def at(self, number: int) -> DestinationRecord:
        """A destination as it is now."""
        [found] = [found for found in self.manager.all() if found.number == number]
        return found.record(self.now)

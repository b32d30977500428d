"""The real queue of posts, driven as the relay drives it, over stores and a network that fail as they are told; and its books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from socialrelay.boundaries import LogEntry, Publication, Unavailable
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.federation import DeliveryRequest
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Event, Limits, What
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Progress
from socialrelay.storage.queries import StorageError
from socialrelay.storage.stores import Storage
from socialrelay.subscribers import waits_to_be_closed

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
HOSTS = ("a.example", "b.example", "c.example")
AUTHORS = ("ada@pod.example", "bob@pod.example")
REPLIES: dict[str, Reply | None] = {
    "taken": Answer(202),
    "not for itself": Answer(403),
    "perhaps later": Answer(400),
    "broken": Answer(503),
    "busy": Answer(429, retry_after=3600.0),
    "no receiver": Answer(404),
    "moved": Answer(301, location="https://new.example/"),
    "gone": Answer(410),
    "down": NoAnswer(Trouble.CONNECT),
    "mute": NoAnswer(Trouble.TIMEOUT),
    "slow": None,
}
"""What a node does with a post; C{None}: it answers when it is told to."""
FATES = ("written", "not written", "written, and nobody knows", "written late")
"""What becomes of progress that is to be written down."""
LIFETIME = 7 * 86400.0


class LossyDestinations:
    """The destinations of a store; what is written next is written, or lost, as is said."""

    def __init__(self, destinations: Any) -> None:
        self._destinations = destinations
        self.fate = "written"
        self.late: list[Progress] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destinations, name)

    def save(self, progress: Progress) -> Deferred[None]:
        fate, self.fate = self.fate, "written"
        if fate == "written":
            return self._destinations.save(progress)  # type: ignore[no-any-return]
        if fate == "written late":
            self.late.append(progress)
        if fate == "written, and nobody knows":
            return self._destinations.save(progress).addCallback(lambda _: fail(Unavailable("the connection was lost")))  # type: ignore[no-any-return]
        return fail(Unavailable("the connection was lost"))

    def come_late(self) -> list[Deferred[None]]:
        """What was under way is written now, whatever was written since; unless that is known."""
        late, self.late = self.late, []
        return [self._destinations.save(progress).addErrback(lambda failure: failure.trap(StorageError) and None) for progress in late]


class ScriptedNodes:
    """
    The nodes.

    @ivar moods: host -> key of L{REPLIES}.
    @ivar taken: host -> bodies that it answered 2xx, and how often.
    @ivar slow: who has still to answer.
    """

    def __init__(self) -> None:
        self.moods = dict.fromkeys(HOSTS, "taken")
        self.taken: dict[str, Counter[bytes]] = {host: Counter() for host in HOSTS}
        self.slow: list[tuple[str, bytes, Deferred[Reply]]] = []
        self.tries = 0

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        host = request.url.split("/")[2]
        self.tries += 1
        reply = REPLIES[self.moods[host]]
        if reply is not None:
            return succeed(self._reply(host, request.body, reply))
        answer: Deferred[Reply] = Deferred()
        self.slow.append((host, request.body, answer))
        return answer

    def answer(self, which: int, mood: str) -> None:
        """One that was slow answers."""
        if self.slow:
            host, body, answer = self.slow.pop(which % len(self.slow))
            if not answer.called:
                answer.callback(self._reply(host, body, REPLIES[mood] or Answer(202)))

    def _reply(self, host: str, body: bytes, reply: Reply) -> Reply:
        if isinstance(reply, Answer) and reply.status == 202:
            self.taken[host][body] += 1
        return reply


class Wire:
    """A protocol that posts bodies as they are."""

    def delivery(self, url: str, body: bytes) -> DeliveryRequest:
        return DeliveryRequest(url, (), body)


class Books:
    """
    A relay from the log on: posts in, deliveries out, and whatever may happen to either.

    @ivar log: position -> whom the post names, of all that was ever published.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        spread: float = 0.0,
        newest_beyond: float = float("inf"),
        nodes: Any = None,
        limits: Limits | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.skew = timedelta()
        self.nodes = nodes or ScriptedNodes()
        self.log: dict[int, frozenset[int]] = {}
        self.bodies: dict[int, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.crashes = 0
        self._spread = spread
        self._chance = chance
        self._limits = limits or Limits(
            window=3, in_flight=6, probes=2, late=3, body_bytes=4000, catching_up=2, newest_beyond=newest_beyond
        )
        self._gone: list[str] = []
        self._count = 0
        self.begin(storage)

    # Life

    def begin(self, storage: Storage) -> None:
        """A process begins, over these stores."""
        self.storage = storage
        self.destinations = LossyDestinations(storage.destinations)

    def run(self, end: int) -> None:
        """What was stored is to be loaded next."""
        chance = self._chance
        pacer = Pacer(self._spread, lambda numbers: numbers.sort(reverse=True), 1)
        self.manager = QueueManager(self._limits, Backoff(HOST_STEPS, chance), Backoff(POST_STEPS, chance), end, pacer)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            now=self.now,
            manager=self.manager,
            log=self.storage.log,
            destinations=self.destinations,  # type: ignore[arg-type]
            transport=self.nodes,  # type: ignore[arg-type]
            protocols={"diaspora": Wire()},  # type: ignore[dict-item]
            bodies=BodyCache(10_000),
            lifetime=LIFETIME,
            on_event=self._happened,
            on_settled=lambda settled: None,
        )

    async def load(self) -> None:
        """As the relay takes up what is stored."""
        await self.destinations.settle_followers()
        end = await self.storage.log.end()
        self.run(end)
        records: list[DestinationRecord] = await self.destinations.load()
        deferred: dict[int, list[DeferredDelivery]] = {}
        for entry in await self.destinations.deferred():
            deferred.setdefault(entry.destination, []).append(entry)
        for record in records:
            waiting = deferred.get(record.number, ())
            if record.subscribed or waiting or record.state.value == "gone" or waits_to_be_closed(record, end):
                self.dispatcher.open(record, waiting)
        self.dispatcher.start()

    def end(self) -> None:
        """The process dies: nobody hears what it was told or asked."""
        self.crashes += 1
        dead, self.dispatcher = self.dispatcher, None  # type: ignore[assignment]
        dead._running = False
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.nodes.slow.clear()
        self.destinations.fate = "written"

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock.seconds()) + self.skew

    def _happened(self, event: Event) -> None:
        if event.what is What.GONE:
            self._gone.append(event.host)

    # What happens

    def subscribe(self, host: str) -> Deferred[None]:
        """A node wants posts."""

        def opened(record: DestinationRecord) -> None:
            self.numbers[host] = record.number
            self.dispatcher.open(record)

        return self.destinations.open(host, "diaspora", f"https://{host}/receive", self.now()).addCallback(opened)  # type: ignore[no-any-return]

    def unsubscribe(self, host: str) -> Deferred[None]:
        """It wants none any more; those that are on their way into the log name it all the same."""
        number = self.numbers[host]

        def closed(_: object) -> None:
            del self.numbers[host]
            self.dispatcher.close(number, "it wants nothing")

        return self.destinations.close(number).addCallback(closed)  # type: ignore[no-any-return]

    def retire(self) -> list[Deferred[None]]:
        """Whoever said that it is gone is unsubscribed."""
        gone, self._gone = self._gone, []
        return [self.unsubscribe(host) for host in gone if host in self.numbers]

    def publication(self, recipients: Collection[int], author: str, **more: Any) -> Publication:
        self._count += 1
        body = b"post %06d" % self._count + b"." * 90
        guid = f"guid-{self._count:06}"
        identity = (sha256(body).digest(),)
        host = author.partition("@")[2]
        now = self.now()
        return Publication(
            now, now, "diaspora", "status_message", author, host, guid, frozenset(), frozenset(recipients), identity, body, **more
        )

    def post(
        self, hosts: Iterable[str], author: str, told: bool = True, known: Collection[int] | None = None, **more: Any
    ) -> Deferred[None]:
        """
        A post for some of those who are subscribed.

        @param told: the queue hears of it; else the answer of the database was lost.
        @param known: whom it names, whoever is subscribed.
        """
        named = [self.numbers[host] for host in hosts if host in self.numbers] if known is None else known
        publication = self.publication(named, author, **more)

        def published(position: int | None) -> None:
            assert position is not None
            self.log[position] = frozenset(named)
            self.bodies[position] = publication.body
            if told:
                entry = LogEntry(position, author, publication.published_at, len(publication.body))
                self.dispatcher.published(entry, frozenset(named), publication.body)
            else:
                self.dispatcher.uncertain()

        return self.storage.log.publish(publication).addCallback(published).addErrback(_away)

    def retract(self, position: int) -> Deferred[None]:
        """An author takes a post back: whoever may have it is told."""
        concerned = self.dispatcher.hold(position, self.log[position])
        told = self.post((), AUTHORS[0], known=concerned, retraction=True, withdraws=position)

        def written(_: object) -> None:
            self.dispatcher.cancel([position], "taken back", self.log[position])

        return told.addCallback(written)

    def block(self, author: str, erase: bool) -> Deferred[None]:
        """Posts of an author are wanted no more, or are erased."""
        found = self.storage.log.erase(author=author) if erase else self.storage.log.cancel(authors=[author])
        return found.addCallback(lambda positions: self.dispatcher.cancel(positions, "blocked")).addErrback(_away)

    def requeue(self, host: str) -> Deferred[None]:
        """The operator has the posts that bounced at a node tried once more."""

        def again(found: list[Any]) -> None:
            for each in found:
                self.dispatcher.requeue(host, each.bounce.position)

        number = self.numbers.get(host)
        return succeed(None) if number is None else self.destinations.bounced(number, 100).addCallback(again)  # type: ignore[no-any-return]

    def suspend(self, host: str, again: bool) -> Deferred[None]:
        """The operator holds a node back, or has it go on."""
        number = self.numbers.get(host)
        if number is None:
            return succeed(None)
        done: Callable[[str], bool] = self.dispatcher.resume if again else self.dispatcher.suspend
        written = self.destinations.resume(number) if again else self.destinations.suspend(number)
        return written.addCallback(lambda _: done(host) and None)  # type: ignore[no-any-return]

    # The books

    def differences(self, records: Iterable[DestinationRecord], alone: Counter[int]) -> dict[str, int]:
        """
        By how many posts each account is out, by what was published.

        @param alone: how many posts are tried on their own at each destination.
        """
        return {record.host: found for record in records if (found := self._difference(record, alone[record.number]))}

    def _difference(self, record: DestinationRecord, alone: int) -> int:
        named = {position for position, to in self.log.items() if record.number in to}
        missed = sum(after < position <= upto and position not in done for after, upto, done in record.missed for position in named)
        passed = sum(position <= record.cursor for position in named) - missed
        settled = record.delivered + record.bounced - record.requeued + record.expired + record.cancelled
        return settled + alone - len(record.ahead) - passed

    def in_memory(self) -> dict[str, int]:
        """The same, by what the scheduler holds."""
        destinations: list[Destination] = list(self.manager.all())
        moment = Moment(self.clock.seconds(), self.now())
        alone = Counter({each.number: len(each.deferred) for each in destinations})
        return self.differences((each.record(moment) for each in destinations), alone)

    def pending(self, record: DestinationRecord, alone: int) -> int:
        """How many posts wait for a destination."""
        named = {position for position, to in self.log.items() if record.number in to}
        above = sum(position > record.cursor and position not in record.ahead for position in named)
        missed = sum(after < position <= upto and position not in done for after, upto, done in record.missed for position in named)
        return above + missed + alone


def _away(failure: Failure) -> None:
    failure.trap(Unavailable)

"""Posts, retractions, and nodes that come and go, in any order: what holds of retractions whatever happens."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Unavailable
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from tests.envelopes import Author, new_guid
from tests.relays import WholeRelay

AUTHORS = [Author(f"somebody@pod-{number}.example") for number in range(3)]
HOSTS = [f"node-{number}.example" for number in range(5)]
REPLIES: dict[str, Reply | None] = {
    "well": Answer(202),
    "failing": Answer(503),
    "mute": NoAnswer(Trouble.TIMEOUT),
    "down": NoAnswer(Trouble.CONNECT),
    "slow": None,
}


class Simulation:
    """
    A relay and its nodes, with chance.

    @ivar written: body -> kind and guid.
    @ivar accepted: guids of posts whose retraction was answered 202.
    @ivar reached: host -> bodies that came to it, or may have.
    @ivar tried: host -> bodies that it was to be sent, in order.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.relay = WholeRelay().start()
        for author in AUTHORS:
            self.relay.keyring.hold(author)
        for host in HOSTS:
            self.relay.subscribe(host)
        self.moods = dict.fromkeys(HOSTS, "well")
        self.relay.transport.reply = self.reply
        self.posts: list[tuple[Author, str]] = []
        self.written: dict[bytes, tuple[str, str]] = {}
        self.accepted: set[str] = set()
        self.reached: dict[str, set[bytes]] = {host: set() for host in HOSTS}

    def reply(self, url: str) -> Reply | None:
        """What a node does with the body that was sent to it just now."""
        host = url.split("/")[2]
        if self.moods[host] != "down":
            self.reached[host].add(self.relay.transport.sent[-1][1])
        return REPLIES[self.moods[host]]

    def tried(self, host: str) -> list[tuple[str, str]]:
        """Kind and guid of what was sent to a host or was tried to be, in order."""
        return [self.written[body] for url, body in self.relay.transport.sent if url.split("/")[2] == host]

    def post(self) -> None:
        """Somebody posts."""
        author, guid = self.chance.choice(AUTHORS), new_guid()
        self.posts.append((author, guid))
        self.send(author.post("Hello", guid=guid), "post", guid)

    def retract(self) -> None:
        """Somebody takes back one of the last posts, perhaps again."""
        author, guid = self.chance.choice(self.posts[-6:] or [(AUTHORS[0], new_guid())])
        self.send(author.retraction(guid), "retraction", guid).addCallback(lambda _: self.accepted.add(guid))

    def send(self, body: bytes, kind: str, guid: str) -> Deferred[None]:
        """Hand it in; it may be answered 503."""
        self.written[body] = kind, guid

        def refused(failure: Failure) -> Deferred[None]:
            failure.trap(Unavailable)
            return Deferred()

        return self.relay.relay.accept(body, "192.0.2.1").addErrback(refused)

    def turn(self) -> None:
        """A node's fortune turns."""
        self.moods[self.chance.choice(HOSTS)] = self.chance.choice([*REPLIES, "well", "well"])

    def answer(self) -> None:
        """One that was slow answers, or never will."""
        if self.relay.transport.hanging:
            answered = self.relay.transport.hanging.pop(self.chance.randrange(len(self.relay.transport.hanging)))
            if not answered.called:
                answered.callback(Answer(202) if self.chance.random() < 0.5 else NoAnswer(Trouble.TIMEOUT))

    def storage(self) -> None:
        """The database goes away, or comes back."""
        (self.relay.tables.go_away if self.relay.tables.healthy else self.relay.tables.come_back)()

    def run(self, steps: int) -> None:
        """So many things happen, and in the end all is well."""
        acts = [self.post] * 8 + [self.retract] * 5 + [self.turn] * 4 + [self.answer] * 2 + [self.storage]
        for _ in range(steps):
            self.chance.choice(acts)()
            self.relay.run(self.chance.choice([0.0, 0.0, 0.1, 1.0, 40.0]))
        self.relay.tables.come_back()
        self.moods = dict.fromkeys(HOSTS, "well")
        while self.relay.transport.hanging:
            self.answer()
        self.relay.run(200_000.0)


class RetractionSimulationTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        """
        Who may have a post that is taken back gets the retraction, and the post no more after it; nobody else gets the retraction.  Nothing
        names the post any more, nothing is held back, and whatever named a node is over there, one way or another.
        """
        for seed in range(12):
            simulation = Simulation(seed)
            simulation.run(60)
            self.check(simulation)

    def check(self, simulation: Simulation) -> None:
        relay = simulation.relay
        for host in HOSTS:
            tried = simulation.tried(host)
            reached = {simulation.written[body] for body in simulation.reached[host]}
            for guid in simulation.accepted:
                post, retraction = ("post", guid), ("retraction", guid)
                self.assertEqual(post in reached, retraction in tried)
                if retraction in tried:
                    self.assertNotIn(post, tried[tried.index(retraction) :])
            status = relay.dispatcher.destination(host)
            assert status is not None
            record = status.record
            named = sum(record.number in post.recipients for post in relay.tables.posts.values())
            self.assertEqual(record.delivered + record.bounced + record.expired + record.cancelled, named)
        left = {post.guid for post in relay.tables.posts.values() if not post.retraction}
        self.assertEqual((left & simulation.accepted, relay.dispatcher._manager._held), (set(), set()))

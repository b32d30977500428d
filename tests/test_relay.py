"""Tests for L{socialrelay.relay} and what stands behind it, over stores in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full, HeldKey, KeyUnavailable, ManualSubscription, NodeRecord, Rule, Unavailable
from socialrelay.config import Policy, Receive
from socialrelay.federation import NotAnEnvelope, Sealed, Verdict
from socialrelay.judging import AT_ONCE
from socialrelay.quota import HOSTS
from socialrelay.relay import LARGEST_PRIVATE
from socialrelay.routing.subscription import Preferences, Scope, Subscription
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.storage.memory import MemoryTables
from socialrelay.storage.memory.incoming import MemoryIncoming
from tests.envelopes import Author, private_key
from tests.relays import EPOCH, HANDLE, WholeRelay

ALICE = Author("alice@pod-a.example")
BOB = Author("bob@pod-b.example")


class RelayTests(SynchronousTestCase):
    """From the front door to the transport."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.keyring.hold(ALICE)

    def send(self, body: bytes) -> None:
        """Hand a body in, as a node does, and let things happen."""
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()

    def reasons(self) -> list[str]:
        """Why bodies were not relayed."""
        self.relay.tally.flush()
        return [rejection.reason for rejection in self.successResultOf(self.relay.storage.rejections.recent(10))]

    def test_storage_goes_away_while_it_is_judged(self) -> None:
        """A body in hand when storage goes away is judged soon after it is back, and that was no failed attempt."""
        self.relay.subscribe("all.example")
        del self.relay.keyring.at_once[ALICE.handle]
        looked_up: list[Deferred[HeldKey]] = []
        self.relay.keyring.key = lambda handle: looked_up.append(Deferred()) or looked_up[-1]  # type: ignore[func-returns-value,method-assign]
        body = ALICE.post("Hello")
        self.send(body)
        for _ in range(5):
            self.relay.tables.go_away("gone")
            looked_up.pop().callback(HeldKey(ALICE.public_key, self.relay.now()))
            self.relay.run(3.0)
            self.relay.tables.come_back()
            self.relay.run(40.0)
        looked_up.pop().callback(HeldKey(ALICE.public_key, self.relay.now()))
        self.relay.run()
        self.assertEqual([sent for _, sent in self.relay.transport.sent], [body])

    def test_backlog(self) -> None:
        """However much waits to be judged is judged without a pause."""
        self.relay.subscribe("all.example")
        del self.relay.keyring.at_once[ALICE.handle]
        for number in range(2 * AT_ONCE + 1):
            self.relay.relay.accept(ALICE.post(f"Post {number}"), "192.0.2.1")
        self.relay.clock.advance(0)
        self.relay.run(3000.0)
        self.relay.keyring.hold(ALICE)
        self.relay.clock.advance(700.0)
        self.relay.run(0.5)
        self.assertEqual(self.relay.tally.totals["accepted"], 2 * AT_ONCE + 1)

    def test_to_whoever_wants_it(self) -> None:
        """A post goes, byte for byte, to the nodes that want all and to those that want one of its tags, and to no other."""
        self.relay.subscribe("all.example")
        self.relay.subscribe("cats.example", "cats")
        self.relay.subscribe("dogs.example", "dogs")
        body = ALICE.post("Look, #Cats")
        self.send(body)
        self.assertEqual(sorted(self.relay.transport.hosts()), ["all.example", "cats.example"])
        self.assertEqual({sent for _, sent in self.relay.transport.sent}, {body})

    def test_not_back(self) -> None:
        """A post does not go back to its author's node."""
        self.relay.subscribe("pod-a.example")
        self.relay.subscribe("all.example")
        self.send(ALICE.post("Hello"))
        self.assertEqual(self.relay.transport.hosts(), ["all.example"])

    def test_once(self) -> None:
        """A post is relayed once, however often it arrives and however it is wrapped."""
        self.relay.subscribe("all.example")
        body = ALICE.post("Hello", guid="f" * 32)
        for again in (body, body, body.replace(b"\n", b"\r\n"), ALICE.post("Edited", guid="f" * 32)):
            self.send(again)
        self.assertEqual(len(self.relay.transport.sent), 1)
        self.assertEqual(self.relay.tally.totals["duplicate"], 3)

    def test_verifications_counted(self) -> None:
        """Signatures are counted by whether they fit, bodies by whether the key was there, and refusals by reason."""
        self.send(ALICE.post("Good"))
        self.send(Author(ALICE.handle, bits=1032).post("Forged"))
        self.send(BOB.post("Unknown"))
        verified = self.relay.relay.verified
        self.assertEqual((verified.good, verified.bad, verified.key_at_hand, verified.key_missing), (1, 1, 2, 1))
        self.assertEqual(self.relay.tally.reasons, {("rejected", "bad-signature"): 1})

    def test_not_an_envelope(self) -> None:
        """What is no envelope is refused with its reason, and nothing is kept."""
        failure = self.failureResultOf(self.relay.relay.accept(b"<html/>", "192.0.2.1"), NotAnEnvelope)
        self.assertEqual(failure.value.reason, "not-envelope")
        self.assertEqual(self.relay.tables.incoming, {})

    def test_hosts_that_strangers_name(self) -> None:
        """What comes in is counted by host only where the host is known: made-up ones leave no rows behind."""
        self.send(ALICE.post("Hello"))
        for number in range(5):
            self.send(Author(f"a@host-{number}.example").post("Hello"))
        self.relay.tally.flush()
        subjects = {key[1:] for key in self.relay.tables.counts if key[1] == "received"}
        self.assertEqual(subjects, {("received", "pod-a.example"), ("received", "other")})

    def test_forged(self) -> None:
        """A post that its author did not sign is dropped with a reason, and does not keep the genuine one out."""
        self.relay.subscribe("all.example")
        self.relay.keyring.published[ALICE.handle] = ALICE.public_key
        forged = Author(ALICE.handle, bits=1032)
        self.send(forged.post("Forged", guid="e" * 32))
        self.assertEqual((self.reasons(), self.relay.transport.sent), (["bad-signature"], []))
        self.send(ALICE.post("Genuine", guid="e" * 32))
        self.assertEqual(len(self.relay.transport.sent), 1)

    def test_key_is_looked_up(self) -> None:
        """A post of an unknown author is acknowledged, and relayed when the key has come."""
        self.relay.subscribe("all.example")
        self.relay.keyring.published[BOB.handle] = BOB.public_key
        self.send(BOB.post("Hello"))
        self.assertEqual(self.relay.transport.hosts(), ["all.example"])
        self.assertEqual(self.relay.tables.incoming, {})

    def test_key_cannot_be_had(self) -> None:
        """A post whose author's key cannot be had for a day is dropped as such."""
        self.send(BOB.post("Hello"))
        self.assertEqual(len(self.relay.tables.incoming), 1)
        for _ in range(26):
            self.relay.run(3600.0)
        self.assertEqual((self.reasons(), self.relay.tables.incoming), (["unknown-key"], {}))
        self.assertLessEqual(len(self.relay.keyring.asked), 26)

    def test_new_key(self) -> None:
        """A signature that fails with a key that is older than an hour is judged with the key as it is published now."""
        self.relay.subscribe("all.example")
        self.relay.keyring.hold(Author(ALICE.handle, bits=1032), self.relay.now() - timedelta(days=3))
        self.relay.keyring.published[ALICE.handle] = ALICE.public_key
        self.send(ALICE.post("Hello"))
        self.assertEqual(self.relay.transport.hosts(), ["all.example"])

    def test_too_much_from_one_address(self) -> None:
        """An address that has as much waiting as it may is told to come again, and others are not."""
        relay = WholeRelay(receive=Receive(waiting_rows_per_address=2)).start()
        for name in ("one", "two"):
            self.successResultOf(relay.relay.accept(Author(f"{name}@pod-b.example").post("Hello"), "192.0.2.1"))
        self.failureResultOf(relay.relay.accept(BOB.post("Hello"), "192.0.2.1"), Full)
        self.successResultOf(relay.relay.accept(BOB.post("Hello"), "192.0.2.2"))

    def test_too_many_hosts_of_one_address(self) -> None:
        """An address by which authors of many hosts wait may name no further one, and what is judged makes room again."""
        for number in range(HOSTS):
            self.send(Author(f"a@host-{number}.example").post("Hello"))
        self.failureResultOf(self.relay.relay.accept(BOB.post("Hello"), "192.0.2.1"), Full)
        self.send(Author("b@host-0.example").post("Hello"))
        self.successResultOf(self.relay.relay.accept(BOB.post("Hello"), "192.0.2.2"))
        found = Author("a@host-1.example")
        self.relay.keyring.published[found.handle] = found.public_key
        self.relay.run(4000.0)
        self.send(BOB.post("Hello again"))

    def test_made_up_authors(self) -> None:
        """Bodies of authors whom a host does not know make room for others of that host, and the operator is told."""
        relay = self.relay = WholeRelay(receive=Receive(waiting_rows_per_host=3, waiting_rows_per_address=4)).start()
        relay.subscribe("all.example")
        for number in range(3):
            self.send(Author(f"u{number}@pod-b.example").post("Hello"))
        relay.keyring.published[BOB.handle] = BOB.public_key
        body = BOB.post("Hello")
        self.send(body)
        self.assertEqual([sent for _, sent in relay.transport.sent], [body])
        self.assertEqual(self.reasons(), ["unknown-key"])
        self.assertEqual(sorted(row.arrival.sender for row in relay.tables.incoming.values()), ["u1@pod-b.example", "u2@pod-b.example"])
        self.assertEqual(set(relay.quota._owners), set(relay.tables.incoming))

    def test_silent_node(self) -> None:
        """Bodies whose author's node was not reached wait; further ones of that host are told to come again."""
        relay = self.relay = WholeRelay(receive=Receive(waiting_rows_per_host=2)).start()
        unreached = KeyUnavailable("timed out", relay.now() + timedelta(hours=1))
        relay.keyring.key = lambda handle: fail(unreached)  # type: ignore[method-assign]
        for number in range(2):
            self.send(Author(f"u{number}@pod-b.example").post("Hello"))
        self.failureResultOf(relay.relay.accept(BOB.post("Hello"), "192.0.2.1"), Full)
        self.assertEqual(len(relay.tables.incoming), 2)

    def test_outcome_unknown(self) -> None:
        """A body that was finished by a statement whose answer was lost takes no more of its client's room."""
        relay = self.relay
        finish = MemoryIncoming.finish

        def lost(incoming: MemoryIncoming, ids: list[int]) -> Deferred[None]:
            finish(incoming, ids)
            return fail(Unavailable("the connection was lost"))

        self.patch(MemoryIncoming, "finish", lost)
        relay.keyring.published[BOB.handle] = BOB.public_key
        self.send(Author(BOB.handle, bits=1032).post("Forged"))
        self.assertEqual((relay.tables.incoming, relay.quota._owners, relay.quota._held), ({}, {}, {}))

    def test_many_refusals(self) -> None:
        """Ten refusals a second are in the log, and once a minute how many more there were; the rest is for whoever debugs."""
        with capturedLogs() as events:
            for _ in range(25):
                self.relay.relay.news.refused("bad-base64", ALICE.handle, body=b"hello")
            self.relay.clock.advance(60)
            self.relay.relay.news.refused("bad-base64", ALICE.handle, body=b"hello")
            self.relay.clock.advance(60)
        lines = [formatEvent(event) for event in events if event["log_level"] >= LogLevel.info]
        line = "Rejected a body of alice@pod-a.example as 2cf24dba5fb0: bad-base64."
        self.assertEqual(lines, [line] * 10 + ["Rejected 15 more that are not shown here.", line])
        self.assertEqual(len(events), 27)
        self.assertEqual(self.relay.tally.totals["rejected"], 26)

    def test_blocked(self) -> None:
        """Nothing is taken from a blocked host or its subdomains, nothing is sent to it, and what waits of it is cancelled."""
        self.relay.subscribe("all.example")
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(ALICE.post("First"))
        self.relay.storage.rules.put(Rule("block", "pod-a.example", "spam", self.relay.now(), "root"))
        self.relay.subscribers.rules_changed()
        self.relay.transport.reply = lambda url: Answer(202)
        self.send(ALICE.post("Second"))
        self.relay.run(300.0)
        self.assertEqual(len(self.relay.transport.sent), 1)
        status = self.relay.dispatcher.destination("all.example")
        self.assertEqual(status.record.cancelled if status else None, 1)

    def test_author_wishes_no_more(self) -> None:
        """An author who ends the contact is relayed no more, and what waits of theirs is cancelled."""
        self.relay.subscribe("all.example")
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(ALICE.post("First"))
        goodbye = ALICE.contact(HANDLE, private_key(HANDLE).public_key(), sharing=False)
        self.successResultOf(self.relay.relay.accept_private(goodbye, "192.0.2.1"))
        self.relay.run()
        self.relay.transport.reply = lambda url: Answer(202)
        self.send(ALICE.post("Second"))
        self.relay.run(300.0)
        self.assertEqual(len(self.relay.transport.sent), 1)
        self.assertIn("unwished", self.reasons())

    def test_large_private_message(self) -> None:
        """A message to the relay that is too long to be about being relayed is acknowledged and not kept, let alone read."""
        for size, kept in ((LARGEST_PRIVATE, 1), (LARGEST_PRIVATE + 1, 0)):
            self.relay.judge._running = False
            self.relay.tables.incoming.clear()
            self.successResultOf(self.relay.relay.accept_private(b"x" * size, "192.0.2.1"))
            self.assertEqual(len(self.relay.tables.incoming), kept)
        self.assertEqual(self.relay.tally.totals["ignored"], 1)

    def test_invited_only(self) -> None:
        """Where the operator wants it so, only authors who made the relay their contact are relayed."""
        self.relay = WholeRelay(policy=Policy(uninvited=False)).start()
        self.relay.keyring.hold(ALICE)
        self.relay.subscribe("all.example")
        self.send(ALICE.post("First"))
        hello = ALICE.contact(HANDLE, private_key(HANDLE).public_key())
        self.successResultOf(self.relay.relay.accept_private(hello, "192.0.2.1"))
        self.relay.run()
        second = ALICE.post("Second")
        self.send(second)
        self.assertEqual([body for _, body in self.relay.transport.sent], [second])

    def test_account_is_deleted(self) -> None:
        """The key of an author whose account is deleted is forgotten, whether it was at hand or had to be looked up."""
        self.relay.keyring.published[BOB.handle] = BOB.public_key
        for author in (ALICE, BOB):
            self.send(author.account_deletion())
        self.assertEqual(self.relay.keyring.forgotten, [ALICE.handle, BOB.handle])

    def test_poison(self) -> None:
        """A body that breaks the judge three times is put aside, in nobody's way."""
        self.relay.keyring.published[BOB.handle] = None  # type: ignore[assignment]  # no key at all: the judge breaks on it
        self.send(BOB.post("Hello"))
        for _ in range(8):
            self.relay.run(400.0)
        self.assertEqual(len(self.flushLoggedErrors()), 3)
        self.assertEqual((len(self.relay.tables.incoming), len(self.relay.tables.quarantine)), (0, 1))

    def test_poison_at_the_door(self) -> None:
        """A body that breaks the judge when it comes in is taken, and put aside when it does so three times more; others are relayed."""
        self.relay.subscribe("all.example")
        poison, judge = ALICE.post("Poison"), self.relay.relay.judge

        async def breaks(sealed: Sealed, key: RSAPublicKey) -> Verdict:
            if sealed.body == poison:
                raise MemoryError
            return await judge(sealed, key)

        self.relay.relay.judge = breaks  # type: ignore[method-assign]
        well = ALICE.post("Hello")
        for body in (poison, well):
            self.send(body)
        for _ in range(8):
            self.relay.run(400.0)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 4)
        self.assertEqual([body for _, body in self.relay.transport.sent], [well])
        self.assertEqual(([row.arrival.body for row in self.relay.tables.quarantine.values()], self.relay.tables.incoming), ([poison], {}))


def _dies_of(
    poison: bytes, judge: Callable[[Sealed, RSAPublicKey], Coroutine[Any, Any, Verdict]]
) -> Callable[[Sealed, RSAPublicKey], Coroutine[Any, Any, Verdict]]:
    """A judge of whose process nothing more comes once it has begun with a body."""
    dead = False

    async def judged(sealed: Sealed, key: RSAPublicKey) -> Verdict:
        nonlocal dead
        dead = dead or sealed.body == poison
        if dead:
            await Deferred()
        return await judge(sealed, key)

    return judged


class RestartTests(SynchronousTestCase):
    """The next process over the same tables."""

    def test_body_that_kills(self) -> None:
        """
        A body that ends the process three times is put aside by the next one; what was in hand with it, before it and after it, is relayed.
        """
        tables, poison = MemoryTables(), BOB.post("Poison")
        first = WholeRelay(tables).start()
        first.subscribe("all.example")
        bodies = [BOB.post(f"Post {number}") for number in range(20)]
        for body in (*bodies[:10], poison, *bodies[10:]):
            first.relay.accept(body, "192.0.2.1")
        first.run()
        arrived: list[bytes] = []
        for process in range(4):
            relay = WholeRelay(tables)
            relay.keyring.published[BOB.handle] = BOB.public_key
            relay.relay.judge = _dies_of(poison, relay.relay.judge)  # type: ignore[method-assign]
            relay.start()
            relay.run()
            arrived += [body for _, body in relay.transport.sent]
            self.assertEqual(len(tables.quarantine), process == 3, process)
        self.assertEqual(sorted(arrived), sorted(bodies))
        self.assertEqual(([row.arrival.body for row in tables.quarantine.values()], tables.incoming), ([poison], {}))

    def test_goes_on(self) -> None:
        """What was accepted and not delivered is delivered by the next process; what was delivered is not sent again."""
        before = WholeRelay().start()
        before.keyring.hold(ALICE)
        before.subscribe("all.example")
        first, second = ALICE.post("First"), ALICE.post("Second")
        self.successResultOf(before.relay.accept(first, "192.0.2.1"))
        before.run()
        before.transport.reply = lambda url: None
        self.successResultOf(before.relay.accept(second, "192.0.2.1"))
        before.run()
        after = WholeRelay(before.tables).start()
        after.run()
        self.assertEqual([body for _, body in after.transport.sent], [second])

    def test_stop_finishes(self) -> None:
        """A stop waits for what is under way and leaves no timer behind."""
        relay = WholeRelay().start()
        relay.keyring.hold(ALICE)
        relay.subscribe("all.example")
        relay.transport.reply = lambda url: None
        self.successResultOf(relay.relay.accept(ALICE.post("Hello"), "192.0.2.1"))
        relay.run()
        stopped = Deferred.fromCoroutine(relay.dispatcher.stop(10.0))
        judged = Deferred.fromCoroutine(relay.judge.stop())
        self.assertNoResult(stopped)
        relay.transport.hanging[0].callback(Answer(202))
        self.successResultOf(stopped)
        self.successResultOf(judged)
        self.assertEqual(relay.clock.getDelayedCalls(), [])
        [record] = self.successResultOf(relay.storage.destinations.load())
        self.assertEqual((record.cursor, record.delivered), (1, 1))

    def test_stop_cuts_off(self) -> None:
        """What does not end in time is cut off, and sent again by the next process."""
        relay = WholeRelay().start()
        relay.keyring.hold(ALICE)
        relay.subscribe("all.example")
        relay.transport.reply = lambda url: None
        self.successResultOf(relay.relay.accept(ALICE.post("Hello"), "192.0.2.1"))
        relay.run()
        stopped = Deferred.fromCoroutine(relay.dispatcher.stop(10.0))
        relay.run(11.0)
        self.successResultOf(stopped)
        after = WholeRelay(relay.tables).start()
        after.run()
        self.assertEqual(len(after.transport.sent), 1)


class SubscriberTests(SynchronousTestCase):
    """Who is subscribed to what."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.keyring.hold(ALICE)

    def manual(self, host: str, *tags: str) -> None:
        """The operator subscribes a node."""
        wanted = Subscription(Scope.TAGS if tags else Scope.ALL, frozenset(tags))
        self.relay.storage.subscriptions.put(ManualSubscription(host, wanted, self.relay.now(), "root"))
        self.relay.subscribers.update(host)
        self.relay.run()

    def delivered(self) -> list[str]:
        """Who gets a post about cats."""
        self.relay.transport.sent.clear()
        self.successResultOf(self.relay.relay.accept(ALICE.post("#cats"), "192.0.2.1"))
        self.relay.run()
        return sorted(self.relay.transport.hosts())

    def test_by_hand(self) -> None:
        """The operator's subscription counts before what the node publishes."""
        self.relay.subscribe("one.example", "dogs")
        self.manual("one.example", "cats")
        self.assertEqual(self.delivered(), ["one.example"])

    def test_published_refusal(self) -> None:
        """A published no ends every subscription at once, also the operator's and C{forward}, and what is queued."""
        self.manual("one.example")
        self.relay.storage.rules.put(Rule("forward", "one.example", "", self.relay.now(), "root"))
        self.relay.subscribers.rules_changed()
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.assertEqual(self.delivered(), ["one.example"])
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.relay.transport.reply = lambda url: Answer(202)
        self.assertEqual(self.delivered(), [])
        self.relay.run(100.0)
        self.assertEqual(self.relay.transport.sent, [])

    def test_forward(self) -> None:
        """A host with a C{forward} rule is sent everything, known or not."""
        self.relay.storage.rules.put(Rule("forward", "archive.example", "", self.relay.now(), "root"))
        self.relay.subscribers.rules_changed()
        self.relay.run()
        self.assertEqual(self.delivered(), ["archive.example"])

    def test_from_the_end(self) -> None:
        """A new subscription begins with what is posted after it."""
        self.delivered()
        self.relay.subscribe("one.example")
        self.assertEqual(self.relay.transport.sent, [])
        self.assertEqual(self.delivered(), ["one.example"])

    def test_back_again(self) -> None:
        """A node that leaves and comes back gets what is posted from then on, and its number stays its own."""
        self.relay.subscribe("one.example")
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.assertEqual(self.delivered(), [])
        self.relay.subscribe("one.example")
        self.assertEqual(self.delivered(), ["one.example"])
        self.assertEqual(len(self.successResultOf(self.relay.storage.destinations.load())), 1)

    def test_leaves_while_storage_is_away(self) -> None:
        """A node that says no while storage is away, and says so again later, is not served any more; what it was sent counts."""
        self.relay.subscribe("one.example")
        self.assertEqual(self.delivered(), ["one.example"])
        close = self.relay.storage.destinations.close
        self.relay.subscribers._destinations = wrapped = type("Away", (), {"close": lambda *_: fail(Unavailable("gone"))})()
        wrapped.open = self.relay.storage.destinations.open
        self.relay.storage.nodes.save(NodeRecord("one.example", ("test",), EPOCH, EPOCH, Preferences(Scope.NONE)))
        self.failureResultOf(self.relay.subscribers.update("one.example"), Unavailable)
        wrapped.close = close
        self.successResultOf(self.relay.subscribers.update("one.example"))
        self.assertEqual(self.delivered(), [])
        [record] = self.successResultOf(self.relay.storage.destinations.load())
        self.assertFalse(record.subscribed)

    def test_blocked_while_storage_is_away(self) -> None:
        """What is queued of somebody who was blocked is cancelled when the rules are read again, if it could not be done at first."""
        self.relay.subscribe("one.example")
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.delivered()
        away = self.patch(type(self.relay.storage.log), "cancel", lambda *_, **__: fail(Unavailable("gone")))
        self.relay.storage.rules.put(Rule("block", ALICE.handle, "", self.relay.now(), "root"))
        self.failureResultOf(self.relay.subscribers.rules_changed(), Unavailable)
        away.restore()
        self.successResultOf(self.relay.subscribers.rules_changed())
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.transport.sent.clear()
        self.relay.run(100.0)
        self.assertEqual(self.relay.transport.sent, [])

    def test_never_itself(self) -> None:
        """The relay does not subscribe itself."""
        self.relay.subscribe("relay.example")
        self.assertEqual(self.delivered(), [])

    def test_tags_are_bounded(self) -> None:
        """All nodes together hold a bounded number of tags; the rest is cut off."""
        self.relay.subscribe("one.example", *(f"tag{n}" for n in range(900)))
        self.relay.subscribe("two.example", *(f"tag{n}" for n in range(900)))
        self.assertEqual(self.relay.subscribers.index.entries, 1000)

    def test_moved(self) -> None:
        """A node that names another address of its own is sent to there."""
        self.relay.subscribe("one.example")
        record = self.successResultOf(self.relay.storage.nodes.get("one.example"))
        moved = evolve(record, preferences=evolve(record.preferences, receive_url="https://one.example/receive/public/"))
        self.relay.storage.nodes.save(moved)
        self.relay.subscribers.update("one.example")
        self.delivered()
        self.assertEqual([url for url, _ in self.relay.transport.sent], ["https://one.example/receive/public/"])

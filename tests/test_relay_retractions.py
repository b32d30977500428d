"""What becomes of a post whose author takes it back, in a whole relay over stores in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.afterwards import AFTER
from socialrelay.boundaries import Full, Publication, Rule, Unavailable
from socialrelay.config import Policy
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.storage.memory.log import MemoryPostLog
from tests.envelopes import Author, entity, new_guid, private_key
from tests.relays import HANDLE, WholeRelay

ALICE = Author("alice@pod-a.example")
EVE = Author("eve@pod-e.example")
GUID = "a" * 32


class RetractionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.start()

    def start(self, **options: Any) -> None:
        """A relay that holds the keys of its authors."""
        self.relay = WholeRelay(**options).start()
        for author in (ALICE, EVE):
            self.relay.keyring.hold(author)

    def send(self, body: bytes) -> None:
        """Hand a body in, as a node does, and let things happen."""
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()

    def post(self, text: str = "Hello", guid: str = GUID) -> bytes:
        """Alice's post, handed in."""
        body = ALICE.post(text, guid=guid)
        self.send(body)
        return body

    def retract(self, guid: str = GUID, author: Author = ALICE) -> bytes:
        """The retraction, handed in."""
        body = author.retraction(guid)
        self.send(body)
        return body

    def down(self, *hosts: str, trouble: Trouble = Trouble.CONNECT) -> None:
        """These do not answer from now on; all others do."""
        self.relay.transport.reply = lambda url: NoAnswer(trouble) if url.split("/")[2] in hosts else Answer(202)

    def sent_to(self, host: str) -> list[bytes]:
        """What was sent to a host, in order."""
        return [body for url, body in self.relay.transport.sent if url.split("/")[2] == host]

    def reasons(self) -> list[str]:
        """Why bodies were not relayed."""
        self.relay.tally.flush()
        return [rejection.reason for rejection in self.successResultOf(self.relay.storage.rejections.recent(10))]

    def outcomes(self, host: str) -> tuple[int, int]:
        """How many posts were delivered to a host, and how many cancelled."""
        status = self.relay.dispatcher.destination(host)
        assert status is not None
        return status.record.delivered, status.record.cancelled

    def names(self) -> list[tuple[str, str, frozenset[str]]]:
        """The names that the log holds."""
        return [(post.author, post.guid, post.tags) for post in self.relay.tables.posts.values()]


class RetractionTests(RetractionCase):
    def test_who_is_told(self) -> None:
        """Who has the post gets the retraction after it; who could not be reached gets neither, nor do those whom it was not for."""
        for host, tags in (("well.example", ()), ("down.example", ()), ("cats.example", ("cats",))):
            self.relay.subscribe(host, *tags)
        self.down("down.example")
        post = self.post("About #dogs")
        retraction = self.retract()
        self.down()
        self.relay.run(4000.0)
        self.assertEqual([self.sent_to(f"{name}.example") for name in ("well", "down", "cats")], [[post, retraction], [post], []])
        self.assertEqual([self.outcomes(f"{name}.example") for name in ("well", "down", "cats")], [(2, 0), (0, 1), (0, 0)])

    def test_perhaps_sent(self) -> None:
        """Who was tried in vain may have got the post after all, and gets the retraction when it is back; the post no more."""
        self.relay.subscribe("down.example")
        self.down("down.example", trouble=Trouble.TIMEOUT)
        post = self.post()
        retraction = self.retract()
        self.down()
        self.relay.run(4000.0)
        self.assertEqual(self.sent_to("down.example"), [post, retraction])
        self.assertEqual(self.outcomes("down.example"), (1, 1))

    def test_in_flight(self) -> None:
        """Who is being sent the post at this moment gets the retraction after it."""
        self.relay.subscribe("slow.example")
        self.relay.transport.reply = lambda url: None
        post = self.post()
        retraction = self.retract()
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.transport.hanging.pop().callback(Answer(202))
        self.relay.run()
        self.assertEqual(self.sent_to("slow.example"), [post, retraction])

    def test_nothing_is_left(self) -> None:
        """Body and names of the post are gone from the log at once, and what does not know it hears nothing of it."""
        self.relay.subscribe("cats.example", "cats")
        self.post("My #secret")
        self.retract()
        self.assertEqual(self.names(), [("", "", frozenset()), ("", "", frozenset())])
        self.assertEqual((self.relay.tables.bodies, self.relay.transport.sent), ({}, []))

    def test_not_back(self) -> None:
        """The author's own node is not told."""
        for host in ("pod-a.example", "well.example"):
            self.relay.subscribe(host)
        self.post()
        self.retract()
        self.assertEqual(self.relay.transport.hosts(), ["well.example"] * 2)

    def test_unsubscribed(self) -> None:
        """Who has unsubscribed since gets nothing more, not even this."""
        self.relay.subscribe("left.example")
        self.relay.subscribe("well.example")
        self.post()
        self.relay.storage.rules.put(Rule("block", "left.example", "", self.relay.now(), "root"))
        self.relay.subscribers.rules_changed()
        self.retract()
        self.assertEqual(sorted(self.relay.transport.hosts()), ["left.example", "well.example", "well.example"])

    def test_subscribed_since(self) -> None:
        """Who has subscribed since the post hears nothing of its retraction."""
        self.post()
        self.relay.subscribe("new.example")
        self.retract()
        self.assertEqual(self.relay.transport.sent, [])

    def test_once(self) -> None:
        """A retraction that comes again is a duplicate, and so is the post."""
        self.relay.subscribe("well.example")
        post = self.post()
        retraction = self.retract()
        for body in (retraction, post, retraction):
            self.send(body)
        self.assertEqual(self.sent_to("well.example"), [post, retraction])
        self.assertEqual(self.relay.tally.totals["duplicate"], 3)

    def test_comes_first(self) -> None:
        """A post whose retraction came before it is not relayed, and nobody hears of either."""
        self.relay.subscribe("well.example")
        self.retract()
        self.post()
        self.assertEqual(self.relay.transport.sent, [])
        self.assertEqual((self.reasons(), self.relay.tally.totals["duplicate"]), (["unknown-target"], 1))
        self.assertEqual(self.names(), [("", "", frozenset())])

    def test_both_wait_for_the_key(self) -> None:
        """Whichever of both is judged first, nobody who has the post is not told, and nothing is left of it."""
        post, retraction = ALICE.post("Hello", guid=GUID), ALICE.retraction(GUID)
        for bodies in ((post, retraction), (retraction, post)):
            self.start()
            self.relay.subscribe("well.example")
            del self.relay.keyring.at_once[ALICE.handle]
            for body in bodies:
                self.send(body)
            self.relay.keyring.hold(ALICE)
            self.relay.run(4000.0)
            self.assertIn(self.sent_to("well.example"), ([], [post, retraction]))
            left = [entry.author for entry in self.relay.tables.posts.values() if not entry.retraction]
            self.assertEqual((self.relay.tables.incoming, set(left) - {""}), ({}, set()))

    def test_somebody_elses(self) -> None:
        """Nobody takes back what another has posted, nor keeps it out."""
        self.relay.subscribe("well.example")
        self.retract(author=EVE)
        post = self.post()
        self.retract(author=EVE)
        self.assertEqual(self.sent_to("well.example"), [post])
        self.assertEqual(self.names()[1][:2], (ALICE.handle, GUID))

    def test_reshare(self) -> None:
        """A reshare that was relayed is taken back like a post."""
        self.start()
        self.relay.relay._protocol = type(self.relay.relay._protocol)("test", reshares=True)
        self.relay.subscribe("well.example")
        reshare = ALICE.reshare(EVE.handle, new_guid(), guid=GUID)
        self.send(reshare)
        retraction = self.retract()
        self.assertEqual(self.sent_to("well.example"), [reshare, retraction])

    def test_unwanted_author(self) -> None:
        """A retraction is obeyed also when its author was blocked since, or wishes to be relayed no more; their posts are not relayed."""
        goodbye = ALICE.contact(HANDLE, private_key(HANDLE).public_key(), sharing=False)
        for end in (
            lambda: self.relay.storage.rules.put(Rule("block", "pod-a.example", "", self.relay.now(), "root")),
            lambda: self.successResultOf(self.relay.relay.accept_private(goodbye, "192.0.2.1")),
        ):
            self.start()
            self.relay.subscribe("well.example")
            post = self.post()
            end()
            self.relay.subscribers.rules_changed()
            self.relay.run()
            self.assertNotEqual(self.relay.authors.refuses(ALICE.handle), "")
            retraction = self.retract()
            self.post("And again", guid="b" * 32)
            self.assertEqual(self.sent_to("well.example"), [post, retraction])

    def test_unwanted_author_whose_key_is_stored(self) -> None:
        """So it is after a restart, when the key has to be looked for."""
        self.relay.subscribe("well.example")
        self.post()
        self.relay.storage.rules.put(Rule("block", "pod-a.example", "", self.relay.now(), "root"))
        self.relay.subscribers.rules_changed()
        del self.relay.keyring.at_once[ALICE.handle]
        self.relay.keyring.published[ALICE.handle] = ALICE.public_key
        self.send(ALICE.post("Ignored at once"))
        self.assertEqual(self.relay.keyring.asked, [])
        retraction = self.retract()
        self.assertEqual(self.sent_to("well.example")[1:], [retraction])

    def test_forged(self) -> None:
        """A retraction that its author did not sign does nothing."""
        self.relay.subscribe("well.example")
        post = self.post()
        self.send(Author(ALICE.handle, bits=1032).retraction(GUID))
        self.assertEqual((self.sent_to("well.example"), self.reasons()), ([post], ["bad-signature"]))


class MeanwhileTests(RetractionCase):
    """What may happen while a retraction is being written."""

    def setUp(self) -> None:
        super().setUp()
        self.relay.subscribe("well.example")

    def hold_up(self) -> list[Callable[[], None]]:
        """From now on publishing takes as long as it is not ended by one of these calls, in their order."""
        publish = MemoryPostLog.publish
        ends: list[Callable[[], None]] = []

        def slowly(log: MemoryPostLog, post: Publication) -> Deferred[int | None]:
            answer: Deferred[int | None] = Deferred()
            ends.append(lambda: publish(log, post).chainDeferred(answer))
            return answer

        self.patch(MemoryPostLog, "publish", slowly)
        return ends

    def accept(self, body: bytes) -> Deferred[None]:
        accepted = self.relay.relay.accept(body, "192.0.2.1")
        self.relay.run()
        return accepted

    def test_nobody_is_sent_the_post(self) -> None:
        """While it is written nobody is begun with the post; then who was sent it is told, and nobody else is sent anything."""
        self.relay.subscribe("later.example")
        self.relay.dispatcher.suspend("later.example")
        post = self.post()
        ends = self.hold_up()
        accepted = self.accept(ALICE.retraction(GUID))
        self.relay.dispatcher.resume("later.example")
        self.relay.run(4000.0)
        self.assertEqual(self.relay.transport.sent, [("https://well.example/receive/public", post)])
        ends.pop()()
        self.successResultOf(accepted)
        self.relay.run(4000.0)
        self.assertEqual((len(self.sent_to("well.example")), self.sent_to("later.example")), (2, []))

    def test_storage_fails(self) -> None:
        """If it cannot be written its sender is told so, and the post goes on; when it comes again it is obeyed."""
        self.relay.subscribe("later.example")
        self.relay.dispatcher.suspend("later.example")
        post = self.post()
        for error in (Unavailable("gone"), Full("too much")):
            patch = self.patch(MemoryPostLog, "publish", lambda log, each, error=error: fail(error))
            self.failureResultOf(self.accept(ALICE.retraction(GUID)), type(error))
            patch.restore()
        self.relay.dispatcher.resume("later.example")
        self.relay.run(4000.0)
        self.assertEqual(self.sent_to("later.example"), [post])
        retraction = self.retract()
        self.assertEqual([self.sent_to(f"{name}.example") for name in ("well", "later")], [[post, retraction]] * 2)

    def test_storage_is_away(self) -> None:
        """If storage cannot be asked for the post its sender is told so."""
        self.post()
        self.relay.tables.go_away()
        self.failureResultOf(self.accept(ALICE.retraction(GUID)), Unavailable)
        self.relay.tables.come_back()
        self.retract()
        self.assertEqual(len(self.sent_to("well.example")), 2)

    def test_the_post_is_being_written(self) -> None:
        """A retraction that comes while its post is being written waits for that, so that the post does not slip through."""
        ends = self.hold_up()
        post, retraction = ALICE.post("Hello", guid=GUID), ALICE.retraction(GUID)
        self.accept(post)
        accepted = self.accept(retraction)
        self.assertEqual(len(ends), 1)
        ends.pop()()
        ends.pop()()
        self.successResultOf(accepted)
        self.relay.run()
        self.assertEqual({name for name, _, _ in self.names()[:1]}, {""})
        self.assertIn(self.sent_to("well.example"), ([], [post, retraction]))

    def test_the_post_comes_meanwhile(self) -> None:
        """Nor does a post slip through that comes while the log is searched for it."""
        looked_up: list[Callable[[], None]] = []
        find = MemoryPostLog.find

        def slowly(log: MemoryPostLog, author: str, guid: str) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()
            found = find(log, author, guid)
            looked_up.append(lambda: found.chainDeferred(answer))
            return answer

        self.patch(MemoryPostLog, "find", slowly)
        ends = self.hold_up()
        retracted, accepted = self.accept(ALICE.retraction(GUID)), self.accept(ALICE.post("Hello", guid=GUID))
        looked_up.pop()()
        self.assertEqual(len(ends), 1)
        ends.pop()()
        self.successResultOf(accepted)
        looked_up.pop()()
        ends.pop()()
        self.successResultOf(retracted)
        self.assertEqual({name for name, _, _ in self.names()[:1]}, {""})

    def test_two_at_once(self) -> None:
        """Of two that come at once the first is acted on, and the second is a duplicate."""
        self.post()
        ends = self.hold_up()
        body = ALICE.retraction(GUID)
        accepted = [self.accept(each) for each in (body, body)]
        self.assertEqual(len(ends), 1)
        ends.pop()()
        ends.pop()()
        for each in accepted:
            self.successResultOf(each)
        self.relay.run()
        self.assertEqual((len(self.sent_to("well.example")), self.relay.tally.totals["duplicate"]), (2, 1))


class BusTests(RetractionCase):
    """What the bus keeps of a post that is taken back."""

    def setUp(self) -> None:
        super().setUp()
        self.relay.subscribe("well.example")
        self.post()
        self.post(guid="b" * 32)

    def named(self) -> list[object]:
        """The posts that are named there."""
        return [members["activity_id"] for _, members in self.relay.said() if "activity_id" in members]

    def test_taken_back(self) -> None:
        """Soon nothing there names it, and whatever else there is stays, in its order."""
        said = len(self.relay.said())
        self.retract()
        self.relay.run(AFTER)
        self.assertEqual(self.named(), ["b" * 32])
        self.assertEqual(self.relay.said()[said - 2], ("payload.received", {"erased": True}))

    def test_of_others(self) -> None:
        """Nobody takes out what somebody else has posted, though it has the same guid."""
        self.relay.keyring.hold(EVE)
        self.retract(author=EVE)
        self.relay.run(AFTER)
        self.assertEqual(self.named(), [GUID, "b" * 32])

    def test_bus_hangs(self) -> None:
        """A retraction does not wait for the bus."""
        self.patch(type(self.relay.storage.bus), "erase", lambda *_, **__: Deferred())
        self.retract()
        self.relay.run(AFTER)
        self.retract("b" * 32)
        self.assertEqual(len(self.sent_to("well.example")), 4)


class AccountTests(RetractionCase):
    def test_deletion(self) -> None:
        """When an account is deleted all that is known of its author goes at once, and what is pending is cancelled."""
        for host in ("well.example", "later.example"):
            self.relay.subscribe(host)
        self.relay.dispatcher.suspend("later.example")
        hello = ALICE.contact(HANDLE, private_key(HANDLE).public_key())
        self.successResultOf(self.relay.relay.accept_private(hello, "192.0.2.1"))
        self.relay.run()
        self.relay.relay.news.refused("bad-guid", ALICE.handle)
        post = self.post()
        self.send(ALICE.account_deletion())
        self.relay.dispatcher.resume("later.example")
        self.relay.run(4000.0)
        self.assertEqual([body for _, body in self.relay.transport.sent], [post])
        self.assertEqual((self.names(), self.relay.tables.bodies), ([("", "", frozenset())], {}))
        self.assertEqual((self.reasons(), self.relay.tables.contacts, self.relay.keyring.forgotten), (["account"], {}, [ALICE.handle]))
        self.assertNotIn(ALICE.handle, repr(self.relay.tables.rejected))

    def test_deletion_comes_again(self) -> None:
        """It does no harm when it comes again; one whose storage is away is told so."""
        self.post()
        self.relay.tables.go_away()
        self.failureResultOf(self.relay.relay.accept(ALICE.account_deletion(), "192.0.2.1"), Unavailable)
        self.relay.tables.come_back()
        self.send(ALICE.account_deletion())
        self.relay.keyring.hold(ALICE)
        self.send(ALICE.account_deletion())
        self.assertEqual(self.names(), [("", "", frozenset())])

    def test_migration(self) -> None:
        """When an account moves its key is forgotten, and nothing else."""
        self.post()
        self.send(ALICE.seal(entity("account_migration", author=ALICE.handle)))
        self.assertEqual(self.relay.keyring.forgotten, [ALICE.handle])
        self.assertEqual([name for name, _, _ in self.names()], [ALICE.handle])


class PolicyTests(RetractionCase):
    def test_uninvited(self) -> None:
        """Where only invited authors are relayed, a retraction by another takes nothing back and is told to nobody."""
        self.start(policy=Policy(uninvited=False))
        self.relay.subscribe("well.example")
        self.post()
        self.retract()
        self.assertEqual((self.relay.transport.sent, self.reasons()), ([], ["unknown-target", "uninvited"]))

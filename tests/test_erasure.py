"""Tests for L{socialrelay.erasure}, in a whole relay over stores in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.afterwards import AFTER
from socialrelay.boundaries import Unavailable
from socialrelay.erasure import Erased
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from tests.envelopes import Author, private_key
from tests.relays import HANDLE, WholeRelay

ALICE = Author("alice@pod-a.example")
ANNA = Author("anna@sub.pod-a.example")
BOB = Author("bob@pod-b.example")
GUID = "a" * 32


class ErasureTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A relay that knows of three authors: posts, which their subscriber has not got yet, wishes, keys, and refusals."""
        self.relay = WholeRelay().start()
        self.relay.subscribe("all.example")
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        for author in (ALICE, ANNA, BOB):
            self.relay.keyring.hold(author)
            self.relay.relay.accept_private(author.contact(HANDLE, private_key(HANDLE).public_key()), "192.0.2.1")
            self.relay.run()
            self.send(author.post("Hello", guid=GUID))
            self.relay.relay.news.refused("bad-guid", author.handle)
        self.bodies = [body for _, body in sorted(self.relay.tables.bodies.items())]

    def send(self, body: bytes) -> None:
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()

    def erasing(self, **name: str) -> Deferred[Erased]:
        return Deferred.fromCoroutine(self.relay.erasure.erase(**name))

    def erase(self, **name: str) -> Erased:
        return self.successResultOf(self.erasing(**name))

    def delivered(self) -> list[bytes]:
        """What the subscriber gets when it is back."""
        self.relay.transport.sent.clear()
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.run(4000.0)
        return [body for _, body in self.relay.transport.sent]

    def stored(self) -> str:
        """All that names somebody."""
        tables = self.relay.tables
        rows: list[Any] = [tables.posts, tables.incoming, tables.quarantine, tables.rejected, tables.contacts, tables.counts, tables.bus]
        return repr(rows)

    def test_author(self) -> None:
        """Of an author who is erased nothing is left that names them, and nothing more of theirs is delivered."""
        del self.relay.keyring.at_once[ALICE.handle]
        self.send(ALICE.post("Still waiting"))
        self.relay.keyring.hold(ALICE)
        self.assertEqual(self.erase(author=ALICE.handle), Erased(posts=1, waiting=1, rejections=1, keys=1, wishes=1, messages=1))
        self.assertNotIn(ALICE.handle, self.stored())
        self.assertEqual(self.delivered(), self.bodies[1:])
        self.assertEqual(self.erase(author=ALICE.handle), Erased())
        self.assertEqual(self.relay.quota._owners, {})

    def test_guid(self) -> None:
        """Posts are erased by their guid, whoever their author is; of the authors nothing else."""
        self.assertEqual(self.erase(guid=GUID), Erased(posts=3, messages=3))
        self.assertEqual(self.delivered(), [])
        self.assertNotIn(GUID, self.stored())
        self.assertEqual(len(self.relay.keyring.at_once), 3)

    def test_host(self) -> None:
        """With a host all its authors are erased, those of its subdomains too, and its counts."""
        self.send(ANNA.post("Once more"))
        erased = self.erase(host="pod-a.example")
        self.assertEqual((erased.posts, erased.rejections, erased.wishes), (3, 2, 2))
        self.assertGreater(erased.counts, 0)
        self.assertNotIn("pod-a.example", self.stored())
        self.assertEqual(self.delivered(), self.bodies[2:])
        self.assertEqual(self.relay.tables.totals["accepted"], 4)

    def test_on_its_way_to_the_bus(self) -> None:
        """What was announced of somebody, and not kept yet when they were erased, is erased when it is there."""
        del self.relay.announced[:]
        self.erase(author=ALICE.handle)
        self.relay._announce("payload.received", {"actor": ALICE.handle, "activity_id": GUID, "node": "pod-a.example"})
        self.assertIn(ALICE.handle, self.stored())
        self.relay.run(AFTER)
        self.assertNotIn(ALICE.handle, self.stored())

    def test_wishes_no_more(self) -> None:
        """That an author wishes to be relayed no more is not erased."""
        self.relay.relay.accept_private(ALICE.contact(HANDLE, private_key(HANDLE).public_key(), sharing=False), "192.0.2.1")
        self.relay.run()
        self.erase(author=ALICE.handle)
        self.erase(host="pod-a.example")
        self.assertEqual(self.relay.authors.refuses(ALICE.handle), "unwished")

    def test_not_again(self) -> None:
        """What was erased is not relayed when it comes again."""
        self.erase(author=ALICE.handle)
        self.relay.keyring.hold(ALICE)
        self.send(self.bodies[0])
        self.assertEqual(self.delivered(), self.bodies[1:])

    def test_what_was_delivered_counts(self) -> None:
        """What was delivered stays counted, and what is cancelled is too: nothing is lost from the books."""
        self.assertEqual(len(self.delivered()), 3)
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(ALICE.post("Pending"))
        self.assertEqual(self.erase(author=ALICE.handle).posts, 2)
        self.assertEqual(self.delivered(), [])
        status = self.relay.dispatcher.destination("all.example")
        self.assertEqual((status.record.delivered, status.record.cancelled) if status else None, (3, 1))

    def test_storage_goes_away(self) -> None:
        """Whatever step fails, nothing more is delivered, and to do it again completes it."""
        storage = self.relay.storage
        for store, method in (
            (storage.log, "erase"),
            (storage.rejections, "erase"),
            (storage.incoming, "erase"),
            (storage.contacts, "remove"),
            (storage.bus, "erase"),
        ):
            patch = self.patch(type(store), method, lambda *_, **__: fail(Unavailable("gone")))
            self.failureResultOf(self.erasing(author=ALICE.handle), Unavailable)
            patch.restore()
        self.assertEqual(self.delivered(), self.bodies[1:])
        self.erase(author=ALICE.handle)
        self.assertNotIn(ALICE.handle, self.stored())

    def test_exactly_one(self) -> None:
        """Exactly one name is given."""
        for names in ({}, {"author": ALICE.handle, "host": "pod-a.example"}):
            self.failureResultOf(self.erasing(**names), ValueError)

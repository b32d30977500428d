"""How one post is followed through the log: by the short name that its body has (L{socialrelay.digest})."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Delivery
from socialrelay.delivery.news import DeliveryNews
from socialrelay.digest import digest_of
from socialrelay.running.logs import as_json, as_text
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from tests.envelopes import Author
from tests.relays import WholeRelay

ALICE = Author("alice@pod-a.example")


class FollowingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.subscribe("all.example")
        self.body = ALICE.post("Hello")
        self.name = digest_of(self.body)

    def say(self, events: list[Any]) -> list[str]:
        """The sentences that name the post, in the text and as a field."""
        named = [json.loads(as_json(event)) for event in events if self.name in as_text(event)]
        self.assertEqual({line["post"] for line in named}, {self.name} if named else set())
        return [line["message"] for line in named]

    def send(self, body: bytes) -> None:
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()

    def news(self, log_each: bool = False) -> list[str]:
        """What the log says of that which was settled."""
        news = DeliveryNews(self.relay.tally, lambda host: None, log_each)
        with capturedLogs() as events:
            for settled in self.relay.settled:
                news.settled(settled)
        return self.say(events)

    def test_at_once(self) -> None:
        """A post whose author is known is named when it is in the log, and when it is delivered if that is wanted."""
        self.relay.keyring.hold(ALICE)
        with capturedLogs() as events:
            self.send(self.body)
        [accepted] = self.say(events)
        self.assertTrue(accepted.endswith(f" of alice@pod-a.example as {self.name}; nodes that want it: 1."))
        self.assertEqual(self.news(), [])
        self.assertEqual(self.news(log_each=True), [f"Post {self.name} is delivered at all.example: HTTP 202."])

    def test_waiting(self) -> None:
        """One that waits for its author's key is named when it comes, and again when the key has come."""
        self.relay.keyring.published[ALICE.handle] = ALICE.public_key
        with capturedLogs() as events:
            self.send(self.body)
        said = self.say(events)
        self.assertEqual(said[0], f"Took in {self.name} of alice@pod-a.example; it waits for the key.")
        self.assertEqual(len(said), 2)
        self.assertIn(f" as {self.name}; ", said[1])

    def test_rejected(self) -> None:
        """One that is forged is named with the reason."""
        self.relay.keyring.hold(ALICE)
        self.body = Author(ALICE.handle, bits=1032).post("Forged")
        self.name = digest_of(self.body)
        with capturedLogs() as events:
            self.send(self.body)
        [rejected] = self.say(events)
        self.assertTrue(rejected.endswith(f" of alice@pod-a.example as {self.name}: bad-signature."))

    def test_after_a_restart(self) -> None:
        """A node that was away, and refuses the post days later and after a restart, is named with the same name."""
        self.relay.keyring.hold(ALICE)
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(self.body)
        self.assertEqual(self.relay.settled, [])
        now = self.relay.clock.seconds()
        self.relay = WholeRelay(self.relay.tables)
        self.relay.clock.advance(now + 86400.0)
        self.relay.transport.reply = lambda url: Answer(403)
        self.relay.start()
        self.relay.run(10.0)
        self.assertEqual(self.news(), [f"Post {self.name} is bounced at all.example: HTTP 403."])

    def test_hostile(self) -> None:
        """Nothing of a body gets into the log but names, and those on one line."""
        self.relay.keyring.hold(ALICE)
        body = ALICE.post("canary\r\n\x1b[31m")
        with capturedLogs() as events:
            self.send(body)
            self.relay.relay.news.refused("bad-key-id", "evil\r\n\x1b[31m@pod.example", body=body)
        lines = [form(event) for event in events for form in (as_text, as_json)]
        self.assertEqual([line.count("\n") for line in lines], [1] * len(lines))
        self.assertNotIn("canary", "".join(lines))
        self.assertNotIn("\x1b", "".join(lines))
        self.assertIn("evil\\r\\n\\x1b[31m@pod.example", "".join(lines))

    def test_off_by_default(self) -> None:
        """There is no line for each delivery unless it is asked for."""
        self.assertFalse(Delivery().log_each)

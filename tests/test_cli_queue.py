"""What the command says of what waits, was put aside, or was refused."""

from __future__ import annotations

from datetime import timedelta

from socialrelay.boundaries import NodeRecord, Outcome, PollNote
from socialrelay.scheduler.record import Bounce, DeferredDelivery, Progress
from tests.operators import EVERYTHING, NOW
from tests.storing import arrival, publication
from tests.test_cli import LONG, CommandCase

MINUTE = timedelta(minutes=1)


class QueueCommandTests(CommandCase):
    async def fill(self) -> None:
        """Posts that were refused, are tried on their own, wait to be judged or could not be."""
        await super().fill()
        stores, number = self.relay.stores, self.relay.queue.destination(LONG).record.number
        for _ in range(3):
            await stores.log.publish(publication(recipients=frozenset({number})))
        self.relay.tables.bodies.pop(1)
        bounces = tuple(Bounce(number, position, "HTTP 413", NOW) for position in (1, 2))
        tried = DeferredDelivery(number, 3, 2, NOW + 10 * MINUTE, "HTTP 400")
        await stores.destinations.save(Progress(bounces=bounces, deferred=(tried,)))
        await stores.incoming.keep(arrival(sender_host=LONG, sender=f"ada@{LONG}", received_at=NOW))
        for private in (False, True):
            id = await stores.incoming.keep(arrival(private=private, sender="" if private else "ada@pod.example"))
            await stores.incoming.quarantine(id, "ValueError: a rather long explanation of what went wrong", NOW)
        self.relay.queue.ended[LONG] = [Outcome(NOW - MINUTE, "host failed", "HTTP 502", 17)]
        poll = PollNote(NOW, "failed", error="connection refused or unreachable")
        await stores.nodes.save(NodeRecord(LONG, ("list",), NOW, NOW, EVERYTHING), poll)
        await stores.statistics.add({(NOW.replace(minute=0), "accepted", LONG): 4})

    async def test_lists(self) -> None:
        """
        Each list is a table that says what can be done about it.
        """
        await self.fill()
        for words, expected in (
            (("bounced", LONG), ["Refused by", "HTTP 413", "not kept", "socialrelay requeue HOST POST"]),
            (("deferred",), [LONG, "HTTP 400"]),
            (("waiting",), [LONG, "In quarantine: 2 bodies."]),
            (("quarantine",), ["ada@pod.example", "a private message", "quarantine retry ID"]),
            (("node", LONG), ["How the last attempts ended", "HTTP 502", "Posts that it refused", "last polls", "4 in 24 h, 4 in 30 days"]),
        ):
            text = " ".join((await self.said(*words, columns=200)).split())
            for each in expected:
                self.assertIn(each, text)

    async def test_fits_80_columns(self) -> None:
        """
        At 80 columns no line is longer, and nothing is cut off.
        """
        await self.fill()
        for words in (("bounced", LONG), ("deferred",), ("waiting",), ("quarantine",), ("node", LONG)):
            text = await self.said(*words, columns=80)
            self.assertNotIn("…", text)
            self.assertLessEqual(max(len(line) for line in text.splitlines()), 80, text)

    async def test_nothing(self) -> None:
        """
        Where there is nothing to show that is said.
        """
        await self.relay.publishes("pod.example", EVERYTHING)
        for words, expected in (
            (("bounced", "pod.example"), "No post is listed as refused by pod.example."),
            (("deferred",), "No post is tried on its own."),
            (("waiting",), "Nothing waits to be judged."),
            (("quarantine",), "Nothing is in quarantine."),
        ):
            self.assertEqual((await self.said(*words)).strip(), expected)

    async def test_json(self) -> None:
        """
        Each prints the daemon's answer as JSON if asked to.
        """
        await self.fill()
        for words in (("bounced", LONG), ("deferred",), ("waiting",), ("quarantine",)):
            self.assertIsInstance(await self.json(*words), dict)

    async def test_acts(self) -> None:
        """
        Posts, bodies and keys are dealt with as the lists say.
        """
        await self.fill()
        self.relay.keyring.held.add("ada@pod.example")
        [id] = [row["id"] for row in (await self.json("quarantine"))["quarantine"] if not row["private"]]
        for words, expected in (
            (("requeue", LONG, "2"), "The post 2 waits for"),
            (("requeue", LONG, "--all"), "1 post waits for"),
            (("quarantine", "retry", str(id)), f"Body {id} is judged again"),
            (("quarantine", "drop", str(id + 1)), f"Body {id + 1} is dropped."),
            (("forget-key", "ada@pod.example"), "The key of ada@pod.example is forgotten"),
        ):
            self.assertIn(expected, " ".join((await self.said(*words)).split()))

    async def test_refused(self) -> None:
        """
        What cannot be done is refused with its reason, and what cannot be meant is explained.
        """
        await self.fill()
        for code, words in (
            (1, ("requeue", LONG, "1")),
            (1, ("requeue", "pod.example", "--all")),
            (1, ("quarantine", "retry", "99")),
            (1, ("forget-key", "eve@pod.example")),
            (1, ("bounced", "unknown.example")),
            (2, ("requeue", LONG)),
            (2, ("requeue", LONG, "1", "--all")),
            (2, ("quarantine", "retry", "x")),
        ):
            result = await self.say(*words)
            self.assertEqual((result.exit_code, result.stdout), (code, ""), words)
            self.assertNotEqual(result.stderr, "")

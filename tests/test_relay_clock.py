"""Posts that wait for their keys while the system's clock jumps, or the relay is stopped."""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.calendar import BELIEVED
from socialrelay.scheduler.backoff import DAY, HOUR
from socialrelay.storage.memory import MemoryTables
from tests.chaos.simulated_clock import JUMPS, ClockedRelay
from tests.envelopes import Author

BOB = Author("bob@pod-b.example")


def let_pass(relay: ClockedRelay, seconds: float) -> None:
    """An hour at a time."""
    while seconds > 0:
        relay.clock.advance(min(seconds, HOUR))
        seconds -= HOUR


class WaitingTests(SynchronousTestCase):
    def waiting(self) -> ClockedRelay:
        """A relay that has a post whose author's key is not to be had."""
        relay = ClockedRelay(MemoryTables(), 0.0, timedelta())
        relay.start()
        relay.subscribe("all.example")
        self.successResultOf(relay.relay.accept(BOB.post("Hello"), "192.0.2.1"))
        relay.run()
        return relay

    def rejected(self, relay: ClockedRelay) -> list[str]:
        relay.tally.flush()
        return [each.reason for each in relay.tables.rejected]

    def test_jump_that_is_believed(self) -> None:
        """A post that waits is neither forgotten nor given up early when a jump is believed."""
        for jump in JUMPS:
            relay = self.waiting()
            relay.off = jump
            relay.now()
            let_pass(relay, BELIEVED.total_seconds() - 2 * HOUR)
            late = Author("carol@pod-b.example")
            self.successResultOf(relay.relay.accept(late.post("Hello"), "192.0.2.1"))
            while not relay.calendar.condition().well:
                relay.clock.advance(300.0)
            relay.keyring.published[late.handle] = late.public_key
            let_pass(relay, 2 * HOUR)
            self.assertEqual(relay.transport.hosts(), ["all.example"], jump)

    def test_given_up_after_a_day(self) -> None:
        """A key that is missing for a day is not waited for any longer."""
        relay = self.waiting()
        let_pass(relay, DAY - 2 * HOUR)
        self.assertEqual(self.rejected(relay), [])
        let_pass(relay, 3 * HOUR)
        self.assertEqual(self.rejected(relay), ["unknown-key"])

    def test_relay_was_stopped(self) -> None:
        """The time in which the relay did not run is no time in which it looked for a key; but three days are enough."""
        for days, hours in ((1.0, 24), (4.0, 2)):
            before = self.waiting()
            after = ClockedRelay(before.tables, days * DAY, timedelta())
            after.start()
            let_pass(after, (hours - 1.5) * HOUR)
            self.assertEqual(self.rejected(after), [], days)
            let_pass(after, 3 * HOUR)
            self.assertEqual(self.rejected(after), ["unknown-key"], days)

"""Tests for L{socialrelay.accounts}."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.accounts import Auditor
from socialrelay.scheduler.record import DestinationRecord, Progress
from socialrelay.storage.memory import memory_storage
from tests.storing import NOW, publication


class AuditorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.storage = memory_storage()
        self.rows: list[DestinationRecord] = [
            self.successResultOf(self.storage.destinations.open(host, "diaspora", f"https://{host}/", NOW))
            for host in ("a.example", "b.example")
        ]
        for _ in range(4):
            self.successResultOf(self.storage.log.publish(publication(recipients=frozenset({0, 1}))))
        self.auditor = Auditor(self.storage.accounts, lambda: NOW)
        self.told: list[tuple[LogLevel, str]] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: dict[str, object]) -> None:
        if event["log_namespace"] == "socialrelay.accounts.Auditor":
            self.told.append((event["log_level"], str(event["host"])))  # type: ignore[arg-type]

    def look(self) -> int:
        self.successResultOf(Deferred.fromCoroutine(self.auditor.look()))
        return self.auditor.imbalance

    def settle(self, number: int, delivered: int) -> None:
        row = evolve(self.rows[number], cursor=4, delivered=delivered)
        self.successResultOf(self.storage.destinations.save(Progress((row,))))

    def test_even(self) -> None:
        """Books that are even are none to talk of."""
        self.settle(0, 4)
        self.assertIsNone(self.auditor.whole)
        self.assertEqual((self.look(), self.auditor.whole, self.auditor.examined, self.told), (0, NOW, 2, []))

    def test_uneven(self) -> None:
        """What is missing and what is too much are added up, and told of once, until they are gone."""
        self.settle(0, 3)
        self.settle(1, 6)
        self.assertEqual([self.look() for _ in range(3)], [3, 3, 3])
        self.assertEqual(self.auditor.differences, {"a.example": -1, "b.example": 2})
        self.settle(0, 4)
        self.assertEqual([self.look() for _ in range(2)], [2, 2])
        expected = [(LogLevel.error, "a.example"), (LogLevel.error, "b.example"), (LogLevel.info, "a.example")]
        self.assertEqual(self.told, expected)

"""Tests for L{socialrelay.services}."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Unavailable
from socialrelay.services import Periodic, Sequence, StartFailed, Unfinished, reason_of


class Part(Service):
    """Notes what happens to it; its start and stop last until their Deferreds are fired."""

    def __init__(self, name: str, notes: list[str], *, slow: bool = False) -> None:
        self.name = name
        self.notes = notes
        self.slow = slow
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.error: Exception | None = None

    def privilegedStartService(self) -> None:
        self.notes.append(f"privileged {self.name}")

    def startService(self) -> Deferred[None] | None:
        self.notes.append(f"start {self.name}")
        if self.error is not None:
            raise self.error
        return self.started if self.slow else None

    def stopService(self) -> Deferred[None] | None:
        self.notes.append(f"stop {self.name}")
        return self.stopped if self.slow else None


class SequenceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.notes: list[str] = []

    def make(self, *parts: Part) -> Sequence:
        return Sequence([(part.name or "", part) for part in parts], self.clock, 20.0)

    def test_start_waits(self) -> None:
        """A child starts when the one before it runs."""
        first, second = Part("first", self.notes, slow=True), Part("second", self.notes)
        started = self.make(first, second).startService()
        self.assertEqual(self.notes, ["start first"])
        first.started.callback(None)
        self.assertEqual(self.notes, ["start first", "start second"])
        self.successResultOf(started)

    def test_stop_waits_in_reverse(self) -> None:
        """The last one is stopped first, and the one before it when that is done."""
        first, second = Part("first", self.notes), Part("second", self.notes, slow=True)
        second.started.callback(None)
        sequence = self.make(first, second)
        self.successResultOf(sequence.startService())
        self.notes.clear()
        stopped = sequence.stopService()
        self.assertEqual(self.notes, ["stop second"])
        second.stopped.callback(None)
        self.assertEqual(self.notes, ["stop second", "stop first"])
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_start_fails(self) -> None:
        """A child that cannot start ends the start with its name and reason, and what was started can be stopped."""
        first, second, third = (Part(name, self.notes) for name in ("first", "second", "third"))
        second.error = OSError(98, "Address already in use")
        sequence = self.make(first, second, third)
        failure = self.failureResultOf(sequence.startService(), StartFailed)
        self.assertEqual(str(failure.value), "second: Address already in use")
        self.successResultOf(sequence.stopService())
        self.assertEqual(self.notes, ["start first", "start second", "stop second", "stop first"])

    def test_surprise_is_logged(self) -> None:
        """A start that fails for a reason that nobody thought of leaves a traceback in the log."""
        part = Part("part", self.notes)
        part.error = ZeroDivisionError("division by zero")
        failure = self.failureResultOf(self.make(part).startService(), StartFailed)
        self.assertEqual(failure.value.reason, "ZeroDivisionError: division by zero")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop_has_an_end(self) -> None:
        """A child that never stops is left behind, and the others are stopped all the same."""
        first, second = Part("first", self.notes), Part("second", self.notes, slow=True)
        second.started.callback(None)
        sequence = self.make(first, second)
        sequence.startService()
        stopped = sequence.stopService()
        self.clock.advance(20)
        self.successResultOf(stopped)
        self.assertEqual(self.notes[-1], "stop first")

    def test_failing_stop(self) -> None:
        """A stop that fails is logged and does not keep the others from being stopped."""
        first, second = Part("first", self.notes), Part("second", self.notes, slow=True)
        second.started.callback(None)
        sequence = self.make(first, second)
        sequence.startService()
        stopped = sequence.stopService()
        second.stopped.errback(ZeroDivisionError())
        self.successResultOf(stopped)
        self.assertEqual(self.notes[-1], "stop first")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unfinished(self) -> None:
        """A child that could not finish keeps none of the others from being stopped, and whoever asks for the stop hears of it."""
        first, second = Part("first", self.notes), Part("second", self.notes, slow=True)
        second.started.callback(None)
        sequence = self.make(first, second)
        sequence.startService()
        stopped, again = sequence.stopService(), sequence.stopService()
        second.stopped.errback(Unfinished("3 messages were not stored."))
        for each in (stopped, again, sequence.stopService()):
            self.assertEqual(str(self.failureResultOf(each, Unfinished).value), "3 messages were not stored.")
        self.assertEqual(self.notes[-1], "stop first")

    def test_stopped_while_starting(self) -> None:
        """A stop waits for the start in hand, starts nothing more, and stops what runs."""
        first, second = Part("first", self.notes, slow=True), Part("second", self.notes)
        first.stopped.callback(None)
        sequence = self.make(first, second)
        started = sequence.startService()
        stopped = sequence.stopService()
        self.assertEqual(self.notes, ["start first"])
        first.started.callback(None)
        self.failureResultOf(started, StartFailed)
        self.successResultOf(stopped)
        self.assertEqual(self.notes, ["start first", "stop first"])

    def test_start_that_hangs(self) -> None:
        """A start that does not end is given a few seconds before it is told to stop."""
        part = Part("part", self.notes, slow=True)
        part.stopped.callback(None)
        sequence = self.make(part)
        sequence.startService()
        stopped = sequence.stopService()
        self.assertNoResult(stopped)
        self.clock.advance(5)
        self.successResultOf(stopped)
        self.assertEqual(self.notes, ["start part", "stop part"])

    def test_privileged_start(self) -> None:
        """What needs privileges is done in all children before any of them starts."""
        self.make(Part("first", self.notes), Part("second", self.notes)).privilegedStartService()
        self.assertEqual(self.notes, ["privileged first", "privileged second"])


class PeriodicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds: list[Deferred[None]] = []

    def make(self, **more: float) -> Periodic:
        return Periodic(self.work, 60.0, self.clock, name="sweep", **more)

    def work(self) -> Deferred[None]:
        self.rounds.append(Deferred())
        return self.rounds[-1]

    def test_rounds(self) -> None:
        """The first round comes after its own wait, the others at the interval."""
        self.make(first=5.0).startService()
        self.assertEqual(len(self.rounds), 0)
        self.clock.advance(5)
        self.rounds[0].callback(None)
        self.clock.advance(59)
        self.assertEqual(len(self.rounds), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.rounds), 2)

    def test_jitter(self) -> None:
        """The interval is stretched by the factor that was drawn."""
        Periodic(self.work, 60.0, self.clock, name="sweep", jitter=lambda: 1.5).startService()
        self.clock.advance(0)
        self.rounds[0].callback(None)
        self.clock.advance(89)
        self.assertEqual(len(self.rounds), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.rounds), 2)

    def test_outlives_errors(self) -> None:
        """A round that fails is logged and shown, and the next one comes."""
        periodic = self.make()
        periodic.startService()
        self.clock.advance(0)
        self.rounds[0].errback(ZeroDivisionError("division by zero"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((periodic.last_run, periodic.last_error), (0.0, "ZeroDivisionError: division by zero"))
        self.assertEqual((periodic.since, periodic.failures), (0.0, 1))
        self.clock.advance(60)
        self.rounds[1].callback(None)
        self.assertEqual((periodic.last_run, periodic.last_error), (60.0, ""))

    def test_storage_away(self) -> None:
        """A round that fails since storage is away is no error of the relay: it is told in a line, and counted as failed."""
        periodic = self.make()
        periodic.startService()
        self.clock.advance(0)
        with capturedLogs() as logs:
            self.rounds[0].errback(Unavailable("connection refused"))
        [event] = [each for each in logs if each["log_namespace"].startswith("socialrelay")]
        self.assertEqual((event["log_level"], event.get("log_failure")), (LogLevel.warn, None))
        self.assertIn("connection refused", formatEvent(event))
        self.assertEqual(periodic.failures, 1)

    def test_never_two_rounds(self) -> None:
        """A round that takes longer than the interval is not overtaken."""
        self.make().startService()
        self.clock.pump([0, 60, 60, 60])
        self.assertEqual(len(self.rounds), 1)

    def test_stop_waits_for_the_round(self) -> None:
        """Stopping waits for the round in hand, and leaves no timer behind."""
        periodic = self.make()
        periodic.startService()
        self.clock.advance(0)
        stopped = periodic.stopService()
        self.assertNoResult(stopped)
        self.rounds[0].callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_between_rounds(self) -> None:
        """Stopping before the first round, or between two, takes no time."""
        periodic = self.make(first=10.0)
        periodic.startService()
        self.successResultOf(periodic.stopService())
        periodic.startService()
        self.clock.advance(10)
        self.rounds[0].callback(None)
        self.successResultOf(periodic.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReasonTests(SynchronousTestCase):
    def test_one_line(self) -> None:
        """A reason is one line, whatever the exception says."""
        self.assertEqual(reason_of(RuntimeError("two\n  lines")), "RuntimeError: two lines")
        self.assertEqual(reason_of(ValueError()), "ValueError")

    def test_file(self) -> None:
        """The reason of a system error names the file."""
        self.assertEqual(reason_of(PermissionError(13, "Permission denied", "/x")), "Permission denied: /x")

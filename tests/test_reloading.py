"""Tests for L{socialrelay.running.reloading}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Admin, Config, Delivery, NodeList, Policy, Polling, Postgres
from socialrelay.loading import ConfigError
from socialrelay.running.reloading import CannotApply, Commit, Reloader, changes

BEFORE = Config(state_dir=Path("/var/lib/socialrelay"))


class ChangesTests(SynchronousTestCase):
    def said(self, **tables: object) -> list[str]:
        return [str(change) for change in changes(BEFORE, evolve(BEFORE, **tables))]

    def test_values(self) -> None:
        """A change is told with the key and both values, as they stand in the file."""
        self.assertEqual(self.said(delivery=Delivery(origin_spread=10.0, log_each=True)), [
            "delivery.origin_spread: 30.0 → 10.0",
            "delivery.log_each: false → true",
        ])  # fmt: skip
        self.assertEqual(self.said(host="relay.example"), ["host: empty → relay.example"])

    def test_lists(self) -> None:
        """Of a list it is told how long it is."""
        self.assertEqual(self.said(polling=Polling(lists=(NodeList("a", "/a"),))), ["polling.lists: default → 1 entry"])

    def test_secrets(self) -> None:
        """Of a secret nothing is told but that it changed."""
        secret = "$argon2id$canary"
        said = self.said(admin=Admin(password=secret), postgres=Postgres(dsn=f"password={secret}"))
        self.assertEqual(said, ["admin.password: changed", "postgres.dsn: changed"])


class ReloaderTests(SynchronousTestCase):
    """
    @ivar found: what is read the next time, or raised.
    """

    def setUp(self) -> None:
        self.found: Config | Exception = BEFORE
        self.held: list[Callable[[], None]] = []
        self.hold = False
        self.reloader = Reloader(BEFORE, self.load, self.in_thread)
        self.applied: list[Config] = []

    def load(self) -> Config:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def in_thread(self, work: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()

        def run() -> None:
            succeed(None).addCallback(lambda _: work(*arguments)).addBoth(answer.callback)

        self.held.append(run)
        if not self.hold:
            self.held.pop()()
        return answer

    def prepare(self, config: Config) -> Commit:
        return lambda: self.applied.append(config)

    def reload(self, **tables: object) -> tuple[str, list[str]]:
        """What came of it, and what was logged."""
        if tables:
            self.found = evolve(BEFORE, **tables)
        with capturedLogs() as events:
            line = self.successResultOf(self.reloader.reload())
        return line, [formatEvent(event) for event in events if event["log_level"] >= LogLevel.info]

    def test_applied(self) -> None:
        """A key that somebody registered for is applied, and said in one line."""
        self.reloader.register(("delivery.",), self.prepare)
        line, logged = self.reload(delivery=Delivery(origin_spread=10.0))
        self.assertEqual(line, "The configuration was read again: 1 change.")
        self.assertEqual(logged, ["Configuration: delivery.origin_spread: 30.0 → 10.0.", line])
        self.assertEqual(self.applied[0].delivery.origin_spread, 10.0)
        self.assertEqual(self.reloader.config.delivery.origin_spread, 10.0)

    def test_concerns(self) -> None:
        """Who registered for other keys hears nothing."""
        self.reloader.register(("policy.max_tags",), self.prepare)
        self.reloader.register(("policy.uninvited",), lambda config: lambda: None)
        self.reload(policy=Policy(uninvited=False))
        self.assertEqual(self.applied, [])

    def test_restart(self) -> None:
        """A key that nobody can change is named, and keeps its value: also what is applied beside it sees the old one."""
        self.reloader.register(("delivery.window",), self.prepare)
        line, logged = self.reload(delivery=Delivery(window=3, http2=True))
        self.assertEqual(line, "The configuration was read again: 1 change, and 1 that need a restart.")
        self.assertIn("Configuration: delivery.http2: false → true needs a restart.", logged)
        self.assertEqual([(each.delivery.window, each.delivery.http2) for each in self.applied], [(3, False)])
        _, logged = self.reload()
        self.assertIn("Configuration: delivery.http2: false → true needs a restart.", logged)

    def test_refused(self) -> None:
        """A file that is wrong changes nothing, and the log says where it is wrong."""
        self.reloader.register(("delivery.",), self.prepare)
        self.found = ConfigError("relay.toml", "delivery.window", "must be from 1 to 5, not 9")
        line, logged = self.reload()
        self.assertEqual(line, "The configuration was refused: relay.toml: delivery.window: must be from 1 to 5, not 9")
        self.assertEqual(logged, ["The configuration is not changed: relay.toml: delivery.window: must be from 1 to 5, not 9."])
        self.assertEqual(self.reloader.config, BEFORE)

    def test_together(self) -> None:
        """Two values that make sense only together are refused if one of them has to wait for a restart."""
        self.reloader.register(("delivery.bodies_in_flight",), self.prepare)
        self.found = evolve(BEFORE, delivery=Delivery(bodies_in_flight=4096), receive=evolve(BEFORE.receive, max_body=4096))
        line, _ = self.reload()
        self.assertIn("delivery.bodies_in_flight: must not be less than receive.max_body, which is 1048576; restart", line)
        self.assertEqual((self.applied, self.reloader.config), ([], BEFORE))

    def test_all_or_nothing(self) -> None:
        """If one part cannot take its share, none does."""

        def refuse(config: Config) -> Commit:
            raise CannotApply("policy.max_tags: this part cannot")

        self.reloader.register(("delivery.window",), self.prepare)
        self.reloader.register(("policy.",), refuse)
        line, _ = self.reload(delivery=Delivery(window=3), policy=Policy(max_tags=4))
        self.assertEqual(line, "The configuration was refused: policy.max_tags: this part cannot")
        self.assertEqual((self.applied, self.reloader.config), ([], BEFORE))

    def test_broken_part(self) -> None:
        """A part that breaks when it applies its share is in the log, and the others have theirs."""

        def breaks(config: Config) -> Commit:
            return lambda: 1 / 0

        self.reloader.register(("policy.",), breaks)
        self.reloader.register(("policy.",), self.prepare)
        self.reload(policy=Policy(max_tags=4))
        self.assertEqual(len(self.applied), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_broken_reading(self) -> None:
        """A bug in reading is in the log; the next reload works."""
        self.found = ZeroDivisionError()
        line, _ = self.reload()
        self.assertEqual(line, "The configuration could not be read again: ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.found = BEFORE
        self.assertEqual(self.reload()[0], "The configuration was read again: 0 changes.")

    def test_each_time(self) -> None:
        """What is to be done with every reload is done also if nothing changed, but not for a file that is refused."""
        done: list[None] = []
        self.reloader.each_time(lambda: done.append(None))
        self.reload()
        self.assertEqual(len(done), 1)
        self.found = ConfigError("relay.toml", "", "is not TOML")
        self.reload()
        self.assertEqual(len(done), 1)

    def test_asked_meanwhile(self) -> None:
        """Who asks while the file is being read has it read once more, for it may have changed after that."""
        self.hold = True
        first, second, third = (self.reloader.reload() for _ in range(3))
        self.held.pop()()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.held.pop()()
        self.assertEqual(self.successResultOf(second), self.successResultOf(third))
        self.assertEqual(self.held, [])

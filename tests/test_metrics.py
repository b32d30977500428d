"""Tests for L{socialrelay.metrics}: a relay's metrics, and what is made of them in C{etc/}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.assembly import Assembly
from socialrelay.config import Bus
from socialrelay.metrics import census
from socialrelay.metrics.families import OTHER, VALUES_MAX, bounded, counter, counters, histogram
from socialrelay.metrics.page import MetricsPage
from socialrelay.metrics.process import LogCounts
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.record import DestinationRecord, State
from tests.assembled import assembled

ETC = Path(__file__).parent.parent / "etc"


class FamilyTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """What does not look like a name of ours, and what is too much, is added up: no stranger makes metrics."""
        self.assertEqual(bounded({"bad-alg": 2, "EVIL": 3, 'a"b\n': 4, "x" * 41: 5}), {"bad-alg": 2, OTHER: 12})
        many = bounded({f"reason-{number}": 1000 - number for number in range(500)})
        self.assertEqual(len(many), VALUES_MAX + 1)
        self.assertEqual(sum(many.values()), sum(1000 - number for number in range(500)))

    def test_known(self) -> None:
        """Values that are known are there from the beginning."""
        family = counters("answers", "Answers.", "code", {"503": 2}, ("202", "503"))
        self.assertEqual([(sample.labels, sample.value) for sample in family.samples], [({"code": "202"}, 0.0), ({"code": "503"}, 2)])

    def test_histogram(self) -> None:
        """Buckets are added up, as Prometheus wants them."""
        family = histogram("seconds", "Seconds.", (0.1, 1.0), (2, 3, 1), 4.5)
        samples = [(sample.name, sample.labels.get("le"), sample.value) for sample in family.samples]
        self.assertEqual(samples[:3], [("socialrelay_seconds_bucket", le, value) for le, value in (("0.1", 2), ("1.0", 5), ("+Inf", 6))])
        self.assertIn(("socialrelay_seconds_sum", None, 4.5), samples)


class Collecting:
    def collect(self) -> Iterator[Metric]:
        yield counter("posts", "Posts.", 3)


class Breaking:
    def collect(self) -> Iterator[Metric]:
        raise ZeroDivisionError


class PageTests(SynchronousTestCase):
    def ask(self, page: MetricsPage, **options: Any) -> tuple[int, str, str]:
        treq: Any = StubTreq(page)
        response = self.successResultOf(treq.get("http://relay/metrics", **options))
        kind = response.headers.getRawHeaders("content-type")[0]
        return response.code, kind, self.successResultOf(treq.content(response)).decode()

    def page(self, collector: Any, prepare: Any = lambda: succeed(None)) -> MetricsPage:
        registry = CollectorRegistry()
        registry.register(collector)
        return MetricsPage(registry, prepare)

    def test_text(self) -> None:
        """Who does not say what it accepts gets Prometheus' text."""
        code, kind, text = self.ask(self.page(Collecting()))
        self.assertEqual((code, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn("socialrelay_posts_total 3.0\n", text)

    def test_openmetrics(self) -> None:
        """Who accepts OpenMetrics gets it."""
        code, kind, text = self.ask(self.page(Collecting()), headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
        self.assertEqual(code, 200)
        self.assertTrue(kind.startswith("application/openmetrics-text; version=1.0.0"))
        self.assertTrue(text.endswith("# EOF\n"))

    def test_nonsense_accepted(self) -> None:
        """An Accept header that makes no sense gets the text."""
        for accept in ("application/openmetrics-text;version=x.y", "text/plain;version=", "\xff"):
            self.assertEqual(self.ask(self.page(Collecting()), headers={"Accept": accept})[0], 200, accept)

    def test_broken(self) -> None:
        """A collector that breaks is in the log, and the answer is 500."""
        code, _, text = self.ask(self.page(Breaking()))
        self.assertEqual((code, text), (500, "The metrics could not be collected; the log says why.\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_only_read(self) -> None:
        """It can only be read."""
        treq: Any = StubTreq(self.page(Collecting()))
        self.assertEqual(self.successResultOf(treq.post("http://relay/metrics")).code, 405)


def destination(number: int, state: State = State.ACTIVE, cursor: int = 10, subscribed: bool = True) -> Destination:
    record = DestinationRecord(number, f"pod{number}.example", "diaspora", "https://pod.example/", cursor, subscribed, state)
    host = Host(record.host, 5)
    host.state = state
    return Destination(record, host)


class Turns(Clock):
    turns = 0

    def callLater(self, *arguments: Any, **keywords: Any) -> Any:
        self.turns += 1
        return super().callLater(*arguments, **keywords)


class CensusTests(SynchronousTestCase):
    def test_counts(self) -> None:
        """Destinations are counted by state, window and how far they are behind; who is not served is not."""
        gone = destination(3, State.GONE, subscribed=False)
        following = destination(1)
        following.following = True
        found = census.Census()
        found.count(
            [following, destination(2, State.DEFERRED, cursor=4), gone, destination(4, subscribed=False)], 10, lambda h: h == "pod3.example"
        )
        self.assertEqual(found.states, {State.ACTIVE: 1, State.DEFERRED: 1, State.GONE: 1})
        self.assertEqual((found.behind, found.positions), ({State.DEFERRED: 1}, {State.DEFERRED: 6}))
        self.assertEqual(found.windows, {2: 3})

    def test_slices(self) -> None:
        """Many are counted in slices, and the reactor has its turn between two."""
        clock = Turns()
        one = destination(1)
        taken = census.take(lambda: [one] * (3 * census.SLICE), lambda: 10, lambda host: True, clock)
        self.assertNoResult(taken)
        clock.advance(0)
        self.assertGreaterEqual(clock.turns, 3)
        self.assertEqual(self.successResultOf(taken).states, {State.ACTIVE: 3 * census.SLICE})


class LogCountsTests(SynchronousTestCase):
    def test_counted(self) -> None:
        """Events are counted by level, and those with a traceback as errors."""
        counts = LogCounts()
        log = Logger("test", observer=LogPublisher(counts))  # type: ignore[arg-type]
        log.debug("x")
        log.warn("x")
        log.failure("x", Failure(ValueError()))
        self.assertEqual((counts.levels, counts.failures), ({"debug": 1, "warn": 1, "critical": 1}, 1))


class RelayTests(TestCase):
    """The metrics of a whole relay that was not started."""

    timeout = 60

    def assembled(self) -> Assembly:
        return assembled(self, bus=Bus(enabled=True)).assembly

    async def metrics(self, assembly: Assembly, **options: Any) -> str:
        treq: Any = StubTreq(assembly.admin.parts[b"metrics"])
        answers: list[bytes] = []
        treq.get("http://relay/metrics", **options).addCallback(treq.content).addCallback(answers.append)
        while not answers:  # destinations are counted in turns of the reactor
            await deferLater(reactor, 0.0)
            treq.flush()
        return answers[0].decode()

    async def families(self) -> dict[str, Metric]:
        """By the names of their samples, as they stand in expressions."""
        text = await self.metrics(self.assembled())
        found = {}
        for family in plain_families(text):
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
            found.update({family.name + suffix: family for suffix in suffixes})
        return found

    async def test_openmetrics(self) -> None:
        """OpenMetrics' own parser, which is strict, reads it."""
        text = await self.metrics(self.assembled(), headers={"Accept": "application/openmetrics-text"})
        families = {family.name: family for family in text_string_to_metric_families(text)}
        self.assertEqual(families["socialrelay_ready"].samples[0].value, 1.0)
        self.assertGreater(len(families), 100)

    async def test_conventions(self) -> None:
        """Each family has our prefix or the process's, a sentence, and a base unit if it has one."""
        for family in (await self.families()).values():
            self.assertRegex(family.name, r"^(socialrelay|process)_[a-z0-9_]+$")
            self.assertRegex(family.documentation, r"\S\.$")
            self.assertNotRegex(family.name, r"_(milliseconds|ms|kb|mb|minutes|hours|count|sum|bucket)$")

    async def test_labels(self) -> None:
        """No label can be chosen by strangers."""
        closed = {
            "action", "answer", "cause", "code", "condition", "essential", "event", "found", "le", "level", "list", "outcome", "python",
            "reason", "result", "scope", "server", "source", "state", "task", "twisted", "version", "what", "window",
        }  # fmt: skip
        for family in (await self.families()).values():
            for sample in family.samples:
                self.assertLessEqual(set(sample.labels), closed, family.name)

    async def test_bounds(self) -> None:
        """Each limit stands beside what it limits."""
        names = {family.name for family in (await self.families()).values()}
        limits = [name for name in names if "_limit" in name]
        self.assertGreater(len(limits), 12)
        for name in limits:
            self.assertIn(name.replace("_limit", "").removeprefix("socialrelay_"), {each.removeprefix("socialrelay_") for each in names})

    async def test_logins(self) -> None:
        """Who tries to get in to the operators' site is counted; before the first try, too."""
        assembly = self.assembled()
        assembly.admin.logins["wrong-password"] += 2
        text = await self.metrics(assembly)
        self.assertIn('socialrelay_operator_logins_total{result="wrong-password"} 2.0', text)
        self.assertIn('socialrelay_operator_logins_total{result="wrong-link"} 0.0', text)

    async def test_stored(self) -> None:
        """What only the database knows is not there until it was asked: a zero would end an alert."""
        self.assertEqual((await self.families())["socialrelay_quarantine_rows"].samples, [])

    async def test_hostile(self) -> None:
        """Whatever strangers bring about makes no new series, and is in none."""
        assembly = self.assembled()
        assembly.public.counters["receive-<evil>"] += 1
        assembly.public.counters['refused-"\n evil'] += 1
        text = await self.metrics(assembly)
        self.assertNotIn("evil", text)
        self.assertIn('socialrelay_intake_answers_total{code="other"} 1.0', text)

    async def test_alerts(self) -> None:
        """Each alert asks for metrics and labels that there are, and says what to do."""
        families = await self.families()
        rules = (ETC / "alerts.yml").read_text()
        expressions = re.findall(r"^        expr: (?:>-\n((?:          .*\n)+)|(.+)\n)", rules, re.MULTILINE)
        self.assertEqual(len(expressions), rules.count("- alert:"))
        for folded, plain in expressions:
            self.check(folded or plain, families)
        names = re.findall(r"- alert: (\w+)", rules)
        for part in ("severity", "summary", "description"):
            self.assertEqual(len(re.findall(rf"^ +{part}: \S", rules, re.MULTILINE)), len(names), part)
        self.assertEqual(re.findall(r'runbook_url: "docs/runbook.md#(\w+)"', rules), [name.lower() for name in names])

    async def test_dashboard(self) -> None:
        """Each panel of the dashboard asks for metrics and labels that there are, and no two have the same place or number."""
        families = await self.families()
        dashboard = json.loads((ETC / "grafana-dashboard.json").read_text())
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        for panel in panels:
            for target in panel["targets"]:
                self.check(target["expr"], families)
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in dashboard["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        self.assertEqual(len(set(cells)), len(cells))
        self.assertLess(max(x for x, _ in cells), 24)

    def check(self, expression: str, families: dict[str, Metric]) -> None:
        """The metrics of an expression exist, and have the labels that it names."""
        for name, selector in re.findall(r"\b(socialrelay_\w+|process_\w+)(?:\{([^}]*)\})?", expression):
            self.assertIn(name, families, expression)
            samples = families[name].samples
            for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selector):
                if label in ("instance", "job"):
                    continue
                known = {sample.labels[label] for sample in samples if label in sample.labels}
                self.assertTrue(known, f"{expression}: {label}")
                if operator == "=":
                    self.assertIn(value, known, expression)
                else:
                    self.assertTrue(any(re.fullmatch(value, each) for each in known), expression)
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            for label in labels.replace(" ", "").split(","):
                there = any(label in sample.labels for family in families.values() for sample in family.samples)
                self.assertTrue(label == "instance" or there, expression)

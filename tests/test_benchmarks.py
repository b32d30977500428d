"""The parts of the benchmarks that calculate: how figures come from runs, and how they are written."""

from __future__ import annotations

import json
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import sink
from benchmarks.__main__ import CASES, RESULTS
from benchmarks.cases.catchup import everyone
from benchmarks.cases.running import delays
from benchmarks.figures import interleaved, medians, merged, percentile, prefixed, rounded, table, written
from benchmarks.load import Sent, request
from benchmarks.peers import where
from benchmarks.processes import TICK, cpu_seconds, megabytes
from benchmarks.sinks import ADDRESSES, Arrival, mark, names
from socialrelay.routing.bitmap import pack
from tests.envelopes import Author


class StatisticsTests(SynchronousTestCase):
    def test_percentile(self) -> None:
        """
        A percentile is one of the values, and its share of them does not exceed it.
        """
        self.assertEqual(percentile([3, 1, 2], 0.5), 2)
        self.assertEqual(percentile(range(1, 101), 0.99), 99)
        self.assertEqual(percentile([7], 0.0), 7)

    def test_percentile_of_nothing(self) -> None:
        """
        Of no values there is none.
        """
        self.assertRaises(ValueError, percentile, [], 0.5)

    @given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 1))
    def test_percentile_share(self, values: list[float], share: float) -> None:
        """
        At least the share asked for is not above it, whatever the values.
        """
        found = percentile(values, share)
        self.assertIn(found, values)
        self.assertGreaterEqual(sum(value <= found for value in values), share * len(values) - 1e-6 * len(values))

    def test_medians(self) -> None:
        """
        Each figure has its own median, over the rounds that know it.
        """
        rounds = [{"rate": 1.0}, {"rate": 3.0, "lost": 4.0}, {"rate": 100.0}]
        self.assertEqual(medians(rounds), {"rate": 3.0, "lost": 4.0})

    def test_interleaved(self) -> None:
        """
        Runs take turns; what counts is the median of each, and of what they are to each other in each round.
        """
        order: list[str] = []

        def run(name: str) -> dict[str, float]:
            order.append(name)
            return {"n": float(len(order))}

        found = interleaved(3, {"a": lambda: run("a"), "b": lambda: run("b")})
        self.assertEqual(order, ["a", "b"] * 3)
        self.assertEqual(found.medians(), {"a": {"n": 3.0}, "b": {"n": 4.0}})
        self.assertEqual(found.ratio("n", "b", "a"), 4 / 3)

    def test_delays(self) -> None:
        """
        A delay runs from the answer to the sender; a node that was quicker than the answer counts as at once.
        """
        author = Author("alice@pod.example")
        posts = [author.post("one"), author.post("two")]
        sent = [Sent(0.0, 1.0, 202), Sent(0.0, 2.0, 202)]
        arrivals = [Arrival(1.5, mark(posts[0]), "n1"), Arrival(1.9, mark(posts[1]), "n1"), Arrival(9.0, mark(posts[1]), "other")]
        found = delays(posts, sent, arrivals, lambda host: host == "n1")
        self.assertEqual(found, {"delay_p50_ms": 0.0, "delay_p99_ms": 500.0})


class WrittenTests(SynchronousTestCase):
    def test_rounded(self) -> None:
        """
        Three digits count, and no digit before the point is lost.
        """
        for value, expected in (
            (0.0123456, 0.0123),
            (1.23456, 1.23),
            (123.456, 123),
            (12345.6, 12346),
            (0.0, 0.0),
            (-1.23456, -1.23),
            (inf, inf),
        ):
            self.assertEqual(rounded(value), expected)

    def test_written(self) -> None:
        """
        Results are flat JSON in the order of their names.
        """
        text = written(prefixed("delivery.tls_kept", {"rate": 8123.4, "cpu_ms": 0.11111}))
        self.assertEqual(json.loads(text), {"delivery.tls_kept.cpu_ms": 0.111, "delivery.tls_kept.rate": 8123})
        self.assertLess(text.index("cpu_ms"), text.index("rate"))

    def test_merged(self) -> None:
        """
        The figures of a case that is run again are replaced, all of them; those of others stay.
        """
        before = {"route.ms_10k": 1.0, "route.ms_old": 2.0, "verify.per_s": 3.0}
        self.assertEqual(merged(before, {"route.ms_10k": 9.0}, ["route"]), {"verify.per_s": 3.0, "route.ms_10k": 9.0})

    def test_table(self) -> None:
        """
        A row without a figure leaves its place empty.
        """
        self.assertEqual(
            table({"ours": {"rate": 8123.0, "lost": 0.0}, "theirs": {"rate": 7.5}}).splitlines(),
            ["         rate  lost", "ours    8,123   0.0", "theirs    7.5"],
        )

    def test_results(self) -> None:
        """
        The figures that are kept are flat, and each belongs to a case.
        """
        for name, value in json.loads(RESULTS.read_text()).items():
            self.assertIsInstance(value, int | float)
            self.assertIn(name.partition(".")[0], CASES)


class ProcessTests(SynchronousTestCase):
    def test_cpu(self) -> None:
        """
        The times are found behind a name with spaces and brackets, user and system together, on request with those of ended children.
        """
        stat = "42 (a ) b) S " + " ".join(str(number) for number in range(4, 50))
        self.assertAlmostEqual(cpu_seconds(stat), (14 + 15) * TICK)
        self.assertAlmostEqual(cpu_seconds(stat, with_ended_children=True), (14 + 15 + 16 + 17) * TICK)

    def test_peak(self) -> None:
        """
        Linux counts in KiB; megabytes are millions of bytes.
        """
        self.assertEqual(megabytes("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  1000 kB\n", "VmHWM"), 1.024)


class SinkTests(SynchronousTestCase):
    def test_request(self) -> None:
        """
        A sink finds the host and the length of a request, whoever wrote it.
        """
        for head in (
            b"POST /x HTTP/1.1\r\nHost: n1.bench.example:8443\r\nContent-Type: text/plain\r\nContent-Length: 12",
            b"POST /x HTTP/1.1\r\ncontent-length: 12\r\nhost: n1.bench.example",
        ):
            self.assertEqual((sink._host(head), sink._length(head + b"\r\n\r\n", len(head))), ("n1.bench.example", 12))

    def test_mark(self) -> None:
        """
        A post is known by its signature, in a request as well as by itself.
        """
        author = Author("alice@pod.example")
        one, two = author.post("the same"), author.post("the same")
        self.assertNotEqual(mark(one), mark(two))
        self.assertEqual(mark(request(one)), mark(one))

    def test_names(self) -> None:
        """
        Nodes have different names and are spread over the addresses, as the peers find them too.
        """
        found = names("n", 100)
        self.assertEqual(len(set(found)), 100)
        self.assertEqual({where(host) for host in found}, set(ADDRESSES))

    def test_everyone(self) -> None:
        """
        The bitmap that is put into the log beforehand is the one that the relay would write.
        """
        for count in (1, 8, 9, 100):
            self.assertEqual(everyone(count), pack(range(count)))

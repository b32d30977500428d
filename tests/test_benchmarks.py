"""The parts of the benchmarks that calculate: how figures come from runs, and how they are written."""

from __future__ import annotations

import csv
import json
from array import array
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import report, sink
from benchmarks.__main__ import CASES
from benchmarks.bed import Database
from benchmarks.bus_ends import PROBE, SENT, SIZE, body
from benchmarks.cases import soak
from benchmarks.cases.bus import most_lost
from benchmarks.cases.catchup import everyone, fill, rows_read
from benchmarks.cases.running import delays
from benchmarks.figures import Rounds, interleaved, medians, merged, percentile, prefixed, rounded, table, written
from benchmarks.ledger import Account, ledger
from benchmarks.load import Sent, request
from benchmarks.peers import where
from benchmarks.processes import TICK, cpu_seconds, established, megabytes
from benchmarks.report import RESULTS
from benchmarks.sinks import ADDRESSES, Arrival, Report, mark, names
from socialrelay.routing.bitmap import pack
from tests.envelopes import Author
from tests.servers import postgres

HEADLINES = {
    "delivery.tls_kept.cpu_ms",
    "delivery.tls_kept.ratio_treq",
    "delivery.tls_kept.ratio_requests",
    "delivery.tls_new.cpu_ms",
    "hanging.rate_ratio",
    "receive.per_cpu_s",
    "receive.p99_ms_while_delivering",
    "verify.rsa4096_per_s",
    "verify.ratio_federation",
    "route.ms_10k",
    "memory.mb_10k_destinations",
    "growth.cpu_ratio_10k_over_100",
    "bus.flood_ratio_fedmsg",
    "bus.flood_ratio_fedmsg_stored",
    "bus.acked_per_s",
    "bus.stall_ms",
    "bus.lost",
}


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

    def test_headlines(self) -> None:
        """
        The figures that others compare themselves with keep their names.
        """
        self.assertLessEqual(HEADLINES, json.loads(RESULTS.read_text()).keys())


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

    def test_established(self) -> None:
        """
        Of the kernel's list of sockets those count whose connection stands; neither listeners nor what is being closed do.
        """
        lines = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0",
            "   1: 0100007F:9C40 0142007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 22 1 0 20 4 30 10 -1",
            "   2: 0100007F:9C42 0142007F:01BB 06 00000000:00000000 03:00001770 00000000     0        0 33 3 0",
        ]
        self.assertEqual(established("\n".join(lines)), ["22"])


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


class SoakTests(SynchronousTestCase):
    def test_arrived(self) -> None:
        """
        What never came to a node is lost, what came again is counted, and each post's first arrivals are known.
        """
        author = Author("alice@pod.example")
        posts = [author.post("one"), author.post("two")]
        sent = [Sent(0.0, 1.0, 202), Sent(0.0, 2.0, 202)]
        one, two = map(mark, posts)
        looks = [
            Report(array("d", [0.5, 1.5]), array("Q", [one, one]), array("H", [0, 1]), ["n0", "n1"]),
            Report(array("d", [2.25, 2.5]), array("Q", [two, two]), array("H", [1, 1]), ["n0", "n1"]),
        ]
        found = soak.Arrived.of(posts, sent, looks)
        self.assertEqual(found.delays, [[0.0, 500.0], [250.0, 500.0]])
        self.assertEqual(found.first, [[0.0, 500.0], [250.0, 500.0]])
        self.assertEqual(found.twice, 1)
        self.assertEqual(found.lost(["n0", "n1"], [0, 1]), 1)
        self.assertEqual(found.lost(["n0", "n1"], [0]), 0)
        self.assertEqual(found.lost(["n0", "n1", "n2"], [0, 1]), 3)

    def test_mixed(self) -> None:
        """
        Dead nodes of each kind stand evenly among the others.
        """
        dead = soak._dead(50)
        self.assertEqual(sorted({host.partition(".")[0].rstrip("0123456789") for host in dead}), sorted(soak.DEAD))
        mixed = soak._mixed(names("n", 450), dead)
        self.assertEqual(len(set(mixed)), 500)
        self.assertEqual({sum(host in dead for host in mixed[start : start + 100]) for start in range(0, 500, 100)}, {10})

    def test_settled(self) -> None:
        """
        What waits for a dead node is in order; what waits for another, or has no outcome, is not.
        """
        accounts = [Account("n0", 10, 9, 0, 1), Account("n1", 10, 11, 0, 0), Account("refuse0", 10, 0, 2, 8)]
        self.assertEqual(soak._settled(accounts, {"n0", "n1"}), {"unsettled": 2.0, "pending": 8.0})

    def test_written(self) -> None:
        """
        The record has a line for each look, and each of its columns is explained with the case and on the page.
        """
        line = soak.Line("paced", 10.0123, 100, 4500.4, None, None, 120.25, 0.7, 500, 480, 0.03, 0.01, 0.2)
        [row] = csv.DictReader(soak.written([line]).splitlines())
        self.assertEqual(row["seconds"], "10.0")
        self.assertEqual(row["p50_ms"], "")
        text = (report.TEXT).read_text()
        for column in row:
            self.assertIn(column, soak.__doc__ or "")
            if column != "run":
                self.assertIn(f"`{column}`", text)


class BusTests(SynchronousTestCase):
    def test_body(self) -> None:
        """
        A message of the bus is as fedmsg writes it, of the same size whatever it says, and it can be stamped where it says when it was sent.
        """
        for number, topic in ((0, PROBE), (99_999_999, b"org.example.dev.bench.other")):
            one = body(number, "mark", 7, topic)
            self.assertEqual((len(one), int(one[SENT])), (SIZE, 7))
            said = json.loads(one)
            self.assertEqual((int(said["msg"]["n"]), said["topic"].encode()), (number, topic))
            self.assertEqual(json.dumps(said, sort_keys=True, separators=(",", ":")).encode(), one)

    def test_lost(self) -> None:
        """
        What was lost in one way or another counts together, and of the rounds the worst.
        """
        rounds = Rounds({"ours": [{"flood_lost": 0.0, "rate": 9.0}, {"flood_lost": 1.0, "term_lost": 2.0}], "theirs": [{"term_lost": 7.0}]})
        self.assertEqual((most_lost(rounds, "ours"), most_lost(rounds, "theirs")), (3.0, 7.0))


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = Database(postgres().new_database("with_schema"))
        self.addCleanup(self.database.close)

    def test_ledger(self) -> None:
        """
        A destination's posts are delivered, failed or pending: what stands above its cursor and not ahead, and what is tried on its own.
        """
        self.database.subscribe(["n0", "n1"])
        fill(self.database, 10, everyone(2), 2, bodies=10)
        self.database.run("UPDATE destination SET cursor = 4, ahead = ARRAY[6, 7], delivered = 4, bounced = 1 WHERE number = 0")
        self.database.run("INSERT INTO deferred_delivery VALUES (0, 2, 1, now(), '')")
        first, second = ledger(self.database)
        self.assertEqual(first, Account("n0", 10, 4, 1, 5))
        self.assertEqual(first.difference, 0)
        self.assertEqual(second, Account("n1", 10, 0, 0, 10))

    def test_followers(self) -> None:
        """
        What stands between the cursor of a destination that follows and the shared position was delivered, and what it took above that.
        """
        self.database.subscribe(["n0", "n1"])
        fill(self.database, 10, everyone(2), 2, bodies=10)
        self.database.run(r"UPDATE log_state SET followed = 7, taken = ARRAY[9, 10], takers = ARRAY['\x03', '\x02']::bytea[]")
        self.database.run("UPDATE destination SET cursor = 4, ahead = ARRAY[6, 8], delivered = 6, following = true WHERE number = 0")
        first, second = ledger(self.database)
        self.assertEqual(first, Account("n0", 10, 9, 0, 1))
        self.assertEqual(second.pending, 10)

    def test_rows_read(self) -> None:
        """
        Rows that were read through an index are counted.
        """
        fill(self.database, 10, everyone(2), 2, bodies=10)
        before = rows_read(self.database, "post")
        self.database.run("SET enable_seqscan = off; SELECT author FROM post WHERE position > 3")
        self.assertEqual(rows_read(self.database, "post") - before, 7)


class PageTests(SynchronousTestCase):
    def test_page(self) -> None:
        """
        The page says what its text and the figures that were measured say.
        """
        self.assertEqual(report.PAGE.read_text(), report.page(), "python -m benchmarks.report writes it anew")

    def test_named(self) -> None:
        """
        Each figure that the text wants belongs to a case.
        """
        for name in report.named(report.TEXT.read_text()):
            self.assertIn(name.partition(".")[0], CASES)

    def test_rendered(self) -> None:
        """
        Figures are shown with three digits, as percent, or as whether they keep a bar; what was not measured is a dash.
        """
        figures = {"a.rate": 12345.6, "a.share": 0.4321, "a.cpu_ms": 0.153}
        for text, expected in (
            ("{a.rate} a second", "12\u00a0346 a second"),
            ("{a.share %} %", "43.2 %"),
            ("{a.cpu_ms <= 0.12}, {a.cpu_ms < 0.2}", "**missed**, met"),
            ("{a.rate >= 12345}, {a.rate > 99999}", "met, **missed**"),
            ("{a.other}, {a.other > 3}", "–, –"),
            ("{soak.csv}", "–"),
            ("{not a figure} {rate}", "{not a figure} {rate}"),
        ):
            self.assertEqual(report.rendered(text, figures, {}), expected)

    def test_minutes(self) -> None:
        """
        Of the long run the page has a line for each minute: what is usual, and the greatest of what must stay bounded.
        """
        lines = [
            soak.Line("paced", seconds, 100, 100.0 + seconds, p99, p99, 120.0 + seconds, 0.5, 500, 480, 0.03, 0.01, 0.2)
            for seconds, p99 in ((10.0, 5.0), (60.05, 7.0), (70.0, None))
        ]
        self.assertEqual(
            report.minutes(soak.written(lines)).splitlines()[2:],
            [
                "| paced | 1 | 135 | 6 | 7 | 180 | 0.5 | 500 | 480 | 0.03 |",
                "| paced | 2 | 170 | – | – | 190 | 0.5 | 500 | 480 | 0.03 |",
            ],
        )

"""
The recorded run: five hundred nodes, a tenth of them dead, and ten posts a second for ten minutes.

Three times: for a fifth of the time without the dead ones, then with them, then with them while the deliveries of each post are spread over
half a minute, as is the default.  What is seen of the relay every ten seconds is kept in C{soak.csv}, whose columns are::

    run               alone, at_once or paced
    seconds           since the first post, at the end of what the line is about
    posts             that were taken since the line before
    deliveries_per_s  that arrived, per second
    p50_ms, p99_ms    from the answer to the sender until the post was at a node, of those that arrived; empty if none did
    mb                resident memory of the relay, now
    cpu_share         of one processor, that the relay took
    descriptors       that it has open, now
    connections       of them, established over TCP
    postgres_share    of one processor, that PostgreSQL took
    valkey_share      the same for Valkey
    sinks_share       the same for the nodes, all of which are one process
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median

from attrs import define, field, fields, frozen

from benchmarks.bed import Bed, Relay
from benchmarks.cases.running import KEPT, PACED, PATIENCE, SETTLE
from benchmarks.figures import Figures, percentile, rounded, table
from benchmarks.ledger import Account, ledger
from benchmarks.load import Door, Sent
from benchmarks.sinks import Report, mark, names

OFFERED = 10.0
DEAD = ("refuse", "hang", "mute", "busy", "wrong")
"""Refusing connections; hanging once they have the post; hanging before TLS; answering 503; with a certificate for another name."""
CACHE = "body_cache = 2097152\n"
"""In bytes: full after two minutes. With the default of 16 MiB memory would grow as bodies gather, for longer than this run."""
SPREAD = 30.0
"""Seconds over which a paced post goes out: the default of C{delivery.origin_spread}."""
FIRST = 10
"""Deliveries of a paced post that are not held back."""


@frozen
class Line:
    """What is seen at one moment; the columns of C{soak.csv}."""

    run: str
    seconds: float
    posts: int
    deliveries_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    mb: float
    cpu_share: float
    descriptors: int
    connections: int
    postgres_share: float
    valkey_share: float
    sinks_share: float


@define
class Watch:
    """
    Looks at a relay and at the nodes, again and again; calculates when the run is over.

    @ivar began: when the first post was due.
    """

    bed: Bed
    relay: Relay
    began: float = field(factory=time.monotonic)
    _looks: list[tuple[float, Report, int, dict[str, float]]] = field(factory=list)

    def look(self, posts: int = 0) -> None:
        """
        Take down how things are.

        @param posts: taken since the last look.
        """
        cost = self.relay.cost()
        self._looks.append(
            (
                time.monotonic() - self.began,
                self.bed.sinks.take(),
                posts,
                {
                    "mb": self.relay.resident,
                    "descriptors": self.relay.descriptors,
                    "connections": self.relay.connections,
                    "cpu": cost.relay,
                    "postgres": cost.postgres,
                    "valkey": cost.valkey,
                    "sinks": cost.sinks,
                },
            )
        )

    @property
    def reports(self) -> list[Report]:
        """What arrived, look by look."""
        return [report for _, report, _, _ in self._looks[1:]]

    def lines(self, run: str, delays: Sequence[Sequence[float]]) -> list[Line]:
        """
        What was seen, from the second look on.

        @param delays: of what arrived, look by look, ms.
        """
        found = []
        for before, after, each in zip(self._looks, self._looks[1:], delays, strict=False):
            seconds = after[0] - before[0]
            share = {name: (after[3][name] - before[3][name]) / seconds for name in ("cpu", "postgres", "valkey", "sinks")}
            now = after[3]
            found.append(
                Line(
                    run=run,
                    seconds=after[0],
                    posts=after[2],
                    deliveries_per_s=len(each) / seconds,
                    p50_ms=percentile(each, 0.5) if each else None,
                    p99_ms=percentile(each, 0.99) if each else None,
                    mb=now["mb"],
                    cpu_share=share["cpu"],
                    descriptors=int(now["descriptors"]),
                    connections=int(now["connections"]),
                    postgres_share=share["postgres"],
                    valkey_share=share["valkey"],
                    sinks_share=share["sinks"],
                )
            )
        return found


@define
class Arrived:
    """
    Which post came to which node how often, and how long it took.

    @ivar delays: ms, look by look.
    @ivar first: of each post, the delays of its first L{FIRST} arrivals.
    """

    delays: list[list[float]] = field(factory=list)
    first: list[list[float]] = field(factory=list)
    _counts: dict[str, bytearray] = field(factory=dict)

    @classmethod
    def of(cls, posts: Sequence[bytes], sent: Sequence[Sent], reports: Sequence[Report]) -> Arrived:
        """
        @param sent: of each post, when it was answered.
        @param reports: in the order of time.
        """
        number = {mark(body): n for n, body in enumerate(posts)}
        self = cls(first=[[] for _ in posts])
        for report in reports:
            delays = []
            counts = [self._counts.setdefault(host, bytearray(len(posts))) for host in report.hosts]
            for at, which, taker in zip(report.times, report.marks, report.takers, strict=True):
                n = number[which]
                counts[taker][n] = min(counts[taker][n] + 1, 255)
                delay = max(0.0, at - sent[n].answered) * 1000
                delays.append(delay)
                if len(self.first[n]) < FIRST:
                    self.first[n].append(delay)
            self.delays.append(delays)
        return self

    def lost(self, hosts: Sequence[str], taken: Sequence[int]) -> int:
        """
        Pairs of a post and a node that never met.

        @param taken: numbers of the posts that the relay took.
        """
        nothing = bytes(len(self.first))
        return sum(not counts[n] for counts in (self._counts.get(host, nothing) for host in hosts) for n in taken)

    @property
    def twice(self) -> int:
        """How many arrivals were not the first of their post at their node."""
        return sum(sum(counts) - sum(map(bool, counts)) for counts in self._counts.values())


def soak(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """500 nodes, a tenth of them dead, 10 posts a second: does memory stay flat, does anything get lost, do the dead ones matter?"""
    minutes = bed.size(bed.minutes, 1 / 3)
    live, dead = bed.size((450, 50), (54, 6))
    runs = {}
    lines: list[Line] = []
    for name, configuration, company, share in (("alone", KEPT, 0, 0.2), ("at_once", KEPT, dead, 1.0), ("paced", PACED, dead, 1.0)):
        figures, seen = _run(bed, name, configuration + CACHE, live, company, minutes * 60 * share)
        told(name, figures)
        runs[name] = figures
        lines += seen
        bed.record("soak.csv", written(lines))
    print(table(runs))
    return summary(minutes, runs)


def summary(minutes: float, runs: dict[str, Figures]) -> Figures:
    """The figures of all runs, and those that say what was asked."""
    alone, at_once, paced = runs["alone"], runs["at_once"], runs["paced"]
    figures = {f"{name}.{key}": value for name, row in runs.items() for key, value in row.items()}
    figures |= {key: at_once[key] for key in ("p50_ms", "p99_ms", "mb_first_minute", "mb_last_minute", "mb_growth", "cpu_share")}
    figures["connections_growth"] = at_once["connections_growth"]
    figures |= {key: at_once[key] + paced[key] for key in ("lost", "twice", "unsettled", "refused")}
    figures |= {key: max(at_once[key], paced[key]) for key in ("connections_max", "descriptors_max")}
    figures |= {
        "minutes": minutes,
        "p50_ms_paced": paced["p50_ms"],
        "p99_ms_paced": paced["p99_ms"],
        "paced_first_ms": paced["first_ms"],
        "live_delay_ratio_without_dead": at_once["usual_p99_ms"] / alone["usual_p99_ms"],
    }
    return {f"soak.{name}": value for name, value in figures.items()}


def written(lines: Sequence[Line]) -> str:
    """The text of C{soak.csv}."""
    text = io.StringIO()
    columns = [each.name for each in fields(Line)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        values = (getattr(line, column) for column in columns)
        writer.writerow("" if value is None else rounded(value) if isinstance(value, float) else value for value in values)
    return text.getvalue()


def _run(bed: Bed, name: str, configuration: str, live: int, dead: int, seconds: float) -> tuple[Figures, list[Line]]:
    every = bed.size(10.0, 2.0)
    posts = bed.posts.first(int(OFFERED * seconds))
    hosts = names("n", live)
    with bed.database() as database:
        database.subscribe(_mixed(hosts, _dead(dead)))
        with bed.relay(database, configuration) as relay, relay.door(8) as door:
            watch = Watch(bed, relay)
            base = bed.sinks.total
            watch.look()
            sent = _offer(door, watch, posts, every)
            taken = [n for n, each in enumerate(sent) if each.status == 202]
            # Where one came twice another may still be missing: it is not waited for, and the ledger shows it.
            deadline = time.monotonic() + PATIENCE + (SPREAD if name == "paced" else 0.0)
            while not bed.sinks.wait(base + len(taken) * live, every) and time.monotonic() < deadline:
                watch.look()
            time.sleep(SETTLE)
            watch.look()
            peak = relay.peak
        accounts = ledger(database)
    arrived = Arrived.of(posts, sent, watch.reports)
    lines = watch.lines(name, arrived.delays)
    figures = {
        "posts": float(len(taken)),
        "deliveries": float(sum(map(len, arrived.delays))),
        "refused": float(len(sent) - len(taken)),
        "lost": float(arrived.lost(hosts, taken)),
        "twice": float(arrived.twice),
        "peak_mb": peak,
        **_settled(accounts, set(hosts)),
        **_delays(arrived, lines, seconds),
        **_shape(lines),
    }
    return figures, lines


def _offer(door: Door, watch: Watch, posts: Sequence[bytes], every: float) -> list[Sent]:
    """Bring the posts at an even pace, and look once after each stretch of C{every} seconds."""
    sent: list[Sent] = []
    part = int(OFFERED * every)
    for start in range(0, len(posts), part):
        time.sleep(max(0.0, watch.began + start / OFFERED - time.monotonic()))
        fresh = door.drive(posts[start : start + part], rate=OFFERED)
        sent += fresh
        watch.look(sum(each.status == 202 for each in fresh))
    return sent


def _dead(count: int) -> list[str]:
    kinds = cycle(DEAD)
    chosen = [next(kinds) for _ in range(count)]
    return [host for kind in DEAD for host in names(kind, chosen.count(kind))]


def _mixed(live: Sequence[str], dead: Sequence[str]) -> list[str]:
    """The dead ones evenly among the others, so that neither is served first."""
    return [host for n in range(len(live)) for host in (live[n], *dead[n * len(dead) // len(live) : (n + 1) * len(dead) // len(live)])]


def _settled(accounts: Sequence[Account], live: set[str]) -> Figures:
    """
    Whether the ledger is whole.

    C{unsettled}: pairs of a post and a destination that have no outcome although they do not wait for a dead one, or have one too many.
    C{pending}: those that wait for a dead one.
    """
    waiting = sum(each.pending for each in accounts if each.host in live)
    return {
        "unsettled": float(sum(each.difference for each in accounts) + waiting),
        "pending": float(sum(each.pending for each in accounts) - waiting),
    }


def _delays(arrived: Arrived, lines: Sequence[Line], seconds: float) -> Figures:
    """
    C{usual_p99_ms}: the median of the 99th percentiles of each stretch, on which what happens once, such as the start, has no influence.
    C{worst_p99_ms}: the greatest of them, but for the start's.
    """
    every = [delay for delays in arrived.delays for delay in delays]
    stretches = [line.p99_ms for line in lines if line.p99_ms is not None and line.seconds <= seconds + 1]
    return {
        "p50_ms": percentile(every, 0.5),
        "p99_ms": percentile(every, 0.99),
        "usual_p99_ms": median(stretches),
        "worst_p99_ms": max(stretches[1:] or stretches),
        "first_ms": percentile([delay for delays in arrived.first for delay in delays], 0.5),
    }


def _shape(lines: Sequence[Line]) -> Figures:
    """How memory, descriptors, connections and CPU went; a minute is a tenth of the run, however long that is."""
    under_load = [line for line in lines if line.posts]
    minute = max(1, round(len(under_load) / 10))
    first, last = under_load[:minute], under_load[-minute:]
    mb = [max(line.mb for line in part) for part in (first, last)]
    connections = [max(line.connections for line in part) for part in (first, last)]
    return {
        "mb_first_minute": mb[0],
        "mb_last_minute": mb[1],
        "mb_growth": mb[1] - mb[0],
        "connections_growth": float(connections[1] - connections[0]),
        "connections_max": float(max(line.connections for line in lines)),
        "descriptors_max": float(max(line.descriptors for line in lines)),
        "cpu_share": median(line.cpu_share for line in under_load),
        "postgres_share": median(line.postgres_share for line in under_load),
        "sinks_share": median(line.sinks_share for line in under_load),
    }

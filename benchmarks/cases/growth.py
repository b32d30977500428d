"""More destinations, most of them dead, and a longer log: what a delivery and a query cost must not change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.bed import Bed, Database
from benchmarks.cases.catchup import everyone, fill
from benchmarks.cases.running import KEPT, fan_out
from benchmarks.figures import Figures, interleaved, table
from benchmarks.sinks import names
from socialrelay.storage import log

LIVE = 100
BODIES = 20000
QUERIES = {
    "end": (log._END, {}),
    "read": (log._READ, {"byte": 5, "bit": 42}),
    "pending": (log._PENDING, {"byte": 5, "bit": 42}),
    "bodies": (log._BODIES, {}),
    "oldest": (log._OLDEST, {}),
    "week": (log._WEEK, {}),
}


def growth(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """CPU per delivery to a hundred nodes that are well: with nobody else, with 900 and with 9 900 dead ones; and with a long log."""
    seconds, rounds = float(bed.size(4, 1)), bed.size(3, 1)
    runs = {f"destinations_{count}": partial(_destinations, bed, count, seconds) for count in (100, 1000, 10000)}
    results = interleaved(rounds, runs, told)
    found = results.medians()
    sizes = (("1k", 1000), bed.size(("1m", 1000000), ("100k", 100000)))
    plans: list[str] = []
    longs = {f"log_{name}": partial(_log, bed, count, seconds, plans) for name, count in sizes}
    found |= interleaved(1, longs, told).medians()
    bed.record("plans.txt", "\n".join(plans))
    last = list(longs)[-1]
    print(table(found))
    figures = {f"growth.{row}.{name}": value for row, columns in found.items() for name, value in columns.items()}
    figures["growth.cpu_ratio_10k_over_100"] = results.ratio("cpu_ms", "destinations_10000", "destinations_100")
    figures["growth.sequential_scans"] = found[last]["sequential_scans"]
    figures["growth.cpu_ratio_long_log"] = found[last]["cpu_ms"] / found["log_1k"]["cpu_ms"]
    return figures


def memory(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Ten thousand destinations, half of them dead, the others reading a log of a hundred thousand posts from its beginning."""
    destinations, posts, seconds = bed.size(10000, 1000), bed.size(100000, 2000), float(bed.size(30, 4))
    with bed.database() as database:
        database.subscribe(names("n", destinations // 2))
        database.subscribe(names("refuse", destinations // 2), state="dead")
        fill(database, posts, everyone(destinations), destinations, bodies=posts)
        with bed.relay(database) as relay:
            ready, base, before = relay.peak, bed.sinks.total, relay.cost()
            time.sleep(seconds)
            figures = {
                "mb_10k_at_start": ready,
                "mb_10k_destinations": relay.peak,
                "mb_10k_resident": relay.resident,
                "deliveries": float(bed.sinks.total - base),
                "cpu_s": (relay.cost() - before).relay,
                "ready_s": relay.seconds_to_ready,
            }
    told("memory", figures)
    print(table({"memory": figures}))
    return {f"memory.{name}": value for name, value in figures.items()}


def _destinations(bed: Bed, count: int, seconds: float) -> Figures:
    with bed.database() as database:
        database.subscribe(names("n", LIVE))
        dead = names("refuse", count - LIVE)
        database.subscribe(dead[: len(dead) // 2], state="dead")
        database.subscribe(dead[len(dead) // 2 :], state="deferred")
        database.run("ANALYZE")
        with bed.relay(database, KEPT) as relay:
            return {**fan_out(bed, relay, LIVE, seconds), "ready_s": relay.seconds_to_ready}


def _log(bed: Bed, posts: int, seconds: float, plans: list[str]) -> Figures:
    with bed.database() as database:
        fill(database, posts, everyone(LIVE), LIVE, bodies=min(posts, BODIES))
        database.subscribe(names("n", LIVE), cursor=posts)
        figures = _queries(database, posts, plans)
        with bed.relay(database, KEPT) as relay:
            return {**fan_out(bed, relay, LIVE, seconds), "ready_s": relay.seconds_to_ready, **figures}


def _queries(database: Database, end: int, plans: list[str]) -> Figures:
    """
    How long the hot queries take.

    @param plans: PostgreSQL's plans of them are added.
    """
    span = {"after": max(0, end - 5000), "upto": end, "positions": list(range(end - 31, end + 1)), "start": "2020-01-01"}
    figures, scans = {}, 0
    for name, (query, parameters) in QUERIES.items():
        runs = ["\n".join(row[0] for row in database.run(f"EXPLAIN (ANALYZE, BUFFERS) {query}", {**span, **parameters})) for _ in range(5)]
        figures[f"{name}_ms"] = median(float(found[1]) for run in runs if (found := re.search(r"Execution Time: ([\d.]+) ms", run)))
        plans.append(f"-- {name}, {end} posts\n{runs[-1]}\n")
        scans += len(re.findall(r"Seq Scan on post\b", runs[-1]))
    return {**figures, "sequential_scans": float(scans)}

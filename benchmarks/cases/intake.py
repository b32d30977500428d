"""Posts that come in: verified and committed before they are answered, alone and while others go out."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.bed import Bed
from benchmarks.cases.running import KEPT, costs, delays, warm_up
from benchmarks.figures import Figures, interleaved, percentile, table
from benchmarks.load import Sent
from benchmarks.posts import TAGS
from benchmarks.sinks import names

OFFERED = {1: (100.0, 150), 16: (300.0, 50), 64: (300.0, 50)}
"""
Connections -> posts a second, and nodes that want one of L{TAGS} tags, so that 1000 deliveries a second are made of them.

One connection has one post under way and waits for the disk each time: it cannot bring 300 a second.
"""


def intake(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """On 1, 16 and 64 connections: as fast as it goes, and at a steady pace while 1000 deliveries a second go out."""
    seconds, rounds = float(bed.size(3, 1)), bed.size(3, 1)
    bed.posts.first(bed.size(8000, 1500))
    runs: dict[str, Callable[[], Figures]] = {str(count): partial(_alone, bed, count, seconds) for count in (1, 16, 64)}
    for count, (rate, nodes) in OFFERED.items():
        runs[f"{count}_while_delivering"] = partial(_while_delivering, bed, seconds * 2, count, rate, nodes)
    found = interleaved(rounds, runs, told).medians()
    print(table(found))
    figures = {f"receive.connections_{name}.{key}": value for name, row in found.items() for key, value in row.items()}
    figures["receive.per_cpu_s"] = found["64"]["per_cpu_s"]
    figures["receive.p99_ms_while_delivering"] = found["16_while_delivering"]["p99_ms"]
    return figures


def _latency(sent: list[Sent]) -> Figures:
    waited = [(each.answered - each.due) * 1000 for each in sent]
    return {"p50_ms": percentile(waited, 0.5), "p99_ms": percentile(waited, 0.99), "refused": float(sum(s.status != 202 for s in sent))}


def _alone(bed: Bed, connections: int, seconds: float) -> Figures:
    posts = bed.posts.first(bed.size(8000, 1500))
    with bed.database() as database:
        # It wants everything and is sent nothing now: bodies are kept only of posts that somebody wants.
        database.subscribe(names("n", 1), state="suspended")
        with bed.relay(database) as relay, relay.door(connections) as door:
            door.drive(posts[:100])
            before, started = relay.cost(), time.monotonic()
            sent = door.drive(posts[100:], until=started + seconds)
            wall = time.monotonic() - started
            time.sleep(0.2)
            cost = relay.cost() - before
            return {
                "rate": len(sent) / wall,
                "per_cpu_s": len(sent) / cost.relay,
                **costs(cost, len(sent)),
                **_latency(sent),
                "peak_mb": relay.peak,
            }


def _while_delivering(bed: Bed, seconds: float, connections: int, rate: float, nodes: int) -> Figures:
    count = int(rate * seconds)
    posts = bed.posts.first(count + TAGS)
    with bed.database() as database:
        database.subscribe(names("n", nodes), tags=["t0"])
        with bed.relay(database, KEPT) as relay, relay.door(connections) as door:
            warm_up(bed, relay, door, posts[:1], nodes)
            door.drive(posts[1:TAGS])
            before, base = relay.cost(), bed.sinks.total
            started = time.monotonic()
            sent = door.drive(posts[TAGS:], rate=rate)
            went_out = bed.sinks.total - base
            wall = time.monotonic() - started
            cost = relay.cost() - before
            return {
                "rate": len(sent) / wall,
                "deliveries": went_out / wall,
                "busy": cost.relay / wall,
                **_latency(sent),
                **delays(posts[TAGS:], sent, bed.sinks.report()),
            }

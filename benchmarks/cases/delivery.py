"""One post to many nodes over TLS, and the same by others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks import processes
from benchmarks.bed import Bed, Database
from benchmarks.cases.running import KEPT, PATIENCE, costs, delays, fan_out, warm_up
from benchmarks.figures import Figures, interleaved, prefixed, table
from benchmarks.ledger import ledger
from benchmarks.peers import PEERS
from benchmarks.sinks import names

HOSTS = 500
OFFERED = 5.0
"""Posts a second where the delay is measured: a third of what the relay can do, about."""


def delivery(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Connections kept, and a new one each time; 50 and 500 nodes; ours and the others."""
    seconds, rounds = float(bed.size(3, 1)), bed.size(3, 1)
    runs: dict[str, Callable[[], Figures]] = {}
    for way, kind in (("tls_kept", "n"), ("tls_new", "close")):
        runs[way] = partial(ours, bed, kind, HOSTS, seconds)
        runs[f"{way}_50"] = partial(ours, bed, kind, 50, seconds)
        for peer in PEERS if way == "tls_kept" else sorted(PEERS.keys() - {"requests", "session"}):
            runs[f"{way}_{peer}"] = partial(theirs, bed, peer, kind, seconds)
    runs["tls_kept_offered"] = partial(offered, bed, seconds * 2)
    results = interleaved(rounds, runs, told)
    found = results.medians()
    ratios: dict[str, Figures] = {}
    for way in ("tls_kept", "tls_new"):
        # The first has one way only, and opens a connection for each call.
        others = {
            peer: f"{way}_{peer}" if f"{way}_{peer}" in found else f"tls_kept_{peer}"
            for peer in PEERS
            if peer != "session" or way == "tls_kept"
        }
        ratios[way] = {f"ratio_{peer}": results.ratio("rate", way, other) for peer, other in others.items()}
        ratios[way] |= {f"cpu_ratio_{peer}": results.ratio("cpu_ms", other, way) for peer, other in others.items()}
    found["cold_1k"] = cold(bed, 1000)
    print(table(found))
    print(table(ratios))
    figures = {name: value for row, columns in found.items() for name, value in prefixed(f"delivery.{row}", columns).items()}
    return figures | {name: value for row, columns in ratios.items() for name, value in prefixed(f"delivery.{row}", columns).items()}


def ours(bed: Bed, kind: str, hosts: int, seconds: float) -> Figures:
    """The relay, all of it: post in, verified, kept, routed, delivered, accounted for."""
    with bed.database() as database:
        database.subscribe(names(kind, hosts))
        with bed.relay(database, KEPT) as relay:
            figures = {**fan_out(bed, relay, hosts, seconds), "ready_s": relay.seconds_to_ready}
        figures["unsettled"] = unsettled(database)
    return figures


def unsettled(database: Database) -> float:
    """After the stop: how many pairs of post and destination the ledger lacks, or has too much."""
    return float(sum(each.difference + each.pending for each in ledger(database)))


def offered(bed: Bed, seconds: float) -> Figures:
    """At a steady pace that leaves room: how long a post takes."""
    posts = bed.posts.first(300)
    count = int(OFFERED * seconds)
    with bed.database() as database:
        database.subscribe(names("n", HOSTS))
        with bed.relay(database, KEPT) as relay, relay.door(8) as door:
            warm_up(bed, relay, door, posts[:8], HOSTS)
            before, base = relay.cost(), bed.sinks.total
            sent = door.drive(posts[8 : 8 + count], rate=OFFERED)
            bed.sinks.wait(base + count * HOSTS, PATIENCE)
            time.sleep(1.2)
            return {
                "rate": OFFERED * HOSTS,
                "posts_per_s": OFFERED,
                **costs(relay.cost() - before, count * HOSTS),
                **delays(posts[8:], sent, bed.sinks.report()),
            }


def theirs(bed: Bed, peer: str, kind: str, seconds: float) -> Figures:
    """Somebody else's fan-out, on the same processor as the relay had."""
    (bed.folder / "body").write_bytes(bed.posts.first(1)[0])
    (bed.folder / "hosts").write_text("\n".join(names(kind, HOSTS)))
    bed.sinks.forget()
    command = [sys.executable, "-m", "benchmarks.peers", peer, "--seconds", str(seconds), "--port", str(bed.sinks.port)]
    command += ["--ca-file", str(bed.sinks.ca_file), "--body", str(bed.folder / "body"), "--hosts", str(bed.folder / "hosts")]
    command += ["--kept"] if kind == "n" else []
    sinks = bed.sinks.cpu
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    processes.pin([process.pid], processes.cores()[0])
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{peer} failed")
    told = json.loads(out)
    return {
        "rate": told["done"] / told["seconds"],
        "cpu_ms": told["cpu"] / told["done"] * 1000,
        "sink_busy": (bed.sinks.cpu - sinks) / told["seconds"],
        "peak_mb": told["peak"],
        "lost": float(told["failed"]),
    }


def cold(bed: Bed, hosts: int) -> Figures:
    """The first post to nodes of which none is connected."""
    post = bed.posts.first(1)[:1]
    with bed.database() as database:
        database.subscribe(names("n", hosts))
        with bed.relay(database) as relay, relay.door(1) as door:
            before, started = relay.cost(), time.monotonic()
            warm_up(bed, relay, door, post, hosts)
            wall = time.monotonic() - started
            time.sleep(0.2)
            return {"cpu_s": (relay.cost() - before).relay, "seconds": wall, "peak_mb": relay.peak}

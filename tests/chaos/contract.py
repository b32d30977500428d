"""The promises, and what proves each."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from tests.chaos import (
    black_holes,
    catching_up,
    clock,
    conservation,
    dead_hosts,
    dead_names,
    flapping,
    full_disk,
    hostile_clients,
    hostile_nodes,
    killed,
    leaks,
    memory,
    once,
    overload,
    postgres_away,
    restarted,
    sending,
    strangers,
    valkey_away,
)
from tests.chaos.finding import Finding, Proof

LONGEST, LONGEST_SHORT = 1200, 150
"""Seconds for a proof in full, and for its short form."""


@frozen
class Promise:
    """
    @ivar says: what is promised, to whoever runs a relay.
    @ivar target: what must be measured for that.
    @ivar proof: what shows it; C{None} if there is nothing yet.
    """

    says: str
    target: str
    proof: Proof | None = None


CONTRACT = {
    "P1": Promise(
        "A post that was answered 202 reaches every node that is well, also if the relay is killed",
        "0 lost; twice: at most what was under way at the kill (5 for each node), and below 0.5 %",
        killed.prove,
    ),
    "P2": Promise(
        "PostgreSQL may crash and hang",
        "0 lost; 503 with Retry-After within 1 s; goes on within 5 s; no gap of the reactor above 200 ms",
        postgres_away.prove,
    ),
    "P3": Promise(
        "Redis is only a cache", "0 lost, 0 more duplicates; p99 of the intake at most twice as long, or below 25 ms", valkey_away.prove
    ),
    "P4": Promise(
        "Of each post at each node it is known what became of it", "10 000 examples; an imbalance of 0 at all times", conservation.prove
    ),
    "P5": Promise(
        "Black holes are no concern of other nodes",
        "others: p99 at most 3 s, none above 10 s; p99 of the intake at most 100 ms",
        black_holes.prove,
    ),
    "P6": Promise("A dead node costs tries, not posts", "at most 25 attempts for each host in a week", dead_hosts.prove),
    "P7": Promise(
        "Who comes back gets all, in order, gently",
        "all delivered, in order for each author, at most 5 at a time; begins within 1 s; p99 of the others as before: at most half as much "
        "again, and 50 ms",
        catching_up.prove,
    ),
    "P8": Promise(
        "Nodes that come and go are caught up with",
        "drained within two of their times up; at most ten writes a second, shared by all",
        flapping.prove,
    ),
    "P9": Promise(
        "A dead name server stops no delivery",
        "500 dead names: posts at the others at most 50 ms later (p99); all dead for 60 s: 99 % still delivered within 3 s",
        dead_names.prove,
    ),
    "P10": Promise(
        "A hostile subscriber costs next to nothing",
        "at most 20 MB more than as many that never answer; each cut off after 15 s, seen within 17; no socket left",
        hostile_nodes.prove,
    ),
    "P11": Promise(
        "A hostile client costs next to nothing",
        "refused at the cap; at most 6 MB for each attack; no file; no gap above 75 ms; slow ones gone within 10 s; 99.9 % of the others "
        "served",
        hostile_clients.prove,
    ),
    "P12": Promise(
        "Hostile documents are refused",
        "10 000 and 10 000: 0 taken, 0 errors, 0 files, 0 connections; p99 at most 20 ms",
        strangers.documents,
    ),
    "P13": Promise("No connection leads to an address that is not public", "0 connections, by every way in", strangers.addresses),
    "P14": Promise(
        "A forged post is never relayed",
        "0 taken; at most one look-up for each author and hour; 10 and one a second for each unknown host",
        strangers.forgeries,
    ),
    "P15": Promise(
        "A post goes out once", "100 times at once: one delivery for each node; a ring of relays stops after one lap", once.prove
    ),
    "P16": Promise(
        "Too much is refused, not piled up",
        "5 times capacity: 503 with Retry-After within 10 ms (p99); what is taken: p99 at most 1 s; memory +-10 %; well again within 5 s",
        overload.prove,
    ),
    "P17": Promise(
        "A full disk loses nothing",
        "0 lost of what was taken, also while it was full; goes on by itself within 10 s; a log that is full stops nothing",
        full_disk.prove,
    ),
    "P18": Promise("The clock may jump", "at most one try for each host; nobody waits longer than ever", clock.prove),
    "P19": Promise("Memory is bounded", "after 24 h at most 5 % more than after one; every cache within its cap", memory.prove),
    "P20": Promise("A restart refuses nobody", "0 of 10 000 posts refused in ten restarts; each stop within 10 s", restarted.prove),
    "P21": Promise(
        "Nothing leaks", "0 of the secrets in logs, metrics, errors and repr; a key that others may read is refused", leaks.prove
    ),
}
"""By the names that they have in C{results.json}."""


def run(name: str, *, full: bool) -> Finding:
    """
    Run a proof; one that breaks, or does not end, is a promise that is not held.

    @raise LookupError: there is none.
    """
    proof = CONTRACT[name].proof
    if proof is None:
        raise LookupError(f"{name} is not proved.")
    try:
        with patience(LONGEST if full else LONGEST_SHORT):
            return proof(full)
    finally:
        sending.give_up()


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """
    In the main thread: what takes longer is ended.

    @raise TimeoutError: it was.
    """

    def end(*_: object) -> None:
        raise TimeoutError(f"not at an end after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

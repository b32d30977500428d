"""A relay under load, and what that came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.bed import Bed, Cost, Relay
from benchmarks.figures import Figures, percentile
from benchmarks.load import Door, Sent
from benchmarks.sinks import Arrival, mark

PACED = "[delivery]\nkept_connections = 1024\n"
KEPT = f"{PACED}origin_spread = 0\n"
WARM = (8, 40)
"""Posts before anything is measured, to many nodes and to few: connections are open, and windows have grown."""
AHEAD = 6
"""Posts that may be on their way: fewer than a destination queues."""
SETTLE = 1.2
"""Seconds after the last arrival, in which outcomes are written down: they belong to the deliveries."""
PATIENCE = 60.0


def fan_out(bed: Bed, relay: Relay, live: int, seconds: float) -> Figures:
    """
    As many posts as it takes, with never more than L{AHEAD} to come: the relay is busy, and no destination falls behind.

    @param live: recipients of each post that will take it.
    """
    posts = bed.posts.first(bed.size(3000, 600))
    warm = min(max(WARM[0], 2000 // live), WARM[1])
    with relay.door(8) as door:
        warm_up(bed, relay, door, posts[:warm], live)
        before, base = relay.cost(), bed.sinks.total
        connections = bed.sinks.connections
        started = time.monotonic()
        sent = door.drive(
            posts[warm:],
            gate=lambda number: number * live - (bed.sinks.total - base) < AHEAD * live,
            until=started + seconds,
        )
        expected = len(sent) * live
        complete = bed.sinks.wait(base + expected, PATIENCE)
        arrivals = [each for each in bed.sinks.report() if each.at >= started and not each.host.startswith("flap")]
        time.sleep(SETTLE)
        cost = relay.cost() - before
    taken = len(arrivals)
    wall = max(each.at for each in arrivals) - started
    return {
        "rate": taken / wall,
        "posts_per_s": taken / live / wall,
        **costs(cost, taken),
        **delays(posts[warm:], sent, arrivals),
        "sink_busy": cost.sinks / wall,
        "connections": float(bed.sinks.connections - connections),
        "peak_mb": relay.peak,
        "lost": 0.0 if complete else float(expected - (bed.sinks.total - base)),
        "refused": float(sum(each.status != 202 for each in sent)),
        "posts": float(len(sent)),
    }


def warm_up(bed: Bed, relay: Relay, door: Door, posts: Sequence[bytes], live: int) -> None:
    """
    Bring these, and wait until they have arrived everywhere.

    @raise RuntimeError: they do not.
    """
    base = bed.sinks.total
    sent = door.drive(posts)
    if any(each.status != 202 for each in sent) or not bed.sinks.wait(base + len(posts) * live, PATIENCE):
        raise RuntimeError(f"{bed.sinks.total - base} of {len(posts) * live} deliveries:\n{relay.log[-3000:]}")


def costs(cost: Cost, count: int) -> Figures:
    """CPU per delivery, or whatever was counted, in ms."""
    each = 1000 / max(count, 1)
    return {"cpu_ms": cost.relay * each, "postgres_ms": cost.postgres * each, "valkey_ms": cost.valkey * each}


def delays(
    posts: Sequence[bytes], sent: Sequence[Sent], arrivals: Sequence[Arrival], of: Callable[[str], bool] = lambda host: True
) -> Figures:
    """
    From the answer to the sender until the post is at a node, ms.

    A node that has it before the sender has read the answer counts as at once.

    @param of: which nodes count.
    """
    answered = {mark(body): each.answered for body, each in zip(posts, sent, strict=False)}
    found = [max(0.0, each.at - answered[each.mark]) * 1000 for each in arrivals if each.mark in answered and of(each.host)]
    return {"delay_p50_ms": percentile(found, 0.5), "delay_p99_ms": percentile(found, 0.99)}

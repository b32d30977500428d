"""A node that was away for days comes back to thousands of posts: all of them, in order, gently, and nobody else feels it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from hashlib import md5

from benchmarks.cases.catchup import everyone, fill
from benchmarks.figures import percentile
from benchmarks.load import Sent
from benchmarks.sinks import Arrival, mark, names
from tests.chaos.finding import Finding
from tests.chaos.pulse import act, metrics
from tests.chaos.stage import AT_ONCE, Stage, account

OTHERS = 40
RATE = 5.0
PATIENCE = 200.0
WINDOW = 5
AUTHORS, IN_A_ROW = 500, 3
"""And how many posts each writes one after the other: fewer than may be under way at a time, so that they could overtake each other."""
SAME = 1.5
"""Of the others' p99 before, and C{NOISE} seconds: what counts as unchanged."""
NOISE = 0.05

_SIX_DAYS = """
    UPDATE post SET published_at = now() - (%(posts)s - position) * interval '6 days' / %(posts)s,
                    received_at = now() - (%(posts)s - position) * interval '6 days' / %(posts)s,
                    author = 'author' || position / %(in_a_row)s %% %(authors)s || '@home.example';
    UPDATE destination SET failing_since = now() - interval '6 days', failures = 18 WHERE state = 'deferred';
    ANALYZE post
"""


def prove(full: bool) -> Finding:
    posts, quiet_for = (20_000, 20.0) if full else (1_500, 3.0)
    with Stage() as stage, stage.database() as database:
        returning, others = names("n", 1), names("live", OTHERS)
        database.subscribe(returning, state="deferred")
        database.subscribe(others, cursor=posts)
        fill(database, posts, everyone(1), 1, bodies=posts)
        database.run(_SIX_DAYS, {"posts": posts, "in_a_row": IN_A_ROW, "authors": AUTHORS})
        new = stage.posts.first(3000 if full else 150)
        with stage.relay(database, AT_ONCE) as relay, relay.door(8) as door:
            door.drive(new[:10], rate=RATE)
            base = stage.sinks.total - 10 * OTHERS if stage.sinks.wait(10 * OTHERS, 10.0) else 0
            quiet = door.drive(new[10:], rate=RATE, until=time.monotonic() + quiet_for)
            woken = time.monotonic()
            act(relay, "wake", host=returning[0])
            sent: list[Sent] = []
            at_once = 0.0
            while stage.sinks.total - base < posts + (10 + len(quiet) + len(sent)) * OTHERS and time.monotonic() < woken + PATIENCE:
                sent += door.drive(new[10 + len(quiet) + len(sent) :][:2], rate=RATE)
                at_once = max(at_once, metrics(relay)["late_in_flight"])
            stage.sinks.wait(base + posts + (10 + len(quiet) + len(sent)) * (OTHERS + 1), 20.0)
            arrivals = stage.sinks.report()
        books = account(database)
    mine = [each for each in arrivals if each.host == returning[0]]
    there = [each for each in arrivals if each.host != returning[0]]
    old = {_mark(position): position for position in range(1, posts + 1)}
    order = [old[each.mark] for each in mine if each.mark in old]
    late = [each.at for each in mine if each.mark in old]
    before, during = _p99(new[10:], quiet, there), _p99(new[10 + len(quiet) :], sent, there)
    noise = NOISE if full else 3 * NOISE
    same = during <= SAME * before + noise
    missing = (len(quiet) + len(sent)) * OTHERS - _came(new[10:], [*quiet, *sent], there)
    whole, ordered = len(set(order)) == posts and len(order) == posts, _in_order(order)
    begins = late[1] - late[0] if len(late) > 1 else PATIENCE
    return Finding(
        done=f"a node that was away for six days, {posts} posts of {AUTHORS} authors, {IN_A_ROW} of each in a row, queued for it; {OTHERS} others with {RATE:.0f} posts a "
        f"second before and meanwhile",
        figure=f"{len(set(order))} of {posts} delivered, {len(order) - len(set(order))} twice, {'in' if ordered else 'not in'} order for each "
        f"author, {at_once:.0f} at a time at most; the second {begins * 1000:.0f} ms after the first, all in {late[-1] - late[0]:.1f} s; "
        f"others: p99 {before * 1000:.0f} ms before, {during * 1000:.0f} ms meanwhile, {missing} missing; {books.difference} unaccounted",
        held=whole and ordered and 0 < at_once <= WINDOW and begins <= 1.0 and same and missing == books.difference == 0,
        figures={
            "delivered": len(set(order)),
            "at_a_time": at_once,
            "begins_s": begins,
            "drained_s": late[-1] - late[0],
            "others_p99_before_ms": before * 1000,
            "others_p99_meanwhile_ms": during * 1000,
            "others_missing": missing,
        },
        remark="The six days are in the database's times; what the queue does in them is held by the simulations of the test suite.",
    )


def _mark(position: int) -> int:
    """By what the sinks know a post that L{fill} made."""
    body = md5(str(position).encode(), usedforsecurity=False).hexdigest().encode() * 2
    return mark(body)


def _in_order(positions: Sequence[int]) -> bool:
    """Each author's posts came one after the other."""
    last: defaultdict[int, int] = defaultdict(int)
    for position in positions:
        author = position // IN_A_ROW % AUTHORS
        if position < last[author]:
            return False
        last[author] = position
    return True


def _came(bodies: Sequence[bytes], sent: Sequence[Sent], arrivals: Sequence[Arrival]) -> int:
    """How many deliveries of these posts came, each counted once."""
    wanted = {mark(body) for body, _ in zip(bodies, sent, strict=False)}
    return len({(each.mark, each.host) for each in arrivals if each.mark in wanted})


def _p99(bodies: Sequence[bytes], sent: Sequence[Sent], arrivals: Sequence[Arrival]) -> float:
    """Seconds from when a post was due to when the last nodes had it."""
    due = {mark(body): each.due for body, each in zip(bodies, sent, strict=False)}
    return percentile(sorted(each.at - due[each.mark] for each in arrivals if each.mark in due), 0.99)

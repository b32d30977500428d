"""The relay is killed, again and again: what was answered 202 arrives."""

from __future__ import annotations

import time
from collections import Counter
from random import Random

from benchmarks.sinks import names
from tests.chaos.finding import Finding
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Stage, account

NODES = 20
PATIENCE = 60.0
WINDOW = 5
"""The most that may be under way to a node when the relay is killed."""


def prove(full: bool) -> Finding:
    rounds, posts = (50, 2000) if full else (3, 300)
    chance = Random(rounds)
    lost = doubled = extra = 0
    accepted = 0
    with Stage() as stage, stage.database() as database:
        hosts = names("n", NODES)
        database.subscribe(hosts)
        bodies = stage.posts.first(rounds * posts)
        with stage.relay(database, AT_ONCE) as relay:
            for number in range(rounds):
                sender = Sender(relay.port, bodies[number * posts : (number + 1) * posts]).start()
                time.sleep(chance.uniform(0.0, 2.0))
                relay.kill()
                relay.start()
                sender.join()
                accepted += len(sender.accepted)
                deadline = time.monotonic() + PATIENCE
                seen: Counter[tuple[int, int]] = Counter()
                while len(seen) < len(sender.accepted) * NODES and time.monotonic() < deadline:
                    time.sleep(0.05)
                    report = stage.sinks.take()
                    seen.update(zip(report.marks, report.takers, strict=True))
                lost += sum(seen[mark, taker] == 0 for mark in sender.accepted for taker in range(NODES))
                twice = Counter(taker for (_, taker), times in seen.items() for _ in range(times - 1))
                doubled += twice.total()
                extra = max(extra, max(twice.values(), default=0))
        books = account(database)
    share = doubled / max(accepted * NODES, 1)
    return Finding(
        done=f"{rounds} kills at a random time within 2 s, {accepted} posts answered 202, to {NODES} nodes",
        figure=f"{lost} of {accepted * NODES} deliveries lost, {doubled} twice ({share:.3%}), at most {extra} for a node and kill; "
        f"{books.difference} unaccounted",
        held=lost == 0 and books.difference == 0 and extra <= WINDOW and share < 0.005,
        figures={"lost": lost, "twice": doubled, "twice_share": share, "twice_most": extra, "imbalance": books.difference},
    )

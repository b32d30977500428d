"""The relay is killed, again and again, and PostgreSQL with it now and then: what was answered 202 arrives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random

from attrs import define, field, frozen

from benchmarks.sinks import Sinks, mark, names
from tests.chaos.finding import Finding
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Relay, Stage, account

NODES = names("n", 20)
TROUBLED = names("flap", 2) + names("busy", 2)
"""Who makes it hard: they keep the others' common position back, fall behind, and come back."""
SPREAD = "[delivery]\norigin_spread = 1\n"
"""Each post goes out over a second: meanwhile some nodes have what others have not."""
RATE = 100.0
"""Posts a second then: no node falls behind."""
CRASH_EVERY = 3
"""Rounds of which one takes PostgreSQL along."""
LONGEST = 2.0
"""Seconds from the first post to the kill, at most."""
PATIENCE = 120.0
WINDOW = 5
"""The most that a node may get twice because of one kill: so many may be under way to it."""
SHARE, SHARE_SHORT = 0.005, 0.02
"""Of all deliveries; in the short form a kill comes after every 500 posts and not after every 2 000."""


@define(eq=False)
class Taken:
    """
    What the nodes say that they took.

    @ivar times: how often each post came to each node: its mark -> a number for each of L{NODES}.
    """

    sinks: Sinks
    times: dict[int, bytearray] = field(factory=dict)

    def look(self) -> None:
        """Read what came."""
        report = self.sinks.take()
        place = {number: NODES.index(host) for number, host in enumerate(report.hosts) if host in NODES}
        for post, taker in zip(report.marks, report.takers, strict=True):
            if taker in place:
                self.times.setdefault(post, bytearray(len(NODES)))[place[taker]] += 1

    def missing(self, posts: Iterable[int]) -> int:
        """How many of these posts are not at all nodes: the deliveries that are missing."""
        return sum(self.times.get(post, bytes(len(NODES))).count(0) for post in posts)

    def twice(self, posts: Iterable[int]) -> Counter[str]:
        """How many of these posts each node got that it had."""
        found = Counter[str]()
        for post in posts:
            found.update({host: times - 1 for host, times in zip(NODES, self.times.get(post, b""), strict=False) if times > 1})
        return found


def prove(full: bool) -> Finding:
    """As L{tests.chaos.finding.Proof}."""
    parts = (Part(AT_ONCE, 30, 2000), Part(SPREAD, 20, 500, RATE)) if full else (Part(AT_ONCE, 1, 500), Part(SPREAD, 1, 200, RATE))
    rounds, posts = sum(part.rounds for part in parts), sum(part.rounds * part.posts for part in parts)
    with Stage() as stage, stage.database() as database:
        database.subscribe(NODES + TROUBLED)
        storm = Storm(stage, Taken(stage.sinks), iter(stage.posts.first(posts)), Random(50))
        for part in parts:
            with stage.relay(database, part.configuration) as relay:
                for _ in range(part.rounds):
                    storm.kill(relay, part)
                relay.terminate()
                storm.taken.look()
        books = account(database)
    accepted = sum(map(len, storm.accepted))
    lost = sum(map(storm.taken.missing, storm.accepted))
    doubled = [storm.taken.twice(each) for each in storm.accepted]
    twice, most = sum(each.total() for each in doubled), max(max(each.values(), default=0) for each in doubled)
    deliveries = accepted * len(NODES)
    share = twice / max(deliveries, 1)
    return Finding(
        done=f"{rounds} kills at a random time within {LONGEST:g} s, {storm.crashes} of them together with PostgreSQL, {parts[1].rounds} while "
        f"posts were being spread; {accepted} posts answered 202, to {len(NODES)} nodes that are well and {len(TROUBLED)} that are not",
        figure=f"{lost} of {deliveries} deliveries lost, {twice} twice ({share:.3%}), at most {most} for a node and kill; "
        f"{books.difference} unaccounted of {books.matching}",
        held=accepted == posts
        and storm.refused == lost == books.difference == 0
        and most <= WINDOW
        and share < (SHARE if full else SHARE_SHORT),
        figures={"lost": lost, "twice": twice, "twice_share": share, "twice_most": most, "imbalance": books.difference},
    )


@frozen
class Part:
    """
    @ivar posts: in each round.
    @ivar rate: posts a second; 0 for as many as the relay takes.
    """

    configuration: str
    rounds: int
    posts: int
    rate: float = 0.0


@define(eq=False)
class Storm:
    """
    Rounds of posts, in each of which the relay dies once.

    @ivar accepted: the posts of each round that were answered 202, by their marks.
    @ivar refused: posts that were answered with something that is neither 2xx nor 503.
    @ivar crashes: rounds in which PostgreSQL died as well.
    """

    stage: Stage
    taken: Taken
    bodies: Iterator[bytes]
    chance: Random
    accepted: list[list[int]] = field(factory=list)
    refused: int = 0
    crashes: int = 0

    def kill(self, relay: Relay, part: Part) -> None:
        """One round: bring the posts, kill, start again, and wait until all has arrived, or nothing more does."""
        done, bodies = len(self.accepted), list(islice(self.bodies, part.posts))
        sender = Sender(relay.port, bodies, rate=part.rate).start()
        time.sleep(self.chance.uniform(0.0, LONGEST))
        relay.kill()
        if done % CRASH_EVERY == CRASH_EVERY - 2:
            self.crashes += 1
            self.stage.postgres.crash()
            self.stage.postgres.start()
        relay.start()
        wanted = [mark(body) for body in bodies]
        deadline = time.monotonic() + PATIENCE
        while (len(sender.accepted) < part.posts or self.taken.missing(wanted)) and time.monotonic() < deadline:
            time.sleep(0.1)
            self.taken.look()
        sender.stop()
        self.accepted.append(list(sender.accepted))
        self.refused += sender.refused.total()

"""
Hours of a relay on simulated time, with strangers who bring whatever may grow: C{python -m tests.chaos.long_life HOURS HOSTS BOUND}.

In the first hour all that is held in memory is filled past its bound; afterwards it goes on with what each hour brings.  Prints, as JSON,
how much memory the process has after each hour, and what was held.  What a database would keep is let go of after an hour, since here it
lies in the same memory.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import tempfile
from collections import defaultdict
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import globalLogBeginner

from benchmarks import processes
from socialrelay.boundaries import NodeRecord
from socialrelay.config import Config, Delivery, Discovery, Memory, Policy, Polling, Receive, Retention
from socialrelay.diaspora.preferences import read_preferences
from tests.chaos.simulated_world import RELAY, SimulatedRelay, Somebody, wish_of
from tests.envelopes import new_guid, private_key

HOUR = 3600.0
UNKNOWN_PER_DAY = 2000
IN_PEACE = 100
"""Authors who post all the time."""

KINDS = ("all", "silent", "dead", "failing", "refusing", "silent", "dead", "failing", "refusing", *["node"] * 51)
"""What the subscribed nodes are: one in sixty wants all posts, eight are not well."""
SOON = 600.0
"""Seconds in which comes what fills all there is."""


def configuration(folder: Path, hosts: int, bound: int) -> Config:
    """All bounds small, and what would wait for days let go of after an hour."""
    names = [each.name for each in attrs.fields(Memory)]
    hour = 1 / 24
    return Config(
        state_dir=folder,
        host=RELAY,
        memory=Memory(**dict.fromkeys(names, bound) | {"cache_bytes": 300 * bound, "outcomes": bound // 2}),
        discovery=Discovery(keys_in_memory=bound),
        polling=Polling(lists=(), interval=12 * HOUR, candidate_interval=6 * HOUR, max_nodes=hosts + bound, max_tags=2 * hosts),
        delivery=Delivery(kept_connections=min(bound, 256), queue_lifetime=HOUR, body_cache=1024 * 1024, origin_spread=5.0),
        receive=Receive(waiting_rows=10 * bound, connections=200, connections_per_address=20),
        retention=Retention(bodies=hour, posts=hour, identities=hour, rejections=hour, keys=hour, statistics=hour),
        policy=Policy(posts_per_author=5, posts_per_host=50),
    )


class Life:
    """
    @ivar over: what held more than it may, and how many.
    @ivar most: the most that was held of each thing.
    """

    def __init__(self, folder: Path, hosts: int, bound: int) -> None:
        self.bound = bound
        self.chance = random.Random(1)
        self.relay = SimulatedRelay(configuration(folder, hosts, bound))
        self.clock = self.relay.clock
        self.over: dict[str, int] = {}
        self.most: dict[str, int] = defaultdict(int)
        self.number = 0
        self.hosts = [f"{kind}-{number}.example" for number, kind in zip(range(hosts), cycle(KINDS), strict=False)]
        for host in self.hosts:
            self._subscribe(host)
        self.regulars = [Somebody(f"ada@{host}") for host in self.hosts if host.startswith("node")][:IN_PEACE]

    def _subscribe(self, host: str) -> None:
        now, engine = self.relay.given.now(), self.relay.engine
        found = read_preferences(wish_of(host, now), host, max_tags=2000).preferences
        polled_again = now + timedelta(hours=12 * self.chance.random())
        self.relay.given.storage.nodes.save(NodeRecord(host, ("list",), now, polled_again, found))
        engine.subscribers.update(host)

    # What strangers do

    def stranger(self) -> str:
        """An address that nobody had before."""
        self.number += 1
        return f"{10 + self.number // 2**16 % 200}.{self.number // 256 % 256}.{self.number % 256}.7"

    def host(self, kind: str = "home") -> str:
        self.number += 1
        return f"{kind}-x{self.number}.example"

    def post_of(self, author: Somebody) -> None:
        self.relay.post(self.stranger(), author.post(f"Hello #tag{self.chance.randrange(300)} #new{self.number}"))

    def a_regular_posts(self) -> None:
        self.post_of(self.chance.choice(self.regulars))

    def an_unknown_author_posts(self) -> None:
        self.post_of(Somebody(f"ada@{self.host()}"))

    def an_unknown_author_reshares(self) -> None:
        """What is not relayed: only the key is new, and the author."""
        self.relay.post(self.stranger(), Somebody(f"ada@{self.host()}").reshare("bob@pod.example", new_guid()))

    def an_author_of_nowhere_posts(self) -> None:
        self.post_of(Somebody(f"eve{self.number}@{self.host(self.chance.choice(('dead', 'empty', 'silent', 'hanging')))}"))

    def somebody_forges(self) -> None:
        victim = self.chance.choice(self.regulars)
        self.relay.post(self.stranger(), victim.post("Hello").replace(b"<me:data type", b"<me:data  type").replace(b"PHN0", b"PHN1"))

    def somebody_repeats(self) -> None:
        body = self.chance.choice(self.regulars).post(f"Again {self.number}")
        for _ in range(3):
            self.relay.post(self.stranger(), body)

    def somebody_sends_rubbish(self) -> None:
        self.relay.post(self.stranger(), self.chance.randbytes(500))

    def somebody_is_slow(self) -> None:
        client = self.stranger()
        for _ in range(5):
            self.relay.connect(
                client, b"POST /receive/public HTTP/1.1\r\nHost: relay.example\r\nContent-Length: 1000\r\n\r\nslow", lasts=60.0
            )

    def somebody_checks_a_node(self) -> None:
        self.relay.get(self.stranger(), f"/check?node={self.host(self.chance.choice(('node', 'empty', 'dead', 'silent')))}")

    def somebody_wishes(self) -> None:
        author = Somebody(f"ada@{self.host()}")
        self.relay.private(
            self.stranger(), author.contact(f"relay@{RELAY}", private_key("relay").public_key(), sharing=self.chance.random() < 0.5)
        )

    def somebody_takes_back(self) -> None:
        author, guid = self.chance.choice(self.regulars), new_guid()
        self.relay.post(self.stranger(), author.post("I should not have said this", guid=guid))
        self.clock.callLater(1.0, self.relay.post, self.stranger(), author.retraction(guid))

    def somebody_guesses(self) -> None:
        admin = self.relay.assembly.admin
        admin.throttle.begin(self.stranger(), self.clock.seconds())
        admin.sessions.begin(self.stranger(), "link")

    def a_node_comes(self) -> None:
        self._subscribe(self.host("node"))

    def hourly(self) -> dict[Any, int]:
        """What happens in an hour, and how often."""
        many = max(1, self.bound // 5)
        return {
            self.a_regular_posts: 3,
            self.an_unknown_author_posts: UNKNOWN_PER_DAY // 24,
            self.an_author_of_nowhere_posts: max(1, self.bound // 20),
            self.somebody_forges: many,
            self.somebody_repeats: 5,
            self.somebody_sends_rubbish: many,
            self.somebody_is_slow: 20,
            self.somebody_checks_a_node: many,
            self.somebody_wishes: 20,
            self.somebody_takes_back: 3,
            self.somebody_guesses: many,
        }

    def at_first(self) -> dict[Any, int]:
        """What fills all there is, once."""
        much = self.bound + self.bound // 4
        return {
            self.an_unknown_author_reshares: much,
            self.an_unknown_author_posts: much,
            self.somebody_takes_back: 2 * much,
            self.an_author_of_nowhere_posts: 2 * much,
            self.somebody_guesses: much,
            self.somebody_wishes: 2 * much,
            self.somebody_checks_a_node: much,
            self.somebody_forges: much,
            self.a_node_comes: self.bound // 2,
        }

    def hour(self, number: int) -> None:
        """Let it pass."""
        doings = [doing for doing, often in self.hourly().items() for _ in range(often)]
        begun = self.clock.seconds()
        plan = [(self.chance.random() * HOUR, order, doing) for order, doing in enumerate(doings)]
        if number == 0:
            first = [doing for doing, often in self.at_first().items() for _ in range(often)]
            plan += [(self.chance.random() * SOON, len(plan) + order, doing) for order, doing in enumerate(first)]
        for at, _, doing in sorted(plan):
            self.clock.run_until(begun + at)
            doing()
            self.look()
        self.clock.run_until(begun + HOUR)
        self.forget()

    def look(self) -> None:
        """See how much of each thing is held."""
        there = {each.what: (each.entries(), each.limit()) for each in self.relay.bounds}
        for what, (entries, limit) in {**there, **self.relay.more_bounds()}.items():
            self.most[what] = max(self.most[what], entries)
            if entries > limit:
                self.over[what] = max(entries, self.over.get(what, 0))

    def forget(self) -> None:
        """What a database keeps."""
        tables = self.relay.tables
        before = self.relay.given.now() - timedelta(hours=1)
        tables.profiles.clear()
        tables.counts.clear()
        tables.hours.clear()
        tables.polls.clear()
        tables.bounces.clear()
        tables.gaps.clear()
        tables.quarantine.clear()
        for identity in [identity for identity, at in tables.identities.items() if at < before]:
            del tables.identities[identity]

    def report(self) -> dict[str, Any]:
        """What was held, and how it was with bounds."""
        full = [
            each.what for each in self.relay.bounds if self.most[each.what] >= each.limit() or (each.full is not None and each.full() > 0)
        ]
        tally = self.relay.engine.tally.totals
        return {
            "over": self.over,
            "bounds": len(self.relay.bounds),
            "full": full,
            "never_full": sorted({each.what for each in self.relay.bounds} - set(full)),
            "most": self.most,
            "answers": self.relay.answers,
            "deliveries": self.relay.engine.dispatcher.wanted,
            "totals": {name: tally[name] for name in ("received", "accepted", "duplicate", "rejected", "ignored", "refused", "delivered")},
            "destinations": len(list(self.relay.engine.manager.all())),
            "alarms": len(self.relay.engine.manager._alarms),
        }


def memory() -> float:
    """MB that the process has now."""
    gc.collect()
    return processes.resident(os.getpid())


def live(hours: int, hosts: int, bound: int) -> dict[str, Any]:
    """So many hours, and what they came to."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), hosts, bound)
        found = []
        for number in range(hours):
            life.hour(number)
            found.append(round(memory(), 2))
        return {"mb": found, **life.report()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(live(*map(int, sys.argv[1:4]))))

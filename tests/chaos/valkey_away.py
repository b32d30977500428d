"""Redis is killed, emptied, hangs, or was never there, while posts come in and go out."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Self

from attrs import frozen

from benchmarks.figures import percentile
from benchmarks.sinks import names
from tests.chaos.counting import Deliveries
from tests.chaos.finding import Finding
from tests.chaos.pulse import Pulse, metrics
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Relay, Stage, account
from tests.chaos.waiting import surely

NODES = 8
RATE = 60.0
"""Posts a second."""
PATIENCE = 60.0

TIMES = 2.0
ANYWAY = 0.025
"""Seconds: a p99 below that is as good as any, since a disk takes as much now and then."""
SLACK = 3
LINES = 6
"""Of the log for each time that Redis is away."""
ASKED = 1.5
"""Seconds after which who asks for something that is counted in Redis is answered at the latest."""

ABSENT = f'{AT_ONCE}[redis]\nurl = "unix:///nonexistent/redis.sock"\n'


@frozen
class Seen:
    """
    @ivar well: seconds that each sender waited while Redis was there.
    @ivar away: the same while it was not.
    @ivar refused: answers that were not 202.
    @ivar unready: looks at which the relay said that it takes no posts.
    @ivar asked: the longest wait of who asked for what is counted in Redis.
    @ivar lines: of the log, for each time at most.
    """

    accepted: int
    well: Sequence[float]
    away: Sequence[float]
    lost: int
    twice: int
    imbalance: int
    refused: int
    unready: int = 0
    asked: float = 0.0
    lines: int = 0

    def held(self, slack: float) -> bool:
        """Whether the targets are met."""
        well, away = percentile(self.well, 0.99), percentile(self.away, 0.99)
        return (
            self.accepted > 0
            and self.lost == self.twice == self.imbalance == self.refused == self.unready == 0
            and away <= max(TIMES * well, ANYWAY) * slack
            and self.asked <= ASKED * slack
            and self.lines <= LINES
        )

    def __str__(self) -> str:
        well, away = (percentile(each, 0.99) * 1000 for each in (self.well, self.away))
        return (
            f"{self.lost} of {self.accepted * NODES} deliveries lost, {self.twice} twice, {self.refused} posts refused; "
            f"p99 of the intake {away:.1f} ms without it, {well:.1f} ms with it"
        )


def prove(full: bool) -> Finding:
    times, hangs = (5, 60.0) if full else (1, 3.0)
    with Stage() as stage:
        taken_away = _taken_away(stage, times, hangs)
        absent = _absent(stage, *((20, 300) if full else (1, 120)))
    slack = 1 if full else SLACK
    return Finding(
        done=f"{RATE:g} posts a second to {NODES} nodes; Redis killed {times} times, emptied {times} times, then hung for {hangs:g} s; "
        f"and {absent.accepted} posts in turn to a relay that has Redis and one that never had",
        figure=f"{taken_away}; others waited at most {taken_away.asked:.2f} s for what is counted in it. Never there: {absent}",
        held=taken_away.held(slack) and absent.held(slack),
        figures={
            "lost": taken_away.lost + absent.lost,
            "twice": taken_away.twice + absent.twice,
            "p99_well": percentile(taken_away.well, 0.99),
            "p99_away": percentile(taken_away.away, 0.99),
            "p99_present": percentile(absent.well, 0.99),
            "p99_absent": percentile(absent.away, 0.99),
        },
    )


def _taken_away(stage: Stage, times: int, hangs: float) -> Seen:
    ways: list[tuple[Callable[[], None], float, Callable[[], None]]] = []
    for _ in range(times):
        ways.append((lambda: stage.valkey.kill(signal.SIGKILL), 2.0, stage.valkey.start))
        ways.append((lambda: _empty(stage), 0.0, lambda: None))
    ways.append((stage.valkey.pause, hangs, stage.valkey.resume))
    bodies = stage.posts.first(int(RATE * sum(seconds + 5 for _, seconds, _ in ways)))
    deliveries = Deliveries(stage.sinks, NODES)
    spans: list[tuple[float, float]] = []
    lines = 0
    with stage.database() as database:
        database.subscribe(names("n", NODES))
        with stage.relay(database, AT_ONCE) as relay, Pulse(relay) as pulse, _Asker(relay.port) as asker:
            sender = Sender(relay.port, bodies, rate=RATE).start()
            for go, seconds, come in ways:
                time.sleep(1.0)  # while it is there, for comparison
                before, began = relay.log.count("Redis"), time.monotonic()
                go()
                if seconds:
                    _in_redis(relay, False)
                time.sleep(max(began + seconds - time.monotonic(), 0.0))
                come()
                spans.append((began, time.monotonic()))
                _in_redis(relay, True)
                lines = max(lines, relay.log.count("Redis") - before)
            time.sleep(1.0)
            sender.stop()
            lost = deliveries.wait(sender.accepted.keys(), PATIENCE)
        imbalance = account(database).difference
    away, well = [], []
    for answer in sender.answers:
        during = any(began <= answer.at and answer.at - answer.waited <= ended for began, ended in spans)
        (away if during else well).append(answer.waited)
    unready = sum(beat.status != 200 for beat in pulse.beats)
    refused = sum(answer.status != 202 for answer in sender.answers)
    return Seen(len(sender.accepted), well, away, lost, deliveries.doubled, imbalance, refused, unready, asker.longest, lines)


def _absent(stage: Stage, turns: int, posts: int) -> Seen:
    """The same load on two relays in turn: so often each, with so many posts each time."""
    bodies = stage.posts.first(2 * turns * posts)
    deliveries = Deliveries(stage.sinks, NODES)
    waits: dict[str, list[float]] = {AT_ONCE: [], ABSENT: []}
    accepted: set[int] = set()
    refused = 0
    with stage.database() as one, stage.database() as other:
        for database in (one, other):
            database.subscribe(names("n", NODES))
        with stage.relay(one, AT_ONCE) as present, stage.relay(other, ABSENT) as absent:
            for turn in range(2 * turns):
                relay, which = (present, AT_ONCE) if turn % 2 == 0 else (absent, ABSENT)
                sender = Sender(relay.port, bodies[turn * posts : (turn + 1) * posts], rate=4 * RATE).start()
                sender.join()
                accepted.update(sender.accepted)
                refused += sum(answer.status != 202 for answer in sender.answers)
                waits[which] += (answer.waited for answer in sender.answers)
            lost = deliveries.wait(accepted, PATIENCE)
        imbalance = account(one).difference + account(other).difference
    return Seen(len(accepted), waits[AT_ONCE], waits[ABSENT], lost, deliveries.doubled, imbalance, refused)


class _Asker:
    """
    Somebody who asks for something that is counted in Redis, again and again.

    @ivar longest: how long that took at most, seconds; infinite if it failed.
    """

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self._port = port
        self._over = False
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def _work(self) -> None:
        while not self._over:
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                connection.request("GET", "/check?node=127.0.0.1&format=json")
                failed = connection.getresponse().status >= 500
            except OSError:
                failed = True
            connection.close()
            self.longest = max(self.longest, float("inf") if failed else time.monotonic() - began)
            time.sleep(0.1)


def _empty(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(stage.valkey_url.removeprefix("unix://"))
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(5) == b"+OK\r\n"


def _in_redis(relay: Relay, wanted: bool) -> None:
    """Until the relay uses Redis, or does not."""
    surely(lambda: bool(metrics(relay)["cache_in_redis"]) is wanted, f"the cache is in Redis: {wanted}", PATIENCE)

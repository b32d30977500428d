"""PostgreSQL crashes and hangs while posts come in and go out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psycopg2
from attrs import frozen

from benchmarks.processes import family
from benchmarks.sinks import names
from socialrelay.storage.embedded.postgres import dsn_at
from tests.chaos.counting import Deliveries
from tests.chaos.finding import Finding
from tests.chaos.pulse import Pulse, act, late, logged
from tests.chaos.sending import Answer, Sender
from tests.chaos.stage import AT_ONCE, Relay, Stage, account
from tests.chaos.waiting import surely, until
from tests.chaos.watching import children

NODES = 8
RATE = 40.0
"""Posts a second that are offered; while they are refused each is offered again and again."""
PATIENCE = 60.0

REFUSED = 1.0
BACK = 5.0
GAP = 0.2
SLACK = 3
"""How much longer a gap of the reactor may be in the short form, which shares its machine with other tests."""
LINES = 12
"""Of the log for each time that PostgreSQL is away: it tells of changes, not of posts."""
GROWTH = 20.0
"""MB that the relay may grow by while PostgreSQL hangs."""


@frozen
class Away:
    """
    A time in which PostgreSQL did not answer, in seconds of C{time.monotonic}.

    @ivar resumed: when the first post was accepted that was brought after the end.
    @ivar lines: that were logged meanwhile.
    @ivar growth: MB that the relay took meanwhile.
    """

    began: float
    ended: float
    resumed: float
    lines: int
    growth: float

    def waits(self, answers: Sequence[Answer]) -> list[float]:
        """Seconds that each sender waited while it was away, whatever the answer was then."""
        return [
            min(answer.at, self.ended) - max(answer.at - answer.waited, self.began)
            for answer in answers
            if answer.at > self.began and answer.at - answer.waited < self.ended
        ]


@frozen
class Seen:
    """
    @ivar statuses: that senders met while it was away and shortly after.
    @ivar without: refusals that did not say when to come again.
    @ivar gap: the longest time for which nobody was answered.
    @ivar lag: the same by the relay's own measure, rounded up.
    @ivar meanwhile: deliveries that came while it was away.
    """

    accepted: int
    lost: int
    twice: int
    imbalance: int
    statuses: frozenset[int]
    without: int
    waited: float
    resumed: float
    gap: float
    lag: float
    lines: int
    growth: float
    noticed: bool

    def held(self, slack: float) -> bool:
        """Whether the targets are met."""
        return (
            self.accepted > 0
            and self.lost == self.imbalance == self.without == 0
            and self.statuses <= {202, 503}
            and self.waited <= REFUSED * (1.0 if slack == 1 else 1.5)
            and self.resumed <= BACK
            and self.gap <= GAP * slack
            and self.lines <= LINES
            and self.growth <= GROWTH
            and self.noticed
        )

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.accepted * NODES} deliveries lost, {self.twice} twice; refused at the latest {self.waited:.2f} s after it "
            f"was away or the post was there, accepted again at the latest {self.resumed:.2f} s after it was back; longest gap of the "
            f"reactor {self.gap * 1000:.0f} ms, by its own measure at most {self.lag * 1000:.0f} ms; at most {self.lines} lines "
            f"in the log; {self.growth:+.1f} MB while it hung"
        )


def prove(full: bool) -> Finding:
    crashes, hangs = (10, 30.0) if full else (1, 3.0)
    with Stage() as stage:
        stage.posts.first(int(RATE * (crashes * 5 + hangs + 20)))
        own = _own(stage, crashes, hangs)
        brought = _brought(stage, max(crashes // 3, 1))
    slack = 1 if full else SLACK
    return Finding(
        done=f"{RATE:g} posts a second to {NODES} nodes; PostgreSQL crashed {crashes} times, then hung for {hangs:g} s; "
        f"that which the relay brings along crashed {max(crashes // 3, 1)} times",
        figure=f"{own}. Brought along: {brought}",
        held=own.held(slack) and brought.held(slack),
        figures={
            "lost": own.lost + brought.lost,
            "twice": own.twice + brought.twice,
            "refused_after": max(own.waited, brought.waited),
            "resumed_after": max(own.resumed, brought.resumed),
            "gap": max(own.gap, brought.gap),
        },
        remark="a gap is what was seen from outside without the time in which other processes had the processor; the relay's own measure has it",
    )


def _own(stage: Stage, crashes: int, hangs: float) -> Seen:
    """A server that somebody else looks after."""

    def crash(hard: bool) -> Callable[[], None]:
        return stage.postgres.crash if hard else stage.postgres.kill

    ways = [(crash(bool(number % 2)), 1.0, stage.postgres.start) for number in range(crashes)]
    ways.append((stage.postgres.pause, hangs, stage.postgres.resume))
    with stage.database() as database:
        database.subscribe(names("n", NODES))
        with stage.relay(database, AT_ONCE) as relay:
            seen = _through(stage, relay, ways)
        return seen(account(database).difference)


def _brought(stage: Stage, crashes: int) -> Seen:
    """The relay's own child."""
    with stage.relay(None, AT_ONCE) as relay:
        for host in names("n", NODES):
            act(relay, "subscribe", host=host, tags=[], everything=True)

        address = dsn_at(relay.state / "run")

        def answers() -> bool:
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(address).close()
                return True
            return False

        def again() -> None:
            surely(answers, "the relay has started PostgreSQL again")

        def crash() -> None:
            [server] = children(relay.pid, "postgres")
            for each in family(server):
                os.kill(each, signal.SIGKILL)

        seen = _through(stage, relay, [(crash, 0.0, again)] * crashes)
    return seen(0)


def _through(stage: Stage, relay: Relay, ways: Sequence[tuple[Callable[[], None], float, Callable[[], None]]]) -> Callable[[int], Seen]:
    """
    Let it be away in these ways, one after another.

    @param ways: how it goes, for how many seconds, how it comes again.
    @return: asked with the imbalance for what was seen.
    """
    deliveries = Deliveries(stage.sinks, NODES)
    bodies = stage.posts.first(int(RATE * (sum(seconds + 5 for _, seconds, _ in ways) + 10)))
    times: list[Away] = []
    before = late(relay)
    with Pulse(relay) as pulse:
        sender = Sender(relay.port, bodies, rate=RATE).start()
        for go, seconds, come in ways:
            _some_more(sender)
            lines, taken = logged(relay), relay.resident
            began = time.monotonic()
            go()
            time.sleep(seconds)
            growth = relay.resident - taken
            come()
            ended = time.monotonic()
            resumed = _accepted_after(sender, ended)
            times.append(Away(began, ended, resumed, logged(relay) - lines, growth))
            pulse.until(200, ended, PATIENCE)
        sender.stop()
        lost = deliveries.wait(sender.accepted.keys(), PATIENCE)
    lag = min((seconds for seconds, times in late(relay).items() if times == before[seconds]), default=float("inf"))
    refusals = [answer for answer in sender.answers if answer.status == 503]
    noticed = all(any(beat.status == 503 and away.began < beat.at < away.resumed for beat in pulse.beats) for away in times)
    return lambda imbalance: Seen(
        len(sender.accepted),
        lost,
        deliveries.doubled,
        imbalance,
        frozenset(sender.statuses()),
        sum(answer.retry_after is None for answer in refusals),
        max(wait for away in times for wait in away.waits(sender.answers)),
        max(away.resumed - away.ended for away in times),
        pulse.longest,
        lag,
        max(away.lines for away in times),
        max(away.growth for away in times),
        noticed,
    )


def _some_more(sender: Sender) -> None:
    """Until there is load again: deliveries are under way then."""
    enough = len(sender.accepted) + RATE
    surely(lambda: len(sender.accepted) >= enough, "posts are accepted")


def _accepted_after(sender: Sender, when: float) -> float:
    """When the first post was accepted that was brought after this time; infinite if none is."""
    looked_at, found = 0, float("inf")

    def accepted() -> bool:
        nonlocal looked_at, found
        for answer in sender.answers[looked_at:]:
            looked_at += 1
            if answer.status == 202 and answer.at - answer.waited > when:
                found = answer.at
                return True
        return False

    until(accepted, PATIENCE)
    return found

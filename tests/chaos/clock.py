"""
The system's clock jumps, by a day and by ten years, forward and back, while nodes are down: nobody notices.

Weeks on simulated time with the real scheduler, dispatcher, judge and calendar are compared, try by try, with the same weeks in peace; and
the daemon is run under a clock that is moved below it, and across its restarts.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from pathlib import Path

from attrs import define

from benchmarks.bed import Relay
from benchmarks.sinks import names
from socialrelay.scheduler.backoff import DAY, HOST_STEPS, SPREAD
from tests.chaos.finding import Finding
from tests.chaos.gates import Gates
from tests.chaos.moved_clock import OFF
from tests.chaos.sending import Sender
from tests.chaos.simulated_clock import JUMPS, LONGEST, NODES, play
from tests.chaos.stage import Stage, account
from tests.chaos.waiting import surely, until

WELL, DOWN = 20, 10
BATCH = 20
PATIENCE = 30.0
RETENTION = 65.0
"""Seconds in which retention has its turn."""
STARTS = 10.0
"""Seconds that a try may be late since the relay was just being started."""
_TOLD = "the system's clock is "
_AT_REST = "SELECT count(*) FROM destination WHERE state = 'deferred' AND next_attempt > now() + interval '1 second'"
"""Nodes whose next try is yet to come: one that was under way at a kill may come twice, whatever the clock does."""


@define
class Seen:
    """
    What the daemon did.

    @ivar jumps: how often its clock was moved while it ran.
    @ivar starts: how often it was killed and started under another clock.
    @ivar storm: the most tries of a node that was down within the time of one step of the schedule after the clock moved, or after a start.
    @ivar late: seconds by which the latest second try came after the longest that its step allows.
    @ivar lost: deliveries that did not come, or of which it is not known what became.
    @ivar given_up: deliveries that were given up.
    @ivar told: jumps of which the log told.
    @ivar wiped: posts, bodies and identities that are not there any more.
    """

    jumps: int = 0
    starts: int = 0
    storm: int = 0
    late: float = 0.0
    lost: int = 0
    given_up: int = 0
    told: int = 0
    wiped: int = 0

    @property
    def held(self) -> bool:
        """Whether nothing happened."""
        return self.storm <= 1 and self.late <= 0 and self.lost == self.given_up == self.wiped == 0 and self.told == self.jumps


def prove(full: bool) -> Finding:
    days, seeds = (5, range(8)) if full else (2, range(1))
    peace = play(days, 0, jumping=False)
    jumping = [play(days, seed, jumping=True) for seed in seeds]
    restarted = [play(days, seed, jumping=True, restarts=True) for seed in seeds]
    believed = [play(days, seed, jumping=True, restarts=bool(seed % 2), believed=True) for seed in seeds]
    same = sum(each.tries == peace.tries and each.identities == peace.identities for each in jumping)
    lost = sum(each.posts * NODES - len(set(each.arrived)) for each in (*jumping, *restarted))
    steps = (*restarted, *believed)
    storm = max(each.storm(_until(days)) for each in steps)
    stall = max(each.stall(_until(days)) for each in steps)
    seen = _daemon(full)
    return Finding(
        done=f"{3 * len(seeds)} times {days} simulated days, {NODES - 1} of {NODES} nodes down for most of them, the clock off by ±1 day or "
        f"±10 years most of the time, posts dated ±30 days; {sum(len(each.jumps) for each in steps)} times such a clock was believed, or the "
        f"relay started under it; the daemon with {DOWN} of {WELL + DOWN} nodes down under {seen.jumps} such jumps and {seen.starts} starts",
        figure=f"simulated: in {same} of {len(seeds)} the same tries to the second as in peace, {lost} posts lost; where the clock was another "
        f"at most {storm} for a node at once, and the longest pause {stall / 3600:.1f} h; daemon: at most {seen.storm} for a node in the step after a jump or a start, "
        f"{seen.lost} lost, {seen.given_up} given up, {seen.wiped} wiped, {seen.told} of {seen.jumps} told",
        held=same == len(seeds) and lost == 0 and storm <= 1 and stall <= LONGEST and seen.held,
        figures={
            "same": same / len(seeds),
            "lost": lost,
            "storm": storm,
            "stall": stall,
            "daemon.storm": seen.storm,
            "daemon.late": seen.late,
            "daemon.lost": seen.lost,
            "daemon.given_up": seen.given_up,
            "daemon.wiped": seen.wiped,
        },
        remark="A clock that stays years ahead for a day is believed, and what is then too old is given up; so is one that was years ahead "
        "before the relay started, and stays so for an hour.",
    )


def _until(days: int) -> float:
    return days * DAY * 0.7


# The daemon


class _Clock:
    """@ivar moved: when, in seconds of C{time.monotonic}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved: list[float] = []
        self.set(timedelta())

    def set(self, off: timedelta) -> None:
        """The system's clock is off by so much from now on."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack(OFF.format, off.total_seconds()))
        self.moved.append(time.monotonic())


def _daemon(full: bool) -> Seen:
    seen = Seen()
    hosts = names("n", WELL + DOWN)
    with Stage() as stage, stage.database() as database, Gates(hosts[WELL:]) as gates:
        database.subscribe(hosts)
        clock = _Clock(stage.folder / "off")
        starts: list[float] = []
        bodies = stage.posts.first(BATCH * (4 * len(JUMPS) + 1))
        accepted = 0

        def post(relay: Relay) -> None:
            """Some posts come, and every node that is well has them."""
            nonlocal accepted
            before = stage.sinks.total
            sender = Sender(relay.port, bodies[accepted : accepted + BATCH], connections=2).start()
            sender.join()
            accepted += len(sender.accepted)
            stage.sinks.wait(before + len(sender.accepted) * WELL, PATIENCE)

        program = ("-m", "tests.chaos.moved_clock", str(clock.path))
        with stage.relay(database, network=gates.network, program=program) as relay:
            post(relay)
            surely(lambda: all(gates.tries.values()) and database.run(_AT_REST) == [(DOWN,)], "every node that is down was tried")
            # Before the first failed, others may have been under way.
            before = {host: len(tries) - 1 for host, tries in gates.tries.items()}
            for off in JUMPS:
                seen.jumps += 1
                clock.set(off)
                post(relay)
                seen.told += until(lambda: relay.log.count(_TOLD) >= seen.jumps)
                if full and off == max(JUMPS):
                    time.sleep(RETENTION)
                clock.set(timedelta())
                post(relay)
            for off in JUMPS if full else JUMPS[2:3]:
                surely(lambda: database.run(_AT_REST) == [(DOWN,)], "no try is under way or not yet written")
                seen.starts += 1
                relay.kill()
                clock.set(off)
                starts.append(time.monotonic())
                relay.start()
                post(relay)
                clock.set(timedelta())
                post(relay)
            longest = HOST_STEPS[0] * (1 + SPREAD) + STARTS
            if full:
                until(lambda: all(len(tries) >= before[host] + 2 for host, tries in gates.tries.items()), longest)
            counted = [tries[before[host] :] for host, tries in gates.tries.items()]
            if full:
                seen.late = max(tries[1] - tries[0] if len(tries) > 1 else inf for tries in counted) - longest
            seen.storm = max(_most_within_a_step(tries, clock.moved, starts) for tries in counted)
        [kept] = database.run("SELECT (SELECT count(*) FROM post), (SELECT count(*) FROM post_body), (SELECT count(*) FROM identity)")
        seen.wiped = sum(max(0, accepted - each) for each in kept)
        books = account(database)
        seen.given_up = books.failed
        seen.lost = accepted * WELL - len({(each.mark, each.host) for each in stage.sinks.report()}) + abs(books.difference)
    return seen


def _most_within_a_step(tries: Sequence[float], moved: Sequence[float], starts: Sequence[float]) -> int:
    """
    The most tries within the shortest time that the first step of the schedule takes, after each move and each start.

    Until the next start at most: a clock that is a day ahead then cannot be told from a day without the relay, and whoever waited is tried.
    """
    shortest, most = HOST_STEPS[0] * (1 - SPREAD), 0
    for since in (*moved, *starts):
        until = min([since + shortest, *(start for start in starts if start > since)])
        most = max(most, sum(since <= at < until for at in tries))
    return most

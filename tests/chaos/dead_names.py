"""
Name servers that do not answer: first those of some nodes, then all.

Nodes close each connection, so that each delivery needs an address.  Of the names that die half had resolved before; the others are of nodes
that get their first post then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from attrs import evolve, frozen

from benchmarks.figures import percentile
from benchmarks.posts import TAGS
from benchmarks.sinks import ADDRESSES, Report, names
from tests.chaos.finding import Finding
from tests.chaos.scripted_names import Script
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Database, Stage, account

LATER = 0.05
"""Seconds by which p99 may grow; in the short form, which shares its machine with other tests, three times that, or twofold."""

IN_TIME = 3.0
"""Seconds in which a delivery is to be there while names are not answered."""

SERVED = 0.99
PATIENCE = 10.0


@frozen
class _Size:
    """
    @ivar well: nodes whose names go on being answered, until none is.
    @ivar dying: nodes whose names die.
    @ivar strange: nodes whose names are dead when they are first needed.
    @ivar rate: posts a second.
    @ivar posts: while every name is answered, while some are not, and while none is.
    @ivar fresh: seconds for which an answer is believed.
    @ivar threads: for look-ups, of each kind.
    """

    well: int
    dying: int
    strange: int
    rate: float
    posts: tuple[int, int, int]
    fresh: float
    threads: int


_FULL = _Size(well=100, dying=250, strange=250, rate=1.0, posts=(40, 60, 60), fresh=10.0, threads=16)
_SHORT = _Size(well=20, dying=25, strange=25, rate=5.0, posts=(15, 20, 25), fresh=5.0, threads=2)


@frozen
class _Phase:
    """
    @ivar delays: seconds from the 202 to the first arrival, at nodes whose names resolved before.
    @ivar well: of these, at nodes whose names go on being answered.
    @ivar wanted: how many there should have been.
    """

    delays: Sequence[float]
    well: Sequence[float]
    wanted: int

    @property
    def in_time(self) -> float:
        """The share that was there in time."""
        return sum(delay <= IN_TIME for delay in self.delays) / self.wanted


def prove(full: bool) -> Finding:
    size = _FULL if full else _SHORT
    with Stage() as stage, stage.database() as database:
        before, some, none = _phases(stage, database, size)
        books = account(database)
    p99 = {name: percentile(phase.well or [inf], 0.99) for name, phase in (("before", before), ("some", some), ("none", none))}
    later = p99["some"] - p99["before"]
    dead = size.dying + size.strange
    return Finding(
        done=f"{size.rate:g} posts a second to {size.well + size.dying} nodes that close each connection; look-ups of {dead} names blocked for "
        f"5 s each, {size.strange} of them new; then those of all for {size.posts[2] / size.rate:g} s; an answer is believed for {size.fresh:g} s",
        figure=f"p99 at the others {p99['some'] * 1000:.0f} ms, and {p99['before'] * 1000:.0f} ms before; of nodes whose names had died "
        f"{some.in_time:.2%}, and when all had {none.in_time:.2%} had each post within {IN_TIME:g} s",
        held=later <= (LATER if full else max(3 * LATER, p99["before"]))
        and min(some.in_time, none.in_time) >= SERVED
        and books.difference == 0,
        figures={
            **{f"{name}.p99": value for name, value in p99.items()},
            "some.in_time": some.in_time,
            "none.in_time": none.in_time,
            "imbalance": books.difference,
        },
        remark="The relay asks its name server through a file instead of getaddrinfo.",
    )


def _phases(stage: Stage, database: Database, size: _Size) -> list[_Phase]:
    resolved = names("close", size.well + size.dying)
    database.subscribe(resolved)
    database.subscribe(names("n", size.strange), tags=["t1"])
    every = [Script(stage.sinks.port, size.fresh, {f"k{number}": address for number, address in enumerate(ADDRESSES)})]
    some = evolve(every[0], dead=("n", *(f"{host.partition('.')[0]}." for host in resolved[size.well :])))
    none = evolve(every[0], dead=("",))
    path = stage.folder / "names"
    senders = []
    every[0].write(path)
    threads = f"[dns]\nthreads = {size.threads}\nsuspect_threads = {size.threads}\n{AT_ONCE}"
    with stage.relay(database, threads, program=("-m", "tests.chaos.scripted_names", str(path))) as relay:
        for script, bodies in zip((every[0], some, none), _bodies(stage, size), strict=True):
            script.write(path)
            sender = Sender(relay.port, bodies, rate=size.rate).start()
            sender.join()
            senders.append(sender)
            stage.sinks.wait(sum(len(each.accepted) for each in senders) * len(resolved), PATIENCE)
        report = stage.sinks.take()
        relay.kill()  # a stop waits for names
    return [_phase(sender, report, resolved, size.well) for sender in senders]


def _bodies(stage: Stage, size: _Size) -> Iterator[list[bytes]]:
    """Only when names are dead already anything is for those whose names are new."""
    bodies = stage.posts.first(sum(size.posts) + TAGS * 5)
    first = [body for number, body in enumerate(bodies) if number % TAGS != 1]
    other = [body for number, body in enumerate(bodies) if number % TAGS == 1]
    before, some, none = size.posts
    yield first[:before]
    yield [*other[:1], *first[before : before + some - 1]]
    yield [*other[1:2], *first[before + some - 1 : before + some + none - 2]]


def _phase(sender: Sender, report: Report, resolved: list[str], well: int) -> _Phase:
    places = dict(enumerate(report.hosts))
    ours, others = set(resolved), set(resolved[:well])
    delays: dict[tuple[int, str], float] = {}
    for at, mark, taker in zip(report.times, report.marks, report.takers, strict=True):
        if mark in sender.accepted and places[taker] in ours:
            delays.setdefault((mark, places[taker]), at - sender.accepted[mark])
    of_well = [delay for (_, host), delay in delays.items() if host in others]
    return _Phase(list(delays.values()), of_well, len(sender.accepted) * len(resolved))

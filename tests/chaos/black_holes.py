"""
Nodes that accept connections and never answer: what the others notice of them.

Three kinds of holes: they never speak TLS, they never answer, or they answer three times and then never again.  And three runs: without any
holes, with holes of which nothing is known, and with holes of which some have been in trouble for days and some were well a moment before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from benchmarks.figures import percentile
from benchmarks.sink import TIRES_AFTER
from benchmarks.sinks import names
from tests.chaos.finding import Finding
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Database, Stage, account

PATIENCE = 30.0
"""Seconds after the last post in which the last of the others must have it."""

P99, LONGEST = 3.0, 10.0
INTAKE = 0.1
SLACK = 3
"""How much longer p99 may be in the short form, which shares its machine with other tests."""

FEW = f"{AT_ONCE}in_flight = 128\n"
"""Few, as there are few holes in the short form: the others starve if a hole may have more than two."""

MANY = f"{AT_ONCE}kept_connections = 2000\n"
"""As an operator with two thousand nodes does: to connect to 750 nodes a second anew takes more than the processors of a small machine."""

Company = tuple[tuple[str, int, str], ...]
"""Kind of the holes, how many, and in which state they are at first."""


@frozen
class Seen:
    """
    @ivar delays: of each delivery to a node that is well, seconds from the 202 to its arrival.
    @ivar intake: seconds that the sender waited for each answer.
    @ivar lost: deliveries to nodes that are well that did not come, or came twice.
    @ivar imbalance: pairs of post and node of which the relay does not know what became of them.
    """

    delays: Sequence[float]
    intake: Sequence[float]
    lost: int
    imbalance: int

    def held(self, slack: float) -> bool:
        """Whether the targets are met."""
        return (
            self.lost == self.imbalance == 0
            and percentile(self.delays, 0.99) <= P99 * slack
            and max(self.delays) <= LONGEST
            and percentile(self.intake, 0.99) <= INTAKE * slack
        )

    def __str__(self) -> str:
        p50, p99 = (percentile(self.delays, part) for part in (0.5, 0.99))
        intake = percentile(self.intake, 0.99) * 1000
        return f"p50 {p50:.2f} s, p99 {p99:.2f} s, longest {max(self.delays):.2f} s, intake p99 {intake:.0f} ms"


def prove(full: bool) -> Finding:
    well, holes, rate, posts = (1500, 500, 0.5, 40) if full else (60, 20, 5.0, 40)
    half, quarter = holes // 2, holes // 4
    companies: dict[str, Company] = {
        "without": (),
        "fresh": (("mute", half, "active"), ("hang", holes - half, "active")),
        "mixed": (
            ("tire", half, "active"),
            ("mute", quarter, "deferred"),
            ("hang", holes - half - quarter, "active"),
        ),
    }
    with Stage() as stage:
        bodies = stage.posts.first(posts)
        wanted = companies if full else ("mixed",)
        seen = {name: _run(stage, bodies, rate, names("n", well), companies[name], full) for name in wanted}
    slack = 1 if full else SLACK
    told = "a quarter had failed for days, half were well until the fourth post, of the rest nothing was known"
    if full:
        told = f"first nothing was known of any; then {told}"
    return Finding(
        done=f"{posts} posts at {rate:g} a second to {well + holes} nodes, {holes} of which never answer: {told}{'; kept_connections = 2000' if full else ''}",
        figure="; ".join(f"{told}: {seen[name]}" for name, told in _TOLD.items() if name in seen)
        + f"; {sum(each.lost for each in seen.values())} deliveries to the others lost",
        held=all(each.held(slack) for name, each in seen.items() if name != "without"),
        figures={
            f"{name}.{key}": value
            for name, each in seen.items()
            for key, value in (
                ("p50", percentile(each.delays, 0.5)),
                ("p99", percentile(each.delays, 0.99)),
                ("longest", max(each.delays)),
                ("intake_p99", percentile(each.intake, 0.99)),
                ("lost", each.lost),
                ("imbalance", each.imbalance),
            )
        },
    )


_TOLD = {"fresh": "others", "mixed": "again", "without": "without holes"}


def _run(stage: Stage, bodies: Sequence[bytes], rate: float, well: list[str], company: Company, gently: bool) -> Seen:
    with stage.database() as database:
        _subscribe(database, well, company)
        with stage.relay(database, MANY if gently else FEW) as relay:
            before = stage.sinks.total
            sender = Sender(relay.port, bodies, connections=8, rate=rate).start()
            sender.join()
            # They tire after three posts, which count as well as those of the others.
            total = len(sender.accepted) * len(well) + sum(TIRES_AFTER * count for kind, count, _ in company if kind == "tire")
            stage.sinks.wait(before + total, PATIENCE)
            report = stage.sinks.take()
            if not gently:
                relay.kill()  # a stop waits ten seconds for the holes
        books = account(database)
    place = {host: number for number, host in enumerate(report.hosts)}
    ours = {place[host] for host in well if host in place}
    times = Counter((mark, taker) for mark, taker in zip(report.marks, report.takers, strict=True) if taker in ours)
    delays = [
        at - sender.accepted[mark] for at, mark, taker in zip(report.times, report.marks, report.takers, strict=True) if taker in ours
    ]
    wanted = len(bodies) * len(well)
    lost = wanted - sum(times[mark, taker] == 1 for mark in sender.accepted for taker in ours)
    return Seen(delays, [answer.waited for answer in sender.answers], lost, books.difference)


def _subscribe(database: Database, well: list[str], company: Company) -> None:
    """In between each other, so that nobody is served first."""
    holes = [(host, state) for kind, count, state in company for host in names(kind, count)]
    every = max(len(well) // len(holes), 1) if holes else len(well)
    for begin in range(0, len(well), every):
        database.subscribe(well[begin : begin + every])
        for host, state in holes[begin // every : begin // every + 1]:
            database.subscribe([host], state=state)

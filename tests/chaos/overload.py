"""More posts than the relay can take, for a while; and less to take them with."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from attrs import frozen

from benchmarks.figures import percentile
from benchmarks.load import request
from benchmarks.posts import AUTHORS
from benchmarks.sinks import DOMAIN, mark, names
from tests.chaos.counting import Deliveries
from tests.chaos.finding import Finding
from tests.chaos.flood import CONNECTIONS, Flood, Said, Watch, until_well
from tests.chaos.sending import read_answer
from tests.chaos.stage import AT_ONCE, Relay, Stage, account
from tests.chaos.waiting import surely
from tests.envelopes import seal, status_message

TIMES = 5
NODES = 2
REFUSED, TAKEN, WELL = 0.01, 1.0, 5.0
"""Seconds: to a refusal, to a 202, and until all is as usual again."""
REFUSED_IN_TROUBLE = 0.05
"""Seconds to a refusal, where something else goes wrong besides."""
UNSENT = 0.25
"""Part of the posts that may find no connection free: the others at least must have been offered, when the machine is quiet."""
FLAT = 0.1
"""Part by which memory may differ."""
FIRST = 500
"""Posts to find out what the relay can take, at least."""
STRANGERS = 10_000
SLOWEST = 500
"""Deliveries a second: what was not delivered after the time for so many is lost."""


@frozen
class Ended:
    """
    How one overload ended.

    @ivar offered: posts a second; C{taken} a second.
    @ivar wrong: answers that are neither 202 nor a 503 with C{Retry-After}, and posts without an answer.
    @ivar refused_after: seconds, of a hundred refusals 99 came sooner, but for what other processes took; C{refused_raw}: with that.
    @ivar taken_after: seconds, of a hundred posts that were read, taken or not, 99 were answered sooner.
    @ivar read: posts that were read and then refused.
    @ivar spread: part by which memory differed.
    @ivar well: seconds after which all was as usual again.
    @ivar lost: deliveries of posts that were answered 202.
    @ivar unsent: part of the posts that were due while no connection was free, since none was answered.
    @ivar stood: part of the time in which another process had the processor of the relay or of the sender.
    """

    name: str
    offered: float
    taken: float
    refused: int
    read: int
    wrong: int
    refused_after: float
    refused_raw: float
    taken_after: float
    spread: float
    well: float
    lost: int
    difference: int
    unsent: float
    stood: float

    def held(self, refused: float, patience: float) -> bool:
        """
        @param refused: seconds to a refusal.
        @param patience: how many times as long things may take.
        """
        prompt = self.refused_after <= refused * patience and self.taken_after <= TAKEN * patience and self.well <= WELL
        return prompt and self.unsent <= UNSENT and not self.wrong and not self.lost and not self.difference and self.spread <= FLAT

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.offered:.0f} posts/s offered, {self.taken:.0f} taken within {self.taken_after * 1000:.0f} ms (p99), the others "
            f"refused within {self.refused_after * 1000:.1f} ms ({self.refused_raw * 1000:.0f} ms with what other processes took)"
            + (f", but for {self.read} that were read first" if self.read else "")
            + f", memory {self.spread:+.1%}, well after {self.well:.1f} s, {self.lost} lost"
        )


@frozen
class Case:
    """
    @ivar times: the capacity of the relay.
    @ivar posts: made of those that are signed: what is offered.
    @ivar around: what happens meanwhile.
    @ivar nodes: that hang, besides those that take everything.
    """

    name: str
    times: float = TIMES
    posts: Callable[[Stage, list[bytes]], list[bytes]] = lambda _, posts: posts
    around: Callable[[Stage], Iterator[None]] | None = None
    hanging: int = 0


def prove(full: bool) -> Finding:
    seconds, signed = (60.0, 100_000) if full else (3.0, 8000)
    with Stage() as stage:
        posts = stage.posts.first(signed)
        cases = CASES if full else CASES[:1]
        capacity, ended = 0.0, []
        for number, case in enumerate(cases):
            found, end = _overloaded(stage, case, posts, seconds if not number else seconds / 4, capacity)
            capacity = capacity or found
            ended.append(end)
    first = ended[0]
    return Finding(
        done=f"{first.offered / capacity:.1f} times the {capacity:.0f} posts/s that the relay takes, for {seconds:.0f} s"
        + "".join(f"; {end.name}, for {seconds / 4:.0f} s" for end in ended[1:]),
        figure="; ".join(map(str, ended)),
        held=(first.offered >= (1 - UNSENT) * TIMES * capacity or not full)
        and all(
            end.held(REFUSED_IN_TROUBLE if number else REFUSED, 1.0 if full else 3.0 / (1.0 - min(end.stood, 0.9)))
            for number, end in enumerate(ended)
        ),
        figures={
            "capacity": capacity,
            "offered": first.offered,
            "taken": first.taken,
            "refused_p99_s": first.refused_after,
            "refused_in_trouble_p99_s": max((end.refused_after for end in ended[1:]), default=0.0),
            "refused_p99_raw_s": max(end.refused_raw for end in ended),
            "taken_p99_s": max(end.taken_after for end in ended),
            "memory_spread": max(end.spread for end in ended),
            "well_s": max(end.well for end in ended),
            "lost": sum(end.lost for end in ended),
            "imbalance": sum(end.difference for end in ended),
            "wrong": sum(end.wrong for end in ended),
        },
        remark="Measured from sending to the answer; of refusals less the time for which another process had the processor of the relay or of "
        "the sender. That too much of authors whom nobody knows waits is found only when a post was read: such refusals are measured as what is taken. Where something else goes wrong besides, refusals may take 50 ms.",
    )


def _overloaded(stage: Stage, case: Case, posts: list[bytes], seconds: float, capacity: float) -> tuple[float, Ended]:
    with stage.database() as database:
        database.subscribe(names("n", NODES))
        if case.hanging:
            database.subscribe(names("mute", case.hanging))
        with stage.relay(database, AT_ONCE) as relay:
            deliveries = Deliveries(stage.sinks, NODES)
            first = max(FIRST, len(posts) // 40)
            measured, usual = _usual(relay, posts[:first])
            capacity = capacity or measured
            flood = Flood(relay.port, case.posts(stage, posts[first + 200 :]))
            surely(lambda: relay.connections >= CONNECTIONS, "the relay has all connections", 30.0)
            with Watch(relay.pid, flood.pid) as watch, _around(case, stage):
                flood.run(case.times * capacity, seconds)
            spare = posts[first : first + 200]
            well = until_well(relay.port, spare, lambda body: _as_usual(relay.port, body, usual), WELL + 1.0)
            taken = [said for said in flood.said if said.status == 202]
            genuine = {mark(body) for body in posts}
            missing = {mark(said.body) for said in taken} & genuine
            lost = deliveries.wait(missing, 60.0 + len(missing) * NODES / SLOWEST)
        return measured, _judged(case.name, flood, watch, seconds, well, lost, account(database).difference)


def _judged(name: str, flood: Flood, watch: Watch, seconds: float, well: float, lost: int, difference: int) -> Ended:
    taken = [said for said in flood.said if said.status == 202]
    refused = [said for said in flood.said if said.status == 503 and said.later and not said.read]
    read = [said for said in flood.said if said.status == 503 and said.later and said.read]
    memory = watch.memory[len(watch.memory) // 10 :]
    return Ended(
        name=name,
        offered=len(flood.said) / seconds,
        taken=len(taken) / seconds,
        refused=len(refused),
        read=len(read),
        wrong=len(flood.said) - len(taken) - len(refused) - len(read) + flood.broken,
        refused_after=percentile([_waited(said, watch) for said in refused] or [0.0], 0.99),
        refused_raw=percentile([said.at - said.sent for said in refused] or [0.0], 0.99),
        taken_after=percentile([said.at - said.sent for said in taken + read] or [0.0], 0.99),
        spread=(max(memory) - min(memory)) / min(memory) / 2,
        well=well,
        lost=lost,
        difference=difference,
        unsent=flood.unsent / max(flood.unsent + len(flood.said), 1),
        stood=watch.share,
    )


def _waited(said: Said, watch: Watch) -> float:
    return said.at - said.sent - watch.stood(said.sent, said.at)


def _usual(relay: Relay, posts: Sequence[bytes]) -> tuple[float, float]:
    """What the relay can take in a second, and how long one post takes when there is nothing else, at most."""
    with relay.door(64) as door:
        began = time.monotonic()
        door.drive(posts[:-50])
        rate = len(posts[:-50]) / (time.monotonic() - began)
    with relay.door(1) as door:
        alone = door.drive(posts[-50:])
    return rate, max(each.answered - each.due for each in alone)


def _as_usual(port: int, body: bytes, usual: float) -> bool:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
        connection.sendall(request(body))
        status, _, _ = read_answer(connection)
    return status == 202 and time.monotonic() - began < max(0.3, 3 * usual)


@contextmanager
def _around(case: Case, stage: Stage) -> Iterator[None]:
    """Let something happen again and again."""
    if case.around is None:
        yield
        return
    over = Event()

    def work() -> None:
        assert case.around is not None
        while not over.is_set():
            for _ in case.around(stage):
                over.wait(0.1)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _slow_postgres(stage: Stage) -> Iterator[None]:
    stage.postgres.pause()
    try:
        yield
    finally:
        stage.postgres.resume()
    yield


def _unknown(stage: Stage, posts: list[bytes]) -> list[bytes]:
    """Every other one is of an author whom nobody knows, on a host that does not answer."""
    mixed = []
    for number, body in enumerate(posts[:STRANGERS]):
        stranger = f"stranger@s{number}.mute.{DOMAIN}"
        mixed += [body, seal(status_message(stranger, "Hello #t0", guid=f"{number:032x}"), stranger, stage.posts.key)]
    return mixed


CASES = (
    Case("too many"),
    Case("PostgreSQL that hangs every other tenth of a second", times=1.5, around=_slow_postgres),
    Case("200 nodes that hang", hanging=200),
    Case("one author who repeats himself", posts=lambda _, posts: posts[:: len(AUTHORS)] * 20),
    Case(f"{STRANGERS} authors whom nobody knows", times=1.0, posts=_unknown),
)

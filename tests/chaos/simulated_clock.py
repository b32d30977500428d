"""Weeks of a relay on simulated time, twice: once in peace, once with a system's clock that is put forward and back all the while."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from random import Random

from attrs import define, field

from socialrelay.running.calendar import ABSENT_BELIEVED, BELIEVED, Calendar
from socialrelay.scheduler.backoff import DAY, HOST_STEPS, HOUR, SPREAD
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from socialrelay.storage.memory import MemoryTables
from tests.envelopes import Author, entity, new_guid
from tests.relays import EPOCH, WholeRelay

JUMPS = tuple(sign * timedelta(days=days) for days in (1, 3650) for sign in (1, -1))
STEP = 120.0
"""Seconds of one look at the simulated relay."""
AT_ONCE = 240.0
"""Seconds after a jump in which nobody may be tried more than once because of it."""
LONGEST = max(HOST_STEPS) * (1 + SPREAD) + STEP
KEY_COMES = 12 * HOUR

ALICE, BOB = Author("alice@pod-a.example"), Author("bob@pod-b.example")


class ClockedRelay(WholeRelay):
    """
    @ivar off: by how much the system's clock is wrong.
    """

    def __init__(self, tables: MemoryTables, elapsed: float, off: timedelta) -> None:
        """@param elapsed: seconds since the beginning of all."""
        self.off = off
        self._elapsed = elapsed
        self._calendar: Calendar | None = None
        super().__init__(tables)

    @property
    def seconds(self) -> float:
        """Since the beginning of all."""
        return self._elapsed + self.clock.seconds()

    @property
    def calendar(self) -> Calendar:
        """As the daemon has it."""
        if self._calendar is None:
            self._calendar = Calendar(lambda: EPOCH + timedelta(seconds=self.seconds) + self.off, self.clock.seconds)
            self._calendar.begin(self.successful(self.storage.figures.last_written()))
            self._calendar.on_step.append(lambda: self.judge.recall())
        return self._calendar

    @staticmethod
    def successful(answer: object) -> datetime | None:
        """What a Deferred of a store in memory fired with."""
        found: list[datetime | None] = []
        answer.addCallback(found.append)  # type: ignore[attr-defined]
        return found[0]

    def now(self) -> datetime:
        """What time the relay thinks it is."""
        return self.calendar.now()


@define
class Trace:
    """
    What happened, in seconds since the beginning.

    @ivar tries: of each host.
    @ivar arrived: (host, which post), in order.
    @ivar jumps: when the clock the relay goes by was another than before: a believed jump, or a start.
    """

    tries: dict[str, list[float]] = field(factory=lambda: defaultdict(list))
    arrived: list[tuple[str, bytes]] = field(factory=list)
    jumps: list[float] = field(factory=list)
    posts: int = 0
    given_up: int = 0
    identities: int = 0

    def storm(self, until: float) -> int:
        """The most tries of one host soon after a jump, while it was down."""
        jumps = [at for at in self.jumps if at + AT_ONCE <= until]
        return max((sum(at <= each <= at + AT_ONCE for each in self.tries[host]) for at in jumps for host in _DOWN), default=0)

    def stall(self, until: float) -> float:
        """The longest pause between two tries of a host that was down, and had something to get."""
        pauses = [0.0]
        for host in _DOWN:
            times = [each for each in self.tries[host] if each <= until]
            pauses += [after - before for before, after in zip(times, [*times[1:], until], strict=True)]
        return max(pauses)


_WELL = ("well.example",)
_DOWN = tuple(f"down-{number}.example" for number in range(8))
NODES = len(_WELL + _DOWN)


def play(days: int, seed: int, *, jumping: bool, believed: bool = False, restarts: bool = False) -> Trace:
    """
    Let a relay live.

    @param seed: by which the jumps are chosen.
    @param jumping: the clock is wrong most of the time, by days or years.
    @param believed: and stays so for longer than a day, so that it is believed.
    @param restarts: and the relay is killed and started at each jump.
    """
    trace, chance = Trace(), Random(seed)
    tables = MemoryTables()
    comes_back = days * DAY * 0.7
    next_jump = 3 * HOUR
    relay = _start(tables, 0.0, timedelta(), trace, comes_back)
    for host in (*_WELL, *_DOWN):
        relay.subscribe(host)
    steps = int(days * DAY / STEP)
    for step in range(steps):
        at = step * STEP
        if step % 5 == 0:
            trace.posts += _post(relay, step, all_kinds=step % 60 == 0)
            relay.storage.log.prune(relay.now())
        if at >= KEY_COMES and BOB.handle not in relay.keyring.published:
            relay.keyring.published[BOB.handle] = BOB.public_key
        if jumping and at >= next_jump and at < comes_back:
            off = timedelta() if relay.off and not believed else chance.choice(JUMPS)
            longest = ABSENT_BELIEVED if restarts and off > timedelta() else BELIEVED
            lasts = BELIEVED.total_seconds() * 1.5 if believed else chance.uniform(600.0, longest.total_seconds() * 0.8)
            next_jump = at + (lasts if off else chance.uniform(600.0, 6 * HOUR))
            if restarts:
                relay.clock.advance(1.0)  # what has just been tried is written down
                relay = _start(tables, relay.seconds - 1000.0, off, trace, comes_back)
                trace.jumps.append(relay.seconds)
            relay.off = off
        elif at >= comes_back:
            relay.off = timedelta()
        relay.clock.advance(STEP)
    _let_go(relay)
    trace.given_up = sum(record.expired + record.cancelled + record.bounced for record in tables.destinations.values())
    trace.identities = len(tables.identities)
    return trace


def _start(tables: MemoryTables, elapsed: float, off: timedelta, trace: Trace, comes_back: float) -> ClockedRelay:
    relay = ClockedRelay(tables, elapsed, off)

    def reply(url: str) -> Reply:
        host = url.split("/")[2]
        trace.tries[host].append(relay.seconds)
        if host in _DOWN and relay.seconds < comes_back:
            return NoAnswer(Trouble.CONNECT)
        trace.arrived.append((host, relay.transport.sent[-1][1]))
        return Answer(202)

    relay.transport.reply = reply
    relay.keyring.hold(ALICE)
    relay.calendar.on_step.append(lambda: trace.jumps.append(relay.seconds))
    return relay.start()  # type: ignore[return-value]


def _post(relay: ClockedRelay, step: int, all_kinds: bool) -> int:
    """A post; or all kinds: dated now, a month ago and in a month, of an author whose key is there, and of one whose key comes later."""
    dates = [relay.now() + timedelta(days=days) for days in ((0, -30, 30) if all_kinds else (0,))]
    authors = (ALICE, BOB) if all_kinds and step * STEP < KEY_COMES else (ALICE,)
    for author in authors:
        for date in dates:
            made = f"{date:%Y-%m-%dT%H:%M:%SZ}"
            text = entity("status_message", author=author.handle, guid=new_guid(), created_at=made, public=True, text=f"{step}")
            relay.relay.accept(author.seal(text), "192.0.2.1")
    return len(authors) * len(dates)


def _let_go(relay: ClockedRelay) -> None:
    """Give those that came back the time to take what they missed."""
    for _ in range(int(DAY / STEP)):
        relay.clock.advance(STEP)

"""Disks are full, under load, and free again: the database's, the relay's own, and the log's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import psycopg2
from attrs import frozen

from benchmarks.bed import POSTGRES
from benchmarks.sinks import names
from socialrelay.storage import migrate
from socialrelay.storage.embedded.postgres import dsn_at
from tests.chaos.counting import Deliveries
from tests.chaos.finding import Finding
from tests.chaos.pulse import Pulse, act, logged, view
from tests.chaos.sending import Sender
from tests.chaos.small_disk import SmallDisk, small_disk
from tests.chaos.stage import AT_ONCE, Database, Relay, Stage, account
from tests.chaos.waiting import until
from tests.chaos.watching import children
from tests.servers import RunningPostgres

NODES = 8
RATE = 40.0
"""Posts a second that are offered; while they are refused each is offered again and again."""
PATIENCE = 60.0

BACK = 10.0
LINES = 30
"""Of the log for each time that a disk is full."""
BUS = """[bus]
enabled = true
relay_inbound = ["ipc://{0}/in"]
relay_outbound = ["ipc://{0}/out"]
relay_ingest = ["ipc://{0}/ingest"]
"""


@frozen
class Seen:
    """
    What came of one disk that was full.

    @ivar what: whose.
    @ivar while_full: posts that were accepted meanwhile: room within files that were there.
    @ivar resumed: seconds from the time at which there was room until a post was accepted that was brought after that.
    @ivar statuses: that senders met.
    @ivar went_on: whether all else went on as it must, and the relay said that it takes nothing if that was so.
    @ivar refuses: whether posts may be refused while it is full.
    @ivar crashed: whether the server whose disk it is ended for want of room; C{None} if there is none.
    """

    what: str
    accepted: int
    while_full: int
    lost: int
    imbalance: int
    resumed: float
    statuses: frozenset[int]
    lines: int
    went_on: bool
    refuses: bool
    crashed: bool | None

    def held(self) -> bool:
        """Whether the targets are met."""
        return (
            self.accepted > 0
            and self.lost == self.imbalance == 0
            and self.resumed <= BACK
            and self.statuses <= ({202, 503} if self.refuses else {202})
            and self.lines <= LINES
            and self.went_on
        )

    def __str__(self) -> str:
        ended = "" if self.crashed is None else f", {'and' if self.crashed else 'but not'} its server had crashed"
        return (
            f"{self.what}: {self.lost} of {self.accepted * NODES} deliveries lost, {self.while_full} posts accepted (and delivered) while it "
            f"was full{ended}, accepted again {self.resumed:.1f} s after there was room, {self.lines} lines in the log"
        )


def prove(full: bool) -> Finding:
    seconds = 30.0 if full else 4.0
    with Stage() as stage:
        stage.posts.first(int(RATE * (seconds + 30)))
        with small_disk() as disk:
            seen = [_database(stage, disk, seconds)]
        if full:
            with small_disk() as disk:
                seen.append(_state(stage, disk, seconds))
            with small_disk() as disk:
                seen.append(_log(stage, disk, seconds / 2, "--logfile"))
        with small_disk() as disk:
            seen.append(_log(stage, disk, seconds / 2, ""))
    return Finding(
        done=f"{RATE:g} posts a second to {NODES} nodes; full for {seconds:g} s: PostgreSQL's disk, until there is no room for its WAL"
        + (", and that of the state directory, with the PostgreSQL and the Valkey that the relay brings along" if full else "")
        + f"; for {seconds / 2:g} s: that of {'its log, and that of ' if full else ''}its output",
        figure="; ".join(map(str, seen)),
        held=all(each.held() for each in seen),
        figures={
            "lost": sum(each.lost for each in seen),
            "accepted_while_full": sum(each.while_full for each in seen if each.refuses),
            "resumed_after": max(each.resumed for each in seen if each.refuses),
        },
        remark="That nothing is taken while a disk is full was aimed at, and is not kept: where PostgreSQL has room within files that are "
        f"there, it takes posts for a while. What was taken was delivered. {disk.how}".strip(),
    )


# The database's disk


def _database(stage: Stage, disk: SmallDisk, seconds: float) -> Seen:
    """A PostgreSQL that somebody else looks after; the bus is on as well, and shares its fate."""
    postgres = RunningPostgres(POSTGRES, disk.folder)
    postgres.start()
    database = Database(_new_database(postgres))
    database.subscribe(names("n", NODES))
    sockets = stage.folder / "bus"
    sockets.mkdir()
    try:
        # What a thread has started ends with it.
        with _looked_after(postgres, disk):
            with stage.relay(database, AT_ONCE + BUS.format(sockets)) as relay:

                def crash() -> bool:
                    return _crashed(database.dsn, lambda: not postgres.alive)

                before = view(relay, "bus")["last_seq"]
                seen = _through(stage, relay, disk, lambda: [postgres.pid] if postgres.alive else [], seconds, crash)
                went_on = until(lambda: view(relay, "bus")["last_seq"] > before)
            return seen("PostgreSQL's", account(database).difference, went_on)
    finally:
        database.close()
        postgres.remove()


def _new_database(postgres: RunningPostgres) -> str:
    dsn = postgres.new_database()
    migrate.apply(dsn, migrate.known_migrations())
    return dsn


@contextmanager
def _looked_after(postgres: RunningPostgres, disk: SmallDisk) -> Iterator[None]:
    """Start it anew whenever it has ended, as systemd would."""
    over = False

    def work() -> None:
        while not over:
            time.sleep(0.5)
            if not (over or postgres.alive or (disk.how and disk.full)):
                with suppress(RuntimeError):
                    postgres.start()

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over = True
        thread.join()


def _crashed(dsn: str, ended: Callable[[], bool]) -> bool:
    """Have it begin one file of its WAL after another, until there is no room for one; whether it ended of that."""

    def switch() -> bool:
        with suppress(psycopg2.Error):
            connection = psycopg2.connect(dsn)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
            connection.close()
        return ended()

    return until(switch, 5.0)


# All that the relay has


def _state(stage: Stage, disk: SmallDisk, seconds: float) -> Seen:
    """The state directory: the servers that the relay brings along, their logs, and where its sockets are."""
    relay = Relay(stage, None, AT_ONCE)
    state = disk.folder / "state"
    state.mkdir()
    state.chmod(0o711)
    relay.state.symlink_to(state)
    stage.sinks.forget()
    try:
        relay.start()
        for host in names("n", NODES):
            act(relay, "subscribe", host=host, tags=[], everything=True)

        def crash() -> bool:
            for each in children(relay.pid, "valkey-server", "redis-server"):
                os.kill(each, signal.SIGKILL)
            [server] = children(relay.pid, "postgres")
            return _crashed(dsn_at(state / "run"), lambda: not Path(f"/proc/{server}").exists())

        seen = _through(stage, relay, disk, lambda: children(relay.pid, "postgres"), seconds, crash)
        went_on = until(lambda: bool(children(relay.pid, "valkey-server", "redis-server")))
        imbalance = 0
        return seen("the state directory's", imbalance, went_on)
    finally:
        relay.stop()


# The log's disk


def _log(stage: Stage, disk: SmallDisk, seconds: float, option: str) -> Seen:
    """@param option: of the file for the log; without one it is standard output."""
    with stage.database() as database:
        database.subscribe(names("n", NODES))
        relay = Relay(stage, database, AT_ONCE)
        stage.sinks.forget()
        file = disk.folder / "log"
        if not option:
            relay.output.symlink_to(file)
        try:
            relay.start(*((option, str(file)) if option else ()))
            sizes: list[int] = []
            seen = _through(stage, relay, disk, lambda: [relay.pid], seconds, lambda: sizes.append(file.stat().st_size), refuses=False)
            # Full it was: nothing was written; and then it is written again.
            went_on = len(sizes) == 1 and until(lambda: file.stat().st_size > sizes[0])
        finally:
            relay.stop()
        return seen(f"the log's ({option or 'standard output'})", account(database).difference, went_on)


# All of them


def _through(
    stage: Stage,
    relay: Relay,
    disk: SmallDisk,
    users: Callable[[], Sequence[int]],
    seconds: float,
    worse: Callable[[], bool | None],
    refuses: bool = True,
) -> Callable[[str, int, bool], Seen]:
    """
    Fill the disk under load, make it worse, wait, and free it.

    @param users: the processes whose disk it is.
    @param worse: makes it worse; whether a server ended of it.
    @param refuses: whether posts may be refused meanwhile.
    """
    deliveries = Deliveries(stage.sinks, NODES)
    bodies = stage.posts.first(int(RATE * (seconds + 25)))
    with Pulse(relay) as pulse:
        sender = Sender(relay.port, bodies, rate=RATE).start()
        until(lambda: len(sender.accepted) > RATE)
        lines = logged(relay)
        began = time.monotonic()
        disk.fill(users())
        half = began + seconds / 2
        while time.monotonic() < half:
            time.sleep(0.1)
            disk.top_up()
        crashed = worse()
        while time.monotonic() < began + seconds:
            time.sleep(0.1)
            disk.top_up()
        ended = time.monotonic()
        disk.free(users())
        again = until(lambda: any(each.status == 202 and each.at - each.waited > ended for each in reversed(sender.answers)))
        resumed = (
            min((each.at for each in sender.answers if each.status == 202 and each.at - each.waited > ended), default=float("inf")) - ended
        )
        lines = logged(relay) - lines
        until(lambda: len(sender.accepted) > RATE * 2)
        sender.stop()
        lost = deliveries.wait(sender.accepted.keys(), PATIENCE)
    told = any(beat.status == 503 and began < beat.at < ended for beat in pulse.beats)
    while_full = sum(began < when < ended for when in sender.accepted.values())
    return lambda what, imbalance, went_on: Seen(
        what,
        len(sender.accepted),
        while_full,
        lost,
        imbalance,
        resumed,
        frozenset(sender.statuses()),
        lines,
        went_on and again and told is refuses,
        refuses,
        crashed,
    )

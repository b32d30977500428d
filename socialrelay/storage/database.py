"""
Statements to PostgreSQL, over a few connections that heal by themselves.

What txpostgres and psycopg2 taught:

  - Cancelling a statement opens a second connection, blocking, with the interpreter's lock held: against a server that hangs, the process
    hangs.  So a Deferred of theirs is never cancelled; when an answer is overdue the connection is abandoned: its socket is shut down,
    which never blocks, and then closed.
  - A connection attempt has no time-out of its own when it is asynchronous; it gets a deadline and is abandoned likewise.
  - libpq looks names up in the calling thread; so they are looked up before, in another.
  - One message may hold several statements, which then are one transaction; the rows are those of the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2
from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import Unavailable
from socialrelay.storage.arguments import STATEMENT, connect_arguments, one_line, resolve
from socialrelay.storage.connection import Connection, Cursor
from socialrelay.storage.liveness import Liveness
from socialrelay.storage.queries import OutcomeUnknown, Parameters, Queries, Rows, StorageError
from socialrelay.words import counted


@frozen
class Limits:
    """
    Seconds, if nothing else is said.

    @ivar waiting: statements that may wait for a connection.
    @ivar connect: for opening a connection.
    @ivar statement: after which the server itself ends a statement.
    @ivar answer: after which a server that said nothing is taken to hang; longer than C{statement}.
    @ivar look: between looks at whether it answers at all: in the third at the latest that it does not is known.
    @ivar backoff: waits between attempts to connect.
    """

    connections: int = 4
    waiting: int = 2000
    connect: float = 5.0
    statement: float = STATEMENT
    answer: float = 10.0
    look: float = 0.3
    backoff: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0)


_DEFAULTS = Limits()
_EASY = "SELECT 1"
_FULL = 5.0
"""Seconds for which a disk is taken to be full that was: only who writes learns of it, and only who fails."""
_QUIET = 60.0
"""Seconds between two lines of the log that say the same."""
_TRANSIENT = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    psycopg2.errors.ReadOnlySqlTransaction,  # a standby, after a failover
)


_FILES = frozenset({"md.c", "fd.c", "xlog.c", "slru.c"})
"""Where PostgreSQL writes its files."""


def _could_not_write(error: BaseException | None) -> bool:
    """
    Whether the server had no room to write something down, which says nothing about the statement.

    PostgreSQL has a name for a full disk, and none for a quota: that it calls an internal error.
    """
    if isinstance(error, psycopg2.errors.DiskFull):
        return True
    return isinstance(error, psycopg2.errors.InternalError_) and error.diag.source_file in _FILES


@define(eq=False)
class _Job:
    statement: str
    parameters: Parameters | None
    idempotent: bool
    answer: Deferred[Rows]
    losses: int = 0


class _Link:
    """One place in the pool: a connection, or the attempts to get one."""

    def __init__(self, pool: Database) -> None:
        self._pool = pool
        self._connection: Connection | None = None
        self._alarm: Any = None
        self._failures = 0
        self.up = False
        self.job: _Job | None = None

    @property
    def idle(self) -> bool:
        return self.up and self.job is None

    def connect(self) -> None:
        """Begin an attempt."""
        pool = self._pool
        connection = self._connection = Connection(pool.reactor, self._lost)
        self._set_alarm(pool.limits.connect, self._lost, connection, "no connection in time")
        # A UNIX socket needs no look-up, and then no thread.
        if pool.arguments.get("host", "/").startswith(("/", "@")):
            self._open(pool.arguments, connection)
            return
        looked_up = deferToThreadPool(pool.reactor, pool.reactor.getThreadPool(), resolve, pool.arguments)
        looked_up.addCallbacks(self._open, self._refused, callbackArgs=(connection,), errbackArgs=(connection,))

    def _open(self, arguments: Mapping[str, str], connection: Connection) -> None:
        self._pool.liveness.place = arguments
        if self._connection is connection:
            connection.connect(**arguments).addCallbacks(
                self._connected, self._refused, callbackArgs=(connection,), errbackArgs=(connection,)
            )

    def _connected(self, _: object, connection: Connection) -> None:
        if self._connection is not connection:
            return
        self._cancel_alarm()
        connection.opened()
        self.up, self._failures = True, 0
        self._pool.liveness.heard()
        self._pool.changed("")

    def _refused(self, failure: Failure, connection: Connection) -> None:
        self._lost(connection, one_line(failure.value))

    def run(self, job: _Job) -> None:
        """Send a statement; only when L{idle}."""
        assert self._connection is not None
        self.job = job
        self._set_alarm(self._pool.limits.answer, self._overdue, job)
        cursor: Cursor = self._connection.cursor()
        cursor.execute(job.statement, job.parameters).addCallbacks(self._answered, self._failed, callbackArgs=(job,), errbackArgs=(job,))
        self._pool.liveness.under_way()

    def _answered(self, cursor: Cursor, job: _Job) -> None:
        if self.job is not job:
            return
        rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        self._pool.liveness.heard()
        self._end_job()
        job.answer.callback(rows)
        self._pool.dispatch()

    def _failed(self, failure: Failure, job: _Job) -> None:
        if self.job is not job:
            return
        error = failure.value
        if self._connection is None or self._connection.closed:
            self.lose(one_line(error))
            return
        self._pool.liveness.heard()
        self._end_job()
        unwritten = _could_not_write(error)
        if unwritten:
            self._pool.no_room(one_line(error))
        converted: Exception
        # What txpostgres makes of a statement that the server ended.
        if isinstance(error, CancelledError):
            converted = Unavailable("the statement took too long")
        elif unwritten or isinstance(error, _TRANSIENT):
            converted = Unavailable(one_line(error))
        else:
            converted = StorageError(one_line(error))
            converted.__cause__ = error
        job.answer.errback(Failure(converted))
        self._pool.dispatch()

    def _overdue(self, job: _Job, again: bool = True) -> None:
        # The process itself may have stood still, and the answer lie in the socket: it is given one more turn.
        self._alarm = None
        if again:
            self._set_alarm(0.2, self._overdue, job, False)
        elif self.job is job:
            self._pool.hung()

    def _lost(self, connection: Connection, reason: str) -> None:
        if self._connection is connection:
            self.lose(reason)

    def lose(self, reason: str) -> None:
        """Drop the connection, give its statement back, and try again later."""
        self.drop()
        job, self.job = self.job, None
        waits = self._pool.limits.backoff
        delay = waits[min(self._failures, len(waits) - 1)]
        self._failures += 1
        if not self._pool.closing:
            self._pool.losses += 1
            self._set_alarm(delay, self._reconnect)
        self._pool.changed(reason)
        if job is not None:
            self._pool.lost(job, reason)

    def drop(self) -> None:
        """Have no connection any more."""
        connection, self._connection = self._connection, None
        self.up = False
        self._cancel_alarm()
        if connection is not None:
            connection.abandon()

    def _reconnect(self) -> None:
        self._alarm = None
        self.connect()

    def _end_job(self) -> None:
        self.job = None
        self._cancel_alarm()

    def _set_alarm(self, delay: float, function: Callable[..., None], *arguments: object) -> None:
        self._cancel_alarm()
        self._alarm = self._pool.reactor.callLater(delay, function, *arguments)

    def _cancel_alarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None and alarm.active():
            alarm.cancel()


class Database:
    """
    A pool of connections.

    It is I{healthy} while at least one connection is up; while none is, statements fail at once.  It is I{answering} while, besides, the
    server says something now and then if something is asked of it; while it is not, statements still wait for their answers.

    @ivar statements: how many were taken on since the start.
    @ivar losses: how often a connection was lost, or could not be opened.
    @ivar liveness: whether the server answers at all.
    """

    _log = Logger()

    def __init__(self, reactor: Any, dsn: str, limits: Limits = _DEFAULTS) -> None:
        """
        @param reactor: provides IReactorTime, IReactorFDSet and IReactorThreads.
        @param dsn: a libpq connection string or URI.
        @raise StorageError: it is neither.
        """
        self.reactor = reactor
        self.limits = limits
        self.arguments = connect_arguments(dsn, limits.statement)
        self.closing = False
        self._links = [_Link(self) for _ in range(limits.connections)]
        self._jobs: deque[_Job] = deque()
        self._reason = "not connected yet"
        self._was_healthy = False
        self._watchers: list[Callable[[bool], None]] = []
        self._started: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        self.statements = 0
        self.losses = 0
        self._told_of_silence: list[Callable[[], None]] = []
        self.liveness = Liveness(reactor, limits.look, busy=lambda: bool(self.busy), ask=self._ask, told=self._tell_of_silence)
        self._full_until = 0.0
        self._no_room = ""
        self._tell_full_at = 0.0

    @property
    def up(self) -> int:
        """How many connections are up."""
        return sum(link.up for link in self._links)

    @property
    def busy(self) -> int:
        """How many of them wait for an answer."""
        return sum(link.job is not None for link in self._links)

    @property
    def waiting(self) -> int:
        """Statements that wait for a connection."""
        return len(self._jobs)

    @property
    def healthy(self) -> bool:
        """At least one connection is up."""
        return any(link.up for link in self._links)

    @property
    def answering(self) -> bool:
        """L{healthy}, and the server is not silent."""
        return self.healthy and not self.liveness.silent

    @property
    def full(self) -> bool:
        """It answers, and said a moment ago that its disk is full."""
        return self.healthy and self.reactor.seconds() < self._full_until

    @property
    def detail(self) -> str:
        """How many connections are up, or why it is not well."""
        if self.liveness.silent and self.healthy:
            return "the server does not answer"
        if self.full:
            return self._no_room
        up = self.up
        return f"{up} of {counted(len(self._links), 'connection')}" if up else self._reason

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Call this with the new value each time L{healthy} changes."""
        self._watchers.append(changed)

    def on_silence(self, told: Callable[[], None]) -> None:
        """Call this each time that L{answering} ends."""
        self._told_of_silence.append(told)

    def start(self) -> Deferred[None]:
        """
        Connect.

        @return: fires when one connection is up.
        @raise Unavailable: the first attempts failed. It goes on trying until it is closed.
        """
        started = self._started = Deferred()
        for link in self._links:
            link.connect()
        return started

    def close(self) -> Deferred[None]:
        """Accept nothing more, let what was accepted end (deadlines hold), and close the connections."""
        self.closing = self.liveness.hushed = True
        drained = self._drained = Deferred()
        drained.addCallback(lambda _: self._close())
        self._check_drained()
        return drained

    def query(self, statement: str, parameters: Parameters | None = None, *, idempotent: bool = False) -> Deferred[Rows]:
        """
        Run statements, as one transaction if they are several.

        @param idempotent: to do it twice is as good as once: if a connection is lost meanwhile it is done again on another.
        @return: the rows of the last statement. Cancelling it has no effect on the database.
        @raise Unavailable: not now; L{OutcomeUnknown} if it may have taken effect.
        @raise StorageError: the database does not take the statement.
        """
        if self.closing:
            return fail(Unavailable("the database is being closed"))
        if not self.healthy:
            return fail(Unavailable(self._reason))
        if len(self._jobs) >= self.limits.waiting:
            return fail(Unavailable(f"too many statements are waiting for a connection ({len(self._jobs)})"))
        self.statements += 1
        job = _Job(statement, parameters, idempotent, Deferred())
        self._jobs.append(job)
        self.dispatch()
        return job.answer

    def dispatch(self) -> None:
        """Hand waiting statements to idle connections."""
        for link in self._links:
            if not self._jobs:
                break
            if link.idle:
                link.run(self._jobs.popleft())
        self._check_drained()

    def lost(self, job: _Job, reason: str) -> None:
        """A statement's connection is gone."""
        job.losses += 1
        if job.idempotent and job.losses <= len(self._links) and self.healthy:
            self._jobs.appendleft(job)
            self.dispatch()
        else:
            job.answer.errback(Failure(OutcomeUnknown(reason)))
        self._check_drained()

    def hung(self) -> None:
        """The server did not even end an overdue statement: no connection to it is worth anything."""
        self.liveness.leave()
        for link in self._links:
            if link.up:
                link.lose(f"the server has not answered for {self.limits.answer:g} seconds")

    def no_room(self, reason: str) -> None:
        """The server could not write something down for want of room."""
        now = self.reactor.seconds()
        self._full_until, self._no_room = now + _FULL, reason
        if now >= self._tell_full_at:
            self._tell_full_at = now + _QUIET
            self._log.error("The database's disk is full, and senders are told to come again: {reason}", reason=reason)

    def _ask(self) -> bool:
        """Ask something easy; whether a connection is idle for that."""
        for link in self._links:
            if link.idle:
                answer: Deferred[Rows] = Deferred()
                answer.addErrback(lambda failure: [])
                link.run(_Job(_EASY, None, True, answer))
                return True
        return False

    def _tell_of_silence(self) -> None:
        for told in self._told_of_silence:
            told()

    def changed(self, reason: str) -> None:
        """A connection came up (no reason) or was lost."""
        self._reason = reason or self._reason
        healthy = self.healthy
        started, self._started = self._started, None
        if started is not None:
            started.callback(None) if healthy else started.errback(Failure(Unavailable(reason)))
        if healthy != self._was_healthy:
            self._was_healthy = healthy
            self._tell(healthy)
        if healthy:
            self.dispatch()

    def _tell(self, healthy: bool) -> None:
        if healthy:
            self._log.info("The database answers.")
        elif not self.closing:
            self._log.warn("The database is away: {reason}", reason=self._reason)
        while self._jobs and not healthy:
            self._jobs.popleft().answer.errback(Failure(Unavailable(self._reason)))
        if not healthy:
            silent = self.liveness.silent
            self.liveness.forget()
            if not silent:
                self._tell_of_silence()
        for changed in self._watchers:
            changed(healthy)

    def _check_drained(self) -> None:
        if self._drained is not None and not self._jobs and not any(link.job for link in self._links):
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _close(self) -> None:
        self.liveness.stop()
        for link in self._links:
            link.drop()
        self._reason = "closed"
        self._was_healthy = False


_conforms: type[Queries] = Database

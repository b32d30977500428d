"""
Keeps one embedded server running, from the daemon's start to its end.

At start a server that an earlier daemon left behind (killed with -9, say) is taken over if it runs with the very command that would be
used now and answers; else it is stopped cleanly and a new one is started.  A server that dies is restarted, after a pause that doubles.
Everything that may block happens in the reactor's threads, and nothing in them is cancelled: a stop waits for the step in hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.storage.embedded.account import Account, EmbeddedError
from socialrelay.storage.embedded.process import Child, Found, Process, command_line, exists, shorten, tail

T = TypeVar("T")


class Server(Protocol):
    """
    What a supervisor must know about a server. All methods may block; they are called in a thread, one at a time.

    @ivar name: for log and errors.
    @ivar program: the base names that its process may have.
    @ivar data: its data directory; the full path is an argument of its command.
    @ivar log: where its output goes.
    @ivar stop_signals: what ends it, and how many seconds each may take.
    """

    name: str
    program: tuple[str, ...]
    data: Path
    log: Path
    stop_signals: tuple[tuple[int, float], ...]

    def prepare(self) -> tuple[list[str], Account]:
        """
        Everything that comes before the start and does no harm while an old one is running.

        @return: the command, and whom it runs as.
        @raise EmbeddedError: it cannot be started.
        """

    def recorded_pid(self) -> int | None:
        """The number of the process that runs, or ran, on the data directory."""

    def clear(self, foreign: bool) -> None:
        """
        Take away what a dead server left behind.

        @param foreign: there is a process of the recorded number, and it is not this server.
        """

    def answers(self) -> bool:
        """Whether it serves now. Takes two seconds at most."""

    def remove_sockets(self) -> None:
        """It has ended; leave nothing."""


@frozen
class Limits:
    """
    Seconds, and bytes of a log.

    @ivar ready: from start to the first answer; PostgreSQL recovers after a crash.
    @ivar take_over: how long a server that was found may take to answer.
    @ivar longest_pause: before a restart; short, since posts are refused until then, and what was in the way (a full disk) may be gone.
    @ivar steady: after so long a run the pause before a restart is the shortest again.
    @ivar quiet: between two lines of the daemon's log that tell of starts that fail.
    """

    ready: float = 60.0
    take_over: float = 3.0
    shortest_pause: float = 0.5
    longest_pause: float = 5.0
    steady: float = 60.0
    quiet: float = 60.0
    log: int = 4 * 1024 * 1024


DEFAULT = Limits()


class Supervisor:
    """
    @ivar process: the one that runs, if any.
    @ivar taken_over: whether it was started by an earlier daemon.
    @ivar restarts: how often it has been started again.
    """

    _log = Logger()
    _LOOK = 0.25
    _ASK = 0.02

    def __init__(self, server: Server, reactor: Any, limits: Limits = DEFAULT) -> None:
        """
        @param reactor: provides IReactorTime and IReactorThreads.
        """
        self.process: Process | None = None
        self.taken_over = False
        self.restarts = 0
        self._server = server
        self._reactor = reactor
        self._limits = limits
        self._stopping = False
        self._pause: Deferred[None] | None = None
        self._ready: Deferred[None] = Deferred()
        self._story: Deferred[None] | None = None
        self._ended: list[Deferred[None]] = []

    def start(self) -> Deferred[None]:
        """
        @return: fires when the server answers.
        @raise EmbeddedError: it does not; nothing is left running.
        """
        self._stopping = False
        self._ready = Deferred()
        self._story = Deferred.fromCoroutine(self._run())
        self._story.addErrback(self._failed)
        self._story.addCallback(self._over)
        return self._ready

    def stop(self) -> Deferred[None]:
        """
        End the server.

        @return: fires when no process and no socket is left.
        """
        if self._story is None:
            return succeed(None)
        self._stopping = True
        if self._pause is not None:
            self._pause.callback(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    async def _run(self) -> None:
        pause = self._limits.shortest_pause
        first = True
        quiet_until = 0.0
        while not self._stopping:
            try:
                await self._bring_up()
            except Exception as error:  # whatever it is, the server is tried again
                await self._end()
                if first:
                    self._ready.errback(error)
                    return
                now = self._reactor.seconds()
                if now >= quiet_until:
                    quiet_until = now + self._limits.quiet
                    # A field is cut behind 256 characters, and what is wrong stands last.
                    reason = str(error).rpartition("\n")[2]
                    self._log.error(
                        "The embedded {server} does not start and is tried again: {reason}", server=self._server.name, reason=reason
                    )
            else:
                began = self._reactor.seconds()
                if first and not self._stopping:
                    self._ready.callback(None)
                    first = False
                await self._watch()
                if self._reactor.seconds() - began >= self._limits.steady:
                    pause = self._limits.shortest_pause
                if not self._stopping:
                    await self._tell_of_end(pause)
            if self._stopping:
                break
            await self._sleep(pause)
            pause = min(self._limits.longest_pause, pause * 2)
            self.restarts += 1
        await self._end()
        if first:
            self._ready.errback(EmbeddedError(f"the embedded {self._server.name} was stopped before it was ready"))

    async def _tell_of_end(self, pause: float) -> None:
        said = await self._at_least_try(lambda: tail(self._server.log)) or ""
        self._log.error(
            "The embedded {server} is down and is started again in {delay} s; its log ends: {tail}",
            server=self._server.name,
            delay=pause,
            tail=said.rpartition("\n")[2],  # a field is cut behind 256 characters
        )

    async def _bring_up(self) -> None:
        """Find it or start it, and wait until it answers, or until a stop is asked for."""
        command, account = await self._in_thread(self._server.prepare)
        found = await self._in_thread(self._find)
        if found is not None:
            if await self._take_over(found, command):
                return
            # Its end took its sockets' directory away.
            command, account = await self._in_thread(self._server.prepare)
        if self._stopping:
            return
        self.taken_over = False
        self.process = process = await self._in_thread(lambda: self._spawn(command, account))
        if not await self._answers(process, self._limits.ready):
            what = "does not answer" if process.alive() else "ended at once"
            log = self._server.log
            raise EmbeddedError(f"the embedded {self._server.name} {what}; {log} ends: {await self._in_thread(lambda: tail(log))}")
        self._log.info("The embedded {server} is ready, process {pid}.", server=self._server.name, pid=process.pid)

    async def _take_over(self, found: Found, command: list[str]) -> bool:
        self.process, self.taken_over = found, True
        if found.arguments == command and await self._answers(found, self._limits.take_over):
            self._log.info("Took over the embedded {server} of an earlier run, process {pid}.", server=self._server.name, pid=found.pid)
            return True
        self._log.info("Stopping the embedded {server} of an earlier run, process {pid}.", server=self._server.name, pid=found.pid)
        await self._end()
        return False

    async def _answers(self, process: Process, patience: float) -> bool:
        """Whether it does within C{patience} seconds; true also when a stop is asked for."""
        deadline = self._reactor.seconds() + patience
        while not self._stopping and not await self._in_thread(self._server.answers):
            if not process.alive() or self._reactor.seconds() >= deadline:
                return False
            await self._sleep(self._ASK)
        return True

    async def _watch(self) -> None:
        """Until it dies, or a stop is asked for."""
        look_at_log = self._reactor.seconds() + 60
        while self.process is not None and not self._stopping and self.process.alive():
            if self._reactor.seconds() >= look_at_log:
                look_at_log = self._reactor.seconds() + 60
                await self._at_least_try(lambda: shorten(self._server.log, self._limits.log))
            await self._sleep(self._LOOK)

    async def _at_least_try(self, work: Callable[[], T]) -> T | None:
        """Do what the server can do without: a full disk must not end the watch over it."""
        try:
            return await self._in_thread(work)
        except OSError as error:
            self._log.warn(
                "What the embedded {server} left behind cannot be seen to: {reason}", server=self._server.name, reason=str(error)
            )
            return None

    async def _end(self) -> None:
        """End the process, by ever stronger means."""
        process, self.process = self.process, None
        if process is not None:
            for number, patience in (*self._server.stop_signals, (signal.SIGKILL, 2.0)):
                deadline = self._reactor.seconds() + patience
                process.signal(number)
                while process.alive() and self._reactor.seconds() < deadline:
                    await self._delay(self._ASK)
                if not process.alive():
                    break
                self._log.warn("The embedded {server} has not ended after {delay} s.", server=self._server.name, delay=patience)
        await self._at_least_try(self._server.remove_sockets)

    def _find(self) -> Found | None:
        """The process of an earlier run. A process that merely got its number is none of our business."""
        pid = self._server.recorded_pid()
        arguments = command_line(pid) if pid is not None else []
        if pid is not None and arguments and os.path.basename(arguments[0]) in self._server.program and str(self._server.data) in arguments:
            return Found(pid, arguments)
        self._server.clear(foreign=pid is not None and exists(pid))
        return None

    def _spawn(self, command: list[str], account: Account) -> Child:
        shorten(self._server.log, self._limits.log)
        try:
            output = os.open(self._server.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedError(f"{self._server.log} cannot be written: {error.strerror}; move it away") from None
        try:
            # A server by its path, and options that are made here.
            return Child(subprocess.Popen(command, stdout=output, stderr=output, **account.process_options()))  # noqa: S603
        except OSError as error:
            raise EmbeddedError(f"the embedded {self._server.name} cannot be run: {error}") from error
        finally:
            os.close(output)

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until a stop is asked for."""
        if not self._stopping:
            pause = self._pause = Deferred()
            call = self._reactor.callLater(seconds, pause.callback, None)
            await pause
            self._pause = None
            if call.active():
                call.cancel()

    async def _delay(self, seconds: float) -> None:
        """Until then, come what may."""
        pause: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, pause.callback, None)
        await pause

    def _failed(self, failure: Failure) -> None:
        self._log.failure("The embedded {server} is out of control.", failure, server=self._server.name)
        if not self._ready.called:
            self._ready.errback(failure)

    def _over(self, _: None) -> None:
        self._story = None
        ended, self._ended = self._ended, []
        for waiting in ended:
            waiting.callback(None)

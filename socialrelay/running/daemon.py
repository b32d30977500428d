"""
A start that is seen to fail, and a stop that finishes.

twistd forgets what C{startService} returns: a relay whose database is away would live on, deaf, and twistd would exit with 0.  And a
daemon has no terminal to complain on.  So the process that was started from the terminal waits, outside of twistd's own fork, for word of
its child.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import twisted
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorDaemonize
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.running.notify import Notifier
from socialrelay.services import Unfinished, reason_of

_STARTED = b"started\n"


def refuse(reason: str) -> SystemExit:
    """What to raise to end the process before it has started: one line on standard error, and 1."""
    return SystemExit(_line(reason))


def _line(reason: str) -> str:
    return f"socialrelay: {reason}" if reason.endswith((".", "?", "!")) else f"socialrelay: {reason}."


class Terminal:
    """Whoever started the relay: hears once whether it started."""

    def __init__(self, pipe: int | None = None, *, sees_log: bool = False) -> None:
        """
        @param pipe: to the process that waits in our place; C{None} if standard error is still ours.
        @param sees_log: standard error is where the log goes, which says why a start failed.
        """
        self._pipe = pipe
        self._sees_log = sees_log
        self._failed = False
        # Registered before anything else registers, so that it is called after all else.
        atexit.register(self._exit)

    def started(self) -> None:
        """The relay runs."""
        if self._pipe is not None:
            self._tell(self._pipe, _STARTED)

    def failed(self, reason: str) -> None:
        """It does not, and the process is about to end, with 1."""
        self._failed = True
        if not self._sees_log:
            self._tell(2 if self._pipe is None else self._pipe, f"{_line(reason)}\n".encode())

    def unfinished(self) -> None:
        """It ran, and its end was not as it should be: the process ends with 1."""
        self._failed = True

    def _tell(self, where: int, what: bytes) -> None:
        try:
            os.write(where, what)
            if where == self._pipe:
                os.close(where)
        except OSError:
            pass  # nobody listens any more

    def _exit(self) -> None:
        if self._failed:
            sys.stdout.flush()
            os._exit(1)


def leave_waiting(reactor: Any) -> Terminal:
    """
    Fork; the child goes on, and this process ends when it hears from the child, with its message and exit code.

    The child has no threads and no timers yet, and what is locked and bound stays so.
    """
    daemonizes = IReactorDaemonize.providedBy(reactor)
    if daemonizes:
        reactor.beforeDaemonize()
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        os._exit(_wait(read, child))
    os.close(read)
    if daemonizes:
        reactor.afterDaemonize()
    return Terminal(write)


def _wait(read: int, child: int) -> int:
    """@return: the exit code."""
    heard = b""
    while not heard.endswith(b"\n") and (more := os.read(read, 4096)):
        heard += more
    if heard == _STARTED:
        return 0
    if not heard:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            return code if code > 0 else 1
        heard = b"socialrelay: The relay ended while it was starting; its log says why.\n"
    os.write(2, heard)
    return 1


class Daemon(Service):
    """
    The whole relay, as twistd sees it: tells the terminal how the start went, and ends the process if it failed.
    """

    _log = Logger()

    def __init__(
        self,
        relay: IService,
        reactor: Any,
        terminal: Terminal,
        ready: Callable[[], Iterable[tuple[str, Mapping[str, object]]]],
        ended: Callable[[], None],
        notifier: Notifier,
        reload: Callable[[], Deferred[str]],
        stop_timeout: float,
    ) -> None:
        """
        @param ready: asked, when all runs, for what to log: sentences with named holes, and what fills them.
        @param ended: called when all is stopped.
        @param notifier: tells whoever started the process.
        @param reload: reads the configuration again; fires with one line on what came of it.
        @param stop_timeout: seconds that a stop takes, at most.
        """
        self._relay = relay
        self._reactor = reactor
        self._terminal = terminal
        self._ready = ready
        self._ended = ended
        self._notifier = notifier
        self._reload = reload
        self._stop_timeout = stop_timeout
        self._runs = False
        self._reload_wanted = False

    def privilegedStartService(self) -> None:
        """Do what needs the privileges that twistd drops next."""
        self._relay.privilegedStartService()

    def startService(self) -> None:
        """Start; what becomes of it is told to the terminal and the log."""
        super().startService()
        self._notifier.starting()
        maybeDeferred(self._relay.startService).addCallbacks(self._well, self._failed)

    def stopService(self) -> Deferred[None]:
        """@return: fires when everything is stopped."""
        super().stopService()
        self._log.info("Stopping.")
        self._runs = False
        self._notifier.stopping(self._stop_timeout)
        return maybeDeferred(self._relay.stopService).addBoth(self._stopped)

    def _well(self, _: object) -> None:
        for sentence, fields in self._ready():
            self._log.info(sentence, **fields)
        # Not before the reactor runs: until then a signal kills the process instead of stopping the relay.
        self._reactor.callWhenRunning(self._terminal.started)
        self._runs = True
        self._notifier.ready()
        if self._reload_wanted:
            self.reload()

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            return  # somebody stopped it meanwhile
        reason = reason_of(failure.value)
        self._log.critical("The relay cannot start. {reason}", reason=reason)
        self._terminal.failed(reason)
        self._notifier.failed(f"The relay cannot start. {reason}")
        # In the foreground a start may fail before the reactor runs, which it must do for what has started to be stopped.
        self._reactor.callWhenRunning(self.end)

    def reload(self) -> None:
        """Read the configuration again; when all runs, if that is not so yet."""
        if not self._runs:
            self._reload_wanted = True
            return
        self._notifier.reloading()
        self._reload().addCallback(self._notifier.reloaded)

    def end(self) -> None:
        """Stop the process."""
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            pass  # it is stopping already

    def _stopped(self, result: object) -> None:
        if isinstance(result, Failure):
            if result.check(Unfinished):
                self._log.error("The relay could not finish. {reason}", reason=str(result.value))
            else:
                self._log.failure("The relay did not stop as it should.", result)
            self._terminal.unfinished()
        # twistd would end by the signal that stopped it, and how the stop went is what the exit code is to say.
        self._reactor._exitSignal = None
        self._ended()
        self._notifier.close()


class Unreachable(Exception):
    """The user whom the daemon is to become cannot read the program; the message is one line."""


def check_reachable(uid: int | None, gid: int | None) -> None:
    """
    Python and the relay are read also after the daemon has become another user; see that this user can. Blocks.

    @param uid: C{None}: nobody is to be become.
    @raise Unreachable: a folder above them is closed to that user, as root's home usually is.
    """
    if uid is None:
        return
    files = [each for each in (os.__file__, twisted.__file__, __file__) if each]
    test = 'for each; do [ -r "$each" ] || { echo "$each"; exit 1; }; done'
    command = ["/bin/sh", "-c", test, "sh", *files]
    closed = subprocess.run(  # noqa: S603 - the arguments are paths of modules
        command, user=uid, group=gid, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
    )
    if closed.returncode:
        raise Unreachable(
            f"User {uid} (--uid) cannot read {closed.stdout.strip()}. Install the relay in a place that is open to that user."
        )

"""
Whether a PostgreSQL server answers at all, which is known long before a statement is overdue.

That an answer is late says little: a statement may be hard, or wait for the disk.  So while something is under way and nothing is heard,
the server is asked something easy, over an idle connection or, if there is none, by opening another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from socialrelay.storage.connection import Connection

_LATE = 0.1
"""Seconds by which a look may come too late: whatever is later, the process itself stood still, and answers lie in the sockets."""
_QUIET = 60.0
"""Seconds between two complaints in the log."""


class Liveness:
    """
    Looks now and then, for as long as something is under way; in the third look at the latest a server that does not answer is L{silent}.

    @ivar silent: it does not answer. It is said until something is heard, or until L{forget}.
    @ivar hushed: nothing is said of it in the log.
    @ivar place: the arguments with which to open a connection, names looked up.
    """

    _log = Logger()

    def __init__(self, reactor: Any, every: float, *, busy: Callable[[], bool], ask: Callable[[], bool], told: Callable[[], None]) -> None:
        """
        @param every: seconds between looks.
        @param busy: whether something is under way.
        @param ask: asks something easy over an idle connection; whether there is one.
        @param told: called each time that it falls silent.
        """
        self.silent = self.hushed = False
        self.place: Mapping[str, str] = {}
        self._reactor = reactor
        self._every = every
        self._busy = busy
        self._ask_idle = ask
        self._told = told
        self._look: Any = None
        self._due = 0.0
        self._heard = False
        self._asked = False
        self._knocking: Connection | None = None
        self._complained = False
        self._quiet_until = 0.0

    def under_way(self) -> None:
        """Something was asked: see whether it is answered."""
        if self._look is None:
            self._heard = self._asked = False
            self._look_again()

    def heard(self) -> None:
        """The server said something."""
        self._heard = True
        self.silent = False
        if self._complained:
            self._complained = False
            self._log.info("The database answers again.")

    def forget(self) -> None:
        """There is no connection any more: what was silent is away, and said to be."""
        self.silent = self._complained = False

    def leave(self) -> None:
        """Knock no longer."""
        knocking, self._knocking = self._knocking, None
        if knocking is not None:
            knocking.abandon()

    def stop(self) -> None:
        """Look no longer."""
        look, self._look = self._look, None
        if look is not None:
            look.cancel()
        self.leave()

    def _look_again(self) -> None:
        self._due = self._reactor.seconds() + self._every
        self._look = self._reactor.callLater(self._every, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        if not self._busy():
            self.leave()
            return
        late = self._reactor.seconds() - self._due > _LATE
        self._look_again()
        if self._heard or late:
            self._heard = self._asked = False
        elif self._asked:
            self._fall_silent()
        else:
            self._asked = True
            if not self._ask_idle() and self._knocking is None:
                self._knock()

    def _knock(self) -> None:
        """No connection is idle: a server that is there opens another."""
        knocking = self._knocking = Connection(self._reactor, lambda connection, reason: None)

        def answered(opened: bool) -> None:
            if self._knocking is knocking:
                self.leave()
                if opened:
                    self.heard()

        knocking.connect(**self.place).addCallbacks(lambda _: answered(True), lambda _: answered(False))

    def _fall_silent(self) -> None:
        if self.silent:
            return
        self.silent = True
        now = self._reactor.seconds()
        if now >= self._quiet_until and not self.hushed:
            self._quiet_until, self._complained = now + _QUIET, True
            self._log.warn("The database does not answer: senders are told to come again until it does.")
        self._told()

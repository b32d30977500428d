"""
What the relay tells systemd: that it runs, reads its configuration again, ends, and is alive.

The protocol is that of C{sd_notify(3)}: datagrams to the socket that C{NOTIFY_SOCKET} names.  Without that variable nothing is said.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

STATUS_EVERY = 60.0
EXTENSION = 60.0
"""Seconds by which a start that goes on is prolonged."""
EXTEND_EVERY = 20.0


@frozen
class Supervision:
    """
    Who started the relay and what it wants to hear.

    @ivar address: of the socket; a leading C{@} stands for a name that is in no folder; empty: nobody wants to hear anything.
    @ivar watchdog: seconds within which a sign of life is awaited; 0 if none is.
    """

    address: str = ""
    watchdog: float = 0.0

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Supervision:
        """
        Read it from the environment, and remove it from there: the servers that the relay starts must not speak in its name.

        @param pid: of this process; a watchdog that is meant for another one is none of ours.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, of = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = not of or of == str(pid)
        watchdog = int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
        return cls(address if address.startswith(("/", "@")) else "", watchdog)


class Notifier:
    """
    Tells systemd.  No word of it ever blocks; one that cannot be sent is lost.

    @ivar line: asked now and then how the relay is, in one line.
    """

    def __init__(self, supervision: Supervision, clock: IReactorTime) -> None:
        """@param clock: its time does not jump, and is that of C{CLOCK_MONOTONIC}."""
        self.line: Callable[[], str] = lambda: ""
        self._supervision = supervision
        self._clock = clock
        self._socket: socket.socket | None = None
        self._alive = self._loop(lambda: self._send("WATCHDOG=1"))
        self._tell = self._loop(self._status)
        self._extend = self._loop(lambda: self._send(f"EXTEND_TIMEOUT_USEC={int(EXTENSION * 1e6)}"))
        if supervision.address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def starting(self) -> None:
        """It takes as long as it takes: a database that recovers, tables that are changed."""
        if self._socket is not None:
            self._extend.start(EXTEND_EVERY)

    def ready(self) -> None:
        """All runs."""
        self._end(self._extend)
        self._send("READY=1")
        if self._socket is not None:
            self._tell.start(STATUS_EVERY)
            if self._supervision.watchdog:
                self._alive.start(self._supervision.watchdog / 2)

    def reloading(self) -> None:
        """The configuration is read again; L{reloaded} follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.seconds() * 1e6)}")

    def reloaded(self, line: str) -> None:
        """That is over, whatever came of it."""
        self._send(f"READY=1\nSTATUS={_one_line(line)}")

    def stopping(self, seconds: float) -> None:
        """
        The end begins.

        @param seconds: that it may take.
        """
        self._end(self._extend)
        self._end(self._tell)
        self._send(f"STOPPING=1\nSTATUS=Stopping.\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def failed(self, reason: str) -> None:
        """It cannot start."""
        self._end(self._extend)
        self._send(f"STATUS={_one_line(reason)}")

    def close(self) -> None:
        """Nothing more is said."""
        for loop in (self._alive, self._tell, self._extend):
            self._end(loop)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _status(self) -> None:
        self._send(f"STATUS={_one_line(self.line())}")

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        address = self._supervision.address
        try:
            self._socket.sendto(text.encode("utf-8", "replace"), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            pass  # nobody listens, or does not read: the next word may get through

    def _loop(self, work: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(work)
        loop.clock = self._clock
        return loop

    def _end(self, loop: LoopingCall) -> None:
        if loop.running:
            loop.stop()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]

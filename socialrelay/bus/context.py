"""
What the bus's sockets have in common: one ZeroMQ context, whose one thread moves the bytes, and the ways in which they are bound.

The context is made with the first socket, so that the daemon may fork before.  It ends in a thread of its own, because ending waits for
what the sockets still have to send; and only then are the paths of UNIX sockets let go, since until then ZeroMQ may remove them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from threading import Thread
from typing import Any

import zmq
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.bus.locks import PathLock, take_path

IPC = "ipc://"
IPC_MODE = 0o660
"""Of a UNIX socket: the relay's user and its group may connect."""
SLACK = 5.0
"""Seconds that the end may take beyond the longest linger."""

_KEEPALIVE = ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_CNT, 3), (zmq.TCP_KEEPALIVE_IDLE, 60), (zmq.TCP_KEEPALIVE_INTVL, 5))
"""All four: where one is set and the others are not, ZeroMQ makes them 0 and connections break."""


class CannotBind(Exception):
    """
    The bus cannot listen at an address.  The message is one line: which, why, and what can be done.

    @ivar address: as it was configured.
    @ivar reason: why, and what can be done.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"The bus cannot listen at {address}: {reason}")
        self.address = address
        self.reason = reason


class BusContext:
    """Makes sockets, binds them, and ends them all."""

    _log = Logger()

    def __init__(self, reactor: Any, slack: float = SLACK) -> None:
        """@param slack: seconds that L{close} may take beyond the longest linger."""
        self._reactor = reactor
        self._slack = slack
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._locks: list[PathLock] = []
        self._longest = 0.0

    def socket(self, kind: int, linger: float = 0.0, max_frame: int = -1) -> zmq.Socket[bytes]:
        """
        A socket that neither holds up the end nor a connection that is dead.

        @param kind: C{zmq.ROUTER} and the like.
        @param linger: seconds for what is not sent yet when it is closed.
        @param max_frame: bytes; a connection on which a larger one comes is closed, and what it sent is dropped (ZMQ_MAXMSGSIZE).
        """
        if self._context is None:
            self._context = zmq.Context(io_threads=1)
        socket = self._context.socket(kind)
        self._longest = max(self._longest, linger)
        socket.set(zmq.LINGER, int(linger * 1000))
        socket.set(zmq.MAXMSGSIZE, max_frame)
        for option, value in _KEEPALIVE:
            socket.set(option, value)
        return socket

    def bind(self, socket: zmq.Socket[bytes], address: str) -> str:
        """
        Listen there, too; in the socket's own thread.

        @param address: see L{socialrelay.bus.addresses}.
        @return: the address in ZeroMQ's words, by which it can be unbound.
        @raise CannotBind: another listens there, it is not allowed, or there is no such address.
        """
        path = address.removeprefix(IPC) if address.startswith(IPC) else ""
        try:
            if path:
                self._locks.append(take_path(path))
            socket.set(zmq.IPV6, int("[" in address))
            socket.bind(address)
            if path:
                os.chmod(path, IPC_MODE)
        except zmq.ZMQError as error:
            raise CannotBind(address, advice(address, error.errno, zmq.strerror(error.errno or 0))) from None
        except OSError as error:
            raise CannotBind(address, advice(address, error.errno, error.strerror)) from None
        endpoint = socket.get(zmq.LAST_ENDPOINT)
        return endpoint.rstrip(b"\0").decode() if isinstance(endpoint, bytes) else address

    def close(self) -> Deferred[None]:
        """
        End it, once all sockets are closed; what they still have to send is sent within their linger.

        @return: fires when that is done, and in any case soon after the longest linger.
        """
        ended: Deferred[None] = Deferred()
        context, self._context = self._context, None
        if context is None:
            self._release()
            ended.callback(None)
            return ended

        def over() -> None:
            if late.active():
                late.cancel()
                self._release()
                ended.callback(None)

        def too_late() -> None:
            self._log.warn("The bus's sockets do not end; they are left to the end of the process.")
            ended.callback(None)

        def end() -> None:
            context.term()
            self._reactor.callFromThread(over)

        late = self._reactor.callLater(self._longest + self._slack, too_late)
        # Not one of the reactor's threads, which the end of the process waits for.
        Thread(target=end, name="bus-end", daemon=True).start()
        return ended

    def _release(self) -> None:
        locks, self._locks = self._locks, []
        for lock in locks:
            lock.release()


def threads_refused(set_policy: Callable[[int, int, os.sched_param], None] = os.sched_setscheduler) -> str:
    """
    Whether ZeroMQ's threads could not begin: they set their scheduling policy to what it is, and end the process where that is forbidden
    (libzmq 4.3.5, thread.cpp).

    @return: why, and what can be done; empty if they can.
    """
    try:
        set_policy(0, os.sched_getscheduler(0), os.sched_getparam(0))
    except OSError as error:
        return (
            f"ZeroMQ's threads may not call sched_setscheduler here ({error.strerror}), and would end the process. "
            "Under systemd: SystemCallFilter=sched_setscheduler, as in etc/systemd/socialrelay.service."
        )
    return ""


def advice(address: str, code: int | None, words: str | None) -> str:
    """
    Why the bus cannot listen somewhere, and what can be done.

    @param code: the system's number of the error.
    @param words: the system's for it.
    """
    what = words or "unknown"
    if code == errno.EADDRINUSE:
        return f"{what}. Stop what listens there, such as fedmsg-relay or another relay, or name another address."
    if address.startswith(IPC):
        folder = os.path.dirname(address.removeprefix(IPC))
        if code in (errno.ENOENT, errno.ENOTDIR):
            return f"{what}. Make the folder {folder}, for the user that runs the relay."
        if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP):
            return f"{what}. Give the relay's user a folder of its own for the socket and its lock, or name another address."
        return f"{what}. Name another path."
    if code in (errno.EACCES, errno.EPERM):
        return f"{what}. Ports below 1024 are root's: name another."
    if code in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"{what}. Name an address of this machine ('ip address' shows them), or tcp://*:port for all."
    return f"{what}. Name another address, such as tcp://127.0.0.1:2003."

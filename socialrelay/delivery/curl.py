"""
libcurl's multi interface, driven by a Twisted reactor.

Hand it a prepared C{pycurl.Curl} and get a Deferred; that is all it does, and it knows nothing of what is sent.  How it works:

  - libcurl says through the socket callback which descriptors it waits for; each becomes a reader or writer of the reactor, and what the
    reactor sees is handed back with C{socket_action}.
  - libcurl says through the timer callback when it wants to be called at the latest; that is one C{callLater}.
  - When a call of C{socket_action} leaves fewer transfers running than there are, the finished ones are collected, taken out of the
    multi handle, and only then are their Deferreds fired: so whoever waits may start or cancel transfers at once.

What must be kept to: nothing called by libcurl (these two callbacks, and those of the easy handles) may call back into the multi handle or
fire a Deferred.  libcurl takes a descriptor back before it closes it, except when a callback of ours opened it for an address that was then
given up; a descriptor that the reactor cannot remove any more is forgotten without a word.

It needs a reactor that polls descriptors (C{IReactorFDSet}).
"""

from __future__ import annotations

import pycurl
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


class IReactorForCurl(IReactorFDSet, IReactorTime):
    """What a reactor must offer."""


@frozen
class Outcome:
    """
    How a transfer ended.

    @ivar code: a C{CURLE_} code; 0 for success.
    @ivar message: what libcurl says about it.
    """

    code: int
    message: str = ""


_SUCCESS = Outcome(0)


@implementer(IReadWriteDescriptor)
class _Descriptor:
    """A descriptor of libcurl's, as the reactor polls it."""

    def __init__(self, fd: int, transfers: Transfers) -> None:
        self.fd = fd
        self.reading = False
        self.writing = False
        self._transfers = transfers

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return "curl"

    def doRead(self) -> None:
        if self.reading:
            self._transfers._act(self.fd, pycurl.CSELECT_IN)

    def doWrite(self) -> None:
        # Reading may have taken the descriptor back in the same turn.
        if self.writing:
            self._transfers._act(self.fd, pycurl.CSELECT_OUT)

    def connectionLost(self, reason: Failure) -> None:
        # The reactor has dropped it already; libcurl is to find out what happened to it.
        if self.reading or self.writing:
            self.reading = self.writing = False
            self._transfers._act(self.fd, pycurl.CSELECT_IN | pycurl.CSELECT_OUT | pycurl.CSELECT_ERR)


class Transfers:
    """
    Transfers under way.

    @ivar _waiting: easy handle -> what fires when it is done.
    @ivar _alarm_at: when libcurl wants to be called; C{None} for not at all. The delayed call may be due earlier, never later.
    """

    def __init__(self, reactor: IReactorForCurl, *, max_connections: int) -> None:
        """
        @param max_connections: open at a time, idle ones included, of which the oldest give way; transfers beyond that wait inside libcurl.
        """
        self._reactor = reactor
        self._waiting: dict[pycurl.Curl, Deferred[Outcome]] = {}
        self._descriptors: dict[int, _Descriptor] = {}
        self._alarm: IDelayedCall | None = None
        self._alarm_at: float | None = None
        self._multi: pycurl.CurlMulti | None = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, max_connections)
        # libcurl counts those in use as well: a lower figure would close connections that are to be kept.
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)

    @property
    def under_way(self) -> int:
        """Transfers under way."""
        return len(self._waiting)

    def start(self, handle: pycurl.Curl) -> Deferred[Outcome]:
        """
        Run a transfer. Cancelling the Deferred ends it and closes its connection.

        @param handle: prepared, in no other transfer, and not touched until the Deferred has fired; then it may be used again.
        @return: fires with how it ended, also when that was badly.
        @raise RuntimeError: L{close} was called.
        """
        if self._multi is None:
            raise RuntimeError("no transfers after close()")
        self._multi.add_handle(handle)
        done: Deferred[Outcome] = Deferred(lambda _: self._abandon(handle))
        self._waiting[handle] = done
        return done

    def close(self) -> None:
        """Cancel what is under way and close all connections."""
        for done in list(self._waiting.values()):
            done.cancel()
        if self._multi is not None:
            multi, self._multi = self._multi, None
            multi.close()
            for descriptor in list(self._descriptors.values()):
                self._forget(descriptor)
        self._on_timer(-1)

    def _abandon(self, handle: pycurl.Curl) -> None:
        if self._waiting.pop(handle, None) is not None and self._multi is not None:
            self._multi.remove_handle(handle)

    def _act(self, fd: int, events: int) -> None:
        if self._multi is None:
            return
        running = self._multi.socket_action(fd, events)[1]
        if running < len(self._waiting):
            self._collect(self._multi)

    def _collect(self, multi: pycurl.CurlMulti) -> None:
        ended: list[tuple[pycurl.Curl, Outcome]] = []
        more = 1
        while more:
            more, good, bad = multi.info_read()
            ended += [(handle, _SUCCESS) for handle in good]
            ended += [(handle, Outcome(code, message)) for handle, code, message in bad]
        fired = []
        for handle, outcome in ended:
            done = self._waiting.pop(handle, None)
            if done is not None:
                multi.remove_handle(handle)
                fired.append((done, outcome))
        for done, outcome in fired:
            if not done.called:  # an earlier one may have cancelled it
                done.callback(outcome)

    # Called by libcurl

    def _on_socket(self, what: int, fd: int, multi: object, assigned: object) -> None:
        descriptor = self._descriptors.get(fd)
        if what == pycurl.POLL_REMOVE:
            if descriptor is not None:
                self._forget(descriptor)
            return
        if descriptor is None:
            descriptor = self._descriptors[fd] = _Descriptor(fd, self)
        reading, writing = bool(what & pycurl.POLL_IN), bool(what & pycurl.POLL_OUT)
        if reading != descriptor.reading:
            descriptor.reading = reading
            (self._reactor.addReader if reading else self._reactor.removeReader)(descriptor)
        if writing != descriptor.writing:
            descriptor.writing = writing
            (self._reactor.addWriter if writing else self._reactor.removeWriter)(descriptor)

    def _forget(self, descriptor: _Descriptor) -> None:
        del self._descriptors[descriptor.fd]
        reading, writing = descriptor.reading, descriptor.writing
        descriptor.reading = descriptor.writing = False
        try:
            if reading:
                self._reactor.removeReader(descriptor)
            if writing:
                self._reactor.removeWriter(descriptor)
        except OSError:
            pass  # closed already: epoll dropped it by itself

    def _on_timer(self, milliseconds: int) -> None:
        if milliseconds < 0:
            self._alarm_at = None
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            return
        delay = milliseconds / 1000
        self._alarm_at = self._reactor.seconds() + delay
        if self._alarm is None:
            self._alarm = self._reactor.callLater(delay, self._on_alarm)
        elif self._alarm.getTime() > self._alarm_at:
            self._alarm.reset(delay)

    def _on_alarm(self) -> None:
        self._alarm = None
        if self._alarm_at is None:
            return
        early = self._alarm_at - self._reactor.seconds()
        if early > 0:
            self._alarm = self._reactor.callLater(early, self._on_alarm)
            return
        self._alarm_at = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

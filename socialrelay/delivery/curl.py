"""
libcurl's multi interface, driven by a Twisted reactor: a prepared C{pycurl.Curl} in, a Deferred out.

This module stands alone: it needs Twisted, pycurl, attrs and Linux, imports nothing of the relay, and knows nothing of what is sent.

The contract of L{Transfers}:

  - One Deferred per transfer.  It fires once, with an L{Outcome}, however the transfer ended; it does not fail unless it is cancelled.
  - Cancelling it ends the transfer at once and closes its connection; over HTTP/2 it resets the stream and leaves the connection.
  - Over HTTP/2 also a transfer that failed, by running out of time for one, leaves the connection, with whatever keeps coming there.
    Whoever does not want that says so (C{severs}).
  - The handle is the caller's again as soon as the Deferred has fired: to ask with C{getinfo}, to use again, to close.
  - L{Transfers.close} refuses new transfers, waits for those under way as long as it is told to, cancels the rest, and closes all
    connections.
  - Whoever waits may start and cancel transfers, or close, from within a callback.

An example::

    from io import BytesIO

    import pycurl

    from socialrelay.delivery.curl import Transfers

    async def get(reactor, url):
        transfers = Transfers(reactor, max_connections=100)
        body = BytesIO()
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.WRITEDATA, body)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.TIMEOUT, 10)
        outcome = await transfers.start(handle)
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        handle.close()
        await transfers.close(grace=5.0)
        return outcome.code, status, body.getvalue()

How it works:

  - libcurl says through the socket callback which descriptors it waits for.  They are polled by an C{epoll} of our own, which is one
    descriptor to the reactor: when that becomes readable everything that happened is handed to libcurl in one go.  Each descriptor as a
    reader and writer of the reactor's own takes a tenth to a quarter more CPU per transfer over a kept connection.
  - libcurl says through the timer callback when it wants to be called at the latest; that is one C{callLater}.
  - When fewer transfers run than there are, the finished ones are collected, taken out of the multi handle, and only then are their
    Deferreds fired.

What must be kept to: nothing called by libcurl (these two callbacks, and those of the easy handles) may call back into the multi handle or
fire a Deferred.  Name resolution by libcurl runs in threads of its own; who does not want that pins the addresses (C{RESOLVE},
C{CONNECT_TO}).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from select import EPOLLIN, EPOLLOUT, epoll

import pycurl
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

AT_ONCE = 256
"""Descriptors that are served before the reactor has its turn, at most."""

SLICE = 0.02
"""Seconds after which it has its turn all the same: one step of a TLS handshake takes as long as ten answers over kept connections."""

_BATCH = 32
"""Descriptors that are asked for at a time."""


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

_WISHES = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: EPOLLIN,
    pycurl.POLL_OUT: EPOLLOUT,
    pycurl.POLL_INOUT: EPOLLIN | EPOLLOUT,
}


def _happened(event: int) -> int:
    """What C{epoll} saw, as libcurl wants to hear it."""
    found = (pycurl.CSELECT_IN if event & EPOLLIN else 0) | (pycurl.CSELECT_OUT if event & EPOLLOUT else 0)
    return found | (pycurl.CSELECT_ERR if event & ~(EPOLLIN | EPOLLOUT) else 0)


def _sever(descriptor: int) -> None:
    """
    Close a connection of libcurl's, which has no means of its own for that: it finds one there that the other side has closed.

    @param descriptor: the connection's; negative if there is none any more.
    """
    if descriptor < 0:
        return
    dead, other = socket.socketpair()
    other.close()
    os.dup2(dead.fileno(), descriptor, inheritable=False)
    dead.close()


@implementer(IReadDescriptor)
class Transfers:
    """
    Transfers under way, over a pool of connections.

    @ivar _behind: more had happened at the descriptors than was taken in, the last time.
    @ivar _waiting: easy handle -> what fires when it is done.
    @ivar _watched: descriptor -> what it is polled for.
    @ivar _alarm_at: when libcurl wants to be called; C{None} for not at all. The delayed call may be due earlier, never later.
    @ivar _drained: fires when nothing is under way any more; there is one once L{close} was called.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorForCurl,
        *,
        max_connections: int,
        max_streams: int = 100,
        arrived: Callable[[int, float], None] = lambda descriptor, now: None,
        forgotten: Callable[[int], None] = lambda descriptor: None,
        severs: Callable[[pycurl.Curl, Outcome], bool] = lambda handle, outcome: False,
    ) -> None:
        """
        @param max_connections: open at a time, idle ones included, of which the oldest give way; transfers beyond that wait inside libcurl.
        @param max_streams: at a time on one connection of HTTP/2.
        @param arrived: told of each descriptor at which there is something to read, and when that is.
        @param forgotten: told of each that is watched no more.
        @param severs: asked of each transfer that failed whether its connection is to be closed, if it still stands and no other uses it.
        """
        self._reactor = reactor
        self._behind = False
        self._waiting: dict[pycurl.Curl, Deferred[Outcome]] = {}
        self._watched: dict[int, int] = {}
        self._arrived = arrived
        self._forgotten = forgotten
        self._severs = severs
        self._polled = False
        self._alarm: IDelayedCall | None = None
        self._alarm_at: float | None = None
        self._drained: Deferred[None] | None = None
        self._epoll = epoll()
        self._multi: pycurl.CurlMulti | None = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, max_connections)
        # libcurl counts those in use as well: a lower figure would close connections that are to be kept.
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, max_streams)

    @property
    def under_way(self) -> int:
        """Transfers under way."""
        return len(self._waiting)

    @property
    def behind(self) -> bool:
        """Answers come faster than they are taken in: whoever starts more had better start few."""
        return self._behind and bool(self._waiting)

    def start(self, handle: pycurl.Curl) -> Deferred[Outcome]:
        """
        Run a transfer. Cancelling the Deferred ends it and closes its connection.

        @param handle: prepared, in no other transfer, and not touched until the Deferred has fired; then it may be used again.
        @return: fires with how it ended, also when that was badly.
        @raise RuntimeError: L{close} was called.
        """
        if self._multi is None or self._drained is not None:
            raise RuntimeError("no transfers after close()")
        self._multi.add_handle(handle)
        done: Deferred[Outcome] = Deferred(partial(self._abandon, handle))
        self._waiting[handle] = done
        return done

    def close(self, grace: float = 0.0) -> Deferred[None]:
        """
        Take nothing new, let what is under way end, then cancel what is left and close all connections.

        @param grace: seconds to wait; 0 for not at all.
        @return: fires when all is over. Calling again, or cancelling it, ends the wait.
        """
        if self._drained is not None:
            self._end()
            return succeed(None)
        drained = self._drained = Deferred(lambda _: self._end())
        if self._waiting and grace > 0:
            alarm = self._reactor.callLater(grace, self._end)
            drained.addBoth(self._over, alarm)
        else:
            self._end()
        return drained

    @staticmethod
    def _over(_: object, alarm: IDelayedCall) -> None:
        if alarm.active():
            alarm.cancel()

    def _end(self) -> None:
        """Free everything, now."""
        if self._multi is None:
            return
        multi, self._multi = self._multi, None
        for handle, done in list(self._waiting.items()):
            multi.remove_handle(handle)
            done.cancel()
        self._on_timer(-1)
        multi.close()
        if self._polled:
            self._reactor.removeReader(self)
        self._epoll.close()
        self._watched.clear()
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def _end_if_drained(self) -> None:
        if self._drained is not None and not self._waiting:
            self._end()

    def _abandon(self, handle: pycurl.Curl, _: Deferred[Outcome]) -> None:
        if self._waiting.pop(handle, None) is not None and self._multi is not None:
            self._multi.remove_handle(handle)
            self._end_if_drained()

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
                if outcome.code:
                    self._sever_if_asked(handle, outcome)
                multi.remove_handle(handle)
                fired.append((done, outcome))
        for done, outcome in fired:
            if not done.called:  # an earlier one may have cancelled it
                done.callback(outcome)
        self._end_if_drained()

    def _sever_if_asked(self, handle: pycurl.Curl, outcome: Outcome) -> None:
        try:
            if self._severs(handle, outcome):
                _sever(handle.getinfo(pycurl.ACTIVESOCKET))
        except Exception:  # no descriptor is left, say: the connection stays, and nobody who waits is forgotten for that
            self._log.failure("A connection is not closed")

    # Called by the reactor

    def fileno(self) -> int:
        """The C{epoll}'s."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return "curl"

    def doRead(self) -> None:
        """Something happened at the descriptors."""
        multi = self._multi
        if multi is None:
            return
        running = len(self._waiting)
        now = self._reactor.seconds()
        until, served, more = now + SLICE, 0, True
        # The epoll names those that it has named already after all others, so that nobody waits for ever.
        while more and served < AT_ONCE and now < until:
            events = self._epoll.poll(0, _BATCH)
            for descriptor, event in events:
                if event & EPOLLIN and descriptor in self._watched:
                    self._arrived(descriptor, now)
                # One that libcurl took back meanwhile, and even one that is another connection's by now, does no harm: it finds nothing
                # there.
                running = self._tell(multi, descriptor, event if event == EPOLLIN else _happened(event))
            served += len(events)
            more = len(events) == _BATCH
            now = self._reactor.seconds()
        self._behind = more
        if running < len(self._waiting):
            self._collect(multi)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""
        self._polled = False

    def _tell(self, multi: pycurl.CurlMulti, descriptor: int, happened: int) -> int:
        try:
            return int(multi.socket_action(descriptor, happened)[1])
        except pycurl.error:
            # Raised into the reactor it would take the epoll from it, and with that every transfer.
            self._log.failure("libcurl does not take an event")
            return -1

    def _on_alarm(self) -> None:
        self._alarm = None
        if self._alarm_at is None or self._multi is None:
            return
        early = self._alarm_at - self._reactor.seconds()
        if early > 0:
            self._alarm = self._reactor.callLater(early, self._on_alarm)
            return
        self._alarm_at = None
        if self._tell(self._multi, pycurl.SOCKET_TIMEOUT, 0) < len(self._waiting):
            self._collect(self._multi)

    # Called by libcurl

    def _on_socket(self, what: int, descriptor: int, multi: object, assigned: object) -> None:
        before = self._watched.get(descriptor)
        if what == pycurl.POLL_REMOVE:
            if before is not None:
                del self._watched[descriptor]
                self._forgotten(descriptor)
                try:
                    self._epoll.unregister(descriptor)
                except OSError:
                    pass  # closed already: the kernel dropped it by itself
            return
        self._watched[descriptor] = wish = _WISHES[what]
        # What libcurl closed without a word the kernel has dropped by itself, and the number may be another socket's by now.
        try:
            (self._epoll.register if before is None else self._epoll.modify)(descriptor, wish)
        except FileNotFoundError:
            self._epoll.register(descriptor, wish)
        except FileExistsError:
            self._epoll.modify(descriptor, wish)
        if not self._polled:
            self._polled = True
            self._reactor.addReader(self)

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

"""
One connection of a stranger: bounded in time and in bytes, and strict where two HTTP parsers could disagree.

Twisted's channel has an idle timer, which a byte a minute satisfies, and no limit for bodies.  This one gives a request a fixed time from
the connection (or from the end of the previous request) to its last byte, and less if it does not keep up a pace, cuts a body off where it
passes the limit, and answers what it refuses before it is read.  After such an answer it closes its own half and goes on reading for a
moment: a socket that is closed while data arrives is reset, and the sender would see a broken connection instead of the answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.server import Request

from socialrelay.web.framing import fault
from socialrelay.web.room import Room
from socialrelay.web.turns import Turns

LINGER = 2.0
"""Seconds that a connection may take to end once its last answer is written."""

DRAIN = 1024 * 1024
"""Bytes that are read and thrown away after a refusal."""

PROMPT = 8.0
"""Seconds from the first byte of a request to its last one."""

PACE = 32 * 1024
"""So many bytes of a body that came are good for another second."""

_UNREAD = 16 * 1024
"""Bytes of answers that the system does not take, since the client does not read them; no request is answered beyond these."""

_LONGEST_LENGTH = 64
"""No honest Content-Length line is longer; Python refuses to read numbers of more than 4300 digits with an error of its own."""

_LONGEST_NAME = 100
"""Bytes of a header's name.  Twisted remembers ten thousand names for the life of the process, however long they are."""

_TRAILERS = 1024
"""Bytes after the last chunk.  Twisted keeps each line of them as an object of its own, which is twenty times as large."""


class Refused(Exception):
    """What is being read was refused; nothing more of it is to be read."""


class Keeper(Protocol):
    """
    What a connection and its requests need of their site.

    @ivar reactor: tells the time.
    @ivar deadline: seconds from the connection, or from the end of a request, to the last byte of the next one.
    @ivar max_body: bytes of a request's body.
    @ivar counters: what was refused and why, and what was answered.
    @ivar room: how many bytes of bodies there may be.
    @ivar turns: when requests are handled.
    @ivar leaving: no connection outlasts the request that it is at, or the next one.
    @ivar shortcuts: by path: who is handed what is posted there, without a resource.
    @ivar quick_answer: the answer to bytes with which a request begins, if they are not to be read; empty if they are.
    """

    reactor: Any
    deadline: float
    max_body: int
    counters: Counter[str]
    room: Room
    turns: Turns
    leaving: bool
    shortcuts: Mapping[bytes, Callable[[Any], None]]
    quick_answer: Callable[[bytes], bytes]

    def hold(self, size: int) -> None:
        """Count bytes of bodies in reception; less than 0 when they are no more."""

    def closed(self, channel: Channel) -> None:
        """A connection has ended, or is about to."""

    def client_of(self, peer: str, forwarded: list[str]) -> str:
        """The client's address, seen through the proxies that are trusted."""

    def date(self) -> bytes:
        """Now, as HTTP writes it."""


class Channel(HTTPChannel):
    """
    @ivar site: the site, which counts, limits and knows the time.
    @ivar peer: the address of whoever connected, C{"unix"} on a UNIX socket.
    @ivar limited: what its connections are counted under.
    @ivar held: bytes of the body that is being received.
    @ivar refused: a refusal was written; whatever comes now is thrown away.
    @ivar gone: the connection has ended.
    """

    site: Keeper
    transport: Any
    peer = ""
    limited = ""
    held = 0
    refused = False
    gone = False
    _clock: IReactorTime
    _receiving_since: float | None = None
    _begun: float | None = None
    """When the first byte of the request came that is being received; a connection begins with one."""
    _alarm: IDelayedCall | None = None
    _drained = 0
    _done: Request | None = None
    """A request whose answer nobody reads, while the next one is here."""

    # time

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.bufferSize = _UNREAD
        self._clock = self.site.reactor
        self._receiving_since = self._begun = self._clock.seconds()
        self._alarm = self._clock.callLater(min(PROMPT, self.site.deadline), self._look)

    def _look(self) -> None:
        """One timer for the connection's life: it asks when it should ring again, so that requests need not touch it."""
        remaining = self._time_left()
        if remaining > 0.001:
            self._alarm = self._clock.callLater(remaining, self._look)
            return
        self._alarm = None
        self.site.counters["overdue" if self.requests or self._buffer else "idle"] += 1
        self.loseConnection()

    def _time_left(self) -> float:
        if self._receiving_since is None:
            return self.site.deadline
        end = self._receiving_since + self.site.deadline
        if self._begun is not None:
            end = min(end, self._begun + PROMPT + self.held / PACE)
        return end - self._clock.seconds()

    def loseConnection(self) -> None:
        """Close when everything is written, but do not wait for a peer that does not read."""
        super().loseConnection()
        self._end_within(LINGER)

    def waits_since(self) -> float:
        """When it began to wait for the client; infinite while the client waits for us."""
        return math.inf if self._receiving_since is None else self._receiving_since

    def silent_since(self) -> float:
        """When it began to wait for a request of which nothing came; infinite if something did."""
        return math.inf if self.requests or self._buffer else self.waits_since()

    def end_after_this(self) -> None:
        """If a request is being answered it is the last one."""
        if self._receiving_since is None:
            self.persistent = False

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        if not self.site.leaving:
            return bool(super().checkPersistence(request, version))
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def give_way(self) -> None:
        """End at once: somebody else needs the place."""
        self.refused = True
        self.let_go()
        self.transport.abortConnection()

    def _end_within(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self.gone:
            self._alarm = self._clock.callLater(seconds, self._abort)

    def _abort(self) -> None:
        self._alarm = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.let_go()
        self.site.closed(self)
        super().connectionLost(reason)
        # It knows us, as we know it: a crowd's would stay in memory until somebody looks for cycles.
        self._transferDecoder = None

    # refusing

    def refuse(self, code: int, reason: str) -> None:
        """
        Answer in place of the request that is being read, and end the connection.

        @param reason: a name such as C{too-large}, for the counter and the answer.
        """
        if self.refused:
            return
        self.refused = True
        self.site.counters[f"refused-{reason}"] += 1
        self.let_go()
        for request in self.requests:
            request.content = BytesIO()
        self.length = None  # else Twisted takes a request without a body as complete and serves it
        self.clearLineBuffer()
        self.setRawMode()
        self._write_refusal(code, reason)
        self._networkProducer.resumeProducing()
        self.transport.unregisterProducer()
        if ITCPTransport.providedBy(self.transport) and not self.isSecure():
            self.transport.loseWriteConnection()
        self._end_within(LINGER)

    def turn_away(self) -> None:
        """Refuse a body for which there is no room."""
        if not self.refused:
            self.site.room.turn_away()
            self.refuse(503, "too-much-at-once")

    def _write_refusal(self, code: int, reason: str) -> None:
        body = reason.encode("ascii") + b"\n"
        lines = [
            b"HTTP/1.1 %d %s" % (code, RESPONSES[code]),
            b"Server: socialrelay",
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Length: %d" % len(body),
            b"Connection: close",
        ]
        if code == 503:
            lines.append(b"Retry-After: 60")
        self.transport.write(b"\r\n".join([*lines, b"", body]))

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "bad-request")

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(400, "line-too-long")

    # bytes

    def hold(self, size: int) -> None:
        """Count bytes of a body that is being received."""
        self.held += size
        self.site.hold(size)

    def let_go(self) -> None:
        """The body is no longer the connection's concern."""
        held, self.held = self.held, 0  # before the site looks who holds most
        self.site.hold(-held)

    def dataReceived(self, data: bytes) -> None:
        if not self.refused:
            if self._answered_unread(data):
                return
            idle = self._begun is None and self._receiving_since is not None
            if idle:
                self._begun = self._clock.seconds()
            super().dataReceived(data)
            if idle and self._receiving_since is not None and self._begun is not None and self._alarm is not None:
                self._alarm.reset(min(PROMPT, self.site.deadline))  # the request did not come as a whole
            return
        self._drained += len(data)
        if self._drained > DRAIN:
            self.loseConnection()

    def _answered_unread(self, data: bytes) -> bool:
        """While nothing more is taken, whoever brings something learns it without our reading what it is."""
        answer = b"" if self.requests or self._buffer else self.site.quick_answer(data)
        if answer:
            self.write_now(answer)
            self._receiving_since, self._begun = self._clock.seconds(), None
        return bool(answer)

    def write_now(self, data: bytes) -> None:
        """
        Write an answer as a whole, in this turn of the event loop if the system takes it.

        To wait for the next one, as Twisted does, costs as much as refusing does, and when there is much to do it is a long time.
        """
        transport = self.transport
        if isinstance(transport, Connection) and transport.connected and not (transport.disconnecting or transport.TLS):
            waits = transport.dataBuffer or transport._tempDataBuffer
            sent = 0 if waits else transport.writeSomeData(data)
            if isinstance(sent, int):  # a connection that is found broken is found so once more when it is written to in its time
                data = data[sent:]
        if data:
            transport.write(data)

    def lineReceived(self, line: bytes) -> None:
        if line[:1] in (b" ", b"\t"):
            self.refuse(400, "folded-header")
        else:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        try:
            super().rawDataReceived(data)
        except Refused:
            pass

    def headerReceived(self, line: bytes) -> bool:
        if len(line) > _LONGEST_LENGTH and line[:15].lower() == b"content-length:":
            self.refuse(400, "bad-length")
            return False
        if line.find(b":") > _LONGEST_NAME:
            self.refuse(400, "long-name")
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        wrong = fault(self._version, self._path, self.requests[-1].requestHeaders)
        if wrong is not None:
            self.refuse(400, wrong)
        elif self.length is not None and self.length > self.site.max_body:
            self.refuse(413, "too-large")
        elif self.length is not None and not self.site.room.fits(self.length):
            self.turn_away()
        else:
            if self.length is None:
                decoder: Any = self._transferDecoder
                decoder._maxTrailerHeadersSize = _TRAILERS
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if self.refused:
            return
        self._receiving_since = None
        if self.site.leaving:
            self.persistent = False
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Go on with the next request; not while the client does not read its answers, of which none are to be piled up."""
        self._receiving_since = self._clock.seconds()
        more = bool(self._buffer or any(self._dataBuffer))
        self._begun = self._receiving_since if more else None
        if more and self.persistent and self._waitingForTransport:
            self._done = request
        else:
            super().requestDone(request)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        done, self._done = self._done, None
        if done is not None and not self.gone:
            super().requestDone(done)

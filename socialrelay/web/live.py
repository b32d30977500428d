"""
Pages that are kept up to date with server-sent events: how many there are, what waits for each, and how they end.

A stream is an answer without an end, so each bound counts: of streams in all and of one client; of what lies unread on the way to a page
that does not read, which is ended and may come again; and of time, for a stop does not wait for pages.

@see: U{https://html.spec.whatwg.org/multipage/server-sent-events.html}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socialrelay.boundaries import Stream, Streams, Unavailable

HEARTBEAT = 20.0
"""Seconds between comments that nobody sees: proxies end connections on which nothing comes, many after a minute."""

EVERY = 5.0
"""Seconds between two looks at the numbers while anybody listens."""

RESERVED = 10
"""Further streams, for pages of operators: strangers cannot take all places away from them."""

RETRY = 30
"""Seconds after which a page for which there was no place may ask again."""

HEADERS = {
    b"Content-Type": b"text/event-stream; charset=utf-8",
    b"Cache-Control": b"no-store",
    b"X-Accel-Buffering": b"no",  # nginx would keep the events until it has a page full of them
}

_LINE = re.compile("\r\n|\r|\n")


@implementer(IPushProducer)
class EventStream:
    """
    One page. Its connection says when more lies unread than the transport wants to hold (64 KiB): whatever is sent then ends the stream.

    @ivar client: what it is counted under.
    """

    def __init__(self, request: Any, client: str, ended: Callable[[EventStream], None], overflowed: Callable[[], None]) -> None:
        self.client = client
        self._request = request
        self._ended = ended
        self._overflowed = overflowed
        self._open = True
        # Answers to what was asked before on this connection may already lie there; then nobody says so again.
        self._unread = bool(request.channel._waitingForTransport)

    def begin(self) -> None:
        """Answer."""
        request = self._request
        for name, value in HEADERS.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.notifyFinish().addBoth(self._finished)
        request.registerProducer(self, True)
        self._write("retry: 5000\n\n")

    def send(self, event: str, data: str) -> None:
        """As L{Stream.send}."""
        lines = "".join(f"data: {line}\n" for line in _LINE.split(data))
        self._write(f"event: {event}\n{lines}\n")

    def beat(self) -> None:
        """Show that it lives."""
        self._write(":\n\n")

    def end(self) -> None:
        """End the answer; its connection may serve others."""
        if self._open:
            self._open = False
            self._request.unregisterProducer()
            self._request.finish()

    def _write(self, text: str) -> None:
        if not self._open:
            return
        if self._unread:
            self._open = False
            self._overflowed()
            self._request.channel.transport.abortConnection()  # what lies there would hold up any other end
        else:
            self._request.write(text.encode())

    def _finished(self, _: object) -> None:
        self._open = False
        self._ended(self)

    # the connection

    def pauseProducing(self) -> None:
        """More lies unread than is good."""
        self._unread = True

    def resumeProducing(self) -> None:
        """It was read."""
        self._unread = False

    def stopProducing(self) -> None:
        """The connection has ended, and so does the request, which says so itself."""


class LiveStreams:
    """
    The streams of both sites.

    @ivar most: how many there may be, and L{RESERVED} more of operators.
    @ivar per_client: how many of one client.
    @ivar counters: C{streams-opened}; C{refused-streams}: there were too many, C{refused-streams-client}: too many of one client;
        C{streams-unread}: ended, since nobody read.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, *, most: int, per_client: int, counters: Counter[str]) -> None:
        self.counters = counters
        self.most = most
        self.per_client = per_client
        self._streams: dict[EventStream, Callable[[], None]] = {}
        self._clients: Counter[str] = Counter()
        self._stopped = False
        self._heart = LoopingCall(self._beat)
        self._heart.clock = clock

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, request: Any, client: str, ended: Callable[[], None], *, operator: bool = False) -> EventStream | None:
        """As L{Streams.open}."""
        if self._stopped or len(self._streams) >= self.most + (RESERVED if operator else 0):
            self.counters["refused-streams"] += 1
            return None
        if self._clients[client] >= self.per_client:
            self.counters["refused-streams-client"] += 1
            return None
        self.counters["streams-opened"] += 1
        stream = EventStream(request, client, self._ended, self._overflowed)
        self._streams[stream] = ended
        self._clients[client] += 1
        stream.begin()
        if not self._heart.running:
            self._heart.start(HEARTBEAT, now=False)
        return stream

    def stop(self) -> None:
        """End all, and open no more."""
        self._stopped = True
        for stream in list(self._streams):
            stream.end()

    def _beat(self) -> None:
        for stream in list(self._streams):
            try:
                stream.beat()
            except Exception:  # the first error would be the end of the loop, and of all streams
                self._log.failure("A page that is kept up to date live could not be reached.")

    def _overflowed(self) -> None:
        self.counters["streams-unread"] += 1

    def _ended(self, stream: EventStream) -> None:
        ended = self._streams.pop(stream)
        self._clients[stream.client] -= 1
        if not self._clients[stream.client]:
            del self._clients[stream.client]
        if not self._streams and self._heart.running:
            self._heart.stop()
        ended()


class LiveNumbers:
    """The numbers of the first page, for all pages that listen: looked at once for all, and sent when they changed."""

    _log = Logger()

    def __init__(self, stats: Callable[[], Deferred[dict[str, object]]], streams: Streams, clock: IReactorTime) -> None:
        self._stats = stats
        self._streams = streams
        self._clock = clock
        self._pages: set[Stream] = set()
        self._last: dict[str, object] | None = None
        self._text = ""
        self._asking = False
        self._timer: IDelayedCall | None = None

    def open(self, request: Any, client: str) -> Deferred[None] | None:
        """
        Answer a request with a stream of C{stats} events, each the whole of L{socialrelay.boundaries.Overview.stats} in JSON, and of
        empty C{away} events while they cannot be had.

        @return: fires when it has ended; C{None} if there is no place for it.
        """
        done: Deferred[None] = Deferred()
        mine: list[Stream] = []

        def ended() -> None:
            self._leave(*mine)
            done.callback(None)

        stream = self._streams.open(request, client, ended)
        if stream is None:
            return None
        mine.append(stream)
        self._join(stream)
        return done

    def _join(self, stream: Stream) -> None:
        self._pages.add(stream)
        if self._timer is not None or self._asking:
            if self._last is not None:
                stream.send("stats", self._text)
            return
        self._last = None
        self._ask()

    def _leave(self, *streams: Stream) -> None:
        self._pages.difference_update(streams)
        if not self._pages and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        self._timer = None
        self._asking = True
        maybeDeferred(self._stats).addCallback(self._tell).addErrback(self._failed).addCallback(self._rest)

    def _tell(self, stats: dict[str, object]) -> None:
        what = {name: value for name, value in stats.items() if name != "at"}
        if what == self._last:
            return
        self._last, self._text = what, json.dumps(stats)
        for page in list(self._pages):
            page.send("stats", self._text)

    def _failed(self, failure: Failure) -> None:
        self._last = None
        for page in list(self._pages):
            page.send("away", "")
        if failure.check(Unavailable) is None:
            self._log.failure("The numbers for live pages are not to be had.", failure)

    def _rest(self, _: None) -> None:
        self._asking = False
        if self._pages:
            self._timer = self._clock.callLater(EVERY, self._ask)


_stream: type[Stream] = EventStream
_streams: type[Streams] = LiveStreams

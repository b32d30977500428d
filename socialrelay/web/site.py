"""The listening side of the public site: how many may connect, how much they may send, and who they are."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import cast
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

from socialrelay.web.addresses import UNIX, TrustedProxies, limited_as
from socialrelay.web.channel import Channel

BODIES_HELD = 64
"""Bodies of the greatest size that may be in reception at a time, in bytes altogether."""

TIME_ENOUGH = 3.0
"""Seconds after which a client that still sends may lose its connection, when others cannot connect."""

_NONE_TRUSTED = TrustedProxies()


class Request(server.Request):
    """A request whose body is kept in memory, and never grows past the site's limit."""

    channel: Channel
    content: BytesIO
    defaultContentType = b"text/plain; charset=utf-8"

    def handleContentChunk(self, data: bytes) -> None:
        channel = self.channel
        if channel.refused:
            return
        if self.content.tell() + len(data) > channel.site.max_body:
            channel.refuse(413, "too-large")
        else:
            self.content.write(data)
            channel.hold(len(data))

    def process(self) -> None:
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            self._fail(400, b"The path is not UTF-8.\n")
        else:
            super().process()

    def getRequestHostname(self) -> bytes:
        """A constant: nothing here depends on the name that the client used, so what it wrote reaches no router."""
        return b"relay"

    def processingFailed(self, reason: Failure) -> Failure:
        self._log.failure("Answering a request failed.", failure=reason)
        self._fail(500, b"Something went wrong here; it has been logged.\n")
        return reason

    def _fail(self, code: int, sentence: bytes) -> None:
        self.setResponseCode(code)
        self.setHeader(b"Server", b"socialrelay")
        self.setHeader(b"Content-Length", b"%d" % len(sentence))
        self.write(sentence)
        self.finish()


class _TurnedAway(Protocol):
    """A connection beyond a limit: closed at once, TLS or not."""

    def connectionMade(self) -> None:
        cast(ITCPTransport, self.transport).abortConnection()


class GuardedSite(server.Site):
    """
    A site for strangers.

    @ivar deadline: seconds from the connection, or from the end of a request, to the last byte of the next one.
    @ivar max_body: bytes of a request's body.
    @ivar connections: how many are open.
    @ivar counters: what was refused and why, and what was answered; it only grows.
    """

    requestFactory = Request
    protocol = Channel  # type: ignore[assignment]  # without the wrapper that changes over to HTTP/2

    def __init__(
        self,
        resource: IResource,
        *,
        clock: IReactorTime,
        max_body: int,
        deadline: float,
        max_connections: int,
        max_connections_per_address: int,
        trusted_proxies: TrustedProxies = _NONE_TRUSTED,
        counters: Counter[str] | None = None,
    ) -> None:
        super().__init__(resource, timeout=None, reactor=clock, parsePOSTFormSubmission=False)
        self.deadline = deadline
        self.max_body = max_body
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._proxies = trusted_proxies
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._channels: set[Channel] = set()
        self._per_address: Counter[str] = Counter()
        self._held = 0

    # no access log, and no clock tick for its sake

    def startFactory(self) -> None:
        """Nothing to prepare."""

    def stopFactory(self) -> None:
        """Nothing to end."""

    def log(self, request: http.Request) -> None:
        """Nothing is written per request."""

    # connections

    @property
    def connections(self) -> int:
        return len(self._channels)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # type: ignore[override]
        """
        A channel; or, beyond a limit, one that closes.

        Connections of trusted proxies are many clients' and count only in all.
        """
        peer = peer_of(addr)
        limited = None if peer == UNIX or self._proxies.trusts(peer) else limited_as(peer)
        if len(self._channels) >= self._max_connections and not self._make_room():
            self.counters["refused-connections"] += 1
            return _TurnedAway()
        if limited is not None and self._per_address[limited] >= self._max_per_address:
            self.counters["refused-connections-address"] += 1
            return _TurnedAway()
        channel = cast(Channel, super().buildProtocol(addr))
        channel.peer = peer
        channel.limited = limited
        self._channels.add(channel)
        if limited is not None:
            self._per_address[limited] += 1
        return channel

    def _make_room(self) -> bool:
        """
        End the connection whose client lets us wait longest, if it had time enough: honest senders are done in a moment, so those who hold
        connections open for nothing keep nobody out.
        """
        slowest = min(self._channels, key=Channel.waits_since)
        if slowest.waits_since() > self.reactor.seconds() - TIME_ENOUGH:
            return False
        self.counters["gave-way"] += 1
        self.closed(slowest)
        slowest.give_way()
        return True

    def closed(self, channel: Channel) -> None:
        """A connection has ended, or is about to."""
        if channel not in self._channels:
            return
        self._channels.remove(channel)
        if channel.limited is not None:
            self._per_address[channel.limited] -= 1
            if not self._per_address[channel.limited]:
                del self._per_address[channel.limited]

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: the limits here know no other."""
        return [b"http/1.1"]

    # bytes

    def getContentFile(self, length: int | None) -> BytesIO:
        return BytesIO()

    def hold(self, size: int) -> None:
        """
        Count bytes of bodies in reception. When there are too many, the largest body gives way: posts are small, so it is hardly one.
        """
        self._held += size
        while self._held > BODIES_HELD * self.max_body:
            max(self._channels, key=lambda channel: channel.held).refuse(503, "too-much-at-once")

    # who

    def client_of(self, peer: str, forwarded: list[str]) -> str:
        """The client's address, seen through the proxies that are trusted."""
        return self._proxies.client(peer, forwarded)

    def getResourceFor(self, request: server.Request) -> IResource:
        request.responseHeaders.setRawHeaders(b"Server", [b"socialrelay"])
        request.responseHeaders.setRawHeaders(b"X-Content-Type-Options", [b"nosniff"])
        return cast(IResource, super().getResourceFor(request))


def peer_of(address: object) -> str:
    """The text of a peer's address; C{"unix"} for all that have none."""
    return getattr(address, "host", None) or UNIX


def client_address(request: server.Request) -> str:
    """The address of the client that sent a request; for limits, never for trust."""
    peer = peer_of(request.client)
    forwarded = request.requestHeaders.getRawHeaders(b"X-Forwarded-For")
    site = request.site
    if not forwarded or not isinstance(site, GuardedSite):
        return peer
    return site.client_of(peer, [value.decode("latin-1") for value in forwarded])

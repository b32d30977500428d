"""The listening side of the public site: how many may connect, how much they may send, and who they are."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from io import BytesIO
from time import time
from types import MappingProxyType
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.web import http, server
from twisted.web.resource import IResource

from socialrelay.web.addresses import UNIX, TrustedProxies, limited_as
from socialrelay.web.channel import Channel, Keeper
from socialrelay.web.request import Request, peer_of
from socialrelay.web.room import Room
from socialrelay.web.turns import Turns

TIME_ENOUGH = 0.5
"""Seconds after which a client that still sends may lose its connection, when others cannot connect."""

FAREWELL = 1.0
"""Seconds for which a stop waits for what may be under way on connections that are open: who was silent for so long hardly speaks now."""

_NONE_TRUSTED = TrustedProxies()


class _TurnedAway(Protocol):
    """A connection beyond a limit: closed at once, and under TLS in the next turn of the reactor."""

    def connectionMade(self) -> None:
        transport = self.transport
        if isinstance(transport, Connection):
            # To abort it would keep its descriptor until the next turn, and hundreds may be turned away in this one.
            transport.connectionLost(connectionDone)
        else:
            cast(ITCPTransport, transport).abortConnection()


class GuardedSite(server.Site):
    """
    A site for strangers.

    @ivar deadline: seconds from the connection, or from the end of a request, to the last byte of the next one.
    @ivar max_body: bytes of a request's body.
    @ivar connections: how many are open.
    @ivar max_connections: how many there may be.
    @ivar max_per_address: how many of one client address.
    @ivar proxies: who is believed about the client's address.
    @ivar counters: what was refused and why, and what was answered; it only grows.
    @ivar room: how many bytes of bodies there may be.
    @ivar turns: when requests are handled.
    @ivar leaving: no connection outlasts the request that it is at, or the next one.
    @ivar shortcuts: by path: who is handed what is posted there, without a resource.
    @ivar quick_answer: the answer to bytes with which a request begins, if they are not to be read; empty if they are.
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
        room: Room,
        turns: Turns | None = None,
        shortcuts: Mapping[bytes, Callable[[Request], None]] = MappingProxyType({}),
        quick_answer: Callable[[bytes], bytes] = lambda data: b"",
        trusted_proxies: TrustedProxies = _NONE_TRUSTED,
        counters: Counter[str] | None = None,
    ) -> None:
        super().__init__(resource, timeout=None, reactor=clock, parsePOSTFormSubmission=False)
        self.deadline = deadline
        self.max_body = max_body
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.proxies = trusted_proxies
        self.max_connections = max_connections
        self.max_per_address = max_connections_per_address
        self._channels: set[Channel] = set()
        self._per_address: Counter[str] = Counter()
        self.room = room
        self.turns = Turns(clock) if turns is None else turns
        self.leaving = False
        self._left: list[Deferred[None]] = []
        self._farewell: IDelayedCall | None = None
        self.shortcuts = shortcuts
        self.quick_answer = quick_answer
        self._second = 0
        self._date = b""

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
        limited = limited_as(peer)
        many = peer == UNIX or self.proxies.trusts(peer)
        if not many and self._per_address[limited] >= self.max_per_address:
            self.counters["refused-connections-address"] += 1
            return _TurnedAway()
        if len(self._channels) >= self.max_connections and not self._make_room(limited):
            self.counters["refused-connections"] += 1
            return _TurnedAway()
        channel = cast(Channel, super().buildProtocol(addr))
        channel.peer = peer
        channel.limited = limited
        self._channels.add(channel)
        self._per_address[limited] += 1
        return channel

    def _make_room(self, limited: str) -> bool:
        """
        End the connection whose client lets us wait longest: of the address that has most, if the newcomer's has fewer; else of all, if it
        had time enough.  Honest senders are done in a moment, so those who hold connections open for nothing keep nobody out.
        """
        leaves = self._slowest_of_many(limited)
        if leaves is None:
            leaves = min(self._channels, key=Channel.waits_since)
            if leaves.waits_since() > self.reactor.seconds() - TIME_ENOUGH:
                return False
        self.counters["gave-way"] += 1
        self.closed(leaves)
        leaves.give_way()
        return True

    def _slowest_of_many(self, limited: str) -> Channel | None:
        address, most = self._per_address.most_common(1)[0]
        if most < self._per_address[limited] + 2:
            return None
        slowest = min((each for each in self._channels if each.limited == address), key=Channel.waits_since)
        return None if math.isinf(slowest.waits_since()) else slowest

    def closed(self, channel: Channel) -> None:
        """A connection has ended, or is about to."""
        if channel not in self._channels:
            return
        self._channels.remove(channel)
        self._per_address[channel.limited] -= 1
        if not self._per_address[channel.limited]:
            del self._per_address[channel.limited]
        self._look_who_is_left()

    def leave(self) -> Deferred[None]:
        """
        Answer once more on each connection, and hang up on those on which nothing comes.

        What arrives while a connection is closed is lost, and whoever sent it cannot know what became of it: so those who may have
        something under way are waited for.

        @return: fires when nobody is connected; if all send what they have begun, in a little more than L{FAREWELL} seconds.
        """
        left: Deferred[None] = Deferred()
        self._left.append(left)
        self.leaving = True
        for channel in self._channels:
            channel.end_after_this()
        self._hang_up(self.reactor.seconds() - FAREWELL)
        self._farewell = self.reactor.callLater(FAREWELL, self._hang_up, sys.float_info.max)
        self._look_who_is_left()
        return left

    def _hang_up(self, before: float) -> None:
        for channel in [each for each in self._channels if each.silent_since() <= before]:
            channel.loseConnection()

    def _look_who_is_left(self) -> None:
        if self.leaving and not self._channels:
            if self._farewell is not None and self._farewell.active():
                self._farewell.cancel()
            left, self._left = self._left, []
            for each in left:
                each.callback(None)

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: the limits here know no other."""
        return [b"http/1.1"]

    # bytes

    def getContentFile(self, length: int | None) -> BytesIO:
        return BytesIO()

    def hold(self, size: int) -> None:
        """
        Count bytes of bodies in reception; less than 0 when they are no more.

        When there are too many, the largest body gives way: posts are small, so it is hardly one.
        """
        room = self.room
        room.receiving += size
        while room.over and room.receiving:
            max(self._channels, key=lambda channel: channel.held).turn_away()

    # who, and when

    def client_of(self, peer: str, forwarded: list[str]) -> str:
        """The client's address, seen through the proxies that are trusted."""
        return self.proxies.client(peer, forwarded)

    def date(self) -> bytes:
        """Now, as HTTP writes it; made once a second."""
        second = int(time())
        if second != self._second:
            self._second, self._date = second, http.datetimeToString(second)
        return self._date

    def getResourceFor(self, request: server.Request) -> IResource:
        request.responseHeaders.setRawHeaders(b"Server", [b"socialrelay"])
        request.responseHeaders.setRawHeaders(b"X-Content-Type-Options", [b"nosniff"])
        return cast(IResource, super().getResourceFor(request))


_conforms: type[Keeper] = GuardedSite

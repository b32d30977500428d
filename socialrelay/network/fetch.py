"""
Documents from other servers, over treq.

What treq and Twisted's Agent leave open is closed here, around the one connection that each request has: a budget of bytes that also counts
headers and interim answers, a deadline that also covers names and the body, and an end of the connection whenever we stop reading.
Redirects are followed by our own hand and every hop is vetted.  Compressed answers are not asked for and not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urldefrag, urljoin

from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from treq.content import collect
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, TimeoutError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTCP, IReactorTime, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from socialrelay.boundaries import Document, Fetcher, FetchFailed
from socialrelay.config import Memory
from socialrelay.network.addresses import Address, Network, Target, UrlRefused, allowed, vet_url
from socialrelay.network.resolver import Endpoints, Resolver
from socialrelay.network.texts import one_line, retry_after
from socialrelay.network.trust import Trust

MAX_HEADERS = 65536
"""Bytes of an answer besides its body."""
MAX_REDIRECTS = 3
_NOT_ALLOWED = "it was reached at an address that is not allowed"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class IReactorForFetching(IReactorTCP, IReactorTime):
    """What a reactor must offer."""


class _Refused(Exception):
    """We end the request; the message says why in one line."""


class _Exchange:
    """
    One request over one connection of its own.

    @ivar room: bytes that may still come.
    @ivar fault: why we broke the connection off.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.fault = ""
        self._connection: _Counted | None = None
        self._ended = False

    def opened(self, connection: _Counted) -> None:
        self._connection = connection
        if self._ended:
            connection.break_off()

    def refuse(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.end()

    def end(self) -> None:
        """Break the connection off, if there is one, now or later."""
        self._ended = True
        if self._connection is not None:
            self._connection.break_off()


class _Counted(ProtocolWrapper):
    """Counts what comes, and knows whether it is connected to an address that is allowed."""

    def __init__(self, factory: _Counting, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._exchange = factory.exchange
        self._allow = factory.allow

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        if not allowed(ip_address(transport.getPeer().host), self._allow):
            self._exchange.refuse(_NOT_ALLOWED)
        self._exchange.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self._exchange.room -= len(data)
        if self._exchange.room < 0:
            self._exchange.refuse("the answer is too large")
        else:
            super().dataReceived(data)

    def break_off(self) -> None:
        """At once, without waiting for the other side's goodbye."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


class _Counting(WrappingFactory[_Counted]):
    protocol = _Counted
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, exchange: _Exchange, allow: tuple[Network, ...]) -> None:
        super().__init__(wrapped)
        self.exchange = exchange
        self.allow = allow


@implementer(IStreamClientEndpoint)
class _Vetted:
    """Connects over TLS to a target at the addresses that the resolver gives, at most two of them in turn."""

    def __init__(self, fetcher: TreqFetcher, target: Target, exchange: _Exchange) -> None:
        self._fetcher = fetcher
        self._target = target
        self._exchange = exchange

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(_Counting(protocolFactory, self._exchange, self._fetcher.allow)))

    async def _connect(self, factory: _Counting) -> IProtocol:
        target, resolver = self._target, self._fetcher.resolver
        found = await resolver.resolve(target.host, target.port)
        if not isinstance(found, Endpoints):
            raise _Refused(found.reason)
        creator = self._fetcher.trust.connecting_to(target.host)
        trouble: Exception | None = None
        for address in _one_of_each(found.addresses):
            if not allowed(address, self._fetcher.allow):  # vetted before; this is the second lock
                raise _Refused(_NOT_ALLOWED)
            kind = TCP6ClientEndpoint if isinstance(address, IPv6Address) else TCP4ClientEndpoint
            endpoint = kind(self._fetcher.reactor, str(address), found.port, timeout=self._fetcher.connect_timeout)
            try:
                counted: Any = await wrapClientTLS(creator, endpoint).connect(factory)
            except ConnectError as error:
                trouble = error
            else:
                # The agent speaks to the protocol that its own factory made.
                return cast(IProtocol, counted.wrappedProtocol)
        resolver.doubt(target.host)
        raise trouble or _Refused("the name has no address")


def _one_of_each(addresses: tuple[Address, ...]) -> list[Address]:
    """The first of each family: a host without IPv6 must not try two addresses of it and then give up."""
    first: dict[int, Address] = {}
    for address in addresses:
        first.setdefault(address.version, address)
    return list(first.values())


@implementer(IAgentEndpointFactory)
class _ToTarget:
    def __init__(self, endpoint: _Vetted) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IAgent)
class _Uncompressed:
    """Takes back what treq says about compression, and refuses a compressed answer: a small one may decode to anything."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        headers = (headers or Headers()).copy()
        headers.setRawHeaders(b"accept-encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(self._check)

    def _check(self, response: IResponse) -> IResponse:
        for encoding in response.headers.getRawHeaders(b"content-encoding") or ():
            if encoding.strip().lower() not in (b"", b"identity"):
                raise _Refused("the answer is compressed, which was not asked for")
        return response


class TreqFetcher:
    """
    L{Fetcher} over treq, one connection per request.

    @ivar limit: documents that may be under way or wait for their turn.
    @ivar turned_away: how many more would have.
    @ivar _asking: what is under way or waits for its turn.
    """

    def __init__(
        self,
        reactor: IReactorForFetching,
        resolver: Resolver,
        trust: Trust,
        *,
        user_agent: str,
        timeout: float = 10.0,
        connect_timeout: float = 5.0,
        concurrency: int = 32,
        max_waiting: int = Memory().documents,
        allow: tuple[Network, ...] = (),
        ports: tuple[int, ...] = (443,),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        @param timeout: seconds for a document, names, redirects and body included; the time in the queue is not.
        @param concurrency: documents fetched at a time.
        @param max_waiting: those that may wait for their turn; more fail at once.
        @param allow: networks that may be connected to although they are not public.
        @param ports: that a URL may name.
        """
        self.reactor = reactor
        self.resolver = resolver
        self.trust = trust
        self.connect_timeout = connect_timeout
        self.allow = allow
        self._user_agent = user_agent
        self._timeout = timeout
        self._turns = DeferredSemaphore(concurrency)
        self.limit = concurrency + max_waiting
        self.turned_away = 0
        self._ports = ports
        self._now = now
        self._asking: set[Deferred[Document]] = set()
        self._closed = False

    @property
    def under_way(self) -> int:
        """Documents under way or waiting for their turn."""
        return len(self._asking)

    def get(
        self,
        url: str,
        *,
        accept: str,
        max_body: int,
        headers: Mapping[str, str] = MappingProxyType({}),
        same_host: bool = False,
        ok: Collection[int] = (200,),
    ) -> Deferred[Document]:
        """See L{Fetcher.get}."""
        sent = {**headers, "accept": accept}
        return self._in_turn(lambda: self._follow(url, sent, max_body, same_host, ok))

    def post_json(self, url: str, document: object, *, max_body: int) -> Deferred[Document]:
        """See L{Fetcher.post_json}."""
        body = json.dumps(document).encode()
        sent = {"accept": "application/json", "content-type": "application/json"}
        return self._in_turn(lambda: self._post(url, sent, body, max_body))

    def close(self) -> Deferred[None]:
        """Give up what is under way; its Deferreds fail with CancelledError."""
        self._closed = True
        for asking in list(self._asking):
            asking.cancel()
        return succeed(None)

    def _in_turn(self, fetch: Callable[[], Any]) -> Deferred[Document]:
        if self._closed:
            return fail(FetchFailed("the relay is stopping"))
        if len(self._asking) >= self.limit:
            self.turned_away += 1
            return fail(FetchFailed("too many documents are being fetched"))
        asking: Deferred[Document] = self._turns.run(self._in_time, fetch)
        self._asking.add(asking)

        def over(result: Any) -> Any:
            self._asking.discard(asking)
            return result

        return asking.addBoth(over)

    def _in_time(self, fetch: Callable[[], Any]) -> Deferred[Document]:
        def too_late(result: Any, seconds: float) -> Any:
            if isinstance(result, Failure):
                raise FetchFailed(f"no answer within {seconds:g} seconds")
            return result

        asking: Deferred[Document] = Deferred.fromCoroutine(fetch())
        return asking.addTimeout(self._timeout, self.reactor, too_late)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, max_body: int) -> Document:
        document = await self._ask("POST", self._vet(url), headers, body, max_body)
        return self._wanted(document, (200,))

    async def _follow(self, url: str, headers: Mapping[str, str], max_body: int, same_host: bool, ok: Collection[int]) -> Document:
        target = first = self._vet(url)
        seen: set[str] = set()
        while True:
            seen.add(target.url)
            document = await self._ask("GET", target, headers, None, max_body)
            if document.status in ok or document.status not in _REDIRECTS:
                return self._wanted(document, ok)
            target = self._next(document, first, same_host)
            if target.url in seen:
                raise FetchFailed("it redirects in a circle", document.status)
            if len(seen) > MAX_REDIRECTS:
                raise FetchFailed(f"more than {MAX_REDIRECTS} redirects", document.status)

    def _vet(self, url: str) -> Target:
        try:
            return vet_url(url, self._ports)
        except UrlRefused as refusal:
            raise FetchFailed(str(refusal)) from refusal

    def _next(self, document: Document, first: Target, same_host: bool) -> Target:
        location = document.headers.get("location")
        if location is None:
            raise FetchFailed("it redirects to nowhere", document.status)
        try:
            target = vet_url(urldefrag(urljoin(document.url, location)).url, self._ports)
        except ValueError as refusal:
            why = str(refusal) if isinstance(refusal, UrlRefused) else "the URL is malformed"
            raise FetchFailed(f"it redirects to {one_line(location)}: {why}", document.status) from refusal
        if same_host and target.host.removeprefix("www.") != first.host.removeprefix("www."):
            raise FetchFailed(f"it redirects to another host, {target.host}", document.status)
        return target

    def _wanted(self, document: Document, ok: Collection[int]) -> Document:
        if document.status in ok:
            return document
        wait = document.headers.get("retry-after")
        raise FetchFailed(f"HTTP {document.status}", document.status, None if wait is None else retry_after(wait, self._now()))

    async def _ask(self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None, max_body: int) -> Document:
        exchange = _Exchange(max_body + MAX_HEADERS)
        try:
            return await self._exchange(exchange, method, target, headers, body, max_body)
        except FetchFailed:
            raise
        except Exception as error:
            if _cancelled(error) and not exchange.fault:
                raise CancelledError from None
            raise FetchFailed(exchange.fault or _reason(error)) from error
        finally:
            exchange.end()

    async def _exchange(
        self, exchange: _Exchange, method: str, target: Target, headers: Mapping[str, str], body: bytes | None, max_body: int
    ) -> Document:
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self.reactor, _ToTarget(_Vetted(self, target, exchange)), pool)
        response = await HTTPClient(_Uncompressed(agent)).request(
            method,
            target.url,
            headers=Headers({name: [value] for name, value in {"user-agent": self._user_agent, **headers}.items()}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=cast(Any, self.reactor),
            # Ours is to run out first, and says so; this one only backs it up.
            timeout=self._timeout + 1,
        )
        received: list[bytes] = []
        room = max_body

        def take(data: bytes) -> None:
            nonlocal room
            room -= len(data)
            if room < 0:
                exchange.refuse("the answer is too large")
                raise _Refused(exchange.fault)
            received.append(data)

        await collect(response, take)
        plain = {
            name.decode("latin-1").lower(): values[0].decode("latin-1") for name, values in response.headers.getAllRawHeaders() if values
        }
        return Document(target.url, response.code, plain, b"".join(received))


def _innermost(error: BaseException) -> BaseException:
    """What Twisted's client wrapped."""
    while isinstance(error, ResponseFailed) and error.reasons and isinstance(error.reasons[0], Failure):
        inner = error.reasons[0].value
        assert inner is not None
        error = inner
    return error


def _cancelled(error: BaseException) -> bool:
    return isinstance(_innermost(error), CancelledError | ConnectingCancelledError)


def _reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    error = _innermost(error)
    match error:
        case _Refused():
            return str(error)
        case VerificationError():
            return "certificate not valid: it is for another name"
        case SSL.Error():
            details = "; ".join(str(entry[-1]) for entry in error.args[0]) if error.args and isinstance(error.args[0], list) else ""
            return one_line(f"TLS failure: {details}" if details else "TLS failure")
        case TimeoutError():
            return "no connection in time"
        case ConnectError():
            return "connection refused or unreachable"
        case ConnectionClosed():
            return "connection closed before the end of the answer"
    return one_line(f"{type(error).__name__}: {error}")


_conforms: type[Fetcher] = TreqFetcher

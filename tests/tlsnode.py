"""
A TLS server on loopback that reads requests strictly and answers as the test says, byte by byte where it must.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import trustme
from attrs import Factory, define, field, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IOpenSSLContextFactory, IPullProducer
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from socialrelay.network.trust import Trust, load_trust

LOOPBACK = ("127.0.0.0/8", "::1/128")


@cache
def authority() -> trustme.CA:
    """The test run's certificate authority."""
    return trustme.CA()


@cache
def authority_file() -> Path:
    """Its certificate, PEM."""
    folder = tempfile.mkdtemp(prefix="socialrelay-ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "ca.pem"
    path.write_bytes(authority().cert_pem.bytes())
    return path


@cache
def trust() -> Trust:
    """What trusts it."""
    return load_trust(str(authority_file()), authority_file().parent)


@frozen
class Received:
    """
    A request as it came; header names in lower case.

    @ivar resumed: its connection resumed a TLS session.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    server_name: str
    resumed: bool = False


@define
class Exchange:
    """A request that waits for its answer."""

    request: Received
    connection: _Connection

    def answer(self, status: int, *headers: str, body: bytes = b"", close: bool = False) -> None:
        """Answer completely."""
        lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *headers]
        if close:
            lines.append("Connection: close")
        self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if close:
            self.end()

    def raw(self, data: bytes) -> None:
        """Write these bytes."""
        self.connection.transport.write(data)

    def end(self) -> None:
        """Close the connection."""
        self.connection.transport.loseConnection()

    def reset(self) -> None:
        """Break the connection off."""
        self.connection.transport.abortConnection()

    def flood(self, chunk: bytes) -> None:
        """Write the chunk for ever, as fast as it is read."""
        _Flood(self.connection.transport, chunk).start()


Behaviour = Callable[[Exchange], None]


def accepts(exchange: Exchange) -> None:
    """202."""
    exchange.answer(202)


def hangs(exchange: Exchange) -> None:
    """Never answer."""


def answers(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    """Always the same."""
    return lambda exchange: exchange.answer(status, *headers, body=body)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, the last for ever."""
    waiting = list(behaviours)
    return lambda exchange: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)


def floods(start: bytes, chunk: bytes) -> Behaviour:
    """Begin, and never end."""

    def behave(exchange: Exchange) -> None:
        exchange.raw(start)
        exchange.flood(chunk)

    return behave


@implementer(IPullProducer)
class _Flood:
    def __init__(self, transport: Any, chunk: bytes) -> None:
        self._transport = transport
        self._chunks = repeat(chunk)

    def start(self) -> None:
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._transport.write(next(self._chunks))

    def stopProducing(self) -> None:
        pass


class _Connection(Protocol):
    transport: Any

    def __init__(self, node: TLSNode, number: int) -> None:
        self._node = node
        self.number = number
        self._buffer = b""

    def connectionMade(self) -> None:
        self._node.open.add(self)

    def connectionLost(self, reason: object = None) -> None:
        self._node.open.discard(self)
        self._node.look()

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        try:
            method, path, headers = self._head(head.decode("ascii"))
        except ValueError as fault:
            self._node.faults.append(str(fault))
            self.transport.abortConnection()
            return
        name = self.transport.getHandle().get_servername() or b""
        length = int(headers.get("content-length", "0"))
        if self._node.early is not None:
            self._node.early(Exchange(Received(method, path, headers, b"", self.number, name.decode("ascii")), self))
            self.dataReceived = lambda data: None  # type: ignore[method-assign]
            return
        if len(rest) < length:
            return
        if len(rest) > length:
            self._node.faults.append("bytes after the request")
        self._buffer = rest[length:]
        resumed = bool(SSL._lib.SSL_session_reused(self.transport.getHandle()._ssl))  # type: ignore[attr-defined]
        request = Received(method, path, headers, rest[:length], self.number, name.decode("ascii"), resumed)
        self._node.requests.append(request)
        self._node.behaviour(Exchange(request, self))
        self._node.look()

    def _head(self, text: str) -> tuple[str, str, dict[str, str]]:
        start, *lines = text.split("\r\n")
        method, path, version = start.split(" ")
        if version != "HTTP/1.1" or not path.startswith("/"):
            raise ValueError(f"request line {start!r}")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            if not colon or name.lower() in headers or name != name.strip():
                raise ValueError(f"header {line!r}")
            headers[name.lower()] = value
        if not headers.get("host"):
            raise ValueError("no Host")
        if "transfer-encoding" in headers or "expect" in headers:
            raise ValueError("a header that the relay does not send")
        return method, path, headers


@define
class Watched:
    """Something that tests wait for: whoever changes it calls L{look}."""

    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = field(factory=list, init=False)

    def until(self, holds: Callable[[], bool]) -> Deferred[None]:
        """Fires when something holds that what comes in and ends of connections bring about."""
        if holds():
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append((holds, waiting))
        return waiting

    def look(self) -> None:
        """Look again who waits."""
        ready = [entry for entry in self._waiting if entry[0]()]
        self._waiting = [entry for entry in self._waiting if entry not in ready]
        for _, waiting in ready:
            waiting.callback(None)


@define
class TLSNode(Watched):
    """
    The server.

    @ivar behaviour: what it does with a request.
    @ivar early: what it does instead as soon as it has seen the headers; it then reads no more.
    @ivar requests: what came.
    @ivar faults: what a strict server would refuse.
    @ivar connections: how many were ever made.
    @ivar port: where it listens; 0 for any, until it does.
    """

    behaviour: Behaviour = accepts
    early: Behaviour | None = None
    requests: list[Received] = Factory(list)
    faults: list[str] = Factory(list)
    connections: int = 0
    open: set[_Connection] = Factory(set)
    port: int = 0
    _listening: Any = None

    def start(self, reactor: Any, *names: str, issuer: trustme.CA | None = None, **certificate: Any) -> TLSNode:
        """
        Listen, with a certificate for these names.

        @param issuer: another authority than the trusted one.
        @param certificate: for C{trustme.CA.issue_cert}, such as C{not_after}.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        (issuer or authority()).issue_cert(*names, **certificate).configure_cert(context)
        return self.listen(reactor, context)

    def listen(self, reactor: Any, context: SSL.Context) -> TLSNode:
        """Listen, with a prepared context."""
        context.set_session_id(b"tlsnode")
        self._listening = reactor.listenSSL(self.port, _NodeFactory(self), Contexts(context), interface="127.0.0.1")
        self.port = self._listening.getHost().port
        return self

    async def stop(self) -> None:
        """Close everything."""
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)
            self._listening = None
        for connection in list(self.open):
            connection.transport.abortConnection()
        await self.until(lambda: not self.open)


class _NodeFactory(ProtocolFactory):
    noisy = False

    def __init__(self, node: TLSNode) -> None:
        self._node = node

    def buildProtocol(self, address: object) -> _Connection:
        self._node.connections += 1
        return _Connection(self._node, self._node.connections)


@implementer(IOpenSSLContextFactory)
class Contexts:
    """Always the same one."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context

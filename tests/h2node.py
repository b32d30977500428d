"""A TLS server on loopback that speaks HTTP/2 and nothing else, frame by frame where a test must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, frozen
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from OpenSSL import SSL
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol

from tests.tlsnode import Contexts, Watched, authority


@frozen
class Stream:
    """
    A request that waits for its answer.

    @ivar headers: pseudo headers included.
    """

    connection: _Connection
    number: int
    headers: dict[str, str]
    body: bytes

    def answer(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        """Answer completely."""
        self.connection.h2.send_headers(self.number, [(":status", str(status)), *headers])
        self.connection.h2.send_data(self.number, body, end_stream=True)
        self.connection.flush()

    def reset(self, code: ErrorCodes) -> None:
        """RST_STREAM."""
        self.connection.h2.reset_stream(self.number, code)
        self.connection.flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """GOAWAY for all streams after C{last}; written by hand, since C{h2} would refuse to answer anything after it."""
        payload = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
        self.connection.flush()
        self.connection.transport.write(len(payload).to_bytes(3, "big") + bytes([7, 0, 0, 0, 0, 0]) + payload)

    def end(self) -> None:
        """Close the connection."""
        self.connection.transport.loseConnection()


Behaviour = Callable[[Stream], None]


def accepts(stream: Stream) -> None:
    """202."""
    stream.answer(202)


class _Connection(Protocol):
    transport: Any

    def __init__(self, node: H2Node, number: int) -> None:
        self.node = node
        self.number = number
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytes] = {}

    def connectionMade(self) -> None:
        self.node.open.add(self)
        self.h2.initiate_connection()
        self.flush()

    def connectionLost(self, reason: object = None) -> None:
        self.node.open.discard(self)
        self.node.look()

    def dataReceived(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.transport.abortConnection()
            return
        for event in events:
            self._happened(event)
        self.flush()
        self.node.look()

    def _happened(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._headers[event.stream_id] = dict(event.headers)  # type: ignore[arg-type]
            case DataReceived():
                self._bodies[event.stream_id] = self._bodies.get(event.stream_id, b"") + event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                number = event.stream_id
                stream = Stream(self, number, self._headers.pop(number), self._bodies.pop(number, b""))
                self.node.streams.append(stream)
                self.node.behaviour(stream)
            case StreamReset():
                self.node.resets += 1

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())


@define
class H2Node(Watched):
    """
    The server.

    @ivar streams: requests that came.
    @ivar connections: how many were ever made.
    @ivar resets: streams that the client reset.
    @ivar offered: what each connection offered to speak.
    """

    behaviour: Behaviour = accepts
    streams: list[Stream] = Factory(list)
    connections: int = 0
    resets: int = 0
    offered: list[list[bytes]] = Factory(list)
    open: set[_Connection] = Factory(set)
    port: int = 0
    _listening: Any = None

    def start(self, reactor: Any, *names: str) -> H2Node:
        """Listen, with a certificate for these names."""
        context = SSL.Context(SSL.TLS_METHOD)
        authority().issue_cert(*names).configure_cert(context)
        context.set_alpn_select_callback(self._choose)
        factory = ProtocolFactory()
        factory.noisy = False
        factory.buildProtocol = self._connected  # type: ignore[method-assign]
        self._listening = reactor.listenSSL(0, factory, Contexts(context), interface="127.0.0.1")
        self.port = self._listening.getHost().port
        return self

    def _choose(self, _: SSL.Connection, offered: list[bytes]) -> Any:
        self.offered.append(offered)
        return b"h2" if b"h2" in offered else SSL.NO_OVERLAPPING_PROTOCOLS

    def _connected(self, _: object) -> _Connection:
        self.connections += 1
        return _Connection(self, self.connections)

    async def stop(self) -> None:
        """Close everything."""
        await maybeDeferred(self._listening.stopListening)
        for connection in list(self.open):
            connection.transport.abortConnection()
        await self.until(lambda: not self.open)

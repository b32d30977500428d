"""The front door: posts over HTTP, on a number of kept connections."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence

from attrs import Factory, define, frozen


@frozen
class Sent:
    """
    One post on its way in.

    @ivar due: when it was to be sent.
    @ivar answered: when the whole answer was there.
    """

    due: float
    answered: float
    status: int


def request(body: bytes) -> bytes:
    """The bytes of a request, as a node writes it."""
    head = (
        "POST /receive/public HTTP/1.1\r\nHost: relay.example\r\nUser-Agent: diaspora\r\nAccept: */*\r\n"
        f"Content-Type: application/magic-envelope+xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@define(eq=False)
class _Connection:
    socket: socket.socket = Factory(socket.socket)
    number: int = -1
    due: float = 0.0
    buffer: bytes = b""


class Door:
    """
    Brings posts.

    @ivar connections: how many at a time; each has one request under way.
    """

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        for _ in range(connections):
            self._open(_Connection())

    def _open(self, connection: _Connection) -> None:
        connection.socket = connected = socket.create_connection(self._address)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connected.fileno()] = connection
        self._epoll.register(connected, select.EPOLLIN)

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def drive(
        self,
        bodies: Sequence[bytes],
        *,
        rate: float = 0.0,
        gate: Callable[[int], bool] = lambda number: True,
        until: float = float("inf"),
    ) -> list[Sent]:
        """
        Bring them in, in this order.

        @param rate: per second: each is due at its time, whether those before it were answered or not, and its wait for a free connection
            counts. 0: each as soon as a connection is free.
        @param gate: whether the post of this number may be sent now.
        @param until: begin none after this time.
        @return: in the order of the posts.
        """
        started = time.monotonic()
        idle = list(self._connections.values())
        sent: dict[int, Sent] = {}
        number = 0
        while True:
            now = time.monotonic()
            over = number >= len(bodies) or now > until
            while not over and idle and (due := started + number / rate if rate else now) <= now and gate(number):
                connection = idle.pop()
                connection.number, connection.due = number, due
                connection.socket.sendall(request(bodies[number]))
                number += 1
                over = number >= len(bodies)
            if over and len(idle) == len(self._connections):
                return [sent[each] for each in sorted(sent)]
            for descriptor, _ in self._epoll.poll(0.0005 if idle and not over else 1.0):
                connection = self._connections[descriptor]
                status = _read(connection)
                if status is None:
                    self._again(connection, under_way=connection not in idle)
                elif status:
                    sent[connection.number] = Sent(connection.due, time.monotonic(), status)
                    idle.append(connection)

    def _again(self, connection: _Connection, *, under_way: bool) -> None:
        """The relay hung up; as long as nothing was under way it may."""
        if under_way:
            raise ConnectionError(f"the relay hung up after {connection.buffer!r}")
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._open(connection)


def _read(connection: _Connection) -> int | None:
    """The status, once the whole answer is there, 0 until then; C{None} at the end of the connection."""
    data = connection.socket.recv(65536)
    if not data:
        return None
    connection.buffer += data
    head, separator, body = connection.buffer.partition(b"\r\n\r\n")
    if not separator:
        return 0
    lower = head.lower()
    found = lower.find(b"content-length:")
    length = int(lower[found + 15 :].partition(b"\r\n")[0]) if found >= 0 else 0
    if len(body) < length:
        return 0
    connection.buffer = body[length:]
    return int(head[9:12])

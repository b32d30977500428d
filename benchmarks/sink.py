"""
A great many nodes in one process: they take what they are sent over TLS, and do nothing with it.

It is a loop over C{epoll} and OpenSSL and nothing else, so that it costs a fraction of what the cheapest sender costs.  What a node does is
in its name::

    n17.k3.bench.example      answers 202
    close17.k3.bench.example  the same, and closes the connection
    flap17.k3.bench.example   answers 202 in one second, 503 in the next
    busy17.k3.bench.example   answers 503
    hang17.k3.bench.example   reads and never answers
    tire17.k3.bench.example   answers 202 three times, and never again

Each arrival is noted with its time and with eight bytes of the signature, by which a post is told from others.  Commands come as lines on
standard input.
"""

from __future__ import annotations

import mmap
import select
import socket
import ssl
import struct
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

MARK = slice(-40, -32)
"""Bytes of a body, within the signature."""

TIRES_AFTER = 3
"""Answers of a node that tires."""

COUNTERS = struct.Struct("qq")
"""Arrivals at nodes that are well, and connections opened, for whoever looks."""

_BACKLOG = 4096


def answer(status: int, close: bool = False) -> bytes:
    """A whole answer."""
    end = b"Connection: close\r\n" if close else b""
    return b"HTTP/1.1 %d Because\r\nContent-Length: 0\r\n%s\r\n" % (status, end)


class Client:
    """
    One connection.

    @ivar host: whom it wants to speak to, once it has said so.
    @ivar number: that host's.
    """

    __slots__ = ("buffer", "connection", "greeted", "host", "kind", "number")

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        self.greeted = False
        self.buffer = b""
        self.host = ""
        self.kind = ""
        self.number = 0


class Sink:
    """
    @ivar arrivals: when, on the clock that all processes of a machine share.
    @ivar marks: of which post.
    @ivar takers: at which node: its number in the order of their first arrival.
    @ivar hosts: the nodes in that order.
    """

    def __init__(self, context: ssl.SSLContext, counters: mmap.mmap) -> None:
        self._context = context
        self._counters = counters
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._clients: dict[int, Client] = {}
        self.total = 0
        self.connections = 0
        self.arrivals = array("d")
        self.marks = array("Q")
        self.takers = array("H")
        self.hosts: dict[str, int] = {}
        self._answers: Counter[str] = Counter()

    def listen(self, address: str, port: int) -> int:
        """Listen at an address; the port."""
        listener = socket.create_server((address, port), backlog=_BACKLOG, reuse_port=False)
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener, select.EPOLLIN)
        return int(listener.getsockname()[1])

    def run(self) -> None:
        """Until standard input ends."""
        commands = sys.stdin.fileno()
        self._epoll.register(commands, select.EPOLLIN)
        poll, clients, listeners = self._epoll.poll, self._clients, self._listeners
        while True:
            for descriptor, _ in poll():
                client = clients.get(descriptor)
                if client is not None:
                    try:
                        self._serve(client)
                    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        pass
                    except OSError:
                        self._drop(client)
                elif descriptor in listeners:
                    self._accept(listeners[descriptor])
                elif descriptor == commands and not self._obey():
                    return
            COUNTERS.pack_into(self._counters, 0, self.total, self.connections)

    def _accept(self, listener: socket.socket) -> None:
        try:
            while True:
                plain, _ = listener.accept()
                plain.setblocking(False)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                self._clients[connection.fileno()] = Client(connection)
                self._epoll.register(connection, select.EPOLLIN)
                self.connections += 1
        except BlockingIOError:
            pass

    def _drop(self, client: Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()

    def _serve(self, client: Client) -> None:
        connection = client.connection
        if not client.greeted:
            connection.do_handshake()
            client.greeted = True
        data = connection.recv(65536)
        if not data:
            self._drop(client)
            return
        data = client.buffer + data
        while data:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                break
            end = head + 4 + _length(data, head)
            if len(data) < end:
                break
            if not client.host:
                client.host = _host(data[:head])
                client.kind = client.host.partition(".")[0].rstrip("0123456789")
                client.number = self.hosts.setdefault(client.host, len(self.hosts))
            self._take(client, data[:end])
            data = data[end:]
        client.buffer = data

    def _take(self, client: Client, request: bytes) -> None:
        now = time.monotonic()
        kind = client.kind
        if kind == "hang":
            return
        if kind == "tire":
            self._answers[client.host] += 1
            if self._answers[client.host] > TIRES_AFTER:
                return
        if kind == "busy" or (kind == "flap" and int(now) % 2):
            client.connection.send(_UNAVAILABLE)
            return
        self.total += kind != "flap"  # nobody can say how many of these there will be
        self.arrivals.append(now)
        self.marks.append(int.from_bytes(request[MARK], "little"))
        self.takers.append(client.number)
        if kind == "close":
            client.connection.send(answer(202, close=True))
            self._drop(client)
        else:
            client.connection.send(_ACCEPTED)

    def _obey(self) -> bool:
        command = sys.stdin.readline().strip()
        if command in ("report", "take"):
            hosts = "\n".join(self.hosts).encode()
            out = sys.stdout.buffer
            out.write(struct.pack("qq", len(self.arrivals), len(hosts)))
            out.write(self.arrivals.tobytes() + self.marks.tobytes() + self.takers.tobytes() + hosts)
            out.flush()
        if command in ("take", "forget"):
            self.arrivals, self.marks, self.takers = array("d"), array("Q"), array("H")
        if command == "forget":
            self.hosts.clear()
            self._answers.clear()
            for client in list(self._clients.values()):
                self._drop(client)
            sys.stdout.buffer.write(b"!")
            sys.stdout.buffer.flush()
        return command != ""


_ACCEPTED = answer(202)
_UNAVAILABLE = answer(503)


def _length(data: bytes, head: int) -> int:
    found = data.find(b"ontent-", 0, head)
    while data[found + 7 : found + 14].lower() != b"length:":
        found = data.find(b"ontent-", found + 1, head)
        if found < 0:
            return 0
    return int(data[found + 14 : data.find(b"\r\n", found)])


def _host(head: bytes) -> str:
    [line] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"host:")]
    return line[5:].strip().partition(b":")[0].decode()


def main(certificate: str, counters: str, addresses: list[str]) -> None:
    """Serve at the same port of all addresses, and print that port."""
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with Path(counters).open("r+b") as file:
        sink = Sink(context, mmap.mmap(file.fileno(), COUNTERS.size))
    port = 0
    for address in addresses:
        port = sink.listen(address, port)
    sys.stdout.buffer.write(b"%d\n" % port)
    sys.stdout.buffer.flush()
    sink.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])

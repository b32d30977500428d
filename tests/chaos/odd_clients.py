"""What hostile clients do that is over soon: odd shapes, too much, too small, too many at a time."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from attrs import define, field

from socialrelay.web.admin.forms import MAX_UPLOAD
from tests.chaos.hostile import HEAD, as_it_should, say, shapes

CAP = 1024 * 1024
TOKEN = "bench-" * 6
BUS = b"POST /bus/v1/messages HTTP/1.1\r\nHost: relay.example\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"

Connect = Callable[[], socket.socket]


@define(eq=False)
class Odd:
    """
    What hostile clients do that is over soon.

    @ivar connect: to the public site; C{operators}: to the operators'.
    @ivar most: bytes of a body that could be sent beyond the limit before it was refused.
    @ivar said: shapes that were answered otherwise than they should be.
    @ivar unheard: honest oddities that were not answered.
    """

    connect: Connect
    operators: Connect
    most: int = 0
    rounds: int = 0
    said: list[str] = field(factory=list)
    unheard: list[str] = field(factory=list)

    def try_all(self) -> int:
        """Send each shape; how many were answered otherwise than they should be."""
        wrong = []
        for shape in shapes():
            heard = say(self.connect(), shape.sent, 4.0 if shape.ends else 0.3)
            if not as_it_should(shape, heard):
                wrong.append(f"{shape.says}: {heard.statuses}{'' if heard.ended else ', and goes on'}")
        self.said += wrong
        return len(wrong)

    @property
    def attacks(self) -> list[Callable[[], None]]:
        """Everything else."""
        return [self.too_large, self.lying_lengths, self.small_things, self.pipelines, self.half_closed]

    def too_large(self) -> None:
        """Bodies beyond every limit."""
        self._too_large(self.connect, HEAD, CAP)
        self._too_large(self.operators, BUS, MAX_UPLOAD + 65536)

    def _too_large(self, connect: Connect, head: bytes, cap: int) -> None:
        form = b"Content-Type: application/x-www-form-urlencoded\r\n"
        for start in (b"", form):
            for length in (b"Content-Length: 1073741824\r\n\r\n", b"Content-Length: 67108864\r\n\r\n"):
                if refused_after(connect(), head + start + length, b"a=b&" * 16384, 0):
                    self.unheard.append("a large body was read though its length was known")
            chunk = b"10000\r\n" + b"a=b&" * 16384 + b"\r\n"
            sent = refused_after(connect(), head + start + b"Transfer-Encoding: chunked\r\n\r\n", chunk, cap)
            self.most = max(self.most, sent - cap)

    def lying_lengths(self) -> None:
        """Less than was announced, and more."""
        for sent in (b"hello", b"hello" * 1000):
            with self.connect() as connection, suppress(OSError):
                connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + sent)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

    def small_things(self) -> None:
        """Tiny chunks, trailers, long names of headers."""
        self.rounds += 1
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        start = b"GET / HTTP/1.1\r\nHost: a\r\nX-%d-" % self.rounds
        sent = [chunked + b"1\r\na\r\n" * 10_000, chunked + b"1\r\na\r\n0\r\n" + b"a\r\n" * 20_000]
        sent += [start + b"%d" % name + b"x" * 15_000 + b": a\r\n\r\n" for name in range(10)]
        everyone = [self.connect() for _ in range(200)]
        for each, bytes_ in zip(everyone, cycle(sent)):
            with suppress(OSError):
                each.sendall(bytes_)
        for each in everyone:
            each.close()

    def pipelines(self) -> None:
        """Hundreds of requests at once, with answers read and not."""
        many = b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n" * 500
        deaf = [self.connect() for _ in range(20)]
        for each in deaf:
            each.setblocking(False)
            with suppress(OSError):
                each.send(many)
        live = b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n"
        with self.connect() as connection:
            connection.settimeout(20.0)
            connection.sendall(live * 300)
            received = b""
            while received.count(b"HTTP/1.1 200 OK\r\n") < 300 and (data := connection.recv(65536)):
                received += data
        if received.count(b"HTTP/1.1 200 OK\r\n") != 300:
            self.unheard.append("a pipeline of 300 requests")
        for each in deaf:
            each.close()

    def half_closed(self) -> None:
        """Who says no more may still listen."""
        with self.connect() as connection:
            connection.settimeout(5.0)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                connection.recv(65536)


DUE = 2.0
"""Seconds within which a refusal that is due comes, on a busy machine as well."""


def refused_after(connection: socket.socket, head: bytes, piece: bytes, cap: int) -> int:
    """
    Send a body without end, and listen for a refusal after each piece; for longer when it is due.

    @param cap: bytes after which it is.
    @return: how many bytes were sent before it came; at least 64 MiB more than there should be if it did not.
    """
    sent = 0
    with connection, suppress(ConnectionError):
        connection.sendall(head)
        while sent < cap + 64 * CAP:
            connection.settimeout(DUE if sent > cap or not cap else 0.001)
            with suppress(TimeoutError):
                connection.recv(65536)
                return sent
            connection.settimeout(10.0)
            connection.sendall(piece)
            sent += len(piece)
    return sent

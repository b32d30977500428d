"""What nodes do that mean harm: to who connects, within TLS, and over HTTP/2."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from OpenSSL import SSL

BOMB = 300_000_000
"""Bytes of which a compressed answer consists."""

_numbers = count(1)


class Connection:
    """One of a relay, seen from here."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The head of a request."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """A whole request; its head."""
        head = await self.head()
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line[15:]))
        return head

    async def send(self, data: bytes) -> None:
        """As soon as there is room."""
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)

    async def flood(self, data: bytes) -> None:
        """The same for ever."""
        while True:
            await self.send(data)

    async def drip(self, data: bytes) -> None:
        """A byte at a time, and no end."""
        for byte in (*data, *[0x2E] * 1_000_000):
            await self.send(bytes([byte]))
            await asyncio.sleep(0.2)

    async def wait(self) -> None:
        """Do nothing more; until the other side has enough."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Without a goodbye."""
        plain: socket.socket = self.writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Way = Callable[[Connection], Awaitable[None]]

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_WAITS = (
    b"-1",
    b"1000000000000",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"soon",
    b"",
    b"9" * 5000,
    b"Mon, 99 Foo 0000 99:99:99 -9999",
    b"1e400",
    b"\xff\xfe",
)


def floods(start: bytes, chunk: bytes) -> Way:
    """Answer with a beginning, and with something that does not end."""

    async def way(connection: Connection) -> None:
        await connection.request()
        await connection.send(start)
        await connection.flood(chunk)

    return way


def drips(data: bytes) -> Way:
    """Answer slowly."""

    async def way(connection: Connection) -> None:
        await connection.request()
        await connection.drip(data)

    return way


def answers(*choices: bytes) -> Way:
    """Answer properly, if these are: the next time with the next."""

    async def way(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(choices[next(_numbers) % len(choices)])

    return way


def says(status: int, *headers: bytes) -> bytes:
    """A whole answer."""
    return b"\r\n".join((b"HTTP/1.1 %d Because" % status, b"Content-Length: 0", *headers, b"", b""))


async def hangs(connection: Connection) -> None:
    """Take the request, and never answer."""
    await connection.wait()


async def breaks(connection: Connection) -> None:
    """Break off in the midst of an answer."""
    await connection.request()
    await connection.send(_OK + b"Content-Length: 1000\r\n\r\nhalf")
    connection.reset()


async def ends(connection: Connection) -> None:
    """Break off as soon as TLS stands."""
    connection.reset()


async def hastens(connection: Connection) -> None:
    """Answer before the request is there, more often than it was asked."""
    await connection.send(says(200) * 3)
    await connection.wait()


async def shuts(connection: Connection) -> None:
    """Break off before a byte of TLS."""
    connection.reset()


async def greets(connection: Connection) -> None:
    """Break off once the other side has said hello."""
    await connection.reader.read(1)
    connection.reset()


async def stares(connection: Connection) -> None:
    """Read the hello, and say nothing."""
    await connection.wait()


async def halts(connection: Connection) -> None:
    """Stop in the midst of the hello."""
    await connection.reader.read(1)
    await connection.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
    await connection.wait()


def babbles(start: bytes, chunk: bytes) -> Way:
    """Say something else instead of hello."""

    async def way(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(start)
        await connection.flood(chunk)

    return way


async def renegotiates(connection: Connection) -> None:
    """Ask for another handshake of TLS 1.2, again and again."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(str(Path(sys.argv[1]) / "renegotiates.pem"))
    context.use_privatekey_file(str(Path(sys.argv[1]) / "renegotiates.pem"))
    tls = SSL.Connection(context, None)
    tls.set_accept_state()
    established = False
    while True:
        with suppress(SSL.WantReadError):
            while established and tls.recv(65536):
                pass  # what was asked stands in the way of the next handshake
        with suppress(SSL.WantReadError):
            tls.do_handshake()
            established = True
            tls.renegotiate()
            tls.do_handshake()
        with suppress(SSL.WantReadError):
            await connection.send(tls.bio_read(65536))
        data = await connection.reader.read(65536)
        if not data:
            return
        tls.bio_write(data)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


_SETTINGS = frame(4, 0, 0, b"")
_HEADERS = frame(1, 4, 1, b"\x88")
"""Of stream 1: status 200."""


def frames(start: bytes, chunk: bytes) -> Way:
    """Speak HTTP/2, oddly."""

    async def way(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(_SETTINGS + start)
        if chunk:
            await connection.flood(chunk)
        await connection.wait()

    return way


PLAIN: dict[str, Way] = {
    "shuts": shuts,
    "greets": greets,
    "stares": stares,
    "halts": halts,
    "alerts": babbles(b"", b"\x15\x03\x03\x00\x02\x01\x5a" * 1000),
    "records": babbles(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff", b"\x00" * 16379),
    "http": babbles(b"", b"HTTP/1.1 400 Speak plainly\r\n\r\n" * 100),
    "renegotiates": renegotiates,
}
"""What happens before there is TLS, or to it."""

ENCRYPTED: dict[str, Way] = {
    "hangs": hangs,
    "ends": ends,
    "breaks": breaks,
    "hastens": hastens,
    "headers": floods(_OK, b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(50))),
    "header": floods(_OK + b"X-Endless: ", b"a" * 50_000),
    "body": floods(_OK + b"Content-Length: 1000000000000\r\n\r\n", b"a" * 50_000),
    "chunks": floods(_CHUNKED, (b"1000\r\n" + b"a" * 4096 + b"\r\n") * 12),
    "chunk": floods(_CHUNKED + b"FFFFFFFFFFFFFFFF\r\n", b"a" * 50_000),
    "digits": floods(_CHUNKED, b"0" * 50_000),
    "extensions": floods(_CHUNKED + b"5;", b"a" * 50_000),
    "trailers": floods(_CHUNKED + b"0\r\n", b"X-Trailer: %s\r\n" % (b"a" * 10_000)),
    "bomb": floods(b"", b""),  # its own below
    "interim": floods(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" * 1000),
    "continue": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "switches": floods(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"a" * 50_000),
    "status": floods(b"HTTP/1.1 200 ", b"a" * 50_000),
    "more": floods(says(200), says(200) * 500),
    "drips": drips(_OK + b"Content-Length: 1000000\r\n\r\n"),
    "later": answers(*(says(status, b"Retry-After: " + wait) for wait in _WAITS for status in (429, 503))),
    "points": answers(
        *(
            says(status, b"Location: " + where)
            for status, where in (
                (301, b"https://127.0.0.1/"),
                (302, b"http://169.254.169.254/latest/meta-data/"),
                (307, b"/receive/public"),
                (308, b"//[::1]:22/"),
                (303, b"file:///etc/passwd"),
                (302, b"https://" + b"a" * 60_000),
            )
        )
    ),
    "foreign": hangs,
    "forged": hangs,
    "tickets": hangs,
    "chain": hangs,
}
"""What happens within TLS.  C{foreign} has a certificate for another name, C{forged} one that nobody vouches for, C{chain} a long one."""

MULTIPLEXED: dict[str, Way] = {
    "settings": frames(b"", _SETTINGS * 1000),
    "pings": frames(b"", frame(6, 0, 0, b"12345678") * 1000),
    "goaway": frames(b"", frame(7, 0, 0, b"\x00\x00\x00\x00\x00\x00\x00\x00") * 1000),
    "continuation": frames(frame(1, 0, 1, b"\x88"), frame(9, 0, 1, b"\x00\x01a\x7f\xa1\x0e" + b"a" * 1997) * 8),
    "padding": frames(_HEADERS, frame(0, 8, 1, b"\xff" + b"\x00" * 255) * 200),
    "empty": frames(_HEADERS, frame(0, 0, 1, b"") * 1000),
    "windows": frames(b"", frame(8, 0, 0, b"\x7f\xff\xff\xff") * 1000),
    "shrinks": frames(frame(4, 0, 0, b"\x00\x04\x00\x00\x00\x00"), b""),
    "pushes": frames(b"", b"".join(frame(5, 4, 1, number.to_bytes(4, "big") + b"\x82") for number in range(2, 2000, 2))),
    "data": frames(_HEADERS, frame(0, 0, 1, b"a" * 16384)),
}
"""The same over HTTP/2."""


def bomb() -> Way:
    """Answer with next to nothing, which is much when it is unpacked."""
    compressed = gzip.compress(b"\0" * (BOMB // 300)) * 300
    head = _OK + b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(compressed)
    return answers(head + compressed)

"""
Nodes that mean harm, all in one process: C{python -m tests.chaos.hostile_server FOLDER}.

Each way to do harm has a port of its own; who comes is served so, whatever is asked for.  What is written here is written as fast as it is
read.  On standard output come the ports, as JSON; then, for each line on standard input, what became of the connections so far.

How long a connection lasted is counted from its first byte, or from the end of its handshake, until the other side has closed it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import ssl
import struct
import sys
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from attrs import Factory, define
from OpenSSL import SSL

ADDRESS = "127.0.67.1"
DOMAIN = "hostile.example"
BOMB = 300_000_000
"""Bytes of which a compressed answer consists."""

_numbers = count(1)


@define
class Treated:
    """
    Connections that were treated alike.

    @ivar made: how many there were.
    @ivar open: when those began that the other side has not closed yet.
    @ivar longest: seconds that the longest lasted, of those that are over.
    """

    made: int = 0
    open: list[float] = Factory(list)
    longest: float = 0.0

    def told(self) -> dict[str, float]:
        """C{made}, how many are C{open}, the age of the C{oldest} of these, and C{longest}."""
        oldest = time.monotonic() - min(self.open) if self.open else 0.0
        return {"made": self.made, "open": len(self.open), "oldest": oldest, "longest": self.longest}


class Connection:
    """One of them, seen from here."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, treated: Treated) -> None:
        self.reader = reader
        self.writer = writer
        self.treated = treated

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


def _bomb() -> Way:
    compressed = gzip.compress(b"\0" * (BOMB // 300)) * 300
    head = _OK + b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(compressed)
    return answers(head + compressed)


class Server:
    """All of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.treated: dict[str, Treated] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def listen(self) -> dict[str, int]:
        """Begin; the port of each way."""
        ports = {}
        for name, way in {**PLAIN, **ENCRYPTED, **MULTIPLEXED, "bomb": _bomb()}.items():
            context = None if name in PLAIN else self._context(name)
            self.treated[name] = Treated()
            server = await asyncio.start_server(
                lambda reader, writer, name=name, way=way: self._serve(name, way, reader, writer),
                ADDRESS,
                0,
                ssl=context,
                backlog=1000,
                **({} if context is None else {"ssl_handshake_timeout": 60.0}),
            )
            ports[name] = server.sockets[0].getsockname()[1]
        return ports

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.pem")
        if name in MULTIPLEXED:
            context.set_alpn_protocols(["h2"])
        if name == "tickets":
            context.num_tickets = 200
        return context

    async def _serve(self, name: str, way: Way, reader: StreamReader, writer: StreamWriter) -> None:
        treated = self.treated[name]
        treated.made += 1
        began = time.monotonic()
        treated.open.append(began)
        connection = Connection(reader, writer, treated)
        try:
            await way(connection)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, SSL.Error, EOFError):
            pass
        finally:
            treated.open.remove(began)
            treated.longest = max(treated.longest, time.monotonic() - began)
            writer.transport.abort()


def _tell(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main(folder: Path) -> None:
    logging.disable()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # handshakes that fail are what is wanted
    server = Server(folder)
    _tell(await server.listen())
    ended = asyncio.Event()

    def obey() -> None:
        for _ in sys.stdin:
            asyncio.run_coroutine_threadsafe(tell(), loop)
        loop.call_soon_threadsafe(ended.set)

    async def tell() -> None:
        _tell({name: each.told() for name, each in server.treated.items()})

    threading.Thread(target=obey, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

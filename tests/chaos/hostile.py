"""What hostile clients send, byte by byte, and what is to become of it."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Iterator

from attrs import frozen

TARGET = b"/receive/public"
HEAD = b"POST /receive/public HTTP/1.1\r\nHost: relay.example\r\n"
NEXT = b"GET /robots.txt HTTP/1.1\r\nHost: relay.example\r\n\r\n"
"""The request that is smuggled: if it is answered, two parsers could read the bytes before it differently."""


@frozen
class Shape:
    """
    @ivar says: what is odd about it.
    @ivar sent: everything that is sent.
    @ivar answers: the statuses that may come, in order; of a refusal there is one, and the end of the connection.
    @ivar ends: the relay hangs up by itself.
    """

    says: str
    sent: bytes
    answers: tuple[tuple[int, ...], ...] = ((400,),)
    ends: bool = True


def shapes() -> list[Shape]:
    """All of them: what is refused, and what is answered as usual."""
    return [*_lengths(), *_encodings(), *_hosts(), *_lines(), *_other_protocols(), *_unusual()]


def _with(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST %s HTTP/%s" % (TARGET, version), b"Host: relay.example", *lines, b"", body]) + NEXT


def _lengths() -> Iterator[Shape]:
    for says, value in (
        ("two lengths in a list", b"5, 6"),
        ("twice the same in a list", b"5, 5"),
        ("less than nothing", b"-1"),
        ("with a plus", b"+5"),
        ("hexadecimal", b"0x5"),
        ("with an underscore", b"1_0"),
        ("a fraction", b"5.0"),
        ("no digits", b""),
        ("other digits", "５".encode()),
        ("4 300 digits", b"0" * 4299 + b"5"),
        ("5 000 digits", b"1" * 5000),
    ):
        yield Shape(f"Content-Length: {says}", _with(b"Content-Length: " + value, body=b"hello"))
    yield Shape("two Content-Lengths", _with(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"))
    yield Shape("the same Content-Length twice", _with(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"))
    yield Shape("1 GiB by Content-Length", HEAD + b"Content-Length: 1073741824\r\n\r\n", ((413,),))
    yield Shape("2^64 bytes by Content-Length", HEAD + b"Content-Length: 18446744073709551616\r\n\r\n", ((413,),))


def _encodings() -> Iterator[Shape]:
    chunks = b"5\r\nhello\r\n0\r\n\r\n"
    length = b"Content-Length: 5"
    for says, line in (
        ("chunked", b"Transfer-Encoding: chunked"),
        ("Chunked", b"Transfer-Encoding: Chunked"),
        ("a tab before chunked", b"Transfer-Encoding:\tchunked"),
        ("xchunked", b"Transfer-Encoding: xchunked"),
        ("identity", b"Transfer-Encoding: identity"),
        ("chunked, chunked", b"Transfer-Encoding: chunked, chunked"),
        ("gzip, chunked", b"Transfer-Encoding: gzip, chunked"),
        ("chunked, identity", b"Transfer-Encoding: chunked, identity"),
        ("quoted", b'Transfer-Encoding: "chunked"'),
        ("a space before the colon", b"Transfer-Encoding : chunked"),
        ("a vertical tab", b"Transfer-Encoding: \x0bchunked"),
        ("folded", b"Transfer-Encoding:\r\n chunked"),
        ("a bare CR in it", b"Transfer-Encoding: chun\rked"),
        ("NUL in it", b"Transfer-Encoding: chunked\x00"),
        ("hidden behind a bare LF", b"X: y\nTransfer-Encoding: chunked"),
        ("twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ):
        yield Shape(f"Content-Length and Transfer-Encoding: {says}", _with(length, line, body=chunks))
        if says not in ("chunked", "Chunked", "a tab before chunked"):
            yield Shape(f"Transfer-Encoding: {says}", _with(line, body=chunks))
    yield Shape("Transfer-Encoding before Content-Length", _with(b"Transfer-Encoding: chunked", length, body=chunks))
    yield Shape("Transfer-Encoding in HTTP/1.0", _with(b"Transfer-Encoding: chunked", body=chunks, version=b"1.0"))
    for says, body in (
        ("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("less than nothing", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("size with a space before", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("size with a space after", b"5 \r\nhello\r\n0\r\n\r\n"),
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("size with an underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
        ("more than its size", b"3\r\nhello\r\n0\r\n\r\n"),
        ("ended with LF", b"5\nhello\n0\n\n"),
        ("NUL in an extension", b"5;\x00\r\nhello\r\n0\r\n\r\n"),
        ("LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a size line of 2 KiB", b"5;" + b"a" * 2048 + b"\r\nhello\r\n0\r\n\r\n"),
        ("a size of 2 KiB", b"0" * 2048 + b"5\r\nhello\r\n0\r\n\r\n"),
        ("trailers of 30 KiB", b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 5000 + b"\r\n"),
    ):
        yield Shape(f"chunk: {says}", _with(b"Transfer-Encoding: chunked", body=body))
    yield Shape("1 000 chunks of a byte", _with(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"))
    yield Shape("a chunk of 1 GiB", HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n" + b"a" * (1024 * 1024 + 1), ((413,),))


def _hosts() -> Iterator[Shape]:
    end = b"\r\n\r\n" + NEXT
    yield Shape("no Host", b"GET / HTTP/1.1" + end)
    yield Shape("two Hosts", b"GET / HTTP/1.1\r\nHost: relay.example\r\nHost: other.example" + end)
    yield Shape("the same Host twice", b"GET / HTTP/1.1\r\nHost: relay.example\r\nHost: relay.example" + end)
    for says, value in (
        ("empty", b""),
        ("a path in it", b"a/b"),
        ("a user in it", b"a@b"),
        ("a space in it", b"a b"),
        ("not ASCII", b"\xc3\xa4"),
    ):
        yield Shape(f"Host: {says}", b"GET / HTTP/1.1\r\nHost: " + value + end)
    yield Shape("the whole URI as target", b"GET http://other.example/ HTTP/1.1\r\nHost: relay.example" + end)
    yield Shape("an authority as target", b"CONNECT other.example:443 HTTP/1.1\r\nHost: relay.example" + end)
    yield Shape("an asterisk as target", b"OPTIONS * HTTP/1.1\r\nHost: relay.example" + end)


def _lines() -> Iterator[Shape]:
    start = b"GET / HTTP/1.1\r\nHost: relay.example\r\n"
    for says, line in (
        ("a folded header", b"X: a\r\n b"),
        ("a header folded with a tab", b"X: a\r\n\tb"),
        ("NUL in a value", b"X: a\x00b"),
        ("CR in a value", b"X: a\rb"),
        ("LF in a value", b"X: a\nY: b"),
        ("NUL in a name", b"X\x00: a"),
        ("a space before the colon", b"X : a"),
        ("a header without a colon", b"X"),
        ("a header without a name", b": a"),
        ("a name that is no token", b"X(y): a"),
        ("a name of 2 000 bytes", b"X" * 2000 + b": a"),
        ("501 headers", b"\r\n".join(b"X-%d: a" % number for number in range(501))),
        ("a header line of 16 KiB", b"X: " + b"a" * 16384),
        ("headers of 17 KiB", b"\r\n".join(b"X-%d: %s" % (number, b"a" * 1000) for number in range(17))),
    ):
        yield Shape(says, start + line + b"\r\n\r\n" + NEXT)
    yield Shape("a line folded into the first", b"GET / HTTP/1.1\r\n Host: relay.example\r\n\r\n" + NEXT)
    yield Shape("a target of 16 KiB", b"GET /" + b"a" * 16384 + b" HTTP/1.1\r\nHost: relay.example\r\n\r\n" + NEXT)
    for says, first in (
        ("no version", b"GET /"),
        ("HTTP/0.9", b"GET / HTTP/0.9"),
        ("HTTP/2.0", b"GET / HTTP/2.0"),
        ("HTTP/1.10", b"GET / HTTP/1.10"),
        ("four words", b"GET / / HTTP/1.1"),
        ("two spaces", b"GET  / HTTP/1.1"),
        ("a tab", b"GET\t/ HTTP/1.1"),
        ("CR in the target", b"GET /\r HTTP/1.1"),
        ("NUL in the target", b"GET /\x00 HTTP/1.1"),
        ("a method that is no token", b"G(T / HTTP/1.1"),
    ):
        yield Shape(f"the first line: {says}", first + b"\r\nHost: relay.example\r\n\r\n" + NEXT)


def _other_protocols() -> Iterator[Shape]:
    yield Shape("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    yield Shape("a proxy's preface", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + NEXT)
    yield Shape("SMTP", b"EHLO there\r\nMAIL FROM:<a@b.example>\r\n")
    yield Shape("a TLS handshake", client_hello() + b"\r\n")


def _unusual() -> Iterator[Shape]:
    junk = gzip.compress(b"hello" * 1000)
    end = b"\r\n\r\n" + NEXT
    host = b"\r\nHost: relay.example"
    yield Shape("a method that nobody knows", b"BREW / HTTP/1.1" + host + end, ((405, 501), (200,)), ends=False)
    yield Shape("TRACE", b"TRACE / HTTP/1.1" + host + end, ((405, 501), (200,)), ends=False)
    yield Shape("HTTP/1.0", b"GET /robots.txt HTTP/1.0" + host + end, ((200,),))
    yield Shape("HTTP/1.0 that wants to stay", b"GET /robots.txt HTTP/1.0\r\nConnection: keep-alive" + host + end, ((200,),))
    yield Shape("no Host in HTTP/1.0", b"GET /robots.txt HTTP/1.0" + end, ((200,),))
    yield Shape(
        "Upgrade: h2c", b"GET /robots.txt HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c" + host + end, ((200,), (200,)), ends=False
    )
    yield Shape(
        "a gzipped body", _with(b"Content-Encoding: gzip", b"Content-Length: %d" % len(junk), body=junk), ((400,), (200,)), ends=False
    )
    yield Shape("a body in chunks", _with(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), ((400,), (200,)), ends=False)
    yield Shape("trailers", _with(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"), ((400,), (200,)), ends=False)
    waits = _with(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello")
    yield Shape("Expect: 100-continue", waits, ((100,), (400,), (200,)), ends=False)
    yield Shape(
        "a body with GET", b"GET /robots.txt HTTP/1.1\r\nContent-Length: 5" + host + b"\r\n\r\nhello" + NEXT, ((200,), (200,)), ends=False
    )
    form = b"Content-Type: application/x-www-form-urlencoded"
    large = _with(form, b"Content-Length: 900000", body=b"a=b&" * 225_000)
    yield Shape("a form of 900 kB", large, ((400,), (200,)), ends=False)
    yield Shape("a form of 64 MiB", HEAD + form + b"\r\nContent-Length: 67108864\r\n\r\n" + b"a=b&" * 250_000, ((413,),))


def client_hello() -> bytes:
    """What a client that speaks TLS says first."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="relay.example").do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("a handshake without the other side")


@frozen
class Heard:
    """
    What came back.

    @ivar statuses: of the answers.
    @ivar ended: the relay hung up.
    """

    statuses: tuple[int, ...]
    ended: bool


def say(connect: socket.socket, sent: bytes, patience: float) -> Heard:
    """
    Send bytes, and listen.

    @param patience: seconds without a byte after which nothing more is expected.
    """
    received, ended = b"", False
    with connect:
        connect.settimeout(10.0)
        try:
            connect.sendall(sent)
        except OSError:
            pass  # it was refused before it was read
        connect.settimeout(patience)
        try:
            while data := connect.recv(65536):
                received += data
            ended = True
        except TimeoutError:
            pass
        except OSError:
            ended = True
    return Heard(tuple(int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:] + received.split(b"HTTP/1.0 ")[1:]), ended)


def as_it_should(shape: Shape, heard: Heard) -> bool:
    """Whether the answer to a shape is one of those that may be."""
    well = len(heard.statuses) == len(shape.answers) and all(
        status in allowed for status, allowed in zip(heard.statuses, shape.answers, strict=True)
    )
    return well and (heard.ended or not shape.ends)

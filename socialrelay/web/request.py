"""A request of a stranger, and who sent it."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import RESPONSES

from socialrelay.web.addresses import UNIX
from socialrelay.web.channel import Channel, Keeper, Refused

PIECES = 256
PIECE = 64
"""A body may come in C{PIECES}, and one more for each C{PIECE} bytes: each is some work, however small it is."""


class Request(server.Request):
    """
    A request whose body is kept in memory, and never grows past the site's limit.

    What is posted to an address of the site's C{shortcuts} is handed over as it is: finding a resource, and what a resource may expect of
    a request, costs as much as checking a signature.
    """

    channel: Channel
    site: Keeper  # type: ignore[assignment]
    content: BytesIO
    defaultContentType = b"text/plain; charset=utf-8"
    _pieces = 0

    def handleContentChunk(self, data: bytes) -> None:
        channel, size = self.channel, self.content.tell() + len(data)
        self._pieces += 1
        if size > channel.site.max_body:
            channel.refuse(413, "too-large")
        elif self._pieces > PIECES + size // PIECE:
            channel.refuse(400, "tiny-chunks")
        if channel.refused:
            raise Refused
        self.content.write(data)
        channel.hold(len(data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        take = self.channel.site.shortcuts.get(path) if command == b"POST" else None
        if take is None:
            if command != b"POST":
                self.content = BytesIO()  # nobody reads it, and the answer may take a while
                self.channel.let_go()
            self.channel.site.turns.run(partial(self._in_turn, command, path, version))
            return
        self.channel.let_go()
        self.site = self.channel.site
        self.method, self.uri, self.path, self.clientproto = command, path, path, version
        try:
            take(self)
        except Exception:
            self.processingFailed(Failure())

    def _in_turn(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self.gone and not self.channel.refused:
            self.channel.let_go()
            super().requestReceived(command, path, version)

    def process(self) -> None:
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            self.reply(400, b"The path is not UTF-8.\n")
        else:
            super().process()

    def reply(self, code: int, body: bytes = b"", *lines: bytes) -> None:
        """
        Answer at once and as a whole.

        @param body: plain text.
        @param lines: further lines of the head.
        """
        channel = self.channel
        head = [
            b"%b %d %b" % (self.clientproto, code, RESPONSES[code]),
            b"Server: socialrelay",
            b"Date: " + channel.site.date(),
            b"X-Content-Type-Options: nosniff",
            b"Content-Length: %d" % len(body),
            *lines,
        ]
        if body:
            head.append(b"Content-Type: text/plain; charset=utf-8")
        if not channel.persistent:
            head.append(b"Connection: close")
        head += b"", b"" if self.method == b"HEAD" else body
        channel.write_now(b"\r\n".join(head))
        self.startedWriting = 1
        self.finish()

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return bool(self._disconnected)

    def getRequestHostname(self) -> bytes:
        """A constant: nothing here depends on the name that the client used, so what it wrote reaches no router."""
        return b"relay"

    def processingFailed(self, reason: Failure) -> Failure:
        self._log.failure("Answering a request failed.", failure=reason)
        if self.startedWriting:
            self.channel.loseConnection()
        else:
            self.reply(500, b"Something went wrong here; it has been logged.\n")
        return reason


def peer_of(address: object) -> str:
    """The text of a peer's address; C{"unix"} for all that have none."""
    return getattr(address, "host", None) or UNIX


def header_texts(request: server.Request, name: str) -> list[str]:
    """The values of a header, in order; clients write any bytes there, and what is not UTF-8 is replaced."""
    return [value.decode("utf-8", "replace") for value in request.requestHeaders.getRawHeaders(name.encode("ascii"), [])]


def client_address(request: server.Request) -> str:
    """The address of the client that sent a request; for limits, never for trust."""
    peer = peer_of(request.client)
    forwarded = request.requestHeaders.getRawHeaders(b"X-Forwarded-For")
    if not forwarded or not isinstance(request, Request):
        return peer
    return request.site.client_of(peer, [value.decode("latin-1") for value in forwarded])

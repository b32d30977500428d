"""
The control socket: operators' views and acts as HTTP and JSON, for the operators' command.

C{GET /v1/VIEW?name=value} and C{POST /v1/ACT} with a JSON object.  The answer is a JSON object; if something is wrong it is
C{{"error": {"code": …, "message": …}}} with a status other than 200.  Who may ask is decided by the kernel's word on who connected.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorUNIX
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from socialrelay.boundaries import Full, Unavailable
from socialrelay.jsontext import NotJSON, read_object
from socialrelay.moderation.formats import MAX_LIST
from socialrelay.operators.offers import Offer, checked
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError
from socialrelay.operators.who import COMMAND, done_by
from socialrelay.storage.embedded.runtime import CONTROL_SOCKET
from socialrelay.web.unixsocket import SocketService

SOCKET_NAME = CONTROL_SOCKET
MAX_BODY = 2 * MAX_LIST
"""Bytes: a list of rules, with what JSON adds to it."""
IDLE_TIMEOUT = 60.0
_SO_PEERGROUPS = 59  # Linux >= 4.13; Python has no name for it
_STATUS = {"unknown-node": 404, "no-rule": 404, "not-found": 404, "refused": 409, "not-subscribed": 409, "forbidden": 403, "too-large": 413}
_STATUS |= {"not-here": 404, "unavailable": 503, "internal": 500, "wrong-method": 405}


@frozen
class Peer:
    """
    Who is at the other end of a UNIX socket.

    @ivar groups: all group numbers, the primary one included.
    """

    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel; what it says was true when the other side connected."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:  # an old kernel, or a member of more than 256 groups: then the primary group alone counts
        raw = b""
    return Peer(uid, frozenset({gid, *struct.unpack(f"{len(raw) // 4}I", raw)}))


def may_control(peer: Peer, daemon_uid: int, socket_gid: int) -> bool:
    """Root, the daemon's own user, and members of the socket's group."""
    return peer.uid in (0, daemon_uid) or socket_gid in peer.groups


def user_name(uid: int) -> str:
    """A user's name, or the number if it has none. May block."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is too long."""

    too_large = False

    def gotLength(self, length: int | None) -> None:
        """@param length: what the headers say, if they do."""
        self.too_large = length is not None and length > MAX_BODY
        super().gotLength(0 if self.too_large else length)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep no more than may be."""
        assert self.content is not None
        self.too_large = self.too_large or self.content.tell() + len(data) > MAX_BODY
        if not self.too_large:
            super().handleContentChunk(data)


class ControlResource(Resource):
    """Everything below C{/v1/}."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        views: Mapping[str, Offer],
        acts: Mapping[str, Offer],
        admits: Callable[[Peer], bool],
        name_of: Callable[[int], Deferred[str]],
        why_absent: str = "",
    ) -> None:
        """
        @param admits: whether somebody may ask at all.
        @param name_of: a user's name.
        @param why_absent: a sentence for who asks for what is not there, if it is not simply unknown.
        """
        super().__init__()
        self._why_absent = why_absent
        self._offers = {b"GET": views, b"POST": acts}
        self._admits = admits
        self._name_of = name_of

    def render(self, request: BoundedRequest) -> int:
        """Answer, later."""
        # The story is not tied to the connection: what was begun is finished, though the operator presses Ctrl-C.
        Deferred.fromCoroutine(self._answer(request)).addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: BoundedRequest) -> None:
        try:
            peer = peer_of(cast(HasSocket, request.transport).socket)
            if not self._admits(peer):
                raise ActError("forbidden", _FORBIDDEN)
            offer, fields = self._asked(request)
            if request.method == b"POST":
                fields["who"] = done_by(await self._name_of(peer.uid), COMMAND)
            self._send(request, 200, await offer.run(**fields))
        except ActError as error:
            self._send_error(request, error.code, str(error))
        except Unavailable:
            self._send_error(request, "unavailable", _AWAY)
        except Full as error:
            self._send_error(request, "unavailable", f"The relay is too busy now: {error}. Try again in a moment.")

    def _asked(self, request: BoundedRequest) -> tuple[Offer, dict[str, object]]:
        offers = self._offers.get(request.method)
        if offers is None:
            raise ActError("wrong-method", "Views are asked for with GET, acts with POST.")
        if request.too_large:
            raise ActError("too-large", f"The request is too long; it may have {MAX_BODY} bytes.")
        prefix, _, name = request.path.decode("utf-8", "replace").removeprefix("/").partition("/")
        if prefix != "v1" or name not in offers:
            if self._why_absent:
                raise ActError("not-here", self._why_absent)
            kind = "view" if request.method == b"GET" else "act"
            raise ActError("not-found", f"There is no such {kind}; below /v1/ there are: {', '.join(offers)}.")
        offer = offers[name]
        return offer, checked(offer, self._query(request, offer) if request.method == b"GET" else self._body(request))

    def _query(self, request: BoundedRequest, offer: Offer) -> dict[str, object]:
        said: dict[str, object] = {}
        for raw_name, raw_values in request.args.items():
            name, text = raw_name.decode("utf-8", "replace"), raw_values[-1].decode("utf-8", "replace")
            kind = offer.fields.get(name)
            if kind is int and text.isascii() and text.isdecimal() and len(text) < 10:
                said[name] = int(text)
            elif kind is bool and text.lower() in ("true", "false"):
                said[name] = text.lower() == "true"
            else:
                said[name] = text
        return said

    def _body(self, request: BoundedRequest) -> dict[str, object]:
        try:
            assert request.content is not None
            return read_object(request.content.read() or b"{}")
        except NotJSON as error:
            raise ActError("bad-request", "The body must be a JSON object.") from error

    def _failed(self, failure: Failure, request: BoundedRequest) -> None:
        self._log.failure("A request on the control socket failed: {path}", failure, path=request.path.decode("utf-8", "replace"))
        self._send_error(request, "internal", "Something went wrong inside the relay; its log says more.")

    def _send_error(self, request: BoundedRequest, code: str, sentence: str) -> None:
        self._send(request, _STATUS.get(code, 400), {"error": {"code": code, "message": sentence}})

    def _send(self, request: BoundedRequest, status: int, document: Plain) -> None:
        if request.finished or request._disconnected:
            return
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"application/json; charset=utf-8")
        request.write(json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n")
        request.finish()


class QuietSite(Site):
    """A site without an access log: the acts are logged where they are done."""

    noisy = False

    def startFactory(self) -> None:
        """Nothing to prepare."""

    def stopFactory(self) -> None:
        """Nothing to end."""

    def log(self, request: object) -> None:
        """Nothing is written per request."""

    def getContentFile(self, length: int | None) -> BytesIO:
        """Bodies are in memory: a file would be written in the reactor's thread."""
        return BytesIO()


_FORBIDDEN = "You may not control this relay: only root, its own user and the members of the socket's group may."
_AWAY = "The relay's database cannot be reached now; nothing was changed. `socialrelay status` says more."


class HasSocket(Protocol):
    """A transport over a socket."""

    socket: socket.socket


class ControlService(SocketService):
    """Listens on the control socket while it runs."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorUNIX,
        path: Path,
        views: Mapping[str, Offer],
        acts: Mapping[str, Offer],
        name_of: Callable[[int], Deferred[str]],
        why_absent: str = "",
    ) -> None:
        """
        @param name_of: a user's name, L{user_name} in a thread.
        @param why_absent: as for L{ControlResource}.
        """
        resource = ControlResource(views, acts, self._admits, name_of, why_absent)
        site: Any = QuietSite(resource, requestFactory=BoundedRequest, timeout=IDLE_TIMEOUT, parsePOSTFormSubmission=False)
        super().__init__(reactor, path, site, "control socket")
        self._gid = -1

    def startService(self) -> None:
        """
        Listen.

        @raise StartFailed: another daemon listens there, or no socket can be made there.
        """
        super().startService()
        self._gid = self.path.stat().st_gid
        self._log.info("Operators are heard at {path}.", path=str(self.path))

    def _admits(self, peer: Peer) -> bool:
        return may_control(peer, os.geteuid(), self._gid)

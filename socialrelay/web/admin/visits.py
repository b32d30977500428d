"""Everything below C{/admin/}: nobody gets past who is not known, and no form that is not the visitor's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from socialrelay.web.admin.forms import MAX_UPLOAD, Form, TooLong, read_form
from socialrelay.web.admin.gate import Gate, Visit, from_elsewhere
from socialrelay.web.admin.look import Look, away

OPEN = b"login"
"""The one page for those who are not known."""
MAX_STRANGER = 8192
"""Bytes of a form of somebody who is not known."""
READING = (b"GET", b"HEAD")


def visit_of(request: Request) -> Visit | None:
    """Who asks, as L{Visits} found out."""
    return cast(Any, request).visit


def known(request: Request) -> Visit:
    """Who asks, on a page that only those reach who are known."""
    visit = visit_of(request)
    assert visit is not None
    return visit


def form_of(request: Request) -> Form:
    """What the form says that the request brought; empty for one that only reads."""
    return cast(Any, request).form


class Visits(Resource):
    """
    Finds out who asks, refuses what is not theirs to do, and hands the rest to a resource for the second segment of the path.

    Nothing that changes something can be reached otherwise: each request that is not to read must hold the session's token.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        gate: Gate,
        look: Look,
        in_thread: Callable[..., Deferred[Any]],
        parts: Mapping[bytes, IResource],
        otherwise: IResource,
    ) -> None:
        """@param parts: by the segment after C{/admin/}."""
        super().__init__()
        self._gate = gate
        self._look = look
        self._in_thread = in_thread
        self._parts = parts
        self._otherwise = otherwise

    def render(self, request: Request) -> int:
        """Answer, later."""
        Deferred.fromCoroutine(self._serve(request)).addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _serve(self, request: Request) -> None:
        visit = self._gate.visit(request)
        told: Any = request
        told.visit, told.form = visit, Form()
        segments = [*(request.postpath or ()), b"", b""]
        refusal = self._stranger(request) if visit is None and segments[1] != OPEN else None
        if refusal is None and request.method not in READING:
            refusal = await self._posted(request, visit)
        if told._disconnected:
            return
        if refusal is not None:
            request.write(refusal)
            request.finish()
            return
        answered = self._parts.get(segments[1], self._otherwise).render(request)
        assert answered == NOT_DONE_YET

    async def _posted(self, request: Request, visit: Visit | None) -> bytes | None:
        """Read the form; why it is not taken, C{None} if nothing speaks against it."""
        try:
            form = await read_form(request, self._in_thread, MAX_STRANGER if visit is None else MAX_UPLOAD)
        except TooLong as error:
            return self._look.trouble(request, visit, 413, "That is too much", str(error))
        cast(Any, request).form = form
        if visit is None:
            return None  # the page to log in looks for itself
        if from_elsewhere(request) or not visit.session.holds(form.get("csrf")):
            self._log.warn("A form was refused that {who} seems to have sent: it is not of this session.", who=visit.who)
            return self._look.trouble(request, visit, 403, "Nothing was done", _NOT_YOURS)
        return None

    def _stranger(self, request: Request) -> bytes:
        if request.method in READING:
            return away(request, "/admin/login")
        return self._look.trouble(request, None, 403, "You are not logged in", "Your session is over; nothing was done.")

    def _failed(self, failure: Failure, request: Request) -> None:
        self._log.failure("Answering {path} failed.", failure, path=quote(request.path))
        if not cast(Any, request).startedWriting and not cast(Any, request)._disconnected:
            request.write(self._look.trouble(request, None, 500, "Something went wrong", "The relay's log says more."))
            request.finish()


_NOT_YOURS = (
    "The form was not of this session: it is from another site, or from before you logged in again. "
    "Go back, reload the page, and send it once more."
)

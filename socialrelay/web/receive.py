"""
Where nodes deliver: C{POST /receive/public} and C{POST /receive/users/<guid>}.

diaspora* takes 200-299 for success and retries everything else, redirects and 4xx included, for about 17 hours
(diaspora_federation:lib/diaspora_federation/federation/sender/hydra_wrapper.rb, diaspora:app/workers/send_base.rb).  So 202 is the only
promise, and 503 is how the senders become our overflow queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from socialrelay.boundaries import Full, Intake, Unavailable
from socialrelay.federation import NotAnEnvelope
from socialrelay.web.addresses import limited_as
from socialrelay.web.answers import answer, application, sentence
from socialrelay.web.site import client_address

PATIENCE = 10.0
"""Seconds for which a sender is kept waiting for storage; what was begun goes on without it."""

RETRY_AFTER = 60
"""Seconds. Those senders that we know do not read it; others may."""


class Reception:
    """
    Takes envelopes from HTTP.

    @ivar counters: what was answered: C{receive-202} and so on; it only grows.
    """

    app = application()
    _log = Logger()

    def __init__(self, intake: Intake, guid: str, clock: IReactorTime, counters: Counter[str] | None = None) -> None:
        """
        @param guid: the relay's own.
        """
        self._intake = intake
        self._guid = guid
        self._clock = clock
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._stopping = False
        self._in_hand = 0
        self._drained: list[Deferred[None]] = []

    @app.route("/receive/public", methods=["POST"])
    @app.route("/receive/public/", methods=["POST"])
    def public(self, request: Request) -> Deferred[bytes] | bytes:
        """202: durable, or known to need no keeping."""
        return self._take(request, self._intake.accept)

    @app.route("/receive/users/<guid>", methods=["POST"])
    @app.route("/receive/users/<guid>/", methods=["POST"])
    def private(self, request: Request, guid: str) -> Deferred[bytes] | bytes:
        """202: durable; what is in it is found out later, so that neither answer nor timing tells."""
        if guid != self._guid:
            self._count(404)
            return sentence(request, 404, "Nobody here has this guid.")
        return self._take(request, self._intake.accept_private)

    def stop(self) -> None:
        """Answer 503 from now on; what is in hand is finished."""
        self._stopping = True

    def drain(self) -> Deferred[None]:
        """Stop, and fire when nothing is in hand."""
        self.stop()
        if not self._in_hand:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def _take(self, request: Request, accept: Callable[[bytes, str], Deferred[None]]) -> Deferred[bytes] | bytes:
        if self._stopping:
            return self._later(request, "The relay is about to stop; please try again.", close=True)
        # Klein cancels what a handler returned when the client hangs up. The intake is not to notice: storing, once begun, is finished.
        outcome: Deferred[None] = Deferred()
        self._in_hand += 1
        body = request.content.read()  # type: ignore[union-attr]  # it has one for as long as it is not finished
        hurry = self._clock.callLater(PATIENCE, lambda: outcome.errback(Unavailable("storage takes too long")))
        maybeDeferred(accept, body, limited_as(client_address(request))).addBoth(self._settled, outcome, hurry)
        return outcome.addCallbacks(self._accepted, self._refused, callbackArgs=(request,), errbackArgs=(request,))

    def _settled(self, result: object, outcome: Deferred[None], hurry: IDelayedCall) -> None:
        if hurry.active():
            hurry.cancel()
            outcome.callback(result)  # type: ignore[arg-type]  # a Failure goes down the errback side
        self._in_hand -= 1
        if not self._in_hand:
            drained, self._drained = self._drained, []
            for waiting in drained:
                waiting.callback(None)

    def _accepted(self, _: object, request: Request) -> bytes:
        self._count(202)
        return answer(request, code=202)

    def _refused(self, failure: Failure, request: Request) -> bytes | Failure:
        error = failure.value
        if isinstance(error, NotAnEnvelope):
            self._count(400)
            return sentence(request, 400, error.reason)
        if isinstance(error, Full):
            return self._later(request, "The relay has as much to do as it can keep; please try again.")
        if isinstance(error, Unavailable):
            return self._later(request, "The relay cannot store anything at the moment; please try again.")
        if isinstance(error, CancelledError):
            self.counters["receive-hung-up"] += 1
            return failure
        self._log.failure("Taking a body in failed.", failure)
        self._count(500)
        return sentence(request, 500, "Something went wrong here; it has been logged.")

    def _later(self, request: Request, text: str, close: bool = False) -> bytes:
        self._count(503)
        headers = {"Retry-After": str(RETRY_AFTER)}
        if close:
            request.channel.persistent = False
            headers["Connection"] = "close"
        return sentence(request, 503, text, headers=headers)

    def _count(self, code: int) -> None:
        self.counters[f"receive-{code}"] += 1

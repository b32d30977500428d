"""
Where nodes deliver: C{POST /receive/public} and C{POST /receive/users/<guid>}.

diaspora* takes 200-299 for success and retries everything else, redirects and 4xx included, for about 17 hours
(diaspora_federation:lib/diaspora_federation/federation/sender/hydra_wrapper.rb, diaspora:app/workers/send_base.rb).  So 202 is the only
promise, and 503 is how the senders become our overflow queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server

from socialrelay.boundaries import Full, Intake, Unavailable
from socialrelay.federation import NotAnEnvelope
from socialrelay.web.addresses import limited_as
from socialrelay.web.admission import Admission
from socialrelay.web.answers import answer, application, sentence
from socialrelay.web.framing import plain_post
from socialrelay.web.request import Request, client_address
from socialrelay.web.room import Room
from socialrelay.web.turns import Turns

PATIENCE = 10.0
"""Seconds for which a sender is kept waiting for storage; what was begun goes on without it."""

RETRY_AFTER = 60
"""Seconds. Those senders that we know do not read it; others may."""

Accept = Callable[[bytes, str], Deferred[None]]


@frozen
class Answer:
    """
    What a sender is told.

    @ivar text: one line; empty for success.
    @ivar later: it is asked to come again.
    @ivar close: and to connect anew for that.
    """

    code: int
    text: str = ""
    later: bool = False
    close: bool = False


ACCEPTED = Answer(202)
NOBODY = Answer(404, "Nobody here has this guid.")
STOPPING = Answer(503, "The relay is about to stop; please try again.", later=True, close=True)
FULL = Answer(503, "The relay has as much to do as it can keep; please try again.", later=True)
"""Said to those whose bodies were not read."""

WAITS = Answer(503, "Too much waits here to be judged or written; please try again.", later=True)
"""Said to those whose bodies were."""

AWAY = Answer(503, "The relay cannot store anything at the moment; please try again.", later=True)
BROKEN = Answer(500, "Something went wrong here; it has been logged.")


_QUICK = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: socialrelay\r\nX-Content-Type-Options: nosniff\r\nRetry-After: %d\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b\n"
) % (RETRY_AFTER, len(FULL.text) + 1, FULL.text.encode())


@define(eq=False)
class _Waiting:
    """
    One body in hand.

    @ivar size: its bytes.
    @ivar since: when it was taken in hand.
    @ivar until: when its sender is told to come again.
    @ivar say: how; C{None} when it was told something.
    """

    size: int
    since: float
    until: float
    say: Callable[[Answer], None] | None


class Reception:
    """
    Takes envelopes from HTTP.

    @ivar counters: what was answered: C{receive-202} and so on; it only grows.
    @ivar shortcuts: the two addresses, for the site to hand requests over without Klein, which answers at all others that mean the same.
    """

    app = application()
    _log = Logger()

    def __init__(
        self,
        intake: Intake,
        guid: str,
        clock: IReactorTime,
        room: Room,
        admission: Admission,
        turns: Turns,
        counters: Counter[str] | None = None,
    ) -> None:
        """
        @param guid: the relay's own.
        @param room: for the bodies that are in hand.
        @param admission: how many of them there may be.
        @param turns: when they are judged.
        """
        self._intake = intake
        self._guid = guid
        self._clock = clock
        self._room = room
        self._admission = admission
        self._turns = turns
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._stopping = False
        self._waiting: deque[_Waiting] = deque()
        self._alarm: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []
        public, private = partial(self._plainly, intake.accept), partial(self._plainly, intake.accept_private)
        own = b"/receive/users/" + guid.encode()
        self.shortcuts: Mapping[bytes, Callable[[Request], None]] = MappingProxyType(
            {b"/receive/public": public, b"/receive/public/": public, own: private, own + b"/": private}
        )

    @app.route("/receive/public", methods=["POST"])
    @app.route("/receive/public/", methods=["POST"])
    def public(self, request: server.Request) -> Deferred[bytes]:
        """202: durable, or known to need no keeping."""
        return self._through_klein(self._intake.accept, request)

    @app.route("/receive/users/<guid>", methods=["POST"])
    @app.route("/receive/users/<guid>/", methods=["POST"])
    def private(self, request: server.Request, guid: str) -> Deferred[bytes] | bytes:
        """202: durable; what is in it is found out later, so that neither answer nor timing tells."""
        if guid != self._guid:
            self._count(NOBODY)
            return _rendered(NOBODY, request)
        return self._through_klein(self._intake.accept_private, request)

    def hand_in(self, body: bytes, client: str) -> Deferred[Answer]:
        """
        Take a public envelope that came another way than by HTTP.

        @param client: as whose it counts against the limits.
        @return: fires with what HTTP would answer; cancelling it changes nothing.
        """
        told: Deferred[Answer] = Deferred()
        self._take(self._intake.accept, body, client, told.callback)
        return told

    def away(self) -> None:
        """Storage does not answer: whoever waits is told to come again. What was begun goes on."""
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            say, each.say = each.say, None
            if say is not None:
                say(AWAY)

    def quick_answer(self, data: bytes) -> bytes:
        """
        What HTTP says to whoever brings a body for which there is no place in hand.

        @param data: the first bytes of a request.
        @return: empty if they are to be read.
        """
        if self._admission.has_place or self._stopping or plain_post(data) not in self.shortcuts:
            return b""
        self._admission.refuse()
        self._count(FULL)
        return _QUICK

    def stop(self) -> None:
        """Answer 503 from now on; what is in hand is finished."""
        self._stopping = True

    def drain(self) -> Deferred[None]:
        """Stop, and fire when nothing is in hand."""
        self.stop()
        if not self._admission.in_hand:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    # From HTTP and back

    def _plainly(self, accept: Accept, request: Request) -> None:
        self._take(accept, request.content.getvalue(), _client(request), partial(self._reply, request))

    def _reply(self, request: Request, said: Answer) -> None:
        if request.gone:
            self._hung_up()
            return
        self._count(said)
        if said is ACCEPTED:
            request.reply(202)
            return
        if said.close:
            request.channel.persistent = False
        lines = (b"Retry-After: %d" % RETRY_AFTER,) if said.later else ()
        request.reply(said.code, said.text.encode() + b"\n", *lines)

    def _through_klein(self, accept: Accept, request: server.Request) -> Deferred[bytes]:
        # Klein cancels what a handler returned when the client hangs up. The intake is not to notice: storing, once begun, is finished.
        told: Deferred[Answer] = Deferred(lambda _: self._hung_up())
        body = request.content.read()  # type: ignore[union-attr]  # it has one for as long as it is not finished
        self._take(accept, body, _client(request), lambda said: None if told.called else told.callback(said))

        def render(said: Answer) -> bytes:
            self._count(said)
            return _rendered(said, request)

        return told.addCallback(render)

    def _count(self, said: Answer) -> None:
        self.counters[f"receive-{said.code}"] += 1

    def _hung_up(self) -> None:
        self.counters["receive-hung-up"] += 1

    # In hand

    def _take(self, accept: Accept, body: bytes, client: str, say: Callable[[Answer], None]) -> None:
        if self._stopping:
            say(STOPPING)
            return
        if not self._room.keep(len(body)):
            self._room.turn_away()
            say(FULL)
            return
        since = self._admission.take()
        if since is None:
            self._room.release(len(body))
            say(FULL)
            return
        waiting = _Waiting(len(body), since, since + PATIENCE, say)
        self._waiting.append(waiting)
        if self._alarm is None:
            self._alarm = self._clock.callLater(PATIENCE, self._out_of_patience)
        self._turns.run(partial(self._begin, accept, body, client, waiting))

    def _begin(self, accept: Accept, body: bytes, client: str, waiting: _Waiting) -> None:
        try:
            accepted = accept(body, client)
        except Exception:
            self._failed(Failure(), waiting)
        else:
            accepted.addCallbacks(self._settled, self._failed, callbackArgs=(waiting,), errbackArgs=(waiting,))

    def _out_of_patience(self) -> None:
        """Every body gets the same time, so the first is the first to be told."""
        self._alarm = None
        now = self._clock.seconds()
        while self._waiting and (self._waiting[0].say is None or self._waiting[0].until <= now):
            waiting = self._waiting.popleft()
            say, waiting.say = waiting.say, None
            if say is not None:
                say(AWAY)
        if self._waiting:
            self._alarm = self._clock.callLater(self._waiting[0].until - now, self._out_of_patience)

    def _settled(self, _: object, waiting: _Waiting, said: Answer = ACCEPTED) -> None:
        say, waiting.say = waiting.say, None
        self._room.release(waiting.size)
        while self._waiting and self._waiting[0].say is None:
            self._waiting.popleft()
        try:
            if say is not None:
                say(said)
        finally:
            self._admission.settled(waiting.since)
            if not self._admission.in_hand:
                self._at_rest()

    def _failed(self, failure: Failure, waiting: _Waiting) -> None:
        error = failure.value
        said = BROKEN
        if isinstance(error, NotAnEnvelope):
            said = Answer(400, error.reason)
        elif isinstance(error, Full):
            said = WAITS
        elif isinstance(error, Unavailable):
            said = AWAY
        else:
            self._log.failure("Taking a body in failed.", failure)
        self._settled(None, waiting, said)

    def _at_rest(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        drained, self._drained = self._drained, []
        for waiting in drained:
            waiting.callback(None)


def _client(request: server.Request) -> str:
    return limited_as(client_address(request))


def _rendered(said: Answer, request: server.Request) -> bytes:
    if said is ACCEPTED:
        return answer(request, code=202)
    headers = {"Retry-After": str(RETRY_AFTER)} if said.later else {}
    if said.close:
        request.channel.persistent = False
        headers["Connection"] = "close"
    return sentence(request, said.code, said.text, headers=headers)

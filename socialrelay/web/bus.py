"""
The bus by HTTP, on the operators' site: C{POST} and C{GET /bus/v1/messages}, for scripts that have a token.

Answers are JSON; what is wrong is said as on the control socket: C{{"error": {"code": …, "message": …}}}.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from klein import Klein
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from socialrelay.boundaries import Answer, Full, Ingest, Replay, TooOld, Unavailable
from socialrelay.boundaries.bus import HTTP
from socialrelay.bus.message import Malformed, canonical, check_density, envelope, new_id
from socialrelay.bus.pages import PageTexts
from socialrelay.bus.query import BadQuery, Query, read_texts
from socialrelay.bus.topics import Topics
from socialrelay.config import Bus, BusToken, Memory
from socialrelay.jsontext import NotJSON, read_object
from socialrelay.web.answers import JSON, answer, application
from socialrelay.web.bus_tokens import Refusal, Tokens, may_publish
from socialrelay.web.request import header_texts

PATIENCE = 10.0
"""Seconds for which a sender is kept waiting for storage; what was begun goes on without it."""

RETRY_AFTER = 5
"""Seconds."""

READERS = 100
"""Who read, or wait for what comes next, at a time: half of the connections that the operators' site has."""

_log = Logger()

_METHODS = "GET, HEAD, OPTIONS, POST"
_COUNTED = {b"POST": "post", b"GET": "get", b"HEAD": "get"}
_CODES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "wrong-method",
    410: "gone",
    413: "too-large",
    415: "wrong-type",
    429: "too-many",
    500: "internal",
    503: "unavailable",
}


def _refused(pages: BusPages, request: Request, failure: Failure) -> bytes:
    refusal: Any = failure.value
    error = {"code": _CODES[refusal.status], "message": str(refusal)}
    return pages.answer(request, refusal.status, {"error": error, **refusal.facts}, refusal.headers)


def _unknown(pages: BusPages, request: Request, failure: Failure) -> bytes:
    error: Any = failure.value
    if isinstance(error, MethodNotAllowed):
        failure = Failure(Refusal(405, f"This address takes {_METHODS} only.", headers={"Allow": _METHODS}))
    else:
        failure = Failure(Refusal(404, "There is nothing at this address; messages are at /bus/v1/messages."))
    return _refused(pages, request, failure)


def _broken(pages: BusPages, request: Request, failure: Failure) -> bytes:
    _log.failure("A request to the bus failed.", failure)
    return _refused(pages, request, Failure(Refusal(500, "Something went wrong here; it has been logged.")))


class BusPages:
    """
    C{/bus/v1/messages}.

    @ivar counters: C{bus-post-200} and so on, C{bus-get-200}: what was answered; C{bus-other-405}; C{bus-wrong-token}.  It only
        grows.
    @ivar tokens: who may come in.
    @ivar readers: who is being answered, or waits.
    """

    app: Klein = application({Refusal: _refused, HTTPException: _unknown, Exception: _broken})

    def __init__(
        self,
        ingest: Ingest,
        replay: Replay,
        topics: Topics,
        config: Bus,
        now: Callable[[], datetime],
        new_uuid: Callable[[], UUID],
        clock: IReactorTime,
        clients: int = Memory().login_clients,
    ) -> None:
        """@param clients: whose wrong tokens are counted, at most."""
        self.counters: Counter[str] = Counter()
        self.readers = 0
        self._ingest = ingest
        self._replay = replay
        self._topics = topics
        self._now = now
        self._new_uuid = new_uuid
        self._clock = clock
        self._texts = PageTexts(clock.seconds, lambda: deferLater(clock, 0.0))
        self._max_message = config.max_message
        self.tokens = Tokens(config.tokens, clock, self.counters, clients)

    def adjust(self, config: Bus) -> None:
        """Take the tokens of another configuration."""
        self.tokens.replace(config.tokens)

    # Publishing

    @app.route("/bus/v1/messages", methods=["POST"])
    async def publish(self, request: Request) -> bytes:
        """Take a message, and answer when it is committed."""
        sender = self.tokens.sender(request)
        msg_id, topic, body = self._whole(self._body(request), sender)
        told: Deferred[Answer] = Deferred()
        self._ingest.take(msg_id, topic.encode("utf-8", "surrogatepass"), body, HTTP, told.callback, partial(may_publish, sender))
        try:
            came = await told.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            came = Answer("busy", detail="the relay cannot store anything at the moment; whether the message is kept is not known yet")
        if came.status == "bad":
            raise Refusal(400, _sentence(came.detail))
        if came.status == "denied":
            raise Refusal(403, _sentence(came.detail))
        if came.status == "busy":
            raise _later(_sentence(came.detail), msg_id=msg_id)
        return self.answer(request, 200, {"msg_id": msg_id, "seq": came.seq, "duplicate": came.status == "dup"})

    def _body(self, request: Request) -> bytes:
        kinds = [text.partition(";")[0].strip().lower() for text in header_texts(request, "Content-Type")]
        if kinds != ["application/json"]:
            raise Refusal(415, "A message is sent as application/json.")
        body: bytes = request.content.read()  # type: ignore[union-attr]  # it has one for as long as it is not finished
        if len(body) > self._max_message:
            raise Refusal(413, f"A message may have {self._max_message} bytes (bus.max_message), and this one has {len(body)}.")
        return body

    def _whole(self, body: bytes, sender: BusToken) -> tuple[str, str, bytes]:
        """
        A message with all that belongs to it.  What lacks nothing stays as it came: it may be signed.

        @return: its C{msg_id}, its topic, and its envelope.
        """
        try:
            check_density(body)
            said = read_object(body)
        except Malformed as malformed:
            raise Refusal(400, _sentence(str(malformed))) from None
        except NotJSON:
            raise Refusal(400, "A message is a JSON object, in UTF-8.") from None
        topic, msg_id = said.get("topic"), said.get("msg_id")
        if not isinstance(topic, str) or not topic or "msg" not in said:
            raise Refusal(400, "A message has a 'topic', which is a text, and a 'msg'.")
        if not isinstance(msg_id, str | None):
            raise Refusal(400, "'msg_id' must be a text.")
        full, at = self._topics.full(topic), self._now()
        if msg_id is not None and full == topic:
            return msg_id, topic, body
        msg_id = new_id(at, self._new_uuid()) if msg_id is None else msg_id
        missing = envelope(full, said["msg"], msg_id=msg_id, at=at, username=sender.name)
        try:
            return msg_id, full, canonical({**missing, **said, "topic": full, "msg_id": msg_id})
        except RecursionError:
            raise Refusal(400, "The message is nested too deeply.") from None
        except ValueError:  # Python reads NaN, and takes 1e400 for infinite
            raise Refusal(400, "There is a number in the message that JSON has not, or that is too large.") from None

    # Reading

    @app.route("/bus/v1/messages", methods=["GET"])
    async def messages(self, request: Request) -> bytes:
        """A page of what was said; if there is nothing and it was asked for, of what is said next."""
        sender = self.tokens.sender(request)
        if not sender.read:
            raise Refusal(403, "This token may not read (bus.tokens of the configuration: read = true).")
        query = _query_of(request)
        if self.readers >= READERS:
            raise _later(f"There are {READERS} readers already.")
        self.readers += 1
        try:
            # When the client goes away, Klein cancels this, and with it the waiting.
            page = await self._replay.page(query.since, query.topic, query.limit, 0.0 if request.method == b"HEAD" else query.wait)
            text = await self._texts.of(page)
        except TooOld as error:
            facts = {"oldest_seq": error.oldest_seq}
            raise Refusal(410, f"Messages after {query.since} were forgotten: {error}.", facts=facts) from None
        except Full as error:
            raise _later(_sentence(str(error) or "too many wait")) from None
        except Unavailable:
            raise _later("The relay's database cannot be reached now.") from None
        except ValueError as error:
            raise Refusal(400, _sentence(str(error))) from None
        finally:
            self.readers -= 1
        self.counters["bus-get-200"] += 1
        return answer(request, text, JSON, headers={"Cache-Control": "no-store"})

    @app.route("/bus/v1/messages", methods=["OPTIONS"])
    def options(self, request: Request) -> bytes:
        """What can be done here."""
        return answer(request, code=204, headers={"Allow": _METHODS})

    # What is answered

    def answer(self, request: Request, status: int, document: object, headers: Mapping[str, str] | None = None) -> bytes:
        """Prepare an answer for Klein to write, and count it."""
        self.counters[f"bus-{_COUNTED.get(request.method, 'other')}-{status}"] += 1
        text = json.dumps(document, ensure_ascii=False).encode() + b"\n"
        return answer(request, text, JSON, code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def _query_of(request: Request) -> Query:
    """@raise Refusal: it asks for something else than there is."""
    said: dict[str, str] = {}
    try:
        for name, values in request.args.items():
            if len(values) > 1:
                raise Refusal(400, f"{name.decode('utf-8')[:50]!r} is said more than once.")
            said[name.decode("utf-8")] = values[0].decode("utf-8")
        return read_texts(said)
    except UnicodeDecodeError:
        raise Refusal(400, "The query is not UTF-8.") from None
    except BadQuery as error:
        raise Refusal(400, _sentence(str(error))) from None


def _later(sentence: str, **facts: object) -> Refusal:
    return Refusal(503, f"{sentence} Try again.", headers={"Retry-After": str(RETRY_AFTER)}, facts=facts)


def _sentence(part: str) -> str:
    """A part of a sentence as a whole one."""
    return f"{part[:1].upper()}{part[1:]}."

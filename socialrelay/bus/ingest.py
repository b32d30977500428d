"""
Where messages are acknowledged: C{relay_ingest}, in the words of L{socialrelay.bus.wire}.

Nothing here waits for a peer.  What one does not read stays in its own queue, which has a bound, and what does not fit there is dropped and
counted: whoever misses an answer asks again, under the same name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import zmq
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from socialrelay.boundaries import Answer, Full, Ingest, Replay, TooOld, Unavailable
from socialrelay.boundaries.bus import INGEST
from socialrelay.bus.context import BusContext, CannotBind
from socialrelay.bus.inbound import MIB, max_frame
from socialrelay.bus.pages import PageTexts
from socialrelay.bus.query import BadQuery, Query, read_query
from socialrelay.bus.reader import ZmqReader
from socialrelay.bus.unread import Unread
from socialrelay.bus.wire import BAD, BUSY, DUP, GONE, OK
from socialrelay.jsontext import NotJSON, read_object

UNREAD_ANSWERS = 10_000
"""Answers that wait for one peer, at most; as many as there are messages that wait for theirs."""
UNHEARD = 1000
"""Requests of one peer that wait for us, at most; then it waits."""
QUERIES = 200
"""In hand, at most."""
QUERIES_EACH = 8
"""Of one peer."""
UNREAD_BYTES = 8 * 1024 * 1024
"""Of pages that a peer may leave unread, as far as we know; a page is read when somebody asks for what follows it."""
UNREAD_BYTES_OF_ALL = 128 * 1024 * 1024
"""Likewise, all of them together: anybody on this machine may connect as often as the system lets them."""
UNREAD_FOR = 30.0
"""Seconds after which the system closes a connection whose peer reads nothing of what was sent (tcp(7), TCP_USER_TIMEOUT)."""
SMALL = 4096
"""Bytes of a page that is not counted: of such there are L{UNREAD_ANSWERS} at most."""

_LONGEST_NAME = 255
_LONGEST_QUERY = 4096
_STOPPING = "the relay is about to stop"

Head = Sequence[bytes]
"""What stands before status and detail of an answer: whose it is, perhaps a delimiter, and the name that the peer gave the request."""


class IngestSocket:
    """
    Takes messages and queries, and answers them.

    @ivar addresses: where it listens, in ZeroMQ's words, once it has started.
    @ivar counters: C{malformed}: requests that are none; C{queries}; C{refused-queries}: too many at a time, or pages unread;
        C{unsent-full}: answers dropped because their peer does not read; C{unsent-gone}: because it went away.  It only grows.
    @ivar unanswered: messages without an answer.
    @ivar asking: queries without one.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        context: BusContext,
        addresses: Sequence[str],
        ingest: Ingest,
        replay: Replay,
        *,
        linger: float = 1.0,
        max_message: int = MIB,
        queries: int = QUERIES,
        unread_answers: int = UNREAD_ANSWERS,
        unread_bytes: int = UNREAD_BYTES,
        unread_bytes_of_all: int = UNREAD_BYTES_OF_ALL,
    ) -> None:
        """
        @param linger: seconds that answers may take on their way when the socket is closed.
        @param max_message: bytes; see L{max_frame}.
        @param queries: that may be in hand.
        @param unread_answers: that may wait for one peer.
        @param unread_bytes: of pages that one peer may leave unread.
        @param unread_bytes_of_all: likewise, all peers together.
        """
        self.addresses: list[str] = []
        self.counters: Counter[str] = Counter()
        self.unanswered = 0
        self._reactor = reactor
        self._context = context
        self._wanted = tuple(addresses)
        self._ingest = ingest
        self._replay = replay
        self._linger = linger
        self._max_frame = max_frame(max_message)
        self._most_queries = queries
        self._unread_answers = unread_answers
        self._reader: ZmqReader | None = None
        self._stopping = False
        self._ended: list[Deferred[None]] = []
        self._queries: dict[Deferred[None], bytes] = {}
        self._unread = Unread(reactor.seconds, unread_bytes, unread_bytes_of_all, UNREAD_FOR)
        self._texts = PageTexts(reactor.seconds, lambda: deferLater(reactor, 0.0))

    def start(self) -> None:
        """
        Listen.

        @raise CannotBind: at one of the addresses nobody can; then at none is listened.
        """
        socket = self._context.socket(zmq.ROUTER, self._linger, self._max_frame)
        socket.set(zmq.RCVHWM, UNHEARD)
        socket.set(zmq.SNDHWM, self._unread_answers)
        socket.set(zmq.TCP_MAXRT, int(UNREAD_FOR * 1000))
        # Else what cannot be sent is dropped without a word.
        socket.set(zmq.ROUTER_MANDATORY, 1)
        # Else a peer that gives itself a name is not heard when it comes again before its old connection is dead.
        socket.set(zmq.ROUTER_HANDOVER, 1)
        try:
            self.addresses = [self._context.bind(socket, address) for address in self._wanted]
        except CannotBind:
            socket.close()
            raise
        self._reader = ZmqReader(self._reactor, socket, self._received)

    def stop(self) -> Deferred[None]:
        """
        Take no more: whoever asks is told to come again.

        @return: fires when every message that was taken has its answer on its way, and the socket is closed.
        """
        self._stopping = True
        for query in list(self._queries):
            query.cancel()
        if self._reader is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        self._perhaps_end()
        return ended

    @property
    def asking(self) -> int:
        return len(self._queries)

    def close(self) -> None:
        """Close the socket now, whoever waits for an answer; what was sent is on its way for as long as the linger says."""
        self._stopping = True
        for query in list(self._queries):
            query.cancel()
        self._end()

    def _perhaps_end(self) -> None:
        if self._ended and not self.unanswered and not self._queries:
            self._end()

    def _end(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)

    # What comes

    def _received(self, frames: list[bytes]) -> None:
        head = 2 if len(frames) > 1 and not frames[1] else 1
        said = frames[head:]
        name = said[0][:_LONGEST_NAME] if said else b""
        answer = [*frames[:head], name]
        if len(said) not in (2, 3) or not name:
            self.counters["malformed"] += 1
            self._send(answer, BAD, b"a message has three frames, msg_id, topic and body, and a query two, a name and JSON")
        elif self._stopping:
            self._send(answer, BUSY, _STOPPING.encode())
        elif len(said) == 3:
            self.unanswered += 1
            self._ingest.take(said[0].decode("utf-8", "replace"), said[1], said[2], INGEST, partial(self._answered, answer))
        else:
            self._asked(answer, said[1])

    def _answered(self, head: Head, answer: Answer) -> None:
        self.unanswered -= 1
        detail = b"%d" % answer.seq if answer.status in (OK, DUP) else answer.detail.encode()
        self._send(head, answer.status, detail)
        if self._ended:
            self._perhaps_end()

    # What is asked

    def _asked(self, head: Head, text: bytes) -> None:
        peer = head[0]
        self.counters["queries"] += 1
        try:
            query = _query_of(text)
        except BadQuery as error:
            self._send(head, BAD, str(error).encode())
            return
        self._unread.goes_on(peer, query.since)
        refusal = ""
        if len(self._queries) >= self._most_queries or sum(each == peer for each in self._queries.values()) >= QUERIES_EACH:
            refusal = f"too many ask at a time; one may ask for {QUERIES_EACH} pages at a time, and all for {self._most_queries}"
        elif self._unread.full(peer):
            refusal = "pages that were sent before are unread; ask for what follows one of them, or connect anew"
        if refusal:
            self._refuse(head, refusal)
            return
        work = Deferred.fromCoroutine(self._tell(head, query))
        if not work.called:
            self._queries[work] = peer
            work.addBoth(self._told, work)

    def _refuse(self, head: Head, reason: str) -> None:
        self.counters["refused-queries"] += 1
        self._send(head, BUSY, reason.encode())

    def _told(self, _: object, work: Deferred[None]) -> None:
        del self._queries[work]
        self._perhaps_end()

    async def _tell(self, head: Head, query: Query) -> None:
        try:
            page = await self._replay.page(query.since, query.topic, query.limit, query.wait)
            large = sum(len(message.body) for message in page.messages) > SMALL
            text = await self._texts.of(page, lambda: not (large and self._unread.crowded()))
        except TooOld as error:
            self._send(head, GONE, json.dumps({"oldest_seq": error.oldest_seq}).encode())
        except ValueError as error:
            self._send(head, BAD, str(error).encode())
        except Full as error:
            self._send(head, BUSY, str(error).encode() or b"too many wait")
        except Unavailable:
            self._send(head, BUSY, b"the relay's database cannot be reached now")
        except CancelledError:
            self._send(head, BUSY, _STOPPING.encode())
        except Exception:
            self._log.failure("A query of the bus failed.")
            self._send(head, BUSY, b"something went wrong in the relay; its log says more")
        else:
            if not text:
                self._refuse(head, "others leave pages unread, and there is no room for more")
            elif self._send(head, OK, text) and len(text) > SMALL:
                self._unread.sent(head[0], page.next, len(text))

    # What goes

    def _send(self, head: Head, status: str, detail: bytes) -> bool:
        if self._reader is None:
            return False
        try:
            taken = self._reader.send([*head, status.encode(), detail])
        except zmq.ZMQError:  # EHOSTUNREACH
            self.counters["unsent-gone"] += 1
            return False
        if not taken:
            self.counters["unsent-full"] += 1
        return taken


def _query_of(text: bytes) -> Query:
    """@raise BadQuery: it is none."""
    if len(text) > _LONGEST_QUERY:
        raise BadQuery(f"a query may have {_LONGEST_QUERY} bytes")
    try:
        return read_query(read_object(text))
    except NotJSON as error:
        raise BadQuery(f"a query is a JSON object, and this is {error}") from None

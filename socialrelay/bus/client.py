"""
The bus for Python scripts, without Twisted::

    from socialrelay.bus.client import Bus

    with Bus() as bus:
        bus.publish("git.receive", {"repo": "x"})

It returns once the relay has written the message to its disk, and raises L{NotKept} or L{NoAnswer} otherwise.

B{Threads} may share a L{Bus}: who publishes waits for whoever does already.  An iterator of L{Bus.follow} belongs to one thread at a time.

B{After a fork} the child may go on with the same L{Bus}, and gets connections of its own.  What the parent had under way stays the
parent's, and so does an iterator of L{Bus.follow}.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from getpass import getuser
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import zmq

from socialrelay.bus.finding import Place, find, reachable
from socialrelay.bus.following import Heard, Page, Questions, Refused, TooOld, follow
from socialrelay.bus.link import Link
from socialrelay.bus.listening import listen
from socialrelay.bus.message import Malformed, canonical, check_id, envelope, new_id, read_message
from socialrelay.bus.sending import BusError, NoAnswer, Outcome, Outgoing, Sender
from socialrelay.bus.topics import Topics, is_topic

__all__ = [
    "Bus",
    "BusError",
    "Heard",
    "Malformed",
    "NoAnswer",
    "NotKept",
    "Outcome",
    "Outgoing",
    "Page",
    "Place",
    "Refused",
    "Sender",
    "TooOld",
    "find",
    "read_envelope",
]

_LARGEST = 1 << 62
"""Bytes of a message: the relay says what it takes."""
_UNSENT = 1000
_INHERITED: list[object] = []
"""Of a parent: never used, and never collected."""


class NotKept(BusError):
    """
    The relay refuses messages, for good; all others that were given are kept.

    @ivar outcomes: of those that it refuses.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        first = outcomes[0]
        more = f", and {len(outcomes) - 1} more are not" if len(outcomes) > 1 else ""
        super().__init__(f"the message {first.msg_id} is not kept{more}: {first.detail}")
        self.outcomes = tuple(outcomes)


class Bus:
    """
    The bus, as a script uses it.  It connects when it is first used.

    @ivar place: where it is.
    """

    def __init__(
        self, address: str = "", *, place: Place | None = None, timeout: float = 30.0, username: str = "", linger: float = 1.0
    ) -> None:
        """
        @param address: of C{relay_ingest}; else it is found, as L{socialrelay.bus.finding} says.
        @param place: what was found already.
        @param timeout: seconds within which the relay must answer, however often it is asked.
        @param username: in the envelopes; else who runs this.
        @param linger: seconds that L{close} may take to get rid of what L{send} was given.
        """
        self.place = place if place is not None else find(address)
        self._address = address or self.place.relay_ingest[0]
        self._topics = Topics(self.place.topic_prefix, self.place.environment)
        self._timeout, self._username, self._linger = timeout, username or _who(), linger
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock, self._asking = threading.RLock(), threading.RLock()
        self._sends, self._asks = Link(self._address), Link(self._address)
        self._unanswered: tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]] | None = None

    def _own(self) -> None:
        """A child of a fork must not touch what the parent opened, not even to close it."""
        if self._pid != os.getpid():
            _INHERITED.append((self._sends, self._asks, self._unanswered))
            self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up.  It may be used again after that."""
        self._own()
        with self._lock, self._asking:
            self._sends.close()
            self._asks.close()
            if self._unanswered is not None:
                context, opened = self._unanswered
                self._unanswered = None
                opened.close(int(self._linger * 1000))
                context.term()

    # Publishing

    def check(self, topic: str, msg_id: str = "") -> str:
        """
        The whole topic, as L{publish} says it.

        @raise Malformed: topic or C{msg_id} cannot be one.
        """
        name = self._topics.full(topic)
        if not topic or not is_topic(name):
            raise Malformed("topic", "a topic has 1 to 255 bytes and no control characters")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise Malformed("topic", "the topic is not UTF-8")
        if msg_id:
            check_id(msg_id)
        return name

    def prepare(self, topic: str, msg: object, msg_id: str = "") -> Outgoing:
        """
        The envelope around what somebody has to say.

        @param topic: C{git.receive}; prefix and environment are put before it unless it begins with the prefix.
        @param msg: an object as JSON knows it, a C{dict}.
        @param msg_id: by which the relay knows what it has already; else a new one.
        @raise Malformed: topic or C{msg_id} cannot be one.
        @raise TypeError: C{ValueError}: that is not JSON.
        """
        now = datetime.now(UTC)
        msg_id = msg_id or new_id(now, uuid4())
        name = self.check(topic, msg_id)
        self._count += 1
        body = canonical(envelope(name, msg, msg_id=msg_id, at=now, username=self._username, i=self._count))
        return Outgoing(msg_id, name, body)

    def publish(self, topic: str, msg: object, *, msg_id: str = "") -> int:
        """
        Publish a message, and wait until it is kept.

        @param msg_id: say the same again after a failure, and it is kept once.
        @return: its sequence number; if it was kept before, that of then.
        @raise NotKept: the relay refuses it.
        @raise NoAnswer: it did not say in time that it is kept.
        @see: L{prepare}.
        """
        return self._one(self.prepare(topic, msg, msg_id))

    def publish_envelope(self, body: bytes) -> int:
        """
        Publish a complete message, signed perhaps, which is passed on byte for byte.

        @raise Malformed: it is none.
        @raise NotKept: C{NoAnswer}: as of L{publish}.
        """
        return self._one(read_envelope(body))

    def publish_many(self, messages: Iterable[tuple[str, object]], window: int = 1000) -> list[int]:
        """
        Publish many messages, without waiting for each.  They keep their order, unless the relay refuses some for a moment and takes those
        after them.

        @param messages: topics, and what there is to say.
        @param window: how many may be under way.
        @return: their sequence numbers.
        @raise NotKept: the relay refuses some; all others are kept.
        @raise NoAnswer: it did not say in time that some are kept; what follows was not sent.
        """
        outcomes = list(self.outcomes((self.prepare(topic, msg) for topic, msg in messages), window))
        if refused := [each for each in outcomes if not each.kept]:
            raise NotKept(refused)
        return [each.seq for each in outcomes]

    def outcomes(self, messages: Iterable[Outgoing], window: int = 1000) -> Iterator[Outcome]:
        """
        Publish messages, and say of each what became of it, in order: nothing is sent unless that is asked for.

        @param messages: as L{prepare} and L{read_envelope} make them.
        @raise NoAnswer: as of L{publish_many}.
        """
        self._own()
        with self._lock:
            sender = self.sender(window)
            try:
                for outgoing in messages:
                    while not sender.takes(outgoing.msg_id):
                        yield from sender.turn(self._timeout)
                    sender.give(outgoing)
                    yield from sender.turn(0)
                while sender.waiting:
                    yield from sender.turn(self._timeout)
            finally:
                if sender.waiting:
                    self._sends.close()

    def sender(self, window: int = 1000) -> Sender:
        """For who waits for other things besides.  While it is used nothing else may publish with this L{Bus}."""
        self._own()
        return Sender(self._sends, self._timeout, window)

    def send(self, topic: str, msg: object, *, msg_id: str = "") -> bool:
        """
        Send a message and never wait: it may be lost, and nobody says so.

        @return: false if it is lost at once, because 1 000 were not sent yet: the relay is away.
        """
        return self.send_prepared(self.prepare(topic, msg, msg_id))

    def send_prepared(self, outgoing: Outgoing) -> bool:
        """The same, of a message of L{prepare} or L{read_envelope}."""
        self._own()
        with self._lock:
            if self._unanswered is None:
                context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
                made = context.socket(zmq.DEALER)
                made.set(zmq.SNDHWM, _UNSENT)
                made.set(zmq.RECONNECT_IVL_MAX, 1000)
                made.connect(reachable(self._address))
                self._unanswered = context, made
            opened = self._unanswered[1]
            try:
                while opened.recv_multipart(zmq.NOBLOCK):
                    pass  # what it answers does not matter
            except zmq.Again:
                pass
            try:
                opened.send_multipart([outgoing.msg_id.encode(), outgoing.topic.encode(), outgoing.body], zmq.NOBLOCK)
            except zmq.Again:
                return False
            return True

    def _one(self, outgoing: Outgoing) -> int:
        [outcome] = self.outcomes([outgoing])
        if not outcome.kept:
            raise NotKept([outcome])
        return outcome.seq

    # Listening

    def topic(self, topic: str) -> str:
        """With prefix and environment, as L{publish} puts them there; nothing of nothing."""
        return self._topics.full(topic) if topic else ""

    def page(self, since: int | None = None, topic: str = "", limit: int = 1000, wait: float = 0.0) -> Page:
        """
        Messages that are kept, after a sequence number.

        @param since: C{None}: from now on: there are none yet, and C{next} says where now is.  0: from the first on.
        @param topic: what their whole topics begin with.
        @param wait: seconds to wait for one if there is none; 30 at most.
        @raise TooOld: some of them have been forgotten.
        @raise Refused: there is no such number yet.
        @raise NoAnswer: nobody answers.
        """
        self._own()
        with self._asking:
            return Questions(self._asks).page(since, topic, limit, wait, self._timeout)

    def listen(
        self,
        topic: str = "",
        addresses: Sequence[str] = (),
        *,
        on_away: Callable[[], object] = lambda: None,
        on_back: Callable[[], object] = lambda: None,
        on_idle: Callable[[], object] = lambda: None,
    ) -> Generator[tuple[str, bytes], None, None]:
        """
        Topics and bodies of messages as they are published: also those that the relay does not keep; what is missed is missed.

        @param topic: what their whole topics begin with.
        @param addresses: of C{relay_outbound}, in place of those that were found.
        @see: L{follow}, for the rest.
        """
        return listen(addresses or self.place.relay_outbound, topic, on_away=on_away, on_back=on_back, on_idle=on_idle)

    def follow(
        self,
        since: int | None = None,
        topic: str = "",
        *,
        on_gap: Callable[[TooOld], object] | None = None,
        on_away: Callable[[], object] = lambda: None,
        on_back: Callable[[], object] = lambda: None,
        on_idle: Callable[[], object] = lambda: None,
    ) -> Generator[Heard, None, None]:
        """
        Every message that is kept, after a sequence number, for ever: also what came while nobody listened, or the relay was away.

        Remember C{seq} of the last message that you are done with, and begin there the next time.  It has a connection of its own, which
        ends with the iterator.

        @param since: C{None}: from now on.
        @param topic: what their whole topics begin with.
        @param on_gap: told that messages were forgotten before they were asked for; it goes on from the oldest one.  Without it this raises
            L{TooOld}.
        @param on_away: told that the relay does not answer; C{on_back}: that it does again.  It is waited for.
        @param on_idle: called every second or so while nothing comes.  Whatever these raise ends the iterator.
        @raise NoAnswer: nobody answers at first, with C{since=None}.
        @raise Refused: there is no such number: it is another relay's, or this one lost its database.
        """
        link = Link(self._address)
        try:
            yield from follow(Questions(link), since, topic, on_gap, on_away, on_back, on_idle, self._timeout)
        finally:
            link.close()


def read_envelope(body: bytes) -> Outgoing:
    """
    A complete message: JSON in UTF-8, an object with C{topic}, C{msg} and C{msg_id}.

    @raise Malformed: it is none.
    """
    import json

    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("not-json", "it is not JSON in UTF-8") from None
    topic = said.get("topic") if isinstance(said, dict) else None
    if not isinstance(topic, str):
        raise Malformed("topic", "it is no object with a 'topic'")
    message = read_message(topic.encode("utf-8", "surrogatepass"), body, _LARGEST)
    if said.get("msg_id") != message.msg_id:
        raise Malformed("bad-id", "it has no 'msg_id', or one that can be none")
    return Outgoing(message.msg_id, message.topic, message.body)


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())

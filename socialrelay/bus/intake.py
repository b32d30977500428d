"""What comes in from outside: looked at, and taken in or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from socialrelay.boundaries import Answer, BusMessage, Ingest
from socialrelay.boundaries.bus import LEGACY
from socialrelay.bus.counts import Counts
from socialrelay.bus.journal import NO_ROOM, Journal
from socialrelay.bus.message import Malformed, Message, read_frames, read_message
from socialrelay.bus.topics import Topics

PROBE = "relay.probe"
"""The event by which the relay sees that what is sent to its own socket arrives."""

INTERVAL = 60.0
"""Seconds between two lines in the log for one reason."""

STOPPING = "the relay is stopping"
RESERVED = "this topic is the relay's own"


class Intake:
    """
    See L{Ingest}; and what comes unasked, from the socket that is compatible with fedmsg-relay.

    @ivar accepting: whether messages are taken whose senders wait for an answer.
    @ivar max_message: bytes of a body.
    @ivar lenient: what is no envelope is wrapped.
    @ivar store_legacy: what came unasked is kept before it is published.
    """

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        topics: Topics,
        counts: Counts,
        clock: IReactorTime,
        *,
        max_message: int,
        lenient: bool = False,
        store_legacy: bool = True,
        probed: Callable[[bytes], object] = lambda body: None,
    ) -> None:
        """@param probed: given the body of what came on the topic of L{PROBE}, which anybody can have sent."""
        self.accepting = True
        self.max_message = max_message
        self.lenient = lenient
        self.store_legacy = store_legacy
        self._journal = journal
        self._publication = journal.publication
        self._recent = journal.publication.recent
        self._topics = topics
        self._counts = counts
        self._clock = clock
        self._probed = probed
        self._probe = topics.own(PROBE).encode()
        self._silent_until: dict[str, float] = {}
        self._hidden: dict[str, int] = {}

    def legacy(self, frames: Sequence[bytes]) -> None:
        """A message came to the socket that is compatible with fedmsg-relay; nobody waits for an answer."""
        if frames and frames[0] == self._probe:
            self._probed(frames[-1])
            return
        counts = self._counts
        counts.received[LEGACY] += 1
        if self.store_legacy and not self._journal.queue.has_room(sum(map(len, frames[1:]))):
            # Not even looked at: a flood has to be gone faster than it comes, or it stays in memory before the socket.
            counts.refused[LEGACY] += 1
            self._tell("no-room", NO_ROOM, frames[0])
            return
        try:
            message = read_frames(frames, self.max_message, lenient=self.lenient)
        except Malformed as malformed:
            self._invalid(malformed.reason, str(malformed), frames[0] if frames else b"")
            return
        if message.msg_id in self._recent:
            counts.duplicates[LEGACY] += 1
        elif self._topics.reserved(message.topic):
            self._invalid("reserved", RESERVED, frames[0])
        elif self.store_legacy:
            if not self._journal.keep(BusMessage(message.msg_id, message.topic, message.body, LEGACY)):
                self._tell("no-room", NO_ROOM, frames[0])
        else:
            self._publication.at_once(message.msg_id, message.topic, message.body, LEGACY)

    def take(
        self,
        msg_id: str,
        topic: bytes,
        body: bytes,
        source: str,
        answered: Callable[[Answer], None],
        allowed: Callable[[str], bool] = lambda topic: True,
    ) -> None:
        """See L{Ingest.take}."""
        counts = self._counts
        counts.received[source] += 1
        if not self.accepting:
            counts.refused[source] += 1
            answered(Answer("busy", detail=STOPPING))
            return
        try:
            message = read_message(topic, body, self.max_message, msg_id=msg_id)
        except Malformed as malformed:
            counts.invalid[malformed.reason] += 1
            answered(Answer("bad", detail=str(malformed)))
            return
        denied = self._denied(message, allowed)
        if denied:
            answered(Answer("denied", detail=denied))
        elif not self._journal.keep(BusMessage(msg_id, message.topic, body, source), answered):
            answered(Answer("busy", detail=self._journal.away or NO_ROOM))

    def _denied(self, message: Message, allowed: Callable[[str], bool]) -> str:
        if self._topics.reserved(message.topic):
            self._counts.invalid["reserved"] += 1
            return RESERVED
        if not allowed(message.topic):
            self._counts.invalid["not-allowed"] += 1
            return "this sender may not use this topic"
        return ""

    def _invalid(self, reason: str, detail: str, topic: bytes) -> None:
        self._counts.invalid[reason] += 1
        self._tell(reason, detail, topic)

    def _tell(self, reason: str, detail: str, topic: bytes) -> None:
        """Of the first for each reason and interval: there is nobody to answer, and it could be thousands a second."""
        now = self._clock.seconds()
        if now < self._silent_until.get(reason, now):
            self._hidden[reason] = self._hidden.get(reason, 0) + 1
            return
        self._silent_until[reason] = now + INTERVAL
        hidden = self._hidden.pop(reason, 0)
        self._log.warn(
            "A message on {topic} is not relayed: {detail}.{more}",
            topic=repr(topic[:100].decode("utf-8", "replace")),
            detail=detail,
            reason=reason,
            count=hidden,
            more=f" Like it and not logged since the last one: {hidden}." if hidden else "",
        )


_conforms: type[Ingest] = Intake

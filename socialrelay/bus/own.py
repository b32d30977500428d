"""Messages of the relay itself: the envelope of fedmsg around members that name things and never hold contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import count
from uuid import UUID

from socialrelay.boundaries.bus import OWN, SEQUENCE_MARK, BusMessage
from socialrelay.bus.message import canonical, envelope, new_id
from socialrelay.bus.topics import OWN_MODULE, Topics

_SEQ = "seq"


class OwnMessages:
    """Writes them, numbered from 1 in the life of the process, as publishers of fedmsg do."""

    def __init__(self, topics: Topics, uuid: Callable[[], UUID]) -> None:
        """@param uuid: a random one each time."""
        self._topics = topics
        self._uuid = uuid
        self._count = count(1)

    def kept(self, event: str, members: Mapping[str, object], at: datetime) -> BusMessage:
        """
        One that is kept, and gets a sequence number, which stands in C{msg.seq} when it is published.

        @param event: C{payload.received}.
        @param members: of C{msg}.
        @raise TypeError: a member is nothing that JSON can say.
        """
        return self._message(event, _numbered(members), at)

    def passing(self, event: str, members: Mapping[str, object], at: datetime) -> BusMessage:
        """One that is published and not kept: it has no number."""
        return self._message(event, canonical(members), at)

    def _message(self, event: str, msg: bytes, at: datetime) -> BusMessage:
        topic, msg_id = self._topics.own(event), new_id(at, self._uuid())
        around = envelope(topic, 0, msg_id=msg_id, at=at, username=OWN_MODULE, i=next(self._count))
        # Before "msg" there is only "i", a number: the first that looks like it is it.
        return BusMessage(msg_id, topic, canonical(around).replace(b'"msg":0', b'"msg":' + msg, 1), OWN)


def _numbered(members: Mapping[str, object]) -> bytes:
    """Canonical JSON with the mark where the sequence number will stand: the keys before it, it, and the keys after it."""
    before = canonical({key: value for key, value in members.items() if key < _SEQ})[1:-1]
    after = canonical({key: value for key, value in members.items() if key > _SEQ})[1:-1]
    return b"{%b}" % b",".join(filter(None, (before, b'"seq":' + SEQUENCE_MARK.encode(), after)))

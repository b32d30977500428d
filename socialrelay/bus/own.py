"""Messages of the relay itself: the envelope of fedmsg around members that name things and never hold contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import count
from uuid import UUID

from attrs import evolve

from socialrelay.boundaries.bus import OWN, SEQUENCE_MARK, BusMessage
from socialrelay.bus.message import canonical, envelope, new_id
from socialrelay.bus.topics import OWN_MODULE, Topics

_AS_TEXT = b'"seq":"\\u001f"'
"""The mark as a text, which is how it is written first.  Within texts quotes are escaped, so this stands nowhere else."""
_MARKED = b'"seq":' + SEQUENCE_MARK.encode()


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
        @raise ValueError: likewise; or a mapping in it holds the mark.
        """
        message = self.passing(event, {**members, "seq": SEQUENCE_MARK}, at)
        if message.body.count(_AS_TEXT) != 1:
            raise ValueError(f"{event} has a member that looks like its number")
        return evolve(message, body=message.body.replace(_AS_TEXT, _MARKED))

    def passing(self, event: str, members: Mapping[str, object], at: datetime) -> BusMessage:
        """One that is published and not kept: it has no number."""
        topic, msg_id = self._topics.own(event), new_id(at, self._uuid())
        body = canonical(envelope(topic, members, msg_id=msg_id, at=at, username=OWN_MODULE, i=next(self._count)))
        return BusMessage(msg_id, topic, body, OWN)

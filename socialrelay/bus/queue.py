"""What waits to be kept, in the order in which it came, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import Factory, define

from socialrelay.boundaries import Answer, BusMessage, Kept

ROWS = 400
"""Of a batch: to hand a thousand over held the reactor for three times as long, and brought no more of them home."""
BYTES = 4 * 1024 * 1024
"""Of the bodies of a batch; one message may be longer."""

OVERHEAD = 500
"""Bytes that a message takes while it waits, besides its body, roughly."""

Answered = Callable[[Answer], None]
Entry = tuple[BusMessage, Answered | None]
"""With whoever waits for the answer."""


@define(eq=False)
class Batch:
    """
    @ivar entries: what was taken from the queue.
    @ivar messages: those of them that are to be stored: of several with the same C{msg_id} the first.
    @ivar places: for each entry where it is in C{messages}, or the one like it.
    @ivar began: when it was handed to the store.
    @ivar noting: up to where all is published, as the store was told along with it.
    @ivar kept: what the store said of C{messages}.
    """

    entries: list[Entry] = Factory(list)
    messages: list[BusMessage] = Factory(list)
    places: list[int] = Factory(list)
    began: float = 0.0
    noting: int = 0
    kept: Sequence[Kept] = ()


class Queue:
    """
    What was taken from it waits, too, until it L{leaves<leave>} or is put back.

    @ivar bytes_limit: that all may take; one message may wait whatever its size.
    @ivar unanswered_limit: messages for whose answer somebody waits, at most.
    @ivar waiting: messages, C{waiting_bytes} in all, C{unanswered} of which somebody waits for.
    """

    def __init__(self, bytes_limit: int, unanswered_limit: int) -> None:
        self.bytes_limit = bytes_limit
        self.unanswered_limit = unanswered_limit
        self.waiting = self.waiting_bytes = self.unanswered = 0
        self._entries: deque[Entry] = deque()
        self._singly = 0

    def __len__(self) -> int:
        """How many can be taken."""
        return len(self._entries)

    def has_room(self, size: int) -> bool:
        """
        Whether a message could be taken in for whose answer nobody waits.

        @param size: bytes of its body.
        """
        return not self.waiting or self.waiting_bytes + size + OVERHEAD <= self.bytes_limit

    def offer(self, message: BusMessage, answered: Answered | None) -> bool:
        """Take it in, if there is room."""
        size = len(message.body) + OVERHEAD
        if not self.has_room(len(message.body)):
            return False
        if answered is not None:
            if self.unanswered >= self.unanswered_limit:
                return False
            self.unanswered += 1
        self._entries.append((message, answered))
        self.waiting += 1
        self.waiting_bytes += size
        return True

    def take(self) -> Batch | None:
        """The next batch; C{None} if nothing can be taken."""
        entries = self._entries
        rows = 1 if self._singly else ROWS
        batch = Batch()
        places: dict[str, int] = {}
        size = 0
        while entries and len(batch.entries) < rows:
            message = entries[0][0]
            size += len(message.body)
            if size > BYTES and batch.entries:
                break
            place = places.setdefault(message.msg_id, len(batch.messages))
            if place == len(batch.messages):
                batch.messages.append(message)
            batch.places.append(place)
            batch.entries.append(entries.popleft())
        self._singly = max(self._singly - 1, 0)
        return batch if batch.entries else None

    def put_back(self, batch: Batch, *, singly: bool = False) -> None:
        """
        Let it wait where it was.

        @param singly: its messages are to be taken one by one.
        """
        self._entries.extendleft(reversed(batch.entries))
        if singly:
            self._singly = len(batch.entries)

    def turn_away(self) -> list[Entry]:
        """Those for whose answer somebody waits; they leave."""
        if not self.unanswered:
            return []
        turned_away = [entry for entry in self._entries if entry[1] is not None]
        self._entries = deque(entry for entry in self._entries if entry[1] is None)
        self.leave(turned_away)
        return turned_away

    def leave(self, entries: Sequence[Entry]) -> None:
        """They wait no longer."""
        self.waiting -= len(entries)
        for message, answered in entries:
            self.waiting_bytes -= len(message.body) + OVERHEAD
            self.unanswered -= answered is not None

"""
Messages that are sent until the relay has said what became of them.

A message is sent again, under the same C{msg_id}, when the connection has broken, when nothing is answered for long, and, with growing
waits, when the relay says that it is busy.  That is harmless: the relay keeps what has the same C{msg_id} once.  What is sent again is sent
in the order in which it was given, before anything else.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

from attrs import define, frozen

from socialrelay.bus.link import Link
from socialrelay.bus.wire import BUSY, DUP, OK

SILENCE = 10.0
"""Seconds without an answer after which a connection is replaced; a third of the time-out if that is less."""

_SHORTEST, _LONGEST = 0.05, 2.0
"""Seconds: waits after C{busy}, and before a new connection."""


class BusError(Exception):
    """What was wanted of the bus did not come about; the message is a sentence without its full stop."""


class NoAnswer(BusError):
    """
    The relay did not say in time what became of messages.

    They may have been kept; to send them again under the same C{msg_id} is harmless.

    @ivar answered: it was there, before.
    @ivar msg_ids: of the messages.
    """

    def __init__(self, address: str, answered: bool, msg_ids: tuple[str, ...] = (), reason: str = "") -> None:
        why = f"the relay at {address} did not answer in time{reason and ': ' + reason}" if answered else f"no relay answers at {address}"
        super().__init__(why)
        self.answered = answered
        self.msg_ids = msg_ids


@frozen
class Outgoing:
    """@ivar body: the whole envelope."""

    msg_id: str
    topic: str
    body: bytes


@frozen
class Outcome:
    """
    What became of a message.

    @ivar status: of L{socialrelay.bus.wire}; never C{busy}.
    @ivar seq: its number, if it is kept.
    @ivar detail: else the reason.
    """

    msg_id: str
    status: str
    seq: int = 0
    detail: str = ""

    @property
    def kept(self) -> bool:
        """Whether it is kept, now or since it was sent before."""
        return self.status in (OK, DUP)


@define
class _Open:
    outgoing: Outgoing
    deadline: float
    held_back: bool = False


class Sender:
    """
    Sends messages and says what became of each, in the order in which they were given.

    @param timeout: seconds for each message, from when it was given.
    @param window: messages whose fate is not told yet, at most.
    @param clock: seconds; C{chance}: from 0 to 1.
    """

    def __init__(
        self,
        link: Link,
        timeout: float,
        window: int,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._link, self._timeout, self._window = link, timeout, window
        self._silence = min(SILENCE, timeout / 3)
        self._clock, self._chance = clock, chance
        self._order: deque[str] = deque()
        self._open: dict[str, _Open] = {}
        self._told: dict[str, Outcome] = {}
        self._last = 0.0
        self._reopen_at, self._breaks = 0.0, 0
        self._resume_at: float | None = None
        self._refusals, self._busy = 0, ""

    @property
    def waiting(self) -> int:
        """Messages whose fate is not told yet."""
        return len(self._order)

    def takes(self, msg_id: str) -> bool:
        """Whether this can be given now: there is room, the relay is not busy, and it is not under way already."""
        return len(self._order) < self._window and self._resume_at is None and msg_id not in self._open and msg_id not in self._told

    def give(self, outgoing: Outgoing) -> None:
        """Send a message; L{takes} says whether that is possible."""
        now = self._clock()
        if not self._open:
            self._last = now
        self._order.append(outgoing.msg_id)
        self._open[outgoing.msg_id] = _Open(outgoing, now + self._timeout)
        if self._link.is_open:
            self._send(outgoing)

    def turn(self, seconds: float, descriptor: int | None = None) -> list[Outcome]:
        """
        Go on for so long, or until something happens.

        @param descriptor: what can be read there happens, too.
        @return: what became of the next messages, in order.
        @raise NoAnswer: a deadline is over; nothing goes on after that.
        @raise ValueError: the address is none.
        """
        self._connect()
        if not self._read() and seconds > 0:
            self._link.wait(min(seconds, self._next()), descriptor)
            self._read()
        silent = self._open and self._clock() - self._last > self._silence
        if self._link.is_open and (self._link.broke() or silent):
            self._break()
        self._check()
        told = []
        while self._order and self._order[0] in self._told:
            told.append(self._told.pop(self._order.popleft()))
        return told

    def rest(self) -> list[Outcome]:
        """After L{NoAnswer}: what became of messages that were given after one that is not answered."""
        return [self._told[msg_id] for msg_id in self._order if msg_id in self._told]

    def _send(self, outgoing: Outgoing) -> None:
        self._link.send([outgoing.msg_id.encode(), outgoing.topic.encode(), outgoing.body])

    def _connect(self) -> None:
        """See to it that there is a connection, and that all that is due is sent."""
        now = self._clock()
        if not self._link.is_open:
            if now < self._reopen_at:
                return
            self._link.open()
            self._last = now
            for each in self._open.values():
                each.held_back = True
            self._resume_at = now
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            for each in self._open.values():
                if each.held_back:
                    each.held_back = False
                    self._send(each.outgoing)

    def _read(self) -> bool:
        answers = self._link.read()
        for frames in answers:
            if len(frames) == 3:
                self._hear(*(frame.decode("utf-8", "replace") for frame in frames))
        return bool(answers)

    def _hear(self, msg_id: str, status: str, detail: str) -> None:
        self._last, self._breaks = self._clock(), 0
        entry = self._open.get(msg_id)
        if entry is None:
            return  # it was sent twice, and this is the second answer
        if status == BUSY:
            entry.held_back, self._busy = True, detail
            if self._resume_at is None:
                self._resume_at = self._last + self._pause(self._refusals)
                self._refusals += 1
            return
        del self._open[msg_id]
        self._refusals, self._busy = 0, ""
        kept = status in (OK, DUP)
        self._told[msg_id] = Outcome(msg_id, status, int(detail) if kept and detail.isdecimal() else 0, "" if kept else detail)

    def _pause(self, tries: int) -> float:
        longest: float = min(_LONGEST, _SHORTEST * 2.0 ** min(tries, 10))
        return longest * (0.5 + self._chance() / 2)

    def _break(self) -> None:
        self._read()
        self._link.close()
        self._reopen_at = self._clock() + self._pause(self._breaks)
        self._breaks += 1

    def _next(self) -> float:
        """Seconds until something is to be done."""
        now = self._clock()
        times = [now + 3600.0]
        if not self._link.is_open:
            times.append(self._reopen_at)
        elif self._open:
            times.append(self._last + self._silence)
        if self._open:
            times.append(next(iter(self._open.values())).deadline)
        if self._resume_at is not None and self._link.is_open:
            times.append(self._resume_at)
        return max(0.0, min(times) - now)

    def _check(self) -> None:
        if self._open and next(iter(self._open.values())).deadline <= self._clock():
            raise NoAnswer(self._link.address, self._link.answered, tuple(self._open), self._busy)

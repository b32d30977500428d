"""What was said on the bus, and what is said next: asked of the relay page by page."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from attrs import frozen

from socialrelay.bus.link import Link
from socialrelay.bus.sending import SILENCE, BusError, NoAnswer
from socialrelay.bus.wire import BUSY, GONE, MAX_PAGE, MAX_WAIT, OK

_IDLE = 1.0
"""Seconds between two calls of C{on_idle}."""
_LONGEST = 2.0


class TooOld(BusError):
    """
    Messages after this number have been forgotten.

    @ivar since: the number.
    @ivar oldest_seq: the oldest message that is there.
    """

    def __init__(self, since: int, oldest_seq: int) -> None:
        super().__init__(f"messages after number {since} have been forgotten; the oldest that is kept has number {oldest_seq}")
        self.since = since
        self.oldest_seq = oldest_seq


class Refused(BusError):
    """The relay does not answer such a question; the message says why."""


@frozen
class Heard:
    """
    A message that is kept.

    @ivar body: the envelope, JSON, as it was published.
    @ivar received_at: ISO 8601.
    @ivar source: C{legacy}, C{ingest}, C{http} or C{own}.
    """

    seq: int
    msg_id: str
    topic: str
    body: str
    received_at: str
    source: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The body, read."""
        read: dict[str, Any] = json.loads(self.body)
        return read

    @property
    def msg(self) -> Any:
        """What the envelope holds."""
        return self.envelope["msg"]


@frozen
class Page:
    """
    @ivar next: ask after this number for what follows.
    @ivar last_seq: the last number that was given.
    @ivar oldest_seq: from here on everything is there, but for the relay's own messages; from C{oldest_own_seq} on these are, too.
    """

    messages: Sequence[Heard]
    next: int
    last_seq: int
    oldest_seq: int
    oldest_own_seq: int


class Questions:
    """Asks the relay for what is kept, one question at a time."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random) -> None:
        self._link, self._clock, self._chance = link, clock, chance
        self._numbers = itertools.count(1)

    def page(
        self,
        since: int | None,
        topic: str,
        limit: int,
        wait: float,
        timeout: float,
        on_idle: Callable[[], object] = lambda: None,
        on_break: Callable[[], object] = lambda: None,
    ) -> Page:
        """
        Messages after a number.

        @param wait: seconds for which the relay waits for one if there is none.
        @param timeout: seconds to try, besides.
        @param on_break: called when the connection has broken, or nothing is answered.
        @raise TooOld: of these, some were forgotten.
        @raise Refused: the number is beyond the last one; or the question is wrong.
        @raise NoAnswer: for so long.
        """
        query: dict[str, object] = {"topic": topic, "limit": min(limit, MAX_PAGE), "wait": min(wait, MAX_WAIT)}
        if since is not None:
            query["since"] = since
        status, detail = self._ask(json.dumps(query).encode(), float(query["wait"]), timeout, on_idle, on_break)  # type: ignore[arg-type]
        if status == GONE:
            raise TooOld(since or 0, int(json.loads(detail)["oldest_seq"]))
        if status != OK:
            raise Refused(f"the relay at {self._link.address} refuses: {detail}")
        answer = json.loads(detail)
        names = ("seq", "msg_id", "topic", "body", "received_at", "source")
        messages = [Heard(*(each[name] for name in names)) for each in answer["messages"]]
        return Page(messages, answer["next"], answer["last_seq"], answer["oldest_seq"], answer["oldest_own_seq"])

    def _ask(
        self, query: bytes, wait: float, timeout: float, on_idle: Callable[[], object], on_break: Callable[[], object]
    ) -> tuple[str, str]:
        """Status and detail of what is answered, but for C{busy}."""
        start, tries, busy = self._clock(), 0, ""
        while True:
            answer = self._once(query, min(wait + SILENCE, start + wait + timeout - self._clock()), on_idle)
            if answer is not None and answer[0] != BUSY:
                return answer
            if answer is None:
                self._link.close()
                on_break()
            else:
                busy = answer[1]
            pause = min(_LONGEST, 0.05 * 2.0 ** min(tries, 10)) * (0.5 + self._chance() / 2)
            tries += 1
            if self._clock() + pause >= start + wait + timeout:
                self._link.close()
                raise NoAnswer(self._link.address, self._link.answered, reason=busy)
            self._link.wait(pause)

    def _once(self, query: bytes, patience: float, on_idle: Callable[[], object]) -> tuple[str, str] | None:
        """What is answered; C{None} if the connection breaks or that is not within so many seconds."""
        if not self._link.is_open:
            self._link.open()
        number = str(next(self._numbers)).encode()
        self._link.send([number, query])
        end = self._clock() + patience
        while (left := end - self._clock()) > 0:
            self._link.wait(min(left, _IDLE))
            for frames in self._link.read():
                if len(frames) == 3 and frames[0] == number:
                    return frames[1].decode("utf-8", "replace"), frames[2].decode("utf-8", "replace")
            if self._link.broke():
                return None
            on_idle()
        return None


def follow(
    questions: Questions,
    since: int | None,
    topic: str,
    on_gap: Callable[[TooOld], object] | None,
    on_away: Callable[[], object],
    on_back: Callable[[], object],
    on_idle: Callable[[], object],
    patience: float,
) -> Generator[Heard, None, None]:
    """
    All messages after a number, for ever.

    @see: L{socialrelay.bus.client.Bus.follow}.
    """
    if since is None:
        since = questions.page(None, topic, 1, 0, patience).next
    away = False

    def left() -> None:
        nonlocal away
        if not away:
            on_away()
        away = True

    while True:
        try:
            page = questions.page(since, topic, MAX_PAGE, MAX_WAIT, patience, on_idle, left)
        except NoAnswer:
            left()
            on_idle()
            continue
        except TooOld as gap:
            if on_gap is None:
                raise
            on_gap(gap)
            since = gap.oldest_seq - 1
            continue
        if away:
            on_back()
        away = False
        yield from page.messages
        since = page.next

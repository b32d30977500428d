"""What the relay logs, as it happens."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from attrs import asdict, define, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.web.server import Request
from zope.interface import implementer

from socialrelay.boundaries import Stream, Streams
from socialrelay.bounds import Bound
from socialrelay.config import Memory
from socialrelay.running.logs import message, plain
from socialrelay.web.admin.sessions import Session, Sessions

SERIOUS = 200
"""Warnings and errors that are kept beside: a busy relay logs hundreds of posts between two of them."""
TOGETHER = 0.3
"""Seconds for which events are gathered before pages are told."""
_CLASS = re.compile(r"\.[A-Z]\w*\Z")
LEVELS = ("info", "warn", "error", "critical")


@frozen
class Entry:
    """
    One event of the log.

    @ivar number: counts from 1, without gaps, from the start of the relay.
    @ivar at: ISO 8601, UTC.
    @ivar source: which part of the relay says it.
    """

    number: int
    at: str
    level: str
    source: str
    text: str


@implementer(ILogObserver)
class LiveLog:
    """
    Keeps the last events of the log, and the last that are warnings or errors, and tells those who look on that there are more.

    @ivar limit: how many events there may be.
    @ivar more: called after each event, in whatever thread it was logged.
    """

    def __init__(self, limit: int = Memory().events, more: Callable[[], None] = lambda: None, serious: int = SERIOUS) -> None:
        self.more = more
        self.limit = limit
        self._entries: deque[_Kept] = deque(maxlen=limit)
        self._serious: deque[_Kept] = deque(maxlen=serious)
        self._numbers = count(1)

    def __call__(self, event: LogEvent) -> None:
        level = (event.get("log_level") or LogLevel.info).name
        frequent = level == "info" and event.get("log_format")
        if not frequent and not message(event):
            return
        kept = _Kept(next(self._numbers), level, event)
        if not frequent:
            kept.entry()  # what failed holds on to all that took part in it
        self._entries.append(kept)
        if level in LEVELS[1:]:
            self._serious.append(kept)
        self.more()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        most = (self._entries.maxlen or 0) + (self._serious.maxlen or 0)
        return (Bound("events", lambda: len(self._entries) + len(self._serious), lambda: most),)

    def entries(self, after: int = 0, level: str = LEVELS[0]) -> list[Entry]:
        """
        What is kept, the oldest first.

        @param after: only what came after the event with this number.
        @param level: the least that is given.
        """
        wanted = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS
        kept = self._entries if wanted == LEVELS else self._serious
        return [each.entry() for each in tuple(kept) if each.number > after and each.level in wanted]


class _Kept:
    """An event, put into words when somebody looks: each accepted post is one, and most of the time nobody does."""

    __slots__ = ("_entry", "_event", "level", "number")

    def __init__(self, number: int, level: str, event: LogEvent) -> None:
        self.number = number
        self.level = level
        self._event: LogEvent | None = event
        self._entry: Entry | None = None

    def entry(self) -> Entry:
        event = self._event
        if self._entry is None and event is not None:
            at = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="seconds")
            source = _CLASS.sub("", plain(str(event.get("log_namespace", "-"))).removeprefix("socialrelay."))
            self._entry, self._event = Entry(self.number, at, self.level, source, message(event)), None
        assert self._entry is not None
        return self._entry


def as_data(entries: list[Entry]) -> str:
    """A list of objects with the fields of L{Entry}, in JSON on one line."""
    return json.dumps([asdict(entry) for entry in entries], ensure_ascii=False)


class Feed:
    """Sends the events of the log to the pages that show them."""

    def __init__(
        self, log: LiveLog, streams: Streams, sessions: Sessions, clock: IReactorTime, to_reactor: Callable[[Callable[[], None]], object]
    ) -> None:
        """@param to_reactor: runs a function in the reactor's thread: events are logged in others, too."""
        self.log = log
        self._streams = streams
        self._sessions = sessions
        self._clock = clock
        self._to_reactor = to_reactor
        self._pages: dict[Stream, _Page] = {}
        self._due = False
        log.more = self._more

    def open(self, request: Request, session: Session, client: str, after: int, level: str) -> bool:
        """
        Answer a request with a stream of C{log} events, each as L{as_data}; at first what is kept.

        @return: whether there was a place for it.
        """

        def ended() -> None:
            if stream is not None:
                self._pages.pop(stream, None)

        stream = self._streams.open(request, client, ended, operator=True)
        if stream is None:
            return False
        self._pages[stream] = _Page(session, after, level)
        self._tell(stream)
        return True

    def _more(self) -> None:
        if self._pages and not self._due:
            self._due = True
            self._to_reactor(self._soon)

    def _soon(self) -> None:
        self._clock.callLater(TOGETHER, self._tell_all)

    def _tell_all(self) -> None:
        self._due = False
        for stream in list(self._pages):
            self._tell(stream)

    def _tell(self, stream: Stream) -> None:
        page = self._pages[stream]
        if not self._sessions.holds(page.session):
            stream.end()
            return
        entries = self.log.entries(page.after, page.level)
        if entries:
            page.after = entries[-1].number
            stream.send("log", as_data(entries))


@define(eq=False)
class _Page:
    session: Session
    after: int
    level: str

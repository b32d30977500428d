"""
Reads what nodes publish about themselves, each when it is due, and at once when somebody asks.

What an answer means is L{socialrelay.nodes.plan}'s; here it is fetched, kept, and handed to those who act on it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import (
    Cache,
    Document,
    Fetcher,
    FetchFailed,
    Full,
    Membership,
    NodeRecord,
    Nodes,
    Poller,
    PollNote,
    PollReport,
    Unavailable,
)
from socialrelay.bounds import Bound, bound_of
from socialrelay.coalesce import Coalescing, Crowded
from socialrelay.config import Memory, Polling
from socialrelay.diaspora.preferences import PATH, InvalidPreferences, ReadPreferences, read_preferences
from socialrelay.nodes.plan import (
    Answer,
    Conclusion,
    Failed,
    Gone,
    Missing,
    Published,
    Turn,
    Unreadable,
    conclude,
    recalled,
    wants_posts,
)
from socialrelay.ratelimit import Lru
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.words import counted

MAX_DOCUMENT = 1024 * 1024
READ_IN_THREAD = 32 * 1024
"""A longer document is read outside the reactor's thread."""
ASKED_ADDITIONALLY = 20
"""Polls that somebody asked for may be under way in so many more than those that were due."""
VALIDATORS_KEPT = 86400.0
ROUND = 5.0
"""Seconds between two rounds."""
RECALL = 6 * 3600.0
"""Seconds between two looks at the times of all nodes."""
_PAGE = 1000
PENALTY = 300.0
"""Seconds for which a node is left alone whose poll ended in an error of ours."""

CHECK = "check"
"""The source of polls that strangers ask for: it makes a node known only if the node wants posts."""


@frozen
class _Reading:
    """
    What one fetch came to.

    @ivar preferences: as read now, or as stored if they did not change.
    @ivar validators: request headers for the next time.
    """

    answer: Answer
    preferences: Preferences | None = None
    faults: tuple[str, ...] = ()
    validators: dict[str, str] | None = None


class NodePoller:
    """
    L{Poller}, and the round that polls what is due.

    @ivar config: when whom to poll.
    @ivar results: what polls came to, and how often.
    @ivar due: polls under way that were due.
    @ivar asked: polls under way that somebody asked for.
    @see: L{Poller} for what C{poll} promises.
    """

    _log = Logger()

    def __init__(
        self,
        fetcher: Fetcher,
        nodes: Nodes,
        membership: Membership,
        cache: Cache,
        clock: IReactorTime,
        now: Callable[[], datetime],
        config: Polling,
        chance: Callable[[], float],
        alive: Callable[[str], object],
        in_thread: Callable[..., Deferred[Any]],
        memory: Memory = Memory(),
    ) -> None:
        """
        @param now: the time to store and show.
        @param chance: between 0 and 1, for the jitter.
        @param alive: is told of a host that gave an answer.
        @param in_thread: runs a function outside the reactor's thread.
        """
        self._fetcher = fetcher
        self._nodes = nodes
        self._membership = membership
        self._cache = cache
        self._clock = clock
        self._now = now
        self.config = config
        self._chance = chance
        self._alive = alive
        self._in_thread = in_thread
        self._polls: Coalescing[PollReport] = Coalescing(config.concurrency + ASKED_ADDITIONALLY, memory.poll_waiters)
        self._fetches: set[Deferred[Document]] = set()
        self.due = 0
        self.asked = 0
        self.results: Counter[str] = Counter()
        self._left_alone: Lru[str, float] = Lru(memory.nodes_left_alone)
        self._next_recall = clock.seconds()
        self._stopping = False

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            bound_of("polls", lambda: self._polls),
            Bound("poll-waiters", lambda: self._polls.waiters, lambda: self._polls.waiters_limit, lambda: self._polls.turned_away),
            bound_of("nodes-left-alone", lambda: self._left_alone),
        )

    def poll(self, host: str, source: str) -> Deferred[PollReport]:
        """
        See L{Poller.poll}. A poll of the host that is under way is shared.

        @raise Full: too many polls are under way that somebody asked for.
        @raise Unavailable: storage cannot be reached, so nothing was acted upon.
        """
        if host not in self._polls and self.asked >= ASKED_ADDITIONALLY:
            self._polls.forgotten += 1
            return fail(Full("too many polls are under way"))
        return self._polls.ask(host, lambda: self._poll_asked(host, source)).addErrback(_crowded)

    async def round(self) -> None:
        """Begin polls of nodes that are due, as many as there is room for; does not wait for them."""
        room = self.config.concurrency - self.due
        if room <= 0 or self._stopping:
            return
        if self._clock.seconds() >= self._next_recall:
            self._next_recall = self._clock.seconds() + RECALL
            await self._recall()
        for node in await self._nodes.due(self._now(), self.config.concurrency):
            if room <= 0 or self._stopping:
                break
            if node.host not in self._polls and (self._left_alone.get(node.host) or 0.0) <= self._clock.seconds():
                room -= 1
                self._begin(node.host)

    def recall(self) -> None:
        """The clock was put back: look with the next round for polls that were put off by more than can be."""
        self._next_recall = self._clock.seconds()

    def stop(self) -> Deferred[None]:
        """@return: fires when no poll is under way."""
        self._stopping = True
        for fetch in list(self._fetches):
            fetch.cancel()
        return self._polls.idle()

    async def _recall(self) -> None:
        """A clock that was ahead for a while has put polls off, some perhaps for years: bring them back."""
        after = ""
        while page := await self._nodes.page(after, _PAGE):
            after = page[-1].host
            now = self._now()
            for found in page:
                if recalled(found, now, self.config, self._chance()) is None or found.host in self._polls:
                    continue
                node = await self._nodes.get(found.host)
                corrected = recalled(node, now, self.config, self._chance()) if node is not None else None
                if corrected is not None:
                    await self._nodes.save(corrected)

    def _begin(self, host: str) -> None:
        self.due += 1
        self._polls.ask(host, lambda: self._poll(host, "")).addBoth(self._ended, host)

    def _ended(self, result: PollReport | Failure, host: str) -> None:
        self.due -= 1
        if not isinstance(result, Failure) or self._stopping:
            return
        # The node is still due: without this it would be asked again with every round.
        self._left_alone[host] = self._clock.seconds() + PENALTY
        if result.check(Unavailable, Crowded):
            self._log.debug("What {host} publishes could not be kept: {reason}", host=host, reason=result.getErrorMessage())
        else:
            self._log.failure("The poll of {host} failed", result, host=host)

    async def _poll_asked(self, host: str, source: str) -> PollReport:
        self.asked += 1
        try:
            return await self._poll(host, source)
        finally:
            self.asked -= 1

    async def _poll(self, host: str, source: str) -> PollReport:
        """@param source: who asks; empty if it was due."""
        url = f"https://{host}{PATH}"
        before = await self._nodes.get(host)
        reading = await self._fetch(url, host, before)
        self.results[type(reading.answer).__name__.lower()] += 1
        now = self._now()
        report = PollReport(host, url, now, reading.preferences, reading.faults)
        node = self._known(host, source, await self._nodes.get(host), reading, now)
        if node is not None and source == CHECK and await self._is_one_too_many(host):
            return evolve(report, faults=(*report.faults, "The relay knows as many nodes as it may, so nothing is sent: ask its operator."))
        if node is not None:
            done = conclude(node, reading.answer, now, self.config, self._chance(), asked=bool(source))
            await self._nodes.save(done.node, _noted(reading, done.node.poll_error, now))
            await self._keep_validators(host, reading)
            self._tell(done, reading.answer)
            await self._membership.update(host)
        if reading.preferences is not None:
            self._alive(host)
        return report

    def _known(self, host: str, source: str, node: NodeRecord | None, reading: _Reading, now: datetime) -> NodeRecord | None:
        """The node as it is before this poll is judged; C{None} if it does not become known."""
        if node is None:
            if not source or (source == CHECK and not wants_posts(reading.preferences)):
                return None
            return NodeRecord(host, (source,), now, now + timedelta(seconds=self.config.candidate_interval))
        if source and source != CHECK and source not in node.sources:
            return evolve(node, sources=(*node.sources, source))
        return node

    async def _is_one_too_many(self, host: str) -> bool:
        return await self._nodes.get(host) is None and await self._nodes.count() >= self.config.max_nodes

    async def _fetch(self, url: str, host: str, node: NodeRecord | None) -> _Reading:
        stored = node.preferences if node is not None else None
        headers = await self._validators(host, stored) if stored is not None else {}
        fetch = self._fetcher.get(url, accept="application/json", max_body=MAX_DOCUMENT, headers=headers, same_host=True, ok=(200, 304))
        self._fetches.add(fetch)
        try:
            document = await fetch
        except FetchFailed as error:
            return _failed(url, error, _stays(stored))
        except CancelledError:
            raise Unavailable("the relay is stopping") from None
        finally:
            self._fetches.discard(fetch)
        max_age = _max_age(document.headers.get("cache-control", ""))
        if document.status == 304:
            if stored is None or not headers:
                reason = "HTTP 304 to a request that was not conditional"
                return _Reading(Unreadable(reason), faults=(f"{url} answered {reason}: it has to send the document.",))
            return _Reading(Published(stored, max_age), stored, _shown_no(stored, ()))
        try:
            found = await self._read(document.body, host)
        except InvalidPreferences as error:
            return _Reading(Unreadable(_line(str(error))), faults=(f"{url}: {error}{_stays(stored)}",))
        faults = _shown_no(found.preferences, found.faults)
        return _Reading(Published(found.preferences, max_age), found.preferences, faults, _conditions(document))

    async def _read(self, body: bytes, host: str) -> ReadPreferences:
        most = self.config.max_tags_per_node
        if len(body) <= READ_IN_THREAD:
            return read_preferences(body, host, max_tags=most)
        found: ReadPreferences = await self._in_thread(lambda: read_preferences(body, host, max_tags=most))
        return found

    async def _validators(self, host: str, stored: Preferences) -> dict[str, str]:
        """Headers that ask for the document only if it is another than the one from which C{stored} was read."""
        kept = await self._cache.get(_validators_key(host))
        try:
            fields = json.loads(kept) if kept else {}
            if fields.pop("of", "") != self._fingerprint(stored):
                return {}
            return {str(name): str(value) for name, value in fields.items()}
        except (ValueError, AttributeError):
            return {}

    async def _keep_validators(self, host: str, reading: _Reading) -> None:
        if reading.preferences is not None and reading.validators:
            value = json.dumps({**reading.validators, "of": self._fingerprint(reading.preferences)})
            await self._cache.set(_validators_key(host), value.encode(), VALIDATORS_KEPT)

    def _fingerprint(self, preferences: Preferences) -> str:
        """Tells whether validators belong to what is stored: a 410 in between, or another limit, must not be answered by 304."""
        fields = (preferences.scope.value, sorted(preferences.tags), preferences.receive_url, self.config.max_tags_per_node)
        return sha256(repr(fields).encode()).hexdigest()

    def _tell(self, done: Conclusion, answer: Answer) -> None:
        host, reason = done.node.host, done.node.poll_error
        if done.turn is Turn.FAILING:
            self._log.info("{host} does not show its preferences, the last ones stay valid for now: {reason}", host=host, reason=reason)
        elif done.turn is Turn.GRACE_OVER:
            self._log.info(
                "{host} has not shown its preferences for {span}: they are no longer valid. {reason}",
                host=host,
                span=counted(round(self.config.grace / 86400, 1), "day"),
                reason=reason,
            )
        elif done.turn is Turn.WITHDRAWN:
            self._log.info("{host} has removed its preferences: those it had are no longer valid. {reason}", host=host, reason=reason)
        elif not isinstance(answer, Published):
            self._log.debug("Poll of {host} failed: {reason}", host=host, reason=reason)


def _noted(reading: _Reading, error: str, now: datetime) -> PollNote:
    """As the operator looks it up later."""
    found = reading.preferences
    if found is None:
        return PollNote(now, _KINDS[type(reading.answer)], error=error)
    return PollNote(now, _KINDS[type(reading.answer)], found.scope.value, len(found.tags), error)


_KINDS: dict[type[Answer], str] = {
    Published: "read", Gone: "gone", Missing: "missing", Unreadable: "unreadable", Failed: "failed",
}  # fmt: skip


def _crowded(failure: Failure) -> PollReport:
    failure.trap(Crowded)
    raise Full("too many wait for polls")


def _stays(stored: Preferences | None) -> str:
    """A sentence for a node that has a subscription and fails."""
    return " What it published before stays valid for some days." if wants_posts(stored) else ""


def _failed(url: str, error: FetchFailed, stays: str) -> _Reading:
    reason = _line(str(error))
    if error.status == 410:
        return _Reading(Gone(), faults=(f"{url} answered 410: the file is gone for good, so nothing is sent.",))
    if error.status == 404:
        fault = (
            f"{url} answered 404: there is no such file. A node that is to be sent posts has to publish its preferences there; "
            "one that did loses its subscription when the file is still missing an hour later."
        )
        return _Reading(Missing(reason), faults=(fault,))
    waiting = "" if error.retry_after is None else f" It asks to be left alone for {round(error.retry_after)} seconds."
    fault = f"{url} could not be read: {reason}.{waiting}{stays}"
    return _Reading(Failed(reason, error.retry_after), faults=(fault,))


def _shown_no(preferences: Preferences, faults: tuple[str, ...]) -> tuple[str, ...]:
    """A no without any other fault is said as such."""
    if preferences.scope is Scope.NONE and not faults:
        return ("The file says subscribe: false, so nothing is sent.",)
    return faults


_CONDITIONS = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,200}")


def _conditions(document: Document) -> dict[str, str]:
    """Headers for the next request; what a node sent is returned to that node only, and only if it is a plain line."""
    found = {asked: document.headers.get(name, "") for name, asked in _CONDITIONS}
    return {asked: value for asked, value in found.items() if _HEADER_VALUE.fullmatch(value)}


def _max_age(cache_control: str) -> float | None:
    """Seconds from C{Cache-Control}."""
    found = re.search(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})\b", cache_control, re.IGNORECASE)
    return float(found[1]) if found else None


def _line(text: str) -> str:
    """Remote text, to be stored and shown: one short line, ending without a full stop."""
    return "".join(char if char.isprintable() else " " for char in text)[:200].strip().removesuffix(".")


def _validators_key(host: str) -> str:
    return f"poll:validators:{host}"


_conforms: type[Poller] = NodePoller

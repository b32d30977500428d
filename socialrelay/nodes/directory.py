"""
Node lists: where the relay hears of nodes that it might poll.

A list makes hosts known and nothing else.  One that fails or is empty changes nothing; a host is forgotten when no list has named it and it
has not answered for 30 days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from socialrelay.boundaries import LIST_FAILED, Cache, Condition, Document, Fetcher, FetchFailed, Lists, Nodes
from socialrelay.coalesce import Coalescing
from socialrelay.config import NodeList, Polling
from socialrelay.nodes.lists import BadList, NodeListing, read_list
from socialrelay.nodes.sources import DEFAULT_LISTS
from socialrelay.words import counted

MAX_LIST = 8 * 1024 * 1024
FORGET_AFTER = timedelta(days=30)
ROUND = 3600.0
"""Seconds between two rounds; a list that was read is left alone for its interval, one that failed for L{RETRY_FAILED}."""
FAILING = timedelta(days=3)
"""After so long without success an operator is told of a list."""
RETRY_FAILED = 6 * 3600.0
_CHUNK = 1000


@frozen
class _Fetched:
    """@ivar listing: C{None} if there is none, C{fault} then says why."""

    source: NodeList
    listing: NodeListing | None
    fault: str = ""


@frozen
class Standing:
    """
    How it stands with a list.

    @ivar fault: why it could not be read; empty if it could.
    @ivar failing_since: the first failure of a row of them.
    @ivar hosts: that it named when it was last read.
    """

    fault: str = ""
    failing_since: datetime | None = None
    hosts: int = 0


class NodeDirectory:
    """
    L{Lists}, and the round that fetches those that are due.

    @ivar config: which lists there are, and when to fetch them.
    @ivar standing: what came of the last attempt to read each list, since the start of the process.
    @see: L{Lists} for what C{fetch} promises.
    """

    _log = Logger()

    def __init__(
        self,
        fetcher: Fetcher,
        nodes: Nodes,
        cache: Cache,
        now: Callable[[], datetime],
        config: Polling,
        own_host: str,
        chance: Callable[[], float],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """
        @param own_host: the relay itself, which never becomes known.
        @param chance: between 0 and 1: spreads the first polls of new hosts over the interval.
        @param in_thread: runs a blocking function outside the reactor's thread.
        """
        self._fetcher = fetcher
        self._nodes = nodes
        self._cache = cache
        self._now = now
        self.config = config
        self._own_host = own_host
        self._chance = chance
        self._in_thread = in_thread
        self.standing: dict[str, Standing] = {}
        self._work: Coalescing[dict[str, str]] = Coalescing(works=2, waiters=100)
        self._fetches: set[Deferred[Document]] = set()

    @property
    def _sources(self) -> tuple[NodeList, ...]:
        return DEFAULT_LISTS if self.config.lists is None else self.config.lists

    def adjust(self, config: Polling) -> None:
        """Take another configuration; what is known of lists that it does not name is forgotten."""
        self.config = config
        named = {source.name for source in self._sources}
        self.standing = {name: each for name, each in self.standing.items() if name in named}

    def condition(self) -> Condition:
        """Not well when lists that it was asked for have failed for days; the detail tells of every list that was not read last time."""
        faults = {name: each for name, each in self.standing.items() if each.failing_since}
        failing = [name for name, each in faults.items() if each.failing_since and self._now() - each.failing_since > FAILING]
        told = [f"{name} {'has failed for days' if name in failing else 'was not read'}: {each.fault}" for name, each in faults.items()]
        read = len(self.standing) - len(faults)
        detail = "; ".join([*([f"{counted(read, 'list')} read"] if read or not told else []), *told])
        return Condition("node lists", well=not failing, essential=False, detail=detail)

    def fetch(self) -> Deferred[dict[str, str]]:
        """
        See L{Lists.fetch}.

        @raise Unavailable: storage cannot be reached.
        """
        return self._work.ask("all", lambda: self._fetch(self._sources))

    async def round(self) -> None:
        """Fetch the lists that were not fetched lately."""
        due = [source for source in self._sources if await self._cache.get(_marker(source)) is None]
        if due:
            await self._work.ask("due", lambda: self._fetch(due))

    def stop(self) -> Deferred[None]:
        """@return: fires when nothing is under way."""
        for fetch in list(self._fetches):
            fetch.cancel()
        return self._work.idle()

    async def _fetch(self, sources: Sequence[NodeList]) -> dict[str, str]:
        fetched = [await self._read(source) for source in sources]
        good = sum(one.listing is not None for one in fetched)
        if not good:
            return {one.source.name: one.fault for one in fetched}
        known = await self._known()
        told = {}
        for one in fetched:
            if one.listing is None:
                told[one.source.name] = one.fault
                continue
            # No list may take all the room that is left, however many hosts it makes up.
            room = max(0, self.config.max_nodes - len(known)) // good
            good -= 1
            told[one.source.name] = await self._enter(one.source, one.listing, known, room)
        forgotten = await self._nodes.forget(self._now() - FORGET_AFTER)
        if forgotten:
            self._log.info("Nodes forgotten, which no list names and which do not answer: {count}.", count=forgotten)
        return told

    async def _read(self, source: NodeList) -> _Fetched:
        try:
            body = await self._body(source)
            listing = await self._in_thread(lambda: read_list(body, most=self.config.max_nodes))
        except (FetchFailed, BadList) as error:
            result = _Fetched(source, None, f"{LIST_FAILED}, what it named before stays: {error}")
            self._log.warn("The node list {source} failed, what it named before stays: {reason}", source=source.name, reason=str(error))
        else:
            result = _Fetched(source, listing)
        self._note(result)
        seconds = RETRY_FAILED if result.listing is None else max(self.config.list_interval - ROUND / 2, 1.0)
        await self._cache.set(_marker(source), b"1", seconds)
        return result

    def _note(self, fetched: _Fetched) -> None:
        before = self.standing.get(fetched.source.name)
        if fetched.listing is not None:
            self.standing[fetched.source.name] = Standing(hosts=len(fetched.listing.hosts))
        else:
            since = before.failing_since if before is not None else None
            hosts = 0 if before is None else before.hosts
            self.standing[fetched.source.name] = Standing(fetched.fault, since or self._now(), hosts)

    async def _body(self, source: NodeList) -> bytes:
        if "://" not in source.url:
            body: bytes = await self._in_thread(_read_file, Path(source.url))
            return body
        if source.query:
            fetch = self._fetcher.post_json(source.url, {"query": source.query}, max_body=MAX_LIST)
        else:
            fetch = self._fetcher.get(source.url, accept="application/json, text/plain", max_body=MAX_LIST)
        self._fetches.add(fetch)
        try:
            return (await fetch).body
        except CancelledError:
            raise FetchFailed("the relay is stopping") from None
        finally:
            self._fetches.discard(fetch)

    async def _known(self) -> set[str]:
        known: set[str] = set()
        after = ""
        while page := await self._nodes.page(after, _CHUNK):
            known.update(node.host for node in page)
            after = page[-1].host
        return known

    async def _enter(self, source: NodeList, listing: NodeListing, known: set[str], room: int) -> str:
        """
        Make the hosts of a list known.

        @param known: what was known before; new hosts are added.
        @param room: how many may be new.
        @return: what came of it, in one line.
        """
        now = self._now()
        new = [host for host in listing.hosts if host not in known and host != self._own_host]
        left_out = set(new[room:])
        entered = [host for host in listing.hosts if host not in left_out and host != self._own_host]
        for start in range(0, len(entered), _CHUNK):
            await self._nodes.listed(source.name, {host: self._first_poll(now) for host in entered[start : start + _CHUNK]}, now)
        known.update(new[:room])
        line = f"{counted(len(entered), 'host')}, {len(new) - len(left_out)} new"
        if listing.dropped:
            line += f"; entries passed over: {listing.dropped}"
        if left_out:
            line += f"; new hosts left out: {len(left_out)}, because polling.max_nodes is {self.config.max_nodes}"
        self._log.info("The node list {source} was read: {reason}", source=source.name, reason=line, count=len(entered))
        return line

    def _first_poll(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.config.candidate_interval * self._chance())


def _read_file(path: Path) -> bytes:
    """@raise FetchFailed: it cannot be read."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_LIST + 1)
    except OSError as error:
        raise FetchFailed(f"{path}: {error.strerror}") from error
    if len(body) > MAX_LIST:
        raise FetchFailed(f"{path}: longer than {MAX_LIST} bytes")
    return body


def _marker(source: NodeList) -> str:
    return f"list:fetched:{source.name}"


_conforms: type[Lists] = NodeDirectory

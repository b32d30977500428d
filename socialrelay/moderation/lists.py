"""The lists of rules that the configuration subscribes to: fetched at start, now and then, and at the operator's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from socialrelay.boundaries import Document, Fetcher, FetchFailed, Rules, RuleSet, Unavailable
from socialrelay.coalesce import Coalescing
from socialrelay.config import Moderation, RuleList
from socialrelay.moderation.formats import MAX_LIST, BadList
from socialrelay.moderation.importing import Importer, Shrunk, Taken
from socialrelay.words import shown_url

ROUND = 60.0
"""Seconds between two looks at which lists are due."""
RETRY = timedelta(hours=1)
"""A list that could not be taken over is fetched again after so long, or after its interval if that is shorter."""
BY_ITSELF = "the relay"
"""In whose name lists are fetched without being asked to."""


@frozen
class Fetched:
    """
    What came of fetching a list.

    @ivar fault: why it was not taken over, in one line; its rules stay as they were.
    @ivar shrunk: because it had lost more than half of its entries.
    """

    name: str
    taken: Taken | None
    fault: str = ""
    shrunk: bool = False


class RuleLists:
    """
    Fetches lists.  One that fails changes nothing: its rules stay.

    @ivar faults: name -> why the last attempt to fetch a list failed; empty if it did not. Since the start of the process.
    @ivar _due: name -> when a list is to be fetched again; one that was not fetched by this process is due.
    """

    _log = Logger()

    def __init__(
        self,
        config: Moderation,
        fetcher: Fetcher,
        rules: Rules,
        importer: Importer,
        now: Callable[[], datetime],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """@param in_thread: runs a blocking function outside the reactor's thread."""
        self._config = config
        self._fetcher = fetcher
        self._rules = rules
        self._importer = importer
        self._now = now
        self._in_thread = in_thread
        self.faults: dict[str, str] = {}
        self._due: dict[str, datetime] = {}
        self._work: Coalescing[list[Fetched]] = Coalescing(works=100, waiters=1000)
        self._fetches: set[Deferred[Document]] = set()
        self._told_orphans = False
        self._stopping = False

    @property
    def configured(self) -> tuple[RuleList, ...]:
        """The lists of the configuration."""
        return self._config.lists

    def adjust(self, config: Moderation) -> None:
        """Subscribe to other lists, or fetch them at other times."""
        self._config = config
        named = {each.name for each in config.lists}
        self.faults = {name: fault for name, fault in self.faults.items() if name in named}

    def fetch_soon(self) -> None:
        """All lists are due with the next round."""
        self._due.clear()
        self._told_orphans = False

    def fetch(self, name: str = "", *, who: str, anyway: bool = False) -> Deferred[list[Fetched]]:
        """
        Fetch a list of the configuration now; all of them if none is named.

        @param anyway: take it over also if it has lost more than half of its entries.
        @raise Unavailable: storage cannot be reached.
        """
        chosen = [each for each in self._config.lists if name in ("", each.name)]
        return self._work.ask(f"{name} {anyway} {who}", lambda: self._fetch(chosen, who, anyway))

    async def read(self, url: str) -> bytes:
        """
        A list from the web.

        @raise FetchFailed: it cannot be had.
        """
        fetch = self._fetcher.get(url, accept="text/csv, text/plain", max_body=MAX_LIST)
        self._fetches.add(fetch)
        try:
            return (await fetch).body
        except CancelledError:
            raise FetchFailed("the relay is stopping") from None
        finally:
            self._fetches.discard(fetch)

    async def round(self) -> None:
        """Fetch what is due; while storage is away, later."""
        now = self._now()
        due = [each for each in self._config.lists if self._due.get(each.name, now) <= now]
        try:
            if not self._told_orphans:
                await self._tell_orphans()
            if due:
                await self._work.ask("due", lambda: self._fetch(due, BY_ITSELF, anyway=False))
        except Unavailable as reason:
            self._log.debug("The lists of rules cannot be taken over now: {reason}", reason=str(reason))

    def recall(self) -> None:
        """The clock was put back: all are due."""
        self._due.clear()

    def stop(self) -> Deferred[None]:
        """@return: fires when nothing is under way."""
        self._stopping = True
        for fetch in list(self._fetches):
            fetch.cancel()
        return self._work.idle()

    async def _fetch(self, sources: Sequence[RuleList], who: str, anyway: bool) -> list[Fetched]:
        return [await self._fetch_one(source, who, anyway) for source in sources]

    async def _fetch_one(self, source: RuleList, who: str, anyway: bool) -> Fetched:
        interval = timedelta(seconds=self._config.interval)
        self._due[source.name] = self._now() + min(RETRY, interval)
        try:
            body = await (self.read(source.url) if "://" in source.url else self._in_thread(_read_file, Path(source.url)))
            taken = await self._importer.take_over(
                body, name=source.name, source=shown_url(source.url), action=source.action, who=who, guarded=not anyway, empty=True
            )
        except (FetchFailed, BadList) as error:
            if self._stopping:
                return Fetched(source.name, None, str(error))
            self.faults[source.name] = str(error)
            await self._rules.failed(RuleSet(source.name, shown_url(source.url), source.action, None, "", self._now(), str(error)))
            self._log.warn("The list {name} was not taken over, its rules stay as they were: {reason}", name=source.name, reason=str(error))
            return Fetched(source.name, None, str(error), isinstance(error, Shrunk))
        self._due[source.name] = self._now() + interval
        self.faults[source.name] = ""
        return Fetched(source.name, taken)

    async def _tell_orphans(self) -> None:
        """Lists that were in the configuration once still count, and nobody fetches them."""
        names = {each.name for each in self._config.lists}
        for each in await self._rules.sets():
            if each.fetched_by == BY_ITSELF and each.name not in names:
                self._log.warn(
                    "The list {name} is not in moderation.lists any more; its rules stay until `socialrelay rules remove {name}`: {count}.",
                    name=each.name,
                    count=each.count,
                )
        self._told_orphans = True


def _read_file(path: Path) -> bytes:
    """@raise FetchFailed: it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_LIST + 1)
    except OSError as error:
        raise FetchFailed(f"{path}: {error.strerror}") from error

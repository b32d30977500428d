"""Taking over a list: read it, compare it with what is in force of it, store it, act on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from socialrelay.boundaries import Changes, Rules, RuleSet
from socialrelay.moderation.formats import BadList, Listing, read_rules

KEEPS = 0.5
"""A list that is fetched and has less than this part of its entries left is suspicious: it is taken over at the operator's word."""


class Shrunk(BadList):
    """The list has lost more than half of its entries; nothing was changed. The message says so in one line."""


@frozen
class Taken:
    """
    What came of a list.

    @ivar changes: as they were made, or would be.
    """

    listing: Listing
    changes: Changes


class Importer:
    """Takes lists over, one at a time."""

    _log = Logger()

    def __init__(
        self,
        rules: Rules,
        rules_changed: Callable[[], Deferred[None]],
        *,
        own_host: str,
        tag_key: Callable[[str], str],
        in_thread: Callable[..., Deferred[Any]],
        now: Callable[[], datetime],
    ) -> None:
        """
        @param rules_changed: has the rules read anew and acted upon.
        @param own_host: the relay's, which no list can name.
        @param in_thread: runs a blocking function outside the reactor's thread.
        """
        self._rules = rules
        self._rules_changed = rules_changed
        self._own_host = own_host
        self._tag_key = tag_key
        self._in_thread = in_thread
        self._now = now
        self._one_at_a_time = DeferredLock()

    def take_over(
        self,
        body: bytes,
        *,
        name: str,
        source: str,
        action: str,
        who: str,
        dry_run: bool = False,
        guarded: bool = False,
        empty: bool = False,
    ) -> Deferred[Taken]:
        """
        Make the rules of a list what a document says.

        @param name: of the list.
        @param source: the URL or file that it came from.
        @param action: of entries that do not say it.
        @param dry_run: only find out what would change.
        @param guarded: refuse it if it has lost more than half of its entries.
        @param empty: it may be empty.
        @raise BadList: it is no list, or names nobody; nothing was changed.
        @raise Shrunk: likewise, if C{guarded}.
        @raise Unavailable: it is not known to be stored, or not acted upon; do it again.
        """

        def work() -> Deferred[Taken]:
            return Deferred.fromCoroutine(self._take_over(body, RuleSet(name, source, action, now, who, now), dry_run, guarded, empty))

        now = self._now()
        return self._one_at_a_time.run(work)

    async def _take_over(self, body: bytes, taken: RuleSet, dry_run: bool, guarded: bool, empty: bool) -> Taken:
        name, action = taken.name, taken.action
        listing = await self._in_thread(lambda: read_rules(body, action=action, tag_key=self._tag_key, own_host=self._own_host))
        if not listing.entries and (listing.unusable or not empty):
            raise BadList("it names nobody who could be blocked")
        if guarded:
            await self._guard(name, len(listing.entries))
        if dry_run:
            return Taken(listing, await self._rules.compare(name, listing.entries))
        changes = await self._rules.replace(taken, listing.entries)
        self._log.info(
            "The list {name} was taken over: {new} new, {removed} removed, {unchanged} unchanged.",
            name=name,
            new=changes.new,
            removed=changes.removed,
            unchanged=changes.unchanged + changes.changed,
        )
        await self._rules_changed()
        return Taken(listing, changes)

    async def _guard(self, name: str, now: int) -> None:
        before = next((each.count for each in await self._rules.sets() if each.name == name), 0)
        if now < before * KEEPS or (before and not now):
            raise Shrunk(f"it had {before} entries and has {now} now; `socialrelay rules fetch {name} --anyway` takes it over")

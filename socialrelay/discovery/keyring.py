"""
Public keys of authors: from memory, from storage, from the author's node.

Everybody may name any author, so a look-up costs strangers' nodes something: look-ups for one author are joined, those at one host are
limited, what failed is not tried again soon, and only a bounded number is under way.  Figures: C{docs/protocol.md}, "Author keys".

Ages are taken without their sign: what a clock that was ahead for a while has stored is old, not young for years.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import islice

from attrs import define, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import Cache, FetchFailed, HeldKey, Keyring, KeyUnavailable, Profiles, Unavailable
from socialrelay.bounds import Bound, bound_of
from socialrelay.coalesce import Coalescing, Crowded
from socialrelay.config import Discovery, Memory
from socialrelay.diaspora.handle import authority_of, port_of
from socialrelay.diaspora.keys import BadKey, pem_of, read_public_key
from socialrelay.discovery.lookup import KeyLookup, NoKey
from socialrelay.discovery.refusals import Refusal, Refusals
from socialrelay.ratelimit import Lru, TokenBuckets
from socialrelay.routing.hosts import host_of, within

REFRESH_APART = timedelta(hours=1)
LOOKUPS_PER_HOST = 1.0
LOOKUP_BURST = 10
SOON = timedelta(seconds=15)
"""When to ask again if there was only no room."""
FLUSH = 600.0
"""Seconds between two L{DiscoveringKeyring.flush}."""
LOOKUPS_PER_SLOT = 8
"""So many look-ups may be begun for each document that may be fetched at a time; the rest is told to come again."""

_UNUSABLE_STATUSES = frozenset(range(400, 500)) - {408, 425, 429}
_HOST_STATUSES = frozenset({None, 408, 425, 429, 502, 503, 504})
"""Failures that are the host's, whichever author was asked for."""


@define
class _Entry:
    """
    A key in memory.

    @ivar noted: the last day on which its use was noted.
    """

    held: HeldKey
    noted: date | None = None


@frozen
class _Attempt:
    """
    When an author's node was last asked.

    @ivar reached: it answered.
    """

    at: datetime
    reached: bool


class DiscoveringKeyring:
    """
    L{Keyring} over a store, a cache and the authors' nodes.

    @ivar config: how keys are looked for.
    @ivar results: what look-ups came to, and how often: C{stored}, C{found}, C{none}, C{failed}, or C{not-asked}.
    @see: L{Keyring} for what its methods promise.
    """

    _log = Logger()

    def __init__(
        self,
        lookup: KeyLookup,
        profiles: Profiles,
        cache: Cache,
        clock: IReactorTime,
        now: Callable[[], datetime],
        config: Discovery,
        blocked: Callable[[str], bool],
        memory: Memory = Memory(),
    ) -> None:
        """
        @param clock: for durations.
        @param now: the time to store and show.
        @param blocked: whether nothing is to be fetched from a host.
        """
        self._lookup = lookup
        self._profiles = profiles
        self._clock = clock
        self._now = now
        self.config = config
        self._blocked = blocked
        self._given: dict[str, HeldKey] = {}
        self._memory: Lru[str, _Entry] = Lru(config.keys_in_memory)
        self._attempts: Lru[str, _Attempt] = Lru(config.keys_in_memory)
        self._refusals = Refusals(cache, "key:refused:", memory.key_refusals)
        self._buckets = TokenBuckets(LOOKUPS_PER_HOST, LOOKUP_BURST, memory.key_hosts)
        self._finding: Coalescing[HeldKey] = Coalescing(memory.key_lookups, memory.key_waiters)
        self._refreshing: Coalescing[HeldKey] = Coalescing(memory.key_lookups, memory.key_waiters)
        self._lookups = 0
        self._used: set[str] = set()
        self._not_noted = 0
        self._stopping = False
        self.results: Counter[str] = Counter()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        both = (self._finding, self._refreshing)
        return (
            bound_of("keys", lambda: self._memory),
            bound_of("key-attempts", lambda: self._attempts),
            bound_of("key-refusals", lambda: self._refusals.memory),
            bound_of("key-hosts", lambda: self._buckets),
            Bound("key-uses", lambda: len(self._used), lambda: self._memory.limit, lambda: self._not_noted),
            Bound(
                "key-lookups",
                lambda: sum(len(each) for each in both),
                lambda: sum(each.limit for each in both),
                lambda: sum(each.forgotten for each in both),
            ),
            Bound(
                "key-waiters",
                lambda: sum(each.waiters for each in both),
                lambda: sum(each.waiters_limit for each in both),
                lambda: sum(each.turned_away for each in both),
            ),
        )

    @property
    def under_way(self) -> int:
        """Authors' nodes that are being asked."""
        return self._lookups

    # For everybody

    def provide(self, keys: Mapping[str, RSAPublicKey]) -> None:
        """Hold keys that are not discovered, for as long as the process lives."""
        now = self._now()
        self._given.update({handle: HeldKey(key, now) for handle, key in keys.items()})

    def at_hand(self, handle: str) -> HeldKey | None:
        """See L{Keyring.at_hand}. An old key is refreshed behind the caller's back."""
        given = self._given.get(handle)
        if given is not None:
            return given
        entry = self._memory.get(handle)
        if entry is None:
            return None
        now = self._now()
        if entry.noted != now.date():
            if len(self._used) < self._memory.limit:
                entry.noted = now.date()
                self._used.add(handle)
            else:
                self._not_noted += 1
        if abs(now - entry.held.fetched_at) > timedelta(seconds=self.config.key_lifetime):
            self._refresh_in_background(handle, now)
        return entry.held

    def key(self, handle: str) -> Deferred[HeldKey]:
        """See L{Keyring.key}."""
        held = self.at_hand(handle)
        if held is not None:
            return succeed(held)
        return self._finding.ask(handle, lambda: self._find(handle)).addErrback(self._crowded)

    def refresh(self, handle: str) -> Deferred[HeldKey]:
        """See L{Keyring.refresh}. If the node answers that it has no key, that is the held one."""
        given = self._given.get(handle)
        if given is not None:
            return succeed(given)
        return self._refreshing.ask(handle, lambda: self._refresh(handle)).addErrback(self._crowded)

    def forget(self, handle: str) -> Deferred[int]:
        """See L{Keyring.forget}."""
        self._drop(handle)
        return self._profiles.remove(handle)

    def forget_host(self, host: str) -> Deferred[int]:
        """See L{Keyring.forget_host}."""
        for handle in {*self._memory, *self._attempts, *self._used}:
            if within(host_of(handle), host):
                self._drop(handle)
        return self._profiles.remove_host(host)

    def _drop(self, handle: str) -> None:
        self._memory.discard(handle)
        self._attempts.discard(handle)
        self._used.discard(handle)

    # For the service that owns it

    async def flush(self) -> None:
        """Write down whose keys were used today. What cannot be written now is kept for the next time."""
        if not self._used:
            return
        used, self._used = self._used, set()
        try:
            await self._profiles.used(used, self._now().date())
        except Unavailable:
            self._used.update(islice(used, max(0, self._memory.limit - len(self._used))))

    async def stop(self) -> None:
        """Give up look-ups, wait until nothing is under way, and write what is to be written."""
        self._stopping = True
        self._lookup.cancel()
        await self._finding.idle()
        await self._refreshing.idle()
        await self.flush()

    # How it is done

    async def _find(self, handle: str) -> HeldKey:
        held = await self._stored(handle)
        return held if held is not None else await self._discover(handle)

    async def _refresh(self, handle: str) -> HeldKey:
        entry = self._memory.get(handle)
        held = entry.held if entry is not None else await self._stored(handle)
        if held is None:
            return await self.key(handle)
        now = self._now()
        if abs(now - held.fetched_at) < REFRESH_APART:
            return held
        attempt = self._attempts.get(handle)
        if attempt is not None and abs(now - attempt.at) < REFRESH_APART:
            if attempt.reached:
                return held
            raise KeyUnavailable(f"the key of {handle} was asked for in vain within the last hour", attempt.at + REFRESH_APART)
        try:
            return await self._discover(handle)
        except KeyUnavailable:
            attempt = self._attempts.get(handle)
            if attempt is not None and attempt.at >= now and attempt.reached:
                return held
            raise

    def _refresh_in_background(self, handle: str, now: datetime) -> None:
        attempt = self._attempts.get(handle)
        if handle in self._refreshing or (attempt is not None and abs(now - attempt.at) < REFRESH_APART):
            return
        self.refresh(handle).addErrback(self._not_refreshed, handle)

    def _not_refreshed(self, failure: Failure, handle: str) -> None:
        if failure.check(KeyUnavailable):
            self._log.debug("{handle} keeps its old key: {reason}", handle=handle, reason=failure.getErrorMessage())
        else:
            self._log.failure("The key of {handle} was not refreshed", failure, handle=handle)

    async def _stored(self, handle: str) -> HeldKey | None:
        """From storage into memory."""
        try:
            row = await self._profiles.get(handle)
        except Unavailable as error:
            raise KeyUnavailable("the store of keys cannot be asked now", self._now() + SOON) from error
        if row is None:
            return None
        try:
            held = HeldKey(read_public_key(row[0]), row[1])
        except BadKey:  # a later version may be stricter than the one that stored it
            return None
        self.results["stored"] += 1
        self._memory[handle] = _Entry(held)
        return self.at_hand(handle)

    async def _discover(self, handle: str) -> HeldKey:
        """
        From the author's node into memory and storage.

        @raise KeyUnavailable: it may not be asked, or was asked in vain.
        """
        try:
            await self._admit(handle)
        except KeyUnavailable:
            self.results["not-asked"] += 1
            raise
        self._lookups += 1
        try:
            key = await self._lookup.find(handle)
        except (NoKey, FetchFailed) as error:
            raise await self._in_vain(handle, error) from error
        except CancelledError as error:
            raise KeyUnavailable("the relay is stopping", self._now() + SOON) from error
        finally:
            self._lookups -= 1
        self.results["found"] += 1
        now = self._now()
        self._attempts[handle] = _Attempt(now, reached=True)
        held = HeldKey(key, now)
        self._memory[handle] = _Entry(held, now.date())
        try:
            await self._profiles.put(handle, pem_of(key), now)
        except Unavailable:
            self._log.debug("The key of {handle} is kept in memory only: storage cannot be reached", handle=handle)
        await self._refusals.clear(handle)
        await self._refusals.clear(authority_of(handle))
        return held

    async def _admit(self, handle: str) -> None:
        """@raise KeyUnavailable: the author's node is not to be asked now."""
        now, host = self._now(), host_of(handle)
        if self._blocked(host):
            raise KeyUnavailable(f"{host} is blocked", now + REFRESH_APART)
        if port_of(handle) not in self.config.ports:
            raise KeyUnavailable(f"{handle} names a port that discovery.ports does not allow", now + REFRESH_APART)
        for subject in (handle, authority_of(handle)):
            refusal = await self._refusals.standing(subject, now)
            if refusal is not None:
                raise KeyUnavailable(refusal.reason, refusal.until, hopeless=refusal.answered)
        if self._stopping or self._lookups >= self.config.concurrency * LOOKUPS_PER_SLOT:
            raise KeyUnavailable("too many keys are being looked for", now + SOON)
        wait = self._buckets.take(host, self._clock.seconds())
        if wait:
            raise KeyUnavailable(f"too many keys are asked of {host}", now + timedelta(seconds=wait))

    async def _in_vain(self, handle: str, error: NoKey | FetchFailed) -> KeyUnavailable:
        """Remember a look-up that failed, and make the exception that tells of it."""
        now = self._now()
        refusal: Refusal
        if isinstance(error, NoKey) or error.status in _UNUSABLE_STATUSES:
            self.results["none"] += 1
            self._attempts[handle] = _Attempt(now, reached=True)
            refusal = await self._refusals.unusable(handle, str(error), now)
        else:
            self.results["failed"] += 1
            self._attempts[handle] = _Attempt(now, reached=False)
            subject = authority_of(handle) if error.status in _HOST_STATUSES else handle
            refusal = await self._refusals.failed(subject, str(error), now, error.retry_after)
        self._log.debug("No key of {handle}: {reason}", handle=handle, reason=refusal.reason)
        return KeyUnavailable(refusal.reason, refusal.until, hopeless=refusal.answered)

    def _crowded(self, failure: Failure) -> HeldKey:
        failure.trap(Crowded)
        raise KeyUnavailable("too many keys are being waited for", self._now() + SOON)


_conforms: type[Keyring] = DiscoveringKeyring

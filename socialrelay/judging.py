"""
Bodies that were acknowledged before they could be judged: each is judged as soon as its author's key can be had.

A row of C{incoming} is claimed before it is touched, and the claim counts as an attempt: a body that makes the process die is found by the
next process with its attempts spent, and goes to quarantine.  Waiting for a key is no failed attempt.

Many are in hand at a time, and when the process dies an attempt of each of them counts.  So those that were tried before are tried one
after another: if one of them kills the process again, that counts for no other of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.authors import Authors
from socialrelay.boundaries import Full, HeldKey, Incoming, Keyring, KeyUnavailable, PostLog, Unavailable, Waiting
from socialrelay.digest import digest_of
from socialrelay.federation import FederationProtocol, NotAnEnvelope, PrivateProtocol, Refused, Ruling, Sealed, Verdict, Wish
from socialrelay.quota import ClientQuota
from socialrelay.relay import KEY_IS_FRESH, Relay
from socialrelay.rounds import Rounds
from socialrelay.services import reason_of

ATTEMPTS = 3
CLAIM = timedelta(minutes=10)
"""A claimed row is due again after so long, should its claim be forgotten; at the next start of the relay at the latest."""
KEYLESS = timedelta(hours=24)
KEYLESS_HERE = timedelta(hours=1)
KEYLESS_AT_LAST = timedelta(days=3)
"""
A day without a key is one of a relay that runs: after a stop, or a step of the clock, the age of a body says less.  So only one of three
days is given up by a relay that has looked for its key for no longer than an hour.
"""
AT_ONCE = 64
EVERY = 2.0
RETRY = timedelta(seconds=30)


class Judge:
    """
    Empties C{incoming}, at most L{AT_ONCE} bodies at a time, and one of those that were tried before.

    @ivar rounds: how often it looks for what waits.
    @ivar _suspect: such a one is in hand.
    @ivar _unreturned: rows that could not be put off while storage was away, and until when: that was no failed attempt.
    @ivar on_cancelled: told of positions whose author wishes no more to be relayed.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        now: Callable[[], datetime],
        incoming: Incoming,
        keyring: Keyring,
        relay: Relay,
        protocol: FederationProtocol,
        private: PrivateProtocol,
        authors: Authors,
        log: PostLog,
        quota: ClientQuota,
        on_cancelled: Callable[[list[int], str], None],
    ) -> None:
        self._clock = clock
        self._now = now
        self._incoming = incoming
        self._keyring = keyring
        self._relay = relay
        self._protocol = protocol
        self._private = private
        self._authors = authors
        self._posts = log
        self._quota = quota
        self._on_cancelled = on_cancelled
        self.rounds = Rounds("judging", EVERY, clock.seconds)
        self._running = False
        self._began = clock.seconds()
        self._recovered = False
        self._again = False
        self._suspect = False
        self._claiming: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._judging: set[Deferred[None]] = set()
        self._unreturned: dict[int, datetime] = {}
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Begin with what waits from before."""
        self._running = True
        self._began = self._clock.seconds()
        self.rounds.begun()
        self.poke()

    async def stop(self) -> None:
        """Claim nothing more and finish what was begun."""
        self._running = False
        self.rounds.stopped()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._judging or self._claiming is not None:
            self._stopped = Deferred()
            await self._stopped

    def recall(self) -> None:
        """The clock has stepped: what was put off may be put off for years, and nothing is as old as it seems."""
        self._recovered = False
        self._began = self._clock.seconds()
        self.poke()

    def poke(self) -> None:
        """There is something new."""
        self._again = True
        if self._running and self._claiming is None and len(self._judging) < AT_ONCE:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._timer = None
            self._again = False
            claiming = self._claiming = Deferred.fromCoroutine(self._claim())
            claiming.addCallbacks(lambda _: self.rounds.went_well(), self._not_claimed)
            claiming.addBoth(self._claimed)

    async def _claim(self) -> None:
        now = self._now()
        if not (self._recovered or self._judging):  # the process before may have been killed with rows in its hands
            await self._incoming.recover(now)
            self._recovered = True
        for id, until in list(self._unreturned.items()):
            await self._put_off(id, until)
            del self._unreturned[id]
        room = AT_ONCE - len(self._judging)
        rows = await self._incoming.claim(now, now + CLAIM, room, 0 if self._suspect else 1)
        self._again = self._again or sum(row.attempts == 1 for row in rows) == room
        for row in rows:
            self._begin(row)

    def _not_claimed(self, failure: Failure) -> None:
        self.rounds.went_wrong(reason_of(failure.value))
        if not failure.check(Unavailable):
            self._log.failure("Claiming failed", failure=failure)

    def _claimed(self, _: object) -> None:
        self._claiming = None
        self._rest()

    def _begin(self, row: Waiting) -> None:
        self._suspect = self._suspect or row.attempts > 1
        work = Deferred.fromCoroutine(self._judge_row(row))
        self._judging.add(work)
        work.addBoth(self._judged, row, work)

    def _judged(self, result: object, row: Waiting, work: Deferred[None]) -> None:
        self._judging.discard(work)
        if row.attempts > 1:
            self._suspect, self._again = False, True  # there may be another
        if isinstance(result, Failure):
            self._log.failure("Judging {post} of {handle} failed", failure=result, post=digest_of(row.body), id=row.id, handle=row.sender)
        self._rest()

    def _rest(self) -> None:
        """Go on at once if there is a reason to, else look again in a while."""
        if not self._running:
            if self._stopped is not None and not self._judging and self._claiming is None:
                stopped, self._stopped = self._stopped, None
                stopped.callback(None)
        elif self._again:
            self.poke()
        elif self._timer is None and self._claiming is None:
            self._timer = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        self.poke()

    async def _judge_row(self, row: Waiting) -> None:
        """Judge one body; whatever goes wrong with it stays with it."""
        if row.attempts > ATTEMPTS:
            await self._quarantine(row, "judging it never came to an end")
            return
        try:
            over = await (self._judge_private(row) if row.private else self._judge_public(row))
        except (Unavailable, Full):
            await self._postpone(row, self._now() + RETRY)
        except Exception as error:  # a body that breaks the judge is put aside, not tried for ever
            self._log.failure("Judging {post} of {handle} failed", post=digest_of(row.body), id=row.id, handle=row.sender)
            if row.attempts >= ATTEMPTS:
                await self._quarantine(row, f"{type(error).__name__} while it was judged")
        else:
            if over:
                self._quota.released(row.id)

    async def _judge_public(self, row: Waiting) -> bool:
        try:
            sealed = self._protocol.open(row.body)
        except (Refused, NotAnEnvelope) as refused:
            self._relay.news.refused(refused.reason, row.sender, body=row.body)
            await self._incoming.finish([row.id])
            return True
        key = await self._key(row, sealed)
        if key is None:
            return False
        verdict = await self._relay.judge(sealed, key.key)
        if verdict.reason == "bad-signature" and self._now() - key.fetched_at > KEY_IS_FRESH:
            fresh = await self._refreshed(sealed, key)
            verdict = await self._relay.judge(sealed, fresh.key)
        await self._relay.settle(sealed, verdict, row.received_at, row.id)
        return True

    async def _judge_private(self, row: Waiting) -> bool:
        try:
            sealed = self._private.open(row.body)
        except Refused as refused:
            self._relay.news.refused(refused.reason, refused.sender)
            await self._incoming.finish([row.id])
            return True
        if self._authors.refuses(sealed.sender) == "blocked":
            self._relay.news.ignored(Verdict(Ruling.IGNORE, "blocked", author=sealed.sender))
            await self._incoming.finish([row.id])
            return True
        key = await self._key(row, sealed)
        if key is None:
            return False
        judged = self._private.judge(sealed, key.key)
        if isinstance(judged, Wish):
            await self._obey(judged)
        elif judged.ruling is Ruling.REJECT:
            self._relay.news.refused(judged.reason, sealed.sender, judged)
        else:
            self._relay.news.ignored(judged)
        await self._incoming.finish([row.id])
        return True

    async def _obey(self, wish: Wish) -> None:
        """An author's wish counts at once, also for what is queued."""
        news = await self._authors.wish(wish.author, wish.wishes)
        if news and not wish.wishes:
            self._on_cancelled(await self._posts.cancel(authors=[wish.author]), "its author wishes no more to be relayed")

    async def _key(self, row: Waiting, sealed: Sealed) -> HeldKey | None:
        """The key that must verify it; C{None} if the row waits for it, or was given up."""
        try:
            return await self._keyring.key(sealed.sender)
        except KeyUnavailable as missing:
            if self._now() >= self._given_up_at(row):
                self._relay.news.refused("unknown-key", sealed.sender, body=row.body)
                await self._incoming.finish([row.id])
                self._quota.released(row.id)
            else:
                await self._postpone(row, min(missing.retry_at, self._given_up_at(row)), missing.hopeless)
            return None

    def _given_up_at(self, row: Waiting) -> datetime:
        """When its key will have been missing for too long."""
        began = self._now() - timedelta(seconds=self._clock.seconds() - self._began)
        soonest = min(began + KEYLESS, max(row.received_at + KEYLESS_AT_LAST, began + KEYLESS_HERE))
        return max(row.received_at + KEYLESS, soonest)

    async def _refreshed(self, sealed: Sealed, key: HeldKey) -> HeldKey:
        """The key as it is published now; the one at hand if that cannot be learned."""
        try:
            return await self._keyring.refresh(sealed.sender)
        except KeyUnavailable:
            return key

    async def _postpone(self, row: Waiting, until: datetime, hopeless: bool = False) -> None:
        until = max(until, self._now() + timedelta(seconds=1))
        try:
            await self._put_off(row.id, until, hopeless)
        except Unavailable:
            self._unreturned[row.id] = until
            self._log.debug("{id} stays claimed: storage is away.", id=row.id)

    async def _put_off(self, id: int, until: datetime, hopeless: bool = False) -> None:
        if not await self._incoming.postpone(id, until, hopeless):
            self._quota.released(id)  # it was over after all, when a statement's outcome was not known

    async def _quarantine(self, row: Waiting, reason: str) -> None:
        self._log.warn(
            "{post} of {handle} is put aside: {reason}.",
            post=digest_of(row.body),
            id=row.id,
            handle=row.sender or "somebody",
            reason=reason,
        )
        try:
            await self._incoming.quarantine(row.id, reason, self._now())
        except Unavailable:
            self._unreturned[row.id] = self._now()
        else:
            self._quota.released(row.id)

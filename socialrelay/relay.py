"""
The way of a post: opened, verified, routed, kept, and only then acknowledged.

::

    accept ── the author's key is at hand ──▶ judge ──▶ publish ──▶ 202
       └───── it is not ──▶ keep in `incoming` ──▶ 202, and later: judge ──▶ publish   (L{socialrelay.judging})

A retraction goes the same way, to whoever may have got what it takes back (L{socialrelay.retractions}).

Only a verified post occupies an identity in the log, so that a forged one can never keep a genuine one out.  Nothing is acknowledged that
is not durable: a sender that is told 503 comes again for hours, and is the best spool there is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Protocol

from attrs import define, evolve
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from socialrelay.authors import Authors
from socialrelay.boundaries import (
    Arrival,
    Full,
    HostFull,
    Incoming,
    Keyring,
    LogEntry,
    PostLog,
    Publication,
    Unavailable,
)
from socialrelay.config import Memory
from socialrelay.digest import digest_of
from socialrelay.erasure import Erasure
from socialrelay.federation import FederationProtocol, NotAnEnvelope, Refused, Ruling, Sealed, Verdict
from socialrelay.inhand import InHand
from socialrelay.intake_news import IntakeNews
from socialrelay.moderation.hourly import HourlyLimits
from socialrelay.quota import ClientQuota, place_of
from socialrelay.retractions import Holding, Retractions
from socialrelay.routing.hosts import host_of
from socialrelay.statistics import OTHER, Tally

LARGE = 65536
"""Bytes from which on a body is judged in a thread."""

LARGEST_PRIVATE = 65536
"""Bytes of a message to the relay. What it says fits into four thousand; the rest is of no interest, and expensive to read."""

BAD_SIGNATURE = "bad-signature"
"""Why a verdict rejects a body that the key does not verify."""

ACCOUNT_ENDS = "account"
"""Why a verdict ignores a body which says that its author's account is deleted or moves: the key is of no more use."""

ACCOUNT_DELETED = "account_deletion"
"""The kind of such a body that says it is deleted: what is known of the author goes at once."""

KEY_IS_FRESH = timedelta(hours=1)
"""A key that was fetched so lately is not doubted because of a bad signature."""


@define(eq=False)
class Verified:
    """
    What there was since the start.

    @ivar good: signatures that fit.
    @ivar in_thread: bodies that were judged in a thread.
    @ivar key_at_hand: bodies whose author's key was in memory when they came.
    @ivar key_missing: those for which it was not.
    """

    good: int = 0
    bad: int = 0
    in_thread: int = 0
    key_at_hand: int = 0
    key_missing: int = 0


class Queue(Holding, Protocol):
    """Where published posts go (L{socialrelay.delivery.dispatcher.Dispatcher})."""

    def published(self, entry: LogEntry, recipients: AbstractSet[int], body: bytes) -> None: ...
    def uncertain(self) -> None: ...
    def alive(self, host: str, reopen: bool = False) -> None: ...


class Relay:
    """
    Takes bodies in and brings verified posts into the log and to the queue.

    @ivar verified: what was checked, counted.
    @ivar news: told of what became of each body.
    @ivar on_kept: called when something was put into C{incoming}; set by whoever judges it.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        protocol: FederationProtocol,
        keyring: Keyring,
        log: PostLog,
        incoming: Incoming,
        queue: Queue,
        authors: Authors,
        recipients: Callable[[frozenset[str], str], AbstractSet[int]],
        erasure: Erasure,
        tally: Tally,
        news: IntakeNews,
        quota: ClientQuota,
        hourly: HourlyLimits,
        in_thread: Callable[..., Deferred[Verdict]],
        now: Callable[[], datetime],
        retractions: int = Memory().retractions,
    ) -> None:
        """@param retractions: how many may wait until their posts are written."""
        self._protocol = protocol
        self._keyring = keyring
        self._posts = log
        self._incoming = incoming
        self._queue = queue
        self._authors = authors
        self._recipients = recipients
        self._erasure = erasure
        self.publishing = InHand(retractions)
        self._retractions = Retractions(log, queue, self.publishing, self._write, self._admit)
        self._tally = tally
        self.news = news
        self._quota = quota
        self._hourly = hourly
        self._in_thread = in_thread
        self._now = now
        self.verified = Verified()
        self.on_kept: Callable[[], None] = lambda: None

    # The front door: boundaries.Intake

    def accept(self, body: bytes, client: str) -> Deferred[None]:
        """Take a public envelope."""
        return Deferred.fromCoroutine(self._accept(body, client))

    def accept_private(self, body: bytes, client: str) -> Deferred[None]:
        """Take a message to the relay itself."""
        if len(body) > LARGEST_PRIVATE:
            self.news.ignored(Verdict(Ruling.IGNORE, "private-only"))
            return succeed(None)
        arrival = Arrival(self._now(), self._protocol.name, True, "", place_of(client), body)
        return Deferred.fromCoroutine(self._keep(arrival, client))

    async def _accept(self, body: bytes, client: str) -> None:
        received_at = self._now()
        try:
            sealed = self._protocol.open(body)
        except NotAnEnvelope as error:
            self.news.not_understood(error.reason)
            raise
        except Refused as refused:
            self.news.refused(refused.reason, refused.sender, body=body)
            return
        unwanted = "" if sealed.recalls else self._authors.refuses(sealed.sender)
        held = None if unwanted else self._keyring.at_hand(sealed.sender)
        # Anybody may write any host into an envelope, and each that is counted is a row that stays for a year.
        self._tally.count("received", OTHER if held is None else host_of(sealed.sender))
        if unwanted:
            self.news.ignored(Verdict(Ruling.IGNORE, unwanted, author=sealed.sender))
            return
        if held is None:
            self.verified.key_missing += 1
        else:
            self.verified.key_at_hand += 1
            try:
                verdict = await self.judge(sealed, held.key)
                if not (verdict.reason == BAD_SIGNATURE and received_at - held.fetched_at > KEY_IS_FRESH):
                    await self.settle(sealed, verdict, received_at)
                    return
            except (Unavailable, Full):
                raise
            except Exception:  # a bug: it is tried again apart, and put aside if it breaks the judge there as well
                self._log.failure("Judging {post} of {handle} failed", post=digest_of(body), handle=sealed.sender)
        sender_host = host_of(sealed.sender)
        await self._keep(Arrival(received_at, self._protocol.name, False, sealed.sender, sender_host, sealed.body), client)

    async def _keep(self, arrival: Arrival, client: str) -> None:
        """Make it durable; it is judged later."""
        if not self._quota.has_room(client, arrival.sender_host, len(arrival.body)):
            self._tally.count("refused", "too much waits from one address")
            raise Full(f"too much of what {client} sent waits to be judged")
        try:
            number = await self._keep_or_make_room(arrival)
        except Full:
            self._tally.count("refused", "too much waits to be judged")
            raise
        if number is not None:
            self._quota.took(client, number, arrival.sender_host, len(arrival.body))
            if not arrival.private:
                self.news.waits(arrival)
            self.on_kept()

    async def _keep_or_make_room(self, arrival: Arrival) -> int | None:
        """Keep it, in place of what its host says is by nobody: made-up authors would else keep real ones out for a day."""
        try:
            return await self._incoming.keep(arrival)
        except HostFull:
            gone = await self._incoming.give_way(arrival.sender_host, len(arrival.body))
            for number, sender in gone.items():
                self._quota.released(number)
                self.news.refused("unknown-key", sender)
            if not gone:
                raise
        return await self._incoming.keep(arrival)

    # Judged

    async def judge(self, sealed: Sealed, key: RSAPublicKey) -> Verdict:
        """Check the signature and read the payload; in a thread if there is much to read."""
        if len(sealed.body) > LARGE:
            self.verified.in_thread += 1
            verdict = await self._in_thread(self._protocol.judge, sealed, key)
        else:
            verdict = self._protocol.judge(sealed, key)
        if verdict.reason == BAD_SIGNATURE:
            self.verified.bad += 1
        else:
            self.verified.good += 1
        return verdict

    async def settle(self, sealed: Sealed, verdict: Verdict, received_at: datetime, incoming: int | None = None) -> None:
        """
        Act on a verdict.

        @param incoming: its row, which is over when this returns.
        @raise Unavailable: it is not known to be done.
        @raise Full: likewise.
        """
        if verdict.ruling is Ruling.REJECT:
            self.news.refused(verdict.reason, sealed.sender, verdict, sealed.body, verified=verdict.reason != BAD_SIGNATURE)
        else:
            self._queue.alive(host_of(verdict.author), reopen=False)
            if verdict.ruling is Ruling.RETRACT:
                await self._take_back(self._publication(sealed, verdict, received_at, incoming), verdict.target)
                return
            unwanted = verdict.reason or self._authors.refuses_post(verdict)
            if not unwanted:
                unwanted = self._hourly.take(verdict.author)
            if not unwanted:
                limited = self._authors.limits(verdict)
                recipients: AbstractSet[int] = frozenset() if limited else self._recipients(verdict.tags, host_of(verdict.author))
                await self._publish(self._publication(sealed, verdict, received_at, incoming, recipients), limited)
                return
            await self._ignore(verdict, unwanted)
        if incoming is not None:
            await self._incoming.finish([incoming])

    async def _ignore(self, verdict: Verdict, reason: str) -> None:
        if verdict.kind == ACCOUNT_DELETED:
            await self._erasure.erase(author=verdict.author)
            verdict = evolve(verdict, author="", guid="")  # nor is that kept
        elif verdict.reason == ACCOUNT_ENDS:
            await self._keyring.forget(verdict.author)
        self.news.ignored(verdict, reason)

    def _publication(
        self, sealed: Sealed, verdict: Verdict, received_at: datetime, incoming: int | None, recipients: AbstractSet[int] = frozenset()
    ) -> Publication:
        """What is to be written; who is to get a retraction is found out later."""
        return Publication(
            received_at=received_at,
            published_at=self._now(),
            protocol=self._protocol.name,
            kind=verdict.kind,
            author=verdict.author,
            author_host=host_of(verdict.author),
            guid=verdict.guid,
            tags=verdict.tags,
            recipients=recipients,
            identities=verdict.identities,
            body=sealed.body,
            incoming=incoming,
            digest=digest_of(sealed.body),
        )

    async def _publish(self, post: Publication, limited: bool) -> None:
        """@param limited: it has no recipients because a rule says so; it occupies its identities all the same."""
        published = False
        try:
            with self.publishing.doing(*post.identities):
                position = await self._write(post)
                if position is None:
                    return
                published = True
                self._admit(position, post)
        finally:
            if not published:
                self._hourly.give_back(post.author)
        if limited:
            self.news.limited(post)
        else:
            self.news.accepted(post)

    async def _write(self, post: Publication) -> int | None:
        """Into the log; C{None} if it is a duplicate."""
        try:
            position = await self._posts.publish(post)
        except Unavailable:
            self._queue.uncertain()
            raise
        if position is None:
            self.news.duplicate(post)
        return position

    def _admit(self, position: int, post: Publication) -> None:
        """To the queue, in the turn in which it was told its position."""
        entry = LogEntry(position, post.author, post.published_at, len(post.body), received_at=post.received_at, digest=post.digest)
        self._queue.published(entry, post.recipients, post.body)
        if post.withdraws is not None:
            self._erasure.taken_back(post.author, post.guid)
            self.news.accepted(post)

    async def _take_back(self, retraction: Publication, target: bytes) -> None:
        """
        Act on a retraction, whoever its author is.

        An operator's block and an author's wish to be relayed no more say what is not to be spread; that a post is to be spread no further
        is in the spirit of both, and whoever has it must learn of it.
        """
        unknown = await self._retractions.obey(retraction, target)
        if unknown:  # without the names, which the author wants to be forgotten
            self.news.ignored(Verdict(Ruling.IGNORE, unknown, retraction.kind))

"""
What an operator may do, whoever carries the wish: the command today, a web page tomorrow.

Every act answers a plain dictionary that holds C{message}: one sentence or two that say what is so now.  Each is logged with who did it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from attrs import asdict, define
from twisted.logger import Logger

from socialrelay.boundaries import (
    LIST_FAILED,
    DestinationStatus,
    Lists,
    ManualSubscription,
    Membership,
    Poller,
    Queue,
    Unavailable,
)
from socialrelay.erasure import Erased
from socialrelay.moderation.subjects import covering
from socialrelay.operators.asked import check_consent, checked_subject, make_known, other_host
from socialrelay.operators.plain import Plain, plain_destination, plain_effective, plain_poll, scope_in_words
from socialrelay.operators.posting import Posting
from socialrelay.operators.repairs import Repairs
from socialrelay.operators.rules import RuleActs
from socialrelay.operators.terms import About, ActError, Stores, checked_host
from socialrelay.routing.subscription import Scope, Subscription
from socialrelay.scheduler.record import State
from socialrelay.words import counted

_GUID = re.compile(r"[A-Za-z0-9_@.:-]{1,255}")


class Eraser(Protocol):
    """Takes out what is known of somebody (L{socialrelay.erasure.Erasure})."""

    async def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Erased: ...


@define(kw_only=True, eq=False)
class Operations:
    """
    The operators' acts.

    @ivar rules: those about rules.
    @ivar posting: the one that brings a post.
    @ivar tag_key: a hashtag without C{#} as subscriptions compare it; empty for what can be none.
    @ivar max_tags: how many tags one subscription may name.
    """

    about: About
    stores: Stores
    membership: Membership
    queue: Queue
    poller: Poller
    lists: Lists
    eraser: Eraser
    rules: RuleActs
    repairs: Repairs
    posting: Posting
    now: Callable[[], datetime]
    tag_key: Callable[[str], str]
    max_tags: Callable[[], int]

    _log = Logger()

    # Subscriptions

    async def subscribe(self, host: str, *, who: str, tags: Sequence[str] = (), everything: bool = False) -> Plain:
        """
        Subscribe a node by hand, from now on; it replaces an earlier manual subscription.

        @param everything: all public posts; else those with one of C{tags}.
        @raise ActError: also if the node publishes that it wants nothing: its consent decides.
        """
        host = self._other_host(host)
        if everything == bool(tags):
            raise ActError("bad-tags", "Say what the node is to get: either tags or all public posts.")
        subscription = Subscription(Scope.ALL) if everything else Subscription(Scope.TAGS, self._tags(tags))
        await check_consent(self.stores.nodes, host)
        await make_known(self.stores.nodes, host, self.now())
        await self.stores.subscriptions.put(ManualSubscription(host, subscription, self.now(), who))
        effective = await self.membership.take_up(host)
        wanted = scope_in_words(subscription.scope, subscription.tags)
        if effective.scope is Scope.NONE:
            message = f"The subscription of {host} to {wanted} is kept, but nothing is sent: {effective.why}."
        else:
            message = f"{host} is subscribed to {scope_in_words(effective.scope, effective.tags)}, from now on, at {effective.url}."
        return self._done(who, "subscribe", host, message, subscription=plain_effective(effective))

    async def unsubscribe(self, host: str, *, who: str) -> Plain:
        """End a manual subscription. What the node publishes about itself stays in force."""
        host = checked_host(host)
        removed = await self.stores.subscriptions.remove(host)
        effective = await self.membership.update(host)
        if not removed and effective.scope is Scope.NONE:
            raise ActError("not-subscribed", f"{host} has no subscription.")
        if not removed:
            forwarded = any(rule.action == "forward" and not rule.ended(self.now()) for rule in await self.stores.rules.about([host]))
            remedy = f"forward {host} --off" if forwarded else f"block {host}"
            raise ActError(
                "not-subscribed",
                f"{host} has no subscription made by hand. It gets {scope_in_words(effective.scope, effective.tags)} nevertheless: "
                f"{effective.why}. `socialrelay {remedy}` would end that.",
            )
        if effective.scope is Scope.NONE:
            message = f"{host} is no longer subscribed, and what was waiting for it is cancelled."
        else:
            still = scope_in_words(effective.scope, effective.tags)
            message = f"The subscription made by hand is gone; {host} still gets {still}: {effective.why}."
        return self._done(who, "unsubscribe", host, message, subscription=plain_effective(effective))

    # Data protection

    async def erase(self, *, who: str, handle: str = "", guid: str = "", host: str = "") -> Plain:
        """
        Take out what is known of an author, of the posts with a guid, or of all authors of a host: C{erased}, what -> how many of it, and
        C{notes}: sentences on what this does not do.  Exactly one of the three is given.
        """
        if sum(map(bool, (handle, guid, host))) != 1:
            raise ActError("bad-request", "Say exactly one: a handle, a guid, or a host.")
        subject = self._erasable(handle, guid, host)
        name = {"author": subject} if handle else {"guid": subject} if guid else {"host": subject}
        try:
            erased = asdict(await self.eraser.erase(**name))
        except Unavailable as error:
            raise ActError("unavailable", "The database went away meanwhile: a part may be erased. Do it again when it is back.") from error
        # Without the name: what is erased would stand in the log.
        kind = "author" if handle else "guid" if guid else "host"
        self._log.info("{who} asked: erase ({kind}). Posts that were erased: {count}.", who=who, kind=kind, count=erased["posts"])
        removed = ", ".join(counted(number, *_ERASED[what]) for what, number in erased.items() if number)
        whom = f"the posts with the guid {subject}" if guid else f"the authors of {subject} and its subdomains" if host else subject
        message = f"What the relay knew of {whom} is erased: {removed}." if removed else f"The relay knows nothing of {whom}."
        return {"message": message, "erased": erased, "notes": await self._left(subject, bool(guid), erased["posts"] > 0)}

    def _erasable(self, handle: str, guid: str, host: str) -> str:
        if guid:
            if not _GUID.fullmatch(guid):
                raise ActError("bad-request", f"{guid[:255]!r} is no guid; it has letters, digits, and -_@.: only.")
            return guid
        if handle and "@" not in handle:
            raise ActError("bad-host", f"{handle[:253]!r} is no handle; one looks like user@host.example. A host is named with --host.")
        return checked_subject(handle, self.about.host, self.tag_key) if handle else self._other_host(host)

    async def _left(self, subject: str, guid: bool, posts: bool) -> list[str]:
        notes = []
        if posts:
            notes += [
                "The digests of the posts stay, so that none of them is relayed when it comes again.",
                "Servers that have the posts already are not told: only a retraction that the author's own server signs can do that.",
            ]
        rules = [] if guid else await self.stores.rules.about(covering(subject))
        blocking = [rule for rule in rules if rule.action == "block" and not rule.ended(self.now())]
        if blocking:
            notes.append(f"New posts stay out: there is a block rule for {blocking[0].subject}.")
        elif not guid:
            notes.append(f"New posts are relayed as before; `socialrelay block {subject}` keeps them out.")
        return notes

    # Nodes

    async def poll(self, host: str, *, who: str) -> Plain:
        """Read a node's preferences now and act on them: C{report} (as L{plain_poll}) and C{subscription}."""
        host = self._other_host(host)
        report = await self.poller.poll(host, "operator")
        effective = self.membership.effective(host)
        if report.preferences is None:
            message = " ".join([f"The preferences of {host} could not be read.", *report.faults[:1]])
        else:
            wants = scope_in_words(report.preferences.scope, report.preferences.tags)
            message = f"{host} wants {wants} and gets {scope_in_words(effective.scope, effective.tags)}."
        return self._done(who, "poll", host, message, report=plain_poll(report), subscription=plain_effective(effective))

    async def lists_fetch(self, *, who: str) -> Plain:
        """Fetch all node lists now: C{lists}, name -> what came of it; C{failed}: the names of those that could not be read."""
        lists = await self.lists.fetch()
        if not lists:
            return self._done(who, "fetch", "lists", "No node list is configured, so none was fetched.", lists={}, failed=[])
        message = "The node list was asked." if len(lists) == 1 else f"{len(lists)} node lists were asked."
        failed = [name for name, result in lists.items() if result.startswith(LIST_FAILED)]
        return self._done(who, "fetch", "lists", message, lists=dict(lists), failed=failed)

    # Deliveries

    async def wake(self, host: str, *, who: str) -> Plain:
        """Try a host that waits for its next attempt now; at most once a minute. One that is gone is subscribed again."""
        status = self._destination(host)
        host = status.record.host
        if status.record.state is State.GONE:
            return await self._take_up("wake", host, who)
        if status.record.state is State.SUSPENDED:
            raise ActError("refused", f"Deliveries to {host} are suspended; `socialrelay resume {host}` takes them up again.")
        if status.record.state is State.ACTIVE:
            message = f"{host} is not waiting: posts are delivered to it as they come."
        else:
            self.queue.wake(host)
            message = f"{host} was {status.record.state.value} and is tried again (at most once a minute)."
        return self._done(who, "wake", host, message, **self._deliveries(host))

    async def suspend(self, host: str, *, who: str) -> Plain:
        """Hold deliveries to a host back; its posts wait, as long as posts are kept."""
        record = self._destination(host).record
        host = record.host
        effective = self.membership.effective(host)
        if effective.until is not None:
            raise ActError("refused", f"Nothing is sent to {host} now: {effective.why}. `socialrelay block {host}` makes it stay so.")
        await self.stores.destinations.suspend(record.number)
        self.queue.suspend(host)
        message = f"Deliveries to {host} are suspended; posts for it wait until `socialrelay resume {host}`, or expire."
        return self._done(who, "suspend", host, message, **self._deliveries(host))

    async def resume(self, host: str, *, who: str) -> Plain:
        """Deliver to a suspended host again, also what has waited. One that is gone is subscribed again."""
        status = self._destination(host)
        host = status.record.host
        if status.record.state is State.GONE:
            return await self._take_up("resume", host, who)
        if status.record.state is not State.SUSPENDED:
            raise ActError("refused", f"Deliveries to {host} are not suspended; it is {status.record.state.value}.")
        await self.stores.destinations.resume(status.record.number)
        self.queue.resume(host)
        return self._done(who, "resume", host, f"Deliveries to {host} go on, also of what has waited.", **self._deliveries(host))

    async def _take_up(self, act: str, host: str, who: str) -> Plain:
        """A host had answered 410 Gone: forget it."""
        effective = await self.membership.take_up(host)
        if effective.scope is Scope.NONE:
            message = f"{host} is not left alone any more, but nothing is sent: {effective.why}."
        else:
            self.queue.wake(host)  # if its subscription could not be ended before, it is still taken to be gone
            message = f"{host} had answered 410 Gone; it gets {scope_in_words(effective.scope, effective.tags)} again, from now on."
        return self._done(who, act, host, message, **self._deliveries(host))

    # What the acts share

    def _done(self, who: str, act: str, subject: str, message: str, **facts: object) -> Plain:
        self._log.info("{who} asked: {act} {subject}. {result}", who=who, act=act, subject=subject, result=message)
        return {"message": message, **facts}

    def _other_host(self, text: str) -> str:
        return other_host(text, self.about.host)

    def _tags(self, tags: Sequence[str]) -> frozenset[str]:
        keys: set[str] = set()
        for tag in tags:
            key = self.tag_key(tag.strip().removeprefix("#"))
            if not key:
                raise ActError("bad-tags", f"{tag[:100]!r} can be no hashtag.")
            keys.add(key)
        if len(keys) > (most := self.max_tags()):
            raise ActError("bad-tags", f"{len(keys)} tags are too many: one subscription may name {most}.")
        return frozenset(keys)

    def _destination(self, text: str) -> DestinationStatus:
        host = checked_host(text)
        status = self.queue.destination(host)
        if status is None:
            raise ActError("unknown-node", f"Nothing was ever delivered to {host}: it has no subscription.")
        return status

    def _deliveries(self, host: str) -> Plain:
        status = self.queue.destination(host)
        return {"deliveries": None if status is None else plain_destination(status)}


_ERASED = {
    "posts": ("post",),
    "waiting": ("body that waited to be judged", "bodies that waited to be judged"),
    "rejections": ("entry of what was not relayed", "entries of what was not relayed"),
    "keys": ("key",),
    "wishes": ("wish to be relayed", "wishes to be relayed"),
    "counts": ("hourly count",),
    "messages": ("message of the bus", "messages of the bus"),
}

"""
What the bus hears of deliveries: what went wrong, and each of them if that is asked for.

Of what a node answered only the number is passed on, and of what went wrong otherwise only its name: the rest is a stranger's text.  Posts
go by their short names, which stay when their authors are erased.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from attrs import frozen

from socialrelay.boundaries import Announce, LogEntry, silence
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Attempt, Event, Settled, What
from socialrelay.scheduler.outcome import Answer, Effect, Judgement, Reply
from socialrelay.scheduler.record import State

_NODES = {What.BACK: "node.back", What.DEAD: "node.dead", What.GONE: "node.gone"}


def result_of(reply: Reply) -> str:
    """What came back, in one word: C{5xx}, or the name of a trouble."""
    return f"{reply.status // 100}xx" if isinstance(reply, Answer) else reply.trouble.name.lower()


@frozen(eq=False)
class Failed:
    """
    An attempt that did not end with a delivery, seen before the queue manager has drawn its conclusions.

    @ivar tries: how often the post was tried on its own there.
    @ivar counts: it is the first of those under way to tell that its host fails.
    @ivar pending: the destination still wanted the post.
    """

    attempt: Attempt
    reply: Reply
    effect: Effect
    tries: int
    counts: bool
    pending: bool

    @classmethod
    def of(cls, attempt: Attempt, reply: Reply, judgement: Judgement) -> Failed:
        """As it stands now."""
        destination, position = attempt.destination, attempt.entry.position
        known = destination.deferred.get(position)
        return cls(
            attempt,
            reply,
            judgement.effect,
            1 if known is None else known.attempts + 1,
            attempt.cohort == destination.host.cohort,
            destination.wanted and (known is not None or destination.pending(position)),
        )


class DeliveryAnnouncements:
    """
    Announces them.

    @ivar each: also what is queued, and what is delivered.
    """

    def __init__(self, announce: Announce = silence, each: bool = False, url_of: Callable[[str], str] = lambda host: "") -> None:
        """@param url_of: where a host is delivered to; empty if it is not."""
        self._announce = announce
        self._url_of = url_of
        self.each = each

    def queued(self, entry: LogEntry, targets: int) -> None:
        """A post is to be delivered; told once, and not once for each of a thousand nodes."""
        if self.each and targets:
            self._announce("delivery.queued", {"post": entry.digest, "targets": targets})

    def settled(self, settled: Settled) -> None:
        """Posts are over at a node.  Of what bounced L{failed} has told."""
        if settled.outcome == "expired" and settled.posts:
            self._announce(
                "delivery.dead",
                {**self._at(settled), "posts": settled.posts, "status": None, "error": "expired", "attempts": None, "age": None},
            )
        elif self.each and settled.outcome == "delivered":
            status = int(settled.reason.removeprefix("HTTP "))
            self._announce("delivery.succeeded", {**self._at(settled), "status": status, "delay": settled.delay})

    def event(self, event: Event) -> None:
        """A node's state changed."""
        topic = _NODES.get(event.what)
        if topic is not None:
            self._announce(topic, {"node": event.host, "failures": event.failures})

    def failed(self, failed: Failed, now: Moment) -> None:
        """An attempt did not end with a delivery, and the queue manager has drawn its conclusions."""
        if self._announce is silence or not failed.pending:
            return
        entry, destination = failed.attempt.entry, failed.attempt.destination
        host, own = destination.host, destination.deferred.get(entry.position)
        members = {
            "target": destination.url,
            "node": host.name,
            "post": entry.digest,
            "status": failed.reply.status if isinstance(failed.reply, Answer) else None,
            "error": result_of(failed.reply),
        }
        if failed.effect in (Effect.BOUNCED, Effect.POST_LATER) and own is None:
            age = int((now.wall - entry.received_at).total_seconds())
            self._announce("delivery.dead", {**members, "posts": 1, "attempts": failed.tries, "age": age})
        elif failed.counts and host.cohort > failed.attempt.cohort and host.state in (State.DEFERRED, State.DEAD):
            self._announce("delivery.failed", _again(members, host.failures, now.wall_at(host.next_attempt)))
        elif own is not None and own.attempts == failed.tries:
            self._announce("delivery.failed", _again(members, own.attempts, own.next_attempt))

    def _at(self, settled: Settled) -> dict[str, object]:
        return {"target": self._url_of(settled.host) or None, "node": settled.host, "post": settled.digest or None}


def _again(members: Mapping[str, object], attempt: int, at: datetime) -> dict[str, object]:
    """@param at: when it is tried again, rounded up to a second."""
    return {**members, "attempt": attempt, "next_retry": int((at + timedelta(seconds=0.999999)).timestamp())}

"""Acts on what was refused, put aside, or held: a post goes out again, a body is judged again, a key is looked up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from socialrelay.boundaries import BouncedPost, DestinationStatus, Queue
from socialrelay.boundaries.aside import NOT_THERE
from socialrelay.boundaries.destinations import BOUNCES_KEPT
from socialrelay.operators.backlog import destination_of, why_not
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError, Stores
from socialrelay.scheduler.record import State
from socialrelay.words import counted


class Keys(Protocol):
    """Authors' keys (L{socialrelay.discovery.keyring.DiscoveringKeyring})."""

    def forget(self, handle: str) -> Deferred[int]: ...


@define(kw_only=True, eq=False)
class Repairs:
    """
    As L{Operations<socialrelay.operators.operations.Operations>}: each act answers C{message}, and is logged with who did it.

    @ivar on_kept: told that something waits to be judged.
    """

    stores: Stores
    queue: Queue
    keyring: Keys
    on_kept: Callable[[], object]
    now: Callable[[], datetime]

    _log = Logger()
    _turn: DeferredLock = field(init=False, factory=DeferredLock)

    async def requeue(self, *, host: str, who: str, position: int = 0, everything: bool = False) -> Plain:
        """
        Try a post that a node refused once more, or all that are listed as refused by it: C{requeued}: how many.

        It goes out at once if the node takes posts, and waits with the others if it does not.

        @param everything: all that can be; else C{position}.
        @raise ActError: C{refused}, and why: its body is not kept any more, it was taken back or cancelled, the node is not subscribed.
        """
        if everything == bool(position):
            raise ActError("bad-request", "Say which post: either its position, or all that are listed.")
        # One after the other: what is read must still be so when the post is put back, or it would go out twice.
        await self._turn.acquire()
        try:
            return await self._requeue_named(host, who, position, everything)
        finally:
            self._turn.release()

    async def _requeue_named(self, host: str, who: str, position: int, everything: bool) -> Plain:
        status = destination_of(self.queue, host)
        host = status.record.host
        if everything:
            return await self._requeue_all(status, who)
        found = await self.stores.destinations.bounced(status.record.number, 1, position)
        if not found:
            raise ActError("refused", f"The post {position} is not listed as refused by {host}. `socialrelay bounced {host}` lists them.")
        refused = self._requeue(found[0], status)
        if refused:
            raise ActError("refused", f"The post {position} cannot be tried at {host} again. {refused}")
        return self._done(who, "requeue", f"{position} at {host}", f"The post {position} {_go_out(1, status)}.", requeued=1)

    async def _requeue_all(self, status: DestinationStatus, who: str) -> Plain:
        host = status.record.host
        found = await self.stores.destinations.bounced(status.record.number, BOUNCES_KEPT)
        if not found:
            raise ActError("refused", f"No post is listed as refused by {host}.")
        refusals = Counter(self._requeue(each, status) for each in reversed(found))
        done = refusals.pop("", 0)
        left = [f"{counted(many, 'post')} cannot be. {why}" for why, many in refusals.most_common()]
        if not done:
            raise ActError("refused", " ".join([f"No post can be tried at {host} again.", *refusals]))
        message = " ".join([f"{counted(done, 'post')} {_go_out(done, status)}.", *left])
        return self._done(who, "requeue", f"everything at {host}", message, requeued=done)

    def _requeue(self, post: BouncedPost, status: DestinationStatus) -> str:
        """@return: why not, as a sentence; empty if so."""
        refused = why_not(post, status)
        if not refused and (reason := self.queue.requeue(status.record.host, post.bounce.position)):
            refused = f"{reason[:1].upper()}{reason[1:]}."
        return refused

    async def quarantine_retry(self, *, id: int, who: str) -> Plain:
        """Judge a body again that could not be judged, as if it had just come."""
        refused = await self.stores.aside.retry(id, self.now())
        if refused:
            raise ActError("refused", f"Body {id} cannot be judged again. {refused}")
        self.on_kept()
        return self._done(
            who, "quarantine retry", str(id), f"Body {id} is judged again; if it breaks the relay three times, it comes back."
        )

    async def quarantine_drop(self, *, id: int, who: str) -> Plain:
        """Drop a body that could not be judged."""
        if not await self.stores.aside.drop(id):
            raise ActError("refused", NOT_THERE)
        return self._done(who, "quarantine drop", str(id), f"Body {id} is dropped.")

    async def forget_key(self, *, handle: str, who: str) -> Plain:
        """
        Forget an author's key, so that it is looked up anew when the author's next post comes.

        @raise ActError: C{refused}: none is kept.
        """
        handle = handle.strip().lower()
        user, _, host = handle.rpartition("@")
        if not user or not host:
            raise ActError("bad-host", f"{handle[:253]!r} is no handle; one looks like user@host.example.")
        if not await self.keyring.forget(handle):
            raise ActError("refused", f"No key of {handle[:255]} is kept.")
        message = f"The key of {handle} is forgotten; it is looked up anew when the next post comes."
        return self._done(who, "forget the key of", handle, message)

    def _done(self, who: str, act: str, subject: str, message: str, **facts: object) -> Plain:
        self._log.info("{who} asked: {act} {subject}. {result}", who=who, act=act, subject=subject, result=message)
        return {"message": message, **facts}


def _go_out(posts: int, status: DestinationStatus) -> str:
    host, state = status.record.host, status.record.state
    if state is State.ACTIVE:
        return f"{'goes' if posts == 1 else 'go'} out to {host} once more"
    return f"{'waits' if posts == 1 else 'wait'} for {host}, which is {state.value}, until it takes posts again"

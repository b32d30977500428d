"""
Taking posts back.

A retraction concerns those who were sent its post, or may have been: whoever else got it would try for days to find out what it is about.
So while it is being written the queue I{holds} the post: nobody is begun with it, and who was begun before is known.  Then either both are
written, that the post is taken back and that those are told, or nothing is; it is one statement.

Posts and their retractions arrive in any order, by several senders at once.  One retraction of a post is acted on at a time, and waits
until nobody is publishing the post: what is not in the log then comes after the retraction, and is a duplicate of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from attrs import evolve
from twisted.logger import Logger

from socialrelay.boundaries import PostLog, Publication, Target
from socialrelay.inhand import InHand

UNKNOWN = "unknown-target"
"""Why a retraction is ignored whose post was not relayed."""


class Holding(Protocol):
    """What the queue does about a post that is to be taken back (L{socialrelay.delivery.dispatcher.Dispatcher})."""

    def hold(self, position: int, recipients: frozenset[int]) -> frozenset[int]:
        """Begin to send this post to nobody from now on; those to whom it was, or may have been, sent."""

    def release(self, position: int) -> None:
        """It may be sent after all."""

    def cancel(self, positions: Sequence[int], reason: str, recipients: Iterable[int] | None = None) -> None: ...


class Retractions:
    """Acts on retractions, whoever their authors are."""

    _log = Logger()

    def __init__(
        self,
        log: PostLog,
        queue: Holding,
        publishing: InHand,
        write: Callable[[Publication], Awaitable[int | None]],
        admit: Callable[[int, Publication], None],
    ) -> None:
        """
        @param publishing: identities of the posts that are on their way into the log and to the queue.
        @param write: puts a publication into the log; its position, or C{None} for a duplicate.
        @param admit: tells the queue of it, in the turn in which it got its position.
        """
        self._posts = log
        self._queue = queue
        self._publishing = publishing
        self._taking_back = InHand()
        self._write = write
        self._admit = admit

    async def obey(self, retraction: Publication, target: bytes) -> str:
        """
        Cancel what is pending of a post, and tell those who were, or may have been, sent it.

        @param retraction: with the author and the guid of its post, by which that is found: nobody takes back what another has posted.
        @param target: the hash of the identity of that post.
        @return: L{UNKNOWN} if it was not relayed, and will not be; else nothing.
        @raise Unavailable: it is not known to be done.
        @raise Full: likewise.
        """
        await self._taking_back.idle(target)
        with self._taking_back.doing(target):
            found = await self._find(retraction, target)
            retraction = evolve(retraction, retraction=True, forestalls=(target,))
            return await (self._forestall(retraction) if found is None else self._withdraw(retraction, found))

    async def _find(self, retraction: Publication, target: bytes) -> Target | None:
        """The post; if it is not in the log now it cannot get there before what is written in this turn."""
        while True:
            await self._publishing.idle(target)
            found = await self._posts.find(retraction.author, retraction.guid)
            if found is not None or target not in self._publishing:
                return found

    async def _forestall(self, retraction: Publication) -> str:
        position = await self._write(retraction)
        if position is None:
            return ""
        self._admit(position, retraction)
        return UNKNOWN

    async def _withdraw(self, retraction: Publication, target: Target) -> str:
        named = frozenset(target.recipients)
        concerned = self._queue.hold(target.position, named)
        retraction = evolve(retraction, recipients=concerned, withdraws=target.position)
        try:
            position = await self._write(retraction)
        except BaseException:
            self._queue.release(target.position)
            raise
        # A duplicate too has withdrawn it.
        self._queue.cancel([target.position], "taken back by its author", named)
        if position is not None:
            self._admit(position, retraction)
            self._log.info(
                "{handle} took back {guid} with {post}; nodes that are told: {count}.",
                post=retraction.digest,
                handle=retraction.author,
                guid=retraction.guid,
                count=len(concerned),
            )
        return ""

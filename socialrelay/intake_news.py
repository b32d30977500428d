"""
What became of bodies that came in, told to the log, to the counts, and to the bus.

The bus hears who wrote something only where it is relayed: then it is public, and the signature has shown whose it is.  Of what was
ignored, what was private, and what was taken back or erased before, it hears no names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from socialrelay.boundaries import Announce, Arrival, Publication, Rejection, silence
from socialrelay.digest import digest_of
from socialrelay.federation import Verdict
from socialrelay.routing.hosts import host_of
from socialrelay.sparing import Sparing
from socialrelay.statistics import Tally

LIMITED = "limited"
"""A post that is kept and not relayed: what is counted, and the reason."""

TAKEN = 202
"""How a body is answered that is taken, and dropped when it is found to be of no use: to send it again would not help."""

MALFORMED = 400


class IntakeNews:
    """Tells of bodies that came by one protocol."""

    _log = Logger()

    def __init__(
        self, *, protocol: str, tally: Tally, clock: IReactorTime, now: Callable[[], datetime], announce: Announce = silence
    ) -> None:
        self._protocol = protocol
        self._tally = tally
        self._now = now
        self._announce = announce
        self._sparing = Sparing(clock, self._not_shown)
        self._sparing_of_waiting = Sparing(clock, self._waiting_not_shown)

    def waits(self, arrival: Arrival) -> None:
        """A public body is kept until its author's key is there."""
        if self._sparing_of_waiting.shows():
            self._log.info("Took in {post} of {handle}; it waits for the key.", post=digest_of(arrival.body), handle=arrival.sender)

    def accepted(self, post: Publication) -> None:
        """It is relayed.  A retraction, which is too, does not say once more on the bus whose post is to be forgotten."""
        self._tally.count("accepted", post.author_host)
        if self._announce is not silence:
            names = {} if post.retraction else {"activity_id": post.guid, "actor": post.author}
            self._announce("payload.received", names | _described(post))
        if not post.retraction:
            self._log.info(
                "Accepted {guid} of {handle} as {post}; nodes that want it: {count}.",
                guid=post.guid,
                handle=post.author,
                post=post.digest,
                count=len(post.recipients),
            )

    def limited(self, post: Publication) -> None:
        """It is kept and not relayed."""
        self._tally.count(LIMITED, post.author_host)
        self._tally.rejected(Rejection(self._now(), LIMITED, post.author, post.guid, post.kind))
        self._announce_rejected(LIMITED)
        self._log.info("Kept {guid} of {handle} as {post}, and did not relay it.", guid=post.guid, handle=post.author, post=post.digest)

    def duplicate(self, post: Publication) -> None:
        """It was there before; perhaps it was erased, so the bus does not hear whose it is."""
        self._tally.count("duplicate", post.author_host)
        if self._announce is not silence:
            self._announce("payload.duplicate", _described(post))

    def not_understood(self, reason: str) -> None:
        """It is nothing that a node would send, and its sender was told so."""
        self._announce_rejected(reason, status=MALFORMED)

    def refused(self, reason: str, sender: str, verdict: Verdict | None = None, body: bytes = b"", *, verified: bool = False) -> None:
        """
        It is not authentic or malformed: counted, kept for the operator to read, dropped.

        @param verified: the signature fits, and it came on the public route: the bus may hear of which node it is.
        """
        guid, kind = ("", "") if verdict is None else (verdict.guid, verdict.kind)
        self._tally.count("rejected", reason)
        self._tally.rejected(Rejection(self._now(), reason, sender, guid, kind))
        self._announce_rejected(reason, node=host_of(sender) if verified else "")
        say, digest = (self._log.info, digest_of(body)) if self._sparing.shows() else (self._log.debug, "")
        what = guid or "a body"
        say("Rejected {guid} of {handle} as {post}: {reason}.", guid=what, handle=sender or "nobody", post=digest, reason=reason)

    def ignored(self, verdict: Verdict, reason: str = "") -> None:
        """It is well signed, and policy says no: counted and dropped."""
        reason = reason or verdict.reason
        self._tally.count("ignored", reason)
        self._tally.rejected(Rejection(self._now(), reason, verdict.author, verdict.guid, verdict.kind))
        self._announce_rejected(reason)
        self._log.debug("Ignored {kind} of {handle}: {reason}.", kind=verdict.kind or "a body", handle=verdict.author, reason=reason)

    def _announce_rejected(self, reason: str, *, status: int = TAKEN, node: str = "") -> None:
        if self._announce is not silence:
            members = {"reason": reason, "status": status, "protocol": self._protocol, "node": node or None}
            self._announce("payload.rejected", members)

    def _not_shown(self, count: int) -> None:
        self._log.info("Rejected {count} more that are not shown here.", count=count)

    def _waiting_not_shown(self, count: int) -> None:
        self._log.info("Took in {count} more that wait for keys, and are not shown here.", count=count)


def _described(post: Publication) -> dict[str, object]:
    """All of it that names nobody."""
    digest = sha256(post.body).hexdigest()
    return {"type": post.kind, "node": post.author_host, "protocol": post.protocol, "sha256": digest, "size": len(post.body)}

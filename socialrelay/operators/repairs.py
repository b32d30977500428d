"""Acts on what was refused, put aside, or held: a post goes out again, a body is judged again, a key is looked up again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.boundaries import Queue
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError, Stores


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

    async def requeue(self, *, host: str, who: str, position: int = 0, everything: bool = False) -> Plain:
        """
        Try a post that a node refused once more, or all that are listed as refused by it: C{requeued}: how many.

        @param everything: all that can be; else C{position}.
        @raise ActError: C{refused}, and why: its body is not kept any more, it was taken back or cancelled, the node is not subscribed.
        """
        raise ActError("refused", "This is not done yet.")

    async def quarantine_retry(self, *, id: int, who: str) -> Plain:
        """Judge a body again that could not be judged, as if it had just come."""
        raise ActError("refused", "This is not done yet.")

    async def quarantine_drop(self, *, id: int, who: str) -> Plain:
        """Drop a body that could not be judged."""
        raise ActError("refused", "This is not done yet.")

    async def forget_key(self, *, handle: str, who: str) -> Plain:
        """Forget an author's key, so that it is looked up anew when the author's next post comes."""
        raise ActError("refused", "This is not done yet.")

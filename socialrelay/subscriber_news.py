"""Who is subscribed, and who is not any more, told to the log and to the bus."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from twisted.logger import Logger

from socialrelay.boundaries import Announce, silence
from socialrelay.routing.subscription import Effective, Scope
from socialrelay.words import counted

MOST_BLOCKED = 1000
"""Hosts that are announced as blocked at a time; a list may name tens of thousands."""


class SubscriberNews:
    """Tells of changes; what is as it was when the relay stopped is none."""

    _log = Logger()

    def __init__(self, protocol: str, announce: Announce = silence) -> None:
        """@param protocol: by which they are served."""
        self._protocol = protocol
        self._announce = announce

    def changed(self, host: str, before: Effective, after: Effective, *, one_of_many: bool = False) -> None:
        """
        What a host is subscribed to may have changed.

        @param one_of_many: so many change at once that the log tells how many.
        """
        if (after.scope, after.tags) == (before.scope, before.tags):
            return
        members: dict[str, object] = {"node": host, "protocol": self._protocol, "reason": after.why}
        if after.wanted:
            members |= {"selector": after.scope.value, "tags": len(after.tags)}
        self._announce("node.subscribed" if after.wanted else "node.unsubscribed", members)
        if not one_of_many:
            self._tell(host, before, after)

    def _tell(self, host: str, before: Effective, after: Effective) -> None:
        if not after.wanted:
            self._log.info("{host} is not subscribed any more: {reason}.", host=host, reason=after.why)
            return
        what = "all posts" if after.scope is Scope.ALL else counted(len(after.tags), "tag")
        changed = "now subscribed" if before.wanted else "subscribed"
        self._log.info("{host} is {changed} to {what}: {reason}.", host=host, changed=changed, what=what, reason=after.why)

    def many_ended(self, count: int) -> None:
        """Rules ended so many subscriptions that each was not told of."""
        self._log.info("Nodes that are not subscribed any more, because rules say so: {count}.", count=count)

    def many_worked_out(self, count: int) -> None:
        """Likewise, so many that may have one again, or another."""
        self._log.info("Nodes whose subscriptions were worked out anew, because rules changed: {count}.", count=count)

    def blocked(self, subjects: Iterable[str]) -> None:
        """The operator, or a list, blocks these from now on: hosts, and authors, of whom the bus does not hear."""
        if self._announce is not silence:
            for host in islice((subject for subject in subjects if "@" not in subject), MOST_BLOCKED):
                self._announce("node.blocked", {"node": host, "protocol": self._protocol, "reason": "blocked"})

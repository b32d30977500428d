"""How attempts ended lately that went wrong, for whoever looks at one node; forgotten when the process ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from socialrelay.boundaries import Outcome
from socialrelay.config import Memory
from socialrelay.ratelimit import Lru
from socialrelay.scheduler.outcome import Judgement

EACH = 10
"""Of each host."""

LONGEST = 300
"""Characters of a reason."""


class RecentOutcomes:
    """
    The last attempts at each host that did not end with a delivery: of those that did the host's last success is enough.

    @ivar hosts: what is kept of each; the one that has gone without trouble for longest is forgotten first.
    """

    def __init__(self, limit: int = Memory().outcomes) -> None:
        """@param limit: hosts, at most."""
        self.hosts: Lru[str, tuple[Outcome, ...]] = Lru(limit)

    def note(self, host: str, position: int, judgement: Judgement, now: datetime) -> None:
        """An attempt ended so."""
        outcome = Outcome(now, judgement.effect.value, judgement.reason[:LONGEST], position)
        self.hosts[host] = (outcome, *(self.hosts.get(host) or ())[: EACH - 1])

    def of(self, host: str) -> Sequence[Outcome]:
        """The latest first."""
        return self.hosts.get(host) or ()

"""How attempts ended lately that went wrong, for whoever looks at one node; forgotten when the process ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from socialrelay.boundaries import Outcome
from socialrelay.ratelimit import Lru
from socialrelay.scheduler.outcome import Judgement

EACH = 10
"""Of each host."""

HOSTS = 2000
"""In all; the one that has gone without trouble for longest is forgotten first."""

LONGEST = 300
"""Characters of a reason."""


class RecentOutcomes:
    """The last attempts at each host that did not end with a delivery: of those that did the host's last success is enough."""

    def __init__(self) -> None:
        self._of: Lru[str, tuple[Outcome, ...]] = Lru(HOSTS)

    def note(self, host: str, position: int, judgement: Judgement, now: datetime) -> None:
        """An attempt ended so."""
        outcome = Outcome(now, judgement.effect.value, judgement.reason[:LONGEST], position)
        self._of[host] = (outcome, *(self._of.get(host) or ())[: EACH - 1])

    def of(self, host: str) -> Sequence[Outcome]:
        """The latest first."""
        return self._of.get(host) or ()

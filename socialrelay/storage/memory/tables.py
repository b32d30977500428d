"""What the stores in memory share: the tables, and a way to take them away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred, execute, fail

from socialrelay.boundaries import (
    Arrival,
    BoundIdentity,
    ManualSubscription,
    NodeRecord,
    PollNote,
    Publication,
    Rejection,
    Rule,
    RuleSet,
    StoredMessage,
    Unavailable,
)
from socialrelay.scheduler.record import Bounce, DeferredDelivery, DestinationRecord, Gap


@frozen
class Kept:
    """A row of C{incoming}."""

    arrival: Arrival
    attempts: int
    next_attempt: datetime
    hopeless: bool = False


@frozen
class Quarantined:
    """A row of C{quarantine}."""

    arrival: Arrival
    reason: str
    at: datetime


@define(eq=False)
class MemoryTables:
    """
    All that the stores in memory know.  New stores over the same tables are a relay that was started again.

    @ivar bodies: of posts with recipients, until they are pruned.
    @ivar bodies_removed: the greatest position whose body was pruned.
    @ivar bus: messages by their numbers, ascending.
    @ivar bus_ids: their C{msg_id}s, and the numbers.
    @ivar bus_end: the last number that was given.
    @ivar bus_published: see L{socialrelay.boundaries.Extent}.
    @ivar bus_pruned: up to here all is forgotten; C{bus_pruned_own}: the relay's own are.
    @ivar accounts: destination -> up to where it was counted what names it, and how much that is.
    @ivar forgotten: the greatest position that was removed from C{posts}.
    @ivar run: how often stores were put over these tables.
    @ivar written: in this run, L{socialrelay.scheduler.record.Progress.number} of the last progress that was written.
    @ivar followed: destinations whose row says C{following} are settled up to here.
    @ivar taken: L{socialrelay.scheduler.record.Progress.taken}.
    """

    posts: dict[int, Publication] = Factory(dict)
    end: int = 0
    bodies: dict[int, bytes] = Factory(dict)
    bodies_removed: int = 0
    cancelled: set[int] = Factory(set)
    identities: dict[bytes, datetime] = Factory(dict)
    incoming: dict[int, Kept] = Factory(dict)
    arrivals: int = 0
    quarantine: dict[int, Quarantined] = Factory(dict)
    rejected: list[Rejection] = Factory(list)
    destinations: dict[int, DestinationRecord] = Factory(dict)
    deferred: dict[tuple[int, int], DeferredDelivery] = Factory(dict)
    gaps: dict[tuple[int, int, str], Gap] = Factory(dict)
    bounces: dict[tuple[int, int], Bounce] = Factory(dict)
    followed: int = 0
    forgotten: int = 0
    run: int = 0
    written: int = 0
    accounts: dict[int, tuple[int, int]] = Factory(dict)
    taken: dict[int, int] = Factory(dict)
    nodes: dict[str, NodeRecord] = Factory(dict)
    polls: dict[str, list[PollNote]] = Factory(dict)
    subscriptions: dict[str, ManualSubscription] = Factory(dict)
    rules: dict[tuple[str, str, str], Rule] = Factory(dict)
    rule_lists: dict[str, RuleSet] = Factory(dict)
    contacts: dict[str, bool] = Factory(dict)
    profiles: dict[str, tuple[str, datetime, date]] = Factory(dict)
    counts: dict[tuple[datetime, str, str], int] = Factory(dict)
    hours: dict[tuple[datetime, str], int] = Factory(dict)
    totals: dict[str, int] = Factory(dict)
    identity: BoundIdentity | None = None
    bus: dict[int, StoredMessage] = Factory(dict)
    bus_ids: dict[str, int] = Factory(dict)
    bus_end: int = 0
    bus_published: int = 0
    bus_pruned: int = 0
    bus_pruned_own: int = 0
    _away: str = ""
    _watchers: list[Callable[[bool], None]] = Factory(list)

    @property
    def healthy(self) -> bool:
        """See L{socialrelay.storage.stores.Health}."""
        return not self._away

    @property
    def detail(self) -> str:
        """See L{socialrelay.storage.stores.Health}."""
        return self._away or "in memory"

    def watch(self, changed: Callable[[bool], None]) -> None:
        """See L{socialrelay.storage.stores.Health}."""
        self._watchers.append(changed)

    @property
    def answering(self) -> bool:
        """See L{socialrelay.storage.stores.Health}."""
        return self.healthy

    @property
    def full(self) -> bool:
        """See L{socialrelay.storage.stores.Health}."""
        return False

    def on_silence(self, told: Callable[[], None]) -> None:
        """See L{socialrelay.storage.stores.Health}."""
        self.watch(lambda healthy: None if healthy else told())

    def reached(self, record: DestinationRecord) -> int:
        """Up to where a destination is settled."""
        upto = max(record.cursor, self.followed) if record.following else record.cursor
        return min(upto, record.missed[0][0]) if record.missed else upto

    def go_away(self, why: str = "taken away") -> None:
        """From now on every call of every store fails with L{Unavailable}."""
        self._change(why)

    def come_back(self) -> None:
        """What was known is known again."""
        self._change("")

    def _change(self, away: str) -> None:
        before, self._away = self.healthy, away
        if before != self.healthy:
            for changed in self._watchers:
                changed(self.healthy)


class HasTables(Protocol):
    """A store over L{MemoryTables}."""

    @property
    def _tables(self) -> MemoryTables: ...


_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound=HasTables)


def answering(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], Deferred[_R]]:
    """Make a method answer with a Deferred that has fired: with L{Unavailable} while the tables are away."""

    @wraps(method)
    def asked(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_R]:
        if not self._tables.healthy:
            return fail(Unavailable(self._tables.detail))
        return execute(method, self, *args, **kwargs)

    return asked

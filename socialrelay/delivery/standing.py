"""How deliveries stand, for those who look: without making a record of each of ten thousand destinations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import nsmallest

from socialrelay.boundaries import DestinationStatus
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import State

NAMES = ("destinations", *(state.value for state in State), "behind", "waiting", "in_flight", "deferred_posts")


def status_of(destination: Destination, end: int, longest: float, now: Moment) -> DestinationStatus:
    """
    One destination as it is now.

    @param end: the log's end.
    @param longest: seconds that a delivery may take, at most.
    """
    return DestinationStatus(
        record=destination.record(now),
        following=destination.following,
        behind=behind(destination, end),
        waiting=len(destination.queue),
        in_flight=len(destination.in_flight),
        deferred_posts=len(destination.deferred),
        window=destination.host.feedback.width,
        timeout=destination.host.feedback.patience(longest),
    )


def behind(destination: Destination, end: int) -> int:
    """Positions of the log that it has not come to."""
    return 0 if destination.following else max(end - destination.cursor, 0)


def summary(destinations: Iterable[Destination], end: int, served: Callable[[str], bool]) -> dict[str, int]:
    """See L{socialrelay.boundaries.Queue.summary}."""
    found: Counter[str] = Counter()
    states: Counter[State] = Counter()
    for each in destinations:
        if not each.subscribed and not _counts(each, served):
            continue
        found["destinations"] += 1
        states[each.host.state] += 1
        if not each.following and each.cursor < end:
            found["behind"] += 1
        if each.queue or each.in_flight or each.deferred:
            found["waiting"] += len(each.queue)
            found["in_flight"] += len(each.in_flight)
            found["deferred_posts"] += len(each.deferred)
    found.update({state.value: many for state, many in states.items()})
    return {name: found[name] for name in NAMES}


def worst(
    destinations: Iterable[Destination], end: int, state: State | None, limit: int, served: Callable[[str], bool]
) -> tuple[list[Destination], int]:
    """See L{socialrelay.boundaries.Queue.worst}."""
    chosen = [
        each
        for each in destinations
        if (each.host.state is state if state is not None else _troubled(each, end)) and (each.subscribed or _counts(each, served))
    ]
    first = nsmallest(limit, chosen, key=lambda each: (-behind(each, end), each.host.name))
    return first, len(chosen) - len(first)


def _counts(destination: Destination, served: Callable[[str], bool]) -> bool:
    """Of one that is not subscribed: something is under way or waits, or it would be subscribed if it had not gone."""
    return bool(destination.queue or destination.in_flight or destination.deferred) or served(destination.host.name)


def _troubled(destination: Destination, end: int) -> bool:
    return destination.host.state is not State.ACTIVE or behind(destination, end) > 0 or bool(destination.deferred)

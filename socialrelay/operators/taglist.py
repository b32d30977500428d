"""The tags that several nodes want, those most wanted first: up to a million entries are looked at a few at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Membership

SHARED = 2
"""A tag that fewer nodes want says something about a single one, and is not shown."""

LISTED = 20_000
"""The list ends there."""

AT_ONCE = 5_000
"""Tags that are looked at before others have their turn."""


async def shared_tags(membership: Membership, pause: Callable[[], Deferred[None]]) -> list[tuple[str, int]]:
    """
    Make the list: (tag, how many nodes want it), the most wanted first, equals by name.

    @param pause: lets others have their turn; what changes meanwhile may be in the list or not.
    """
    names = membership.tags()
    by_count: defaultdict[int, list[str]] = defaultdict(list)
    for start in range(0, len(names), AT_ONCE):
        if start:
            await pause()
        for tag in names[start : start + AT_ONCE]:
            wanting = membership.wanting(tag)
            if wanting >= SHARED:
                by_count[wanting].append(tag)
    found: list[tuple[str, int]] = []
    sorting = 0
    for wanting in sorted(by_count, reverse=True):
        chosen = by_count[wanting][: LISTED - len(found)]
        sorting += len(chosen)
        if sorting > AT_ONCE:
            await pause()
            sorting = len(chosen)
        found += [(tag, wanting) for tag in sorted(chosen)]
    return found

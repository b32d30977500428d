"""What was said on the bus is forgotten, whether there still is a bus or not."""

from __future__ import annotations

from datetime import datetime, timedelta

from socialrelay.boundaries import BusStore
from socialrelay.config import Bus

OWN_SHARE = 4
"""The relay's own messages take this part of what may be kept, at most: one in so many."""

EVERY = 60.0
STEPS = 250
"""Small steps of a round, at most: a million messages."""


async def forget(store: BusStore, bus: Bus, now: datetime) -> None:
    """
    Remove what need not be kept any longer.

    @raise Unavailable: the database is away.
    """
    before = now - timedelta(days=bus.keep_days)
    for _ in range(STEPS):
        if not await store.prune(before, bus.keep_bytes, bus.keep_bytes // OWN_SHARE):
            break


async def forget_without_bus(store: BusStore, bus: Bus, now: datetime) -> None:
    """The same where the bus was switched off: what was not published will not be, and may go in its time."""
    extent = await store.extent()
    if extent.published < extent.last_seq:
        await store.mark_published(extent.last_seq)
    if extent.size:
        await forget(store, bus, now)

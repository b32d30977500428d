"""How much room there is where the relay keeps its data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred

from socialrelay.boundaries import Condition

EVERY = 60.0
SHARE = 0.05
LEAST = 500_000_000
"""Bytes; less than that, or than L{SHARE} of the disk, is too little."""


@define(eq=False)
class DiskSpace:
    """
    Free room in a folder's file system, as it was last looked at.

    @ivar free: bytes that this user may still take; -1 before the first look.
    @ivar size: bytes there are.
    """

    folder: Path
    in_thread: Callable[..., Deferred[os.statvfs_result]]
    free: int = field(init=False, default=-1)
    size: int = field(init=False, default=0)

    async def look(self) -> None:
        """Ask the system, in a thread: a file system in the network may let one wait."""
        found = await self.in_thread(os.statvfs, self.folder)
        self.free, self.size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def condition(self) -> Condition:
        """Whether there is enough room."""
        if self.free < 0:
            return Condition("disk", well=True, essential=False, detail="not looked at yet")
        well = self.free >= LEAST and self.free >= self.size * SHARE
        gigabytes = f"{self.free / 1e9:.1f} GB of {self.size / 1e9:.1f} GB are free where {self.folder} is"
        return Condition("disk", well=well, essential=False, detail=gigabytes if well else f"only {gigabytes}")

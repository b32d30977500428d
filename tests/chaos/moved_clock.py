"""
The relay under a system's clock that somebody else moves: C{python -m tests.chaos.moved_clock FILE run …}.

The file holds eight bytes: by how many seconds the clock is ahead.  The relay asks for the time of the day in one place only.
"""

from __future__ import annotations

import mmap
import struct
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from socialrelay.cli.command import main
from socialrelay.running import calendar

OFF = struct.Struct("d")


class Moved:
    """C{datetime}, as far as the calendar knows it."""

    def __init__(self, off: mmap.mmap) -> None:
        self._off = off

    def now(self, zone: tzinfo | None = None) -> datetime:
        """As L{datetime.now}."""
        return datetime.now(zone or UTC) + timedelta(seconds=OFF.unpack_from(self._off)[0])


if __name__ == "__main__":
    with Path(sys.argv.pop(1)).open("r+b") as file:
        calendar.datetime = Moved(mmap.mmap(file.fileno(), OFF.size))  # type: ignore[attr-defined,assignment]
    main()

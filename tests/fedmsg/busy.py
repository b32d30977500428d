"""
C{socialrelay}, whose reactor does nothing else for three quarters of the time as long as a file is there.

C{python -m tests.fedmsg.busy FILE run …}
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import LoopingCall

from socialrelay.cli.command import main

EVERY, BUSY = 2.0, 1.5
"""Seconds: of each so many, for so many."""


def stand_still(switch: Path) -> None:
    """Answer nobody for a while, if the file is there."""
    if switch.exists():
        time.sleep(BUSY)


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    reactor.callWhenRunning(LoopingCall(stand_still, path).start, EVERY - BUSY)
    main(prog_name="socialrelay")

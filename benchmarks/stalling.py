"""
Runs a daemon on Twisted, and watches for how long its reactor does not turn: C{python benchmarks/stalling.py FILE MODULE:FUNCTION …}.

FILE holds a double, the greatest lateness in seconds of a call that is due every few milliseconds; whoever writes 0 there begins anew.  It
needs nothing but Twisted, since fedmsg's relay runs under it as ours does.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from importlib import import_module

from twisted.internet import reactor

EVERY = 0.005
"""Seconds."""
LATENESS = struct.Struct("d")


def watch(path: str) -> None:
    """Look from now on."""
    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), LATENESS.size)

    def look(due: float) -> None:
        now = time.monotonic()
        if now - due > LATENESS.unpack(shared[:])[0]:
            shared[:] = LATENESS.pack(now - due)
        reactor.callLater(EVERY, look, now + EVERY)

    look(time.monotonic())


if __name__ == "__main__":
    _, file, what, *arguments = sys.argv
    module, _, function = what.partition(":")
    sys.argv = [function, *arguments]
    reactor.callWhenRunning(watch, file)
    getattr(import_module(module), function)()

"""From nothing to ready, with servers of its own; and once more."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Callable

from benchmarks.bed import Bed, answers_ready
from benchmarks.figures import Figures, interleaved, table
from tests.daemon import Daemon


def start(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Until it says that it is ready: in an empty folder, where it first makes a database, and again in the same."""
    found = interleaved(bed.size(3, 1), {"embedded": _twice}, told).medians()
    print(table(found))
    return {f"start.{name}": value for name, value in found["embedded"].items()}


def _twice() -> Figures:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    daemon = Daemon(None, listen=(f"tcp:{port}:interface=127.0.0.1",))
    try:
        return {"first_s": _once(daemon, port), "again_s": _once(daemon, port)}
    finally:
        shutil.rmtree(daemon.folder, ignore_errors=True)


def _once(daemon: Daemon, port: int) -> float:
    started = time.monotonic()
    process = daemon.launch()
    try:
        while not answers_ready(port):
            if process.poll() is not None or time.monotonic() > started + 120:
                raise RuntimeError(f"the relay does not start:\n{daemon.log[-3000:]}")
            time.sleep(0.02)
        return time.monotonic() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)

"""What stands between publishers and listeners: fedmsg's own relay, or ours."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tests.bus_wire import PATIENCE
from tests.daemon import Daemon
from tests.fedmsg.stock import ENVIRONMENT, PREFIX, Stock
from tests.servers import database, take_away


class Relay(Protocol):
    """A relay at the two addresses of a L{Stock}."""

    def start(self) -> None:
        """Start it; it need not be ready."""

    def close(self) -> None:
        """End it, if it has not ended."""

    @property
    def log(self) -> str:
        """What it had to say."""


class StockRelay:
    """C{fedmsg-relay}."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    def start(self) -> None:
        self._running = self._stock.start("fedmsg-relay")

    def close(self) -> None:
        self._running.end(signal.SIGKILL)

    @property
    def log(self) -> str:
        return self._running.log.read_text()


class OurRelay:
    """The daemon, on the test run's PostgreSQL."""

    def __init__(self, stock: Stock, *, federation: bool) -> None:
        daemon = Daemon(None)
        self._switch = daemon.folder / "busy"
        daemon.program = ("-m", "tests.fedmsg.busy", str(self._switch))
        daemon.configuration = f"""
            [postgres]
            dsn = {json.dumps(database())}
            [redis]
            url = "off"
            [polling]
            lists = []
            [federation]
            enabled = {json.dumps(federation)}
            [bus]
            enabled = true
            relay_inbound = [{json.dumps(stock.inbound)}]
            relay_outbound = [{json.dumps(stock.outbound)}]
            relay_ingest = [{json.dumps(f"ipc://{daemon.folder / 'ingest'}")}]
            topic_prefix = {json.dumps(PREFIX)}
            environment = {json.dumps(ENVIRONMENT)}
            heartbeat = 1.0
        """
        self._daemon = daemon

    def start(self) -> None:
        self._daemon.launch()

    def close(self) -> None:
        process = self._daemon.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        take_away(self._daemon.folder, self._daemon.state)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Its reactor does something else for most of the time."""
        self._switch.touch()
        try:
            yield
        finally:
            self._switch.unlink()

    @property
    def log(self) -> str:
        return self._daemon.log

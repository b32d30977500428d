"""Doors of nodes that are down: whoever connects is turned away, and counted."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from threading import Thread
from types import TracebackType
from typing import Self


class Gates:
    """
    A port for each host, in a thread.

    @ivar tries: when each host was connected to, in seconds of C{time.monotonic}.
    @ivar network: lines for C{network.connect_to}.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.tries: Mapping[str, list[float]] = {host: [] for host in hosts}
        self._selector = selectors.DefaultSelector()
        self._doors = {host: socket.create_server(("127.0.0.1", 0), backlog=64) for host in hosts}
        for host, door in self._doors.items():
            self._selector.register(door, selectors.EVENT_READ, host)
        self.network = "".join(f'"{host}:443" = "127.0.0.1:{door.getsockname()[1]}"\n' for host, door in self._doors.items())
        self._over = False
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._over = True
        self._thread.join()
        self._selector.close()
        for door in self._doors.values():
            door.close()

    def _work(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.05):
                client, _ = self._doors[key.data].accept()
                client.close()
                self.tries[key.data].append(time.monotonic())

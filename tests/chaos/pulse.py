"""A relay watched from outside while something happens to it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection as PipeEnd
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread
from typing import Any, Self

from attrs import frozen

from benchmarks.bed import Relay
from socialrelay.web.admin.places import SOCKET_NAME as ADMIN
from socialrelay.web.control import SOCKET_NAME as CONTROL
from tests.chaos.waiting import until
from tests.chaos.watching import stood

EVERY = 0.02
_PATIENCE = 60.0


@frozen
class Beat:
    """
    One look at it.

    @ivar at: when it was asked, in seconds of C{time.monotonic}.
    @ivar waited: seconds until it answered.
    @ivar stood: seconds of these in which it, or who asked, wanted to run and another process had the processor.
    @ivar status: 200: ready or degraded; 503: not ready; 0: the connection broke.
    """

    at: float
    waited: float
    stood: float
    status: int


class Pulse:
    """
    Asks a relay every few milliseconds, over one connection, whether it is ready: how long it takes to answer is how long its reactor did
    not turn.

    It asks from a process of its own: in this one, whatever else a proof does would count as well.

    @ivar beats: what came of it.
    """

    def __init__(self, relay: Relay, path: str = "/health/ready", *, operators: bool = False) -> None:
        """@param operators: ask at the operators' site, where nobody else's requests come before this one."""
        self._pipe, theirs = _fork.Pipe(duplex=False)
        self._over = _fork.Event()
        connection = (
            _OverSocket(relay.state / "run" / ADMIN)
            if operators
            else http.client.HTTPConnection("127.0.0.1", relay.port, timeout=_PATIENCE)
        )
        self._process = _fork.Process(target=_ask, args=(theirs, self._over, connection, relay.pid, path), daemon=True)
        self._theirs = theirs
        self._thread = Thread(target=self._hear, daemon=True)
        self.beats: list[Beat] = []

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.join()
        self._thread.join()
        self._pipe.close()

    @property
    def longest(self) -> float:
        """The longest wait, seconds, but for what other processes are to blame for."""
        return max(beat.waited - min(beat.stood, beat.waited) for beat in self.beats)

    def until(self, status: int, after: float, seconds: float) -> bool:
        """
        Wait for an answer with this status; whether it came in so many seconds.

        @param after: asked for after this time.
        """
        return until(lambda: any(beat.at >= after and beat.status == status for beat in self.beats[-5:]), seconds)

    def _hear(self) -> None:
        with suppress(EOFError):
            while True:
                self.beats.append(Beat(*self._pipe.recv()))


_fork = get_context("fork")


def _ask(pipe: PipeEnd, over: Event, connection: http.client.HTTPConnection, pid: int, path: str) -> None:
    """Look, and say what came of it, until it is over."""
    schedstats = f"/proc/{pid}/schedstat", "/proc/self/schedstat"
    while not over.is_set():
        began, status = time.monotonic(), 0
        before = stood(*schedstats)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
        now = time.monotonic()
        pipe.send((began, now - began, stood(*schedstats) - before, status))
        time.sleep(max(began + EVERY - now, 0.0))
    connection.close()


def metrics(relay: Relay) -> dict[str, float]:
    """All metrics of a relay, by name and labels, without the prefix."""
    text = _over_socket(relay.state / "run" / ADMIN, "GET", "/metrics").decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name.removeprefix("socialrelay_"): float(value) for name, _, value in lines}


def late(relay: Relay) -> dict[float, float]:
    """How often a relay's reactor was late by so many seconds or more, by its own measure."""
    found = metrics(relay)
    looks = found["loop_lag_seconds_count"]
    name = 'loop_lag_seconds_bucket{le="'
    return {float(key[len(name) : -2]): looks - count for key, count in found.items() if key.startswith(name) and "Inf" not in key}


def logged(relay: Relay) -> int:
    """Lines of a relay's log, but for those that tell of a post that it accepted."""
    return sum(": Accepted " not in line for line in relay.log.splitlines())


def act(relay: Relay, what: str, **fields: object) -> Any:
    """Have a relay do what the operators' command would."""
    return json.loads(_over_socket(relay.state / "run" / CONTROL, "POST", f"/v1/{what}", json.dumps(fields)))


def view(relay: Relay, what: str) -> Any:
    """What the operators' command would be told."""
    return json.loads(_over_socket(relay.state / "run" / CONTROL, "GET", f"/v1/{what}"))


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("relay", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _over_socket(path: Path, method: str, what: str, body: str | None = None) -> bytes:
    connection = _OverSocket(path)
    try:
        connection.request(method, what, body, {} if body is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{what}: {answer.status}: {data.decode()[:500]}")
        return data
    finally:
        connection.close()

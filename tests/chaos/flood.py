"""Posts at a steady pace, whatever the relay makes of them."""

from __future__ import annotations

import select
import socket
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Thread, get_native_id
from typing import Self

from attrs import Factory, define, frozen

from benchmarks import processes
from benchmarks.load import request
from tests.chaos.watching import stood

CONNECTIONS = 320
ADDRESSES = [f"127.0.4.{number}" for number in range(1, 9)]
PATIENCE = 30.0


@frozen
class Said:
    """
    An answer.

    @ivar sent: when the post was sent, in seconds of C{time.monotonic}; C{at}: when its answer was there.
    @ivar later: the answer has a C{Retry-After}.
    """

    sent: float
    at: float
    status: int
    later: bool
    body: bytes


@define(eq=False)
class _Line:
    socket: socket.socket
    sent: float = 0.0
    body: bytes = b""
    buffer: bytes = b""


@define(eq=False)
class Flood:
    """
    Posts that are due at their times, whether those before were answered or not; what was refused comes again after all others.

    @ivar said: every answer.
    @ivar unsent: posts that were due while all connections waited for answers.
    @ivar broken: posts that were not answered.
    """

    port: int
    posts: deque[bytes]
    said: list[Said] = Factory(list)
    unsent: int = 0
    broken: int = 0

    def run(self, rate: float, seconds: float, connections: int = CONNECTIONS) -> None:
        """So many a second, for so long; returns when all answers are there."""
        epoll = select.epoll()
        lines = {line.socket.fileno(): line for line in map(self._line, range(connections))}
        for descriptor in lines:
            epoll.register(descriptor, select.EPOLLIN)
        idle = list(lines.values())
        began, number = time.monotonic(), 0
        over = began + seconds
        while (now := time.monotonic()) < over + PATIENCE and (now < over or len(idle) < len(lines)):
            while now < over and began + number / rate <= now and self.posts:
                number += 1
                if idle:
                    self._send(idle.pop())
                else:
                    self.unsent += 1
            for descriptor, _ in epoll.poll(0.001 if now < over else 0.1):
                line = lines[descriptor]
                try:
                    if self._heard(line):
                        idle.append(line)
                except ConnectionError:
                    del lines[descriptor]
                    line.socket.close()
                    line = self._instead(line, idle)
                    lines[line.socket.fileno()] = line
                    epoll.register(line.socket, select.EPOLLIN)
        self.broken += len(lines) - len(idle)
        for line in lines.values():
            line.socket.close()
        epoll.close()

    def _instead(self, ended: _Line, idle: list[_Line]) -> _Line:
        """Another one for one that the relay has ended: it may, as long as nothing was under way."""
        if ended in idle:
            idle.remove(ended)
        else:
            self.broken += 1
        line = self._line(len(idle))
        idle.append(line)
        return line

    def _line(self, number: int) -> _Line:
        connection = socket.socket()
        connection.bind((ADDRESSES[number % len(ADDRESSES)], 0))
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Line(connection)

    def _send(self, line: _Line) -> None:
        line.body = self.posts.popleft()
        line.sent = time.monotonic()
        line.socket.sendall(request(line.body))

    def _heard(self, line: _Line) -> bool:
        data = line.socket.recv(65536)
        if not data:
            raise ConnectionError("the relay hung up")
        line.buffer += data
        head, end, rest = line.buffer.partition(b"\r\n\r\n")
        lower = head.lower()
        if not end or len(rest) < int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return False
        line.buffer = b""
        status = int(head[9:12])
        self.said.append(Said(line.sent, time.monotonic(), status, b"\r\nretry-after:" in lower, line.body))
        if status == 503:
            self.posts.append(line.body)
        return True


class Watch:
    """
    Looks at a relay every few milliseconds while a flood goes on in this thread.

    @ivar memory: MB.
    """

    EVERY = 0.003

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._files = [f"/proc/{pid}/schedstat", f"/proc/self/task/{get_native_id()}/schedstat"]
        self._over = Event()
        self._thread = Thread(target=self._work, daemon=True)
        self._times: list[float] = []
        self._stood: list[float] = []
        self._total = 0.0
        self.memory: list[float] = []

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def stood(self, since: float, until: float) -> float:
        """
        For how many seconds of these the relay, or this thread, wanted to run while another process had the processor: see "scheduler
        statistics" in Linux's documentation.
        """
        first, last = bisect_right(self._times, since) - 1, min(bisect_right(self._times, until), len(self._times) - 1)
        return min(self._stood[last] - self._stood[max(first, 0)], until - since)

    @property
    def share(self) -> float:
        """Part of the whole time for which they stood."""
        return self._stood[-1] / (self._times[-1] - self._times[0])

    def _look(self) -> None:
        total = stood(*self._files)
        now = time.monotonic()
        if self._times:  # both may have stood at the same time
            self._stood.append(self._stood[-1] + min(total - self._total, now - self._times[-1]))
        else:
            self._stood.append(0.0)
        self._times.append(now)
        self._total = total

    def _work(self) -> None:
        number = 0
        while not self._over.wait(self.EVERY):
            self._look()
            number += 1
            if number % 50 == 0:
                self.memory.append(processes.resident(self._pid))


def until_well(port: int, posts: Sequence[bytes], ask: Callable[[bytes], bool], seconds: float) -> float:
    """
    Bring a post now and then.

    @param ask: brings one; whether it was taken as usual.
    @return: seconds until the last that was not.
    """
    began = last = time.monotonic()
    for body in posts:
        if time.monotonic() > began + seconds:
            break
        if not ask(body):
            last = time.monotonic()
        time.sleep(0.02)
    return last - began

"""Posts at a steady pace, whatever the relay makes of them."""

from __future__ import annotations

import resource
import select
import socket
import time
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Event, Thread
from typing import Self

from attrs import Factory, define, frozen

from benchmarks import processes
from benchmarks.load import request
from socialrelay.web.receive import WAITS
from tests.chaos.watching import stood

CONNECTIONS = 950
"""Nearly as many as a relay has open at a time."""
ADDRESSES = [f"127.0.4.{number}" for number in range(1, 21)]
PATIENCE = 30.0
AT_ONCE = 32
"""Posts that are sent before it is looked for answers."""
SILENT = 29.0
"""Seconds: a connection on which nothing was sent for so long may be ended by the relay at the moment at which something is."""
_KNOWN = 1000
"""Answers that are remembered, so as not to be read again."""


@frozen
class Said:
    """
    An answer.

    @ivar sent: when the post was sent, in seconds of C{time.monotonic}; C{at}: when its answer was there.
    @ivar later: the answer has a C{Retry-After}.
    @ivar read: it says that the post was read first.
    """

    sent: float
    at: float
    status: int
    later: bool
    read: bool
    body: bytes


class Flood:
    """
    Posts that are due at their times, whether those before were answered or not; what was refused comes again after all others.

    They are sent by a process of their own, which shares what processors the relay has not.

    @ivar pid: that process.
    @ivar said: every answer.
    @ivar unsent: posts that were due while all connections waited for answers.
    @ivar broken: posts that were not answered.
    """

    def __init__(self, port: int, posts: Sequence[bytes], connections: int = CONNECTIONS) -> None:
        """Connect, and be ready."""
        self._posts = posts
        ours, theirs = _fork.Pipe()
        self._pipe = ours
        self._process = _fork.Process(target=_send, args=(theirs, port, posts, connections), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        processes.pin([self.pid], processes.cores()[1])
        self._pipe.recv()
        self.said: list[Said] = []
        self.unsent = 0
        self.broken = 0

    def run(self, rate: float, seconds: float) -> None:
        """So many a second, for so long; returns when all answers are there. Once."""
        self._pipe.send((rate, seconds))
        answers, self.unsent, self.broken = self._pipe.recv()
        self._process.join()
        self._pipe.close()
        columns = zip(answers.sent, answers.at, answers.status, answers.later, answers.read, answers.posts, strict=True)
        self.said = [
            Said(sent, at, status, bool(later), bool(read), self._posts[number]) for sent, at, status, later, read, number in columns
        ]


_fork = get_context("fork")


def _send(pipe: Connection, port: int, posts: Sequence[bytes], connections: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sender = _Sender(port, posts, connections)
    pipe.send(None)
    rate, seconds = pipe.recv()
    sender.run(rate, seconds)
    pipe.send((sender.answers, sender.unsent, sender.broken))


@frozen
class _Answers:
    """What L{Said} holds, by columns, and of bodies their numbers: there are half a million."""

    sent: array[float] = Factory(lambda: array("d"))
    at: array[float] = Factory(lambda: array("d"))
    status: array[int] = Factory(lambda: array("H"))
    later: array[int] = Factory(lambda: array("B"))
    read: array[int] = Factory(lambda: array("B"))
    posts: array[int] = Factory(lambda: array("L"))


@define(eq=False)
class _Line:
    """
    @ivar post: the number of the one that is not answered; -1: none.
    @ivar used: when something was last sent or answered.
    @ivar silent: seconds for which it had not been used, when the post was sent.
    """

    socket: socket.socket
    post: int = -1
    sent: float = 0.0
    used: float = 0.0
    silent: float = 0.0
    buffer: bytes = b""


class _Sender:
    def __init__(self, port: int, posts: Sequence[bytes], connections: int) -> None:
        self._port = port
        self._posts = posts
        self._waiting = deque(range(len(posts)))
        self._known: dict[bytes, tuple[int, bool, bool]] = {}
        self._epoll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._idle: deque[_Line] = deque()
        self.answers = _Answers()
        self.unsent = 0
        self.broken = 0
        for number in range(connections):
            self._connect(number)

    def _connect(self, number: int) -> None:
        connection = socket.socket()
        connection.bind((ADDRESSES[number % len(ADDRESSES)], 0))
        connection.connect(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(connection, used=time.monotonic())
        self._lines[connection.fileno()] = line
        self._idle.append(line)
        self._epoll.register(connection, select.EPOLLIN)

    def run(self, rate: float, seconds: float) -> None:
        began, number = time.monotonic(), 0
        over = began + seconds
        while (now := time.monotonic()) < over + PATIENCE and (now < over or len(self._idle) < len(self._lines)):
            due = int((now - began) * rate) + 1 if now < over else number
            most = number + AT_ONCE
            while number < due and self._waiting and (number < most or not self._idle):
                number += 1
                if self._idle:
                    self._post(self._idle.popleft())
                else:
                    self.unsent += 1
            pause = 0.1 if now >= over else 0.0 if number < due else 0.001
            events = self._epoll.poll(pause)
            now = time.monotonic()
            for descriptor, _ in events:
                self._hear(self._lines[descriptor], now)
        self.broken += len(self._lines) - len(self._idle)

    def _post(self, line: _Line) -> None:
        line.post = self._waiting.popleft()
        line.sent = time.monotonic()
        line.silent = line.sent - line.used
        try:
            line.socket.sendall(request(self._posts[line.post]))
        except ConnectionError:
            pass  # what is read there says so as well

    def _hear(self, line: _Line, now: float) -> None:
        try:
            data = line.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._ended(line)
            return
        line.buffer += data
        answer = self._known.get(line.buffer) or _read(line.buffer)
        if answer is None:
            return
        if len(self._known) < _KNOWN:
            self._known[line.buffer] = answer
        status, later, read = answer
        columns = self.answers
        columns.sent.append(line.sent)
        columns.at.append(now)
        columns.status.append(status)
        columns.later.append(later)
        columns.read.append(read)
        columns.posts.append(line.post)
        if status == 503:
            self._waiting.append(line.post)
        line.buffer, line.post, line.used = b"", -1, now
        self._idle.append(line)

    def _ended(self, line: _Line) -> None:
        """Another one for one that the relay has ended: it may, as long as nothing was under way, or had been for very long."""
        del self._lines[line.socket.fileno()]
        line.socket.close()
        if line.post < 0:
            self._idle.remove(line)
        elif line.silent >= SILENT and not line.buffer:
            self._waiting.append(line.post)
        else:
            self.broken += 1
        self._connect(len(self._idle))


def _read(data: bytes) -> tuple[int, bool, bool] | None:
    """The status of an answer, whether it has a C{Retry-After}, and whether it says that the post was read, once it is here as a whole."""
    head, end, rest = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if not end or len(rest) < int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]):
        return None
    return int(head[9:12]), b"\r\nretry-after:" in lower, rest.rstrip() == WAITS.text.encode()


class Watch:
    """
    Looks at a relay every few milliseconds while a flood goes on.

    @ivar memory: MB.
    """

    EVERY = 0.003

    def __init__(self, pid: int, sender: int) -> None:
        self._pid = pid
        self._files = [f"/proc/{pid}/schedstat", f"/proc/{sender}/schedstat"]
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
        For how many seconds of these the relay, or the sender, wanted to run while another process had the processor: see "scheduler
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

"""Clients that take their time, hundreds at once; and others, who meanwhile want nothing but to be served."""

from __future__ import annotations

import math
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Thread

from attrs import Factory, define

EVERY = 1.0
"""Seconds between two bytes of a slow client."""


@define(eq=False)
class _Slow:
    socket: socket.socket
    opened: float = math.inf
    sent: int = 0


class Crowd:
    """
    So many connections at a time, of which each sends its bytes one by one; whoever is thrown out comes again.

    @ivar lasted: seconds for which each connection lasted that the relay has ended.
    @ivar refused: connections that ended before they were a second old.
    """

    def __init__(self, port: int, count: int, addresses: Sequence[str], start: bytes, drip: bytes, *, again: float = 200.0) -> None:
        """
        @param addresses: from which they come, in turn.
        @param start: what each sends at once.
        @param drip: what each sends after that, over and over, a byte at a time.
        @param again: connections a second with which those that ended are replaced, at most.
        """
        self.lasted: list[float] = []
        self.refused = 0
        self._port = port
        self._count = count
        self._addresses = addresses
        self._start = start
        self._drip = drip
        self._again = again
        self._epoll = select.epoll()
        self._open: dict[int, _Slow] = {}
        self._opened = 0
        self._over = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def begin(self) -> Crowd:
        """Come."""
        self._thread.start()
        return self

    def end(self) -> None:
        """Go."""
        self._over.set()
        self._thread.join()
        for each in self._open.values():
            each.socket.close()
        self._epoll.close()

    @property
    def present(self) -> int:
        """How many are connected."""
        return len(self._open)

    @property
    def oldest(self) -> float:
        """For how many seconds the longest lasts by now."""
        now = time.monotonic()
        return max((now - each.opened for each in list(self._open.values())), default=0.0)

    def _work(self) -> None:
        due, began = 0.0, time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            may_open = self._count + int((now - began) * self._again) - self._opened
            for _ in range(min(self._count - len(self._open), may_open)):
                self._connect()
            if now >= due:
                due = now + EVERY
                self._drip_all()
            for descriptor, happened in self._epoll.poll(0.02):
                each = self._open.get(descriptor)
                if each is not None and happened == select.EPOLLOUT:
                    self._connected(each)
                elif each is not None:
                    self._listen(each)

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((self._addresses[self._opened % len(self._addresses)], 0))
        self._opened += 1
        connection.connect_ex(("127.0.0.1", self._port))
        self._open[connection.fileno()] = _Slow(connection)
        self._epoll.register(connection, select.EPOLLOUT)

    def _connected(self, each: _Slow) -> None:
        self._epoll.modify(each.socket, select.EPOLLIN)
        each.opened = time.monotonic()
        try:
            each.socket.sendall(self._start)
        except OSError:
            self._gone(each.socket.fileno())

    def _drip_all(self) -> None:
        for descriptor, each in list(self._open.items()):
            if each.opened == math.inf:
                continue
            byte = self._drip[each.sent % len(self._drip) :][:1]
            each.sent += 1
            try:
                each.socket.send(byte)
            except BlockingIOError:
                pass
            except OSError:
                self._gone(descriptor)

    def _listen(self, each: _Slow) -> None:
        try:
            if each.socket.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._gone(each.socket.fileno())

    def _gone(self, descriptor: int) -> None:
        each = self._open.pop(descriptor)
        self._epoll.unregister(each.socket)
        each.socket.close()
        lasted = time.monotonic() - each.opened
        if lasted < 1.0:
            self.refused += 1
        else:
            self.lasted.append(lasted)


@define(eq=False)
class Healthy:
    """
    A client that asks for one thing after another, and expects an answer within five seconds.

    @ivar ask: asks once; whether it was served.
    @ivar every: seconds between two questions.
    @ivar waited: seconds, for each.
    @ivar failed: questions that were not answered as they should be.
    @ivar why: errors of those that were not answered at all.
    """

    ask: Callable[[], bool]
    every: float
    waited: list[float] = Factory(list)
    failed: int = 0
    why: Counter[str] = Factory(Counter)
    _over: Event = Factory(Event)
    _thread: Thread | None = None

    def begin(self) -> Healthy:
        """Begin to ask."""
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            began = time.monotonic()
            try:
                served = self.ask()
            except OSError as error:
                served = False
                self.why[f"{type(error).__name__} after {time.monotonic() - began:.0f} s"] += 1
            self.waited.append(time.monotonic() - began)
            self.failed += not served
            due = max(due + self.every, time.monotonic() - self.every)
            self._over.wait(max(due - time.monotonic(), 0.0))

"""A sender that does not give up: the far end of the front door while the relay comes and goes."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from threading import Lock, Thread
from weakref import WeakSet

from attrs import frozen

from benchmarks.load import request
from benchmarks.sinks import mark

_PATIENCE = 30.0
_known: WeakSet[Sender] = WeakSet()


@frozen
class Answer:
    """
    One answer.

    @ivar at: when it was there, in seconds of C{time.monotonic}.
    @ivar waited: seconds since the request was sent.
    @ivar status: 0 if the connection broke instead, or nothing came in half a minute.
    @ivar retry_after: seconds that the relay asked for; C{None} if it did not.
    """

    at: float
    waited: float
    status: int
    retry_after: int | None = None


class Sender:
    """
    Brings each post until it is answered 2xx, on some connections at a time, in threads of its own.

    @ivar accepted: when each post was answered 202, by its mark.
    @ivar answers: every answer that there was.
    @ivar refused: posts that were answered with something that is neither 2xx nor 503, by status.
    """

    def __init__(self, port: int, bodies: Sequence[bytes], *, connections: int = 8, rate: float = 0.0) -> None:
        """
        @param rate: posts a second at most; 0 for as many as are taken.
        """
        self._port = port
        self._bodies = bodies
        self._rate = rate
        self._lock = Lock()
        self._next = 0
        self._over = False
        self.accepted: dict[int, float] = {}
        self.answers: list[Answer] = []
        self.refused: Counter[int] = Counter()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(connections)]
        self._began = 0.0
        _known.add(self)

    def start(self) -> Sender:
        """Begin."""
        self._began = time.monotonic()
        for each in self._threads:
            each.start()
        return self

    def stop(self) -> None:
        """Begin no more, and wait for the answers that are under way."""
        self.give_up()
        self.join()

    def give_up(self) -> None:
        """Begin no more."""
        self._over = True

    def join(self) -> None:
        """Wait until every post is answered."""
        for each in self._threads:
            each.join()

    def statuses(self) -> Counter[int]:
        """How often each was answered."""
        return Counter(answer.status for answer in self.answers)

    def _take(self) -> bytes | None:
        with self._lock:
            if self._over or self._next >= len(self._bodies):
                return None
            number, self._next = self._next, self._next + 1
        if self._rate:
            time.sleep(max(self._began + number / self._rate - time.monotonic(), 0.0))
        return self._bodies[number]

    def _work(self) -> None:
        connection: socket.socket | None = None
        while (body := self._take()) is not None:
            while not self._over or connection is not None:
                connection, answer = self._bring(connection, body)
                self.answers.append(answer)
                if 200 <= answer.status < 300:
                    self.accepted[mark(body)] = answer.at
                    break
                if answer.status not in (0, 503):
                    self.refused[answer.status] += 1
                    break
                time.sleep(0.02)
        if connection is not None:
            connection.close()

    def _bring(self, connection: socket.socket | None, body: bytes) -> tuple[socket.socket | None, Answer]:
        began = time.monotonic()
        status, retry_after = 0, None
        try:
            connection = connection or socket.create_connection(("127.0.0.1", self._port), _PATIENCE)
            connection.sendall(request(body))
            status, retry_after, close = read_answer(connection)
            if close:
                connection.close()
                connection = None
        except OSError:
            if connection is not None:
                connection.close()
            connection = None
        now = time.monotonic()
        return connection, Answer(now, now - began, status, retry_after)


def give_up() -> None:
    """Let no sender go on whose proof is at an end, however it ended."""
    for each in list(_known):
        each.give_up()


def read_answer(connection: socket.socket) -> tuple[int, int | None, bool]:
    """
    Read one answer.

    @return: its status, its C{Retry-After}, and whether the connection ends with it.
    @raise OSError: there is none, or not all of it.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    missing = int(headers.get("content-length", "0")) - len(body)
    while missing > 0:
        missing -= len(_more(connection))
    after = headers.get("retry-after", "")
    return int(start.split(" ")[1]), int(after) if after.isdigit() else None, headers.get("connection") == "close"


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the relay hung up")
    return data

"""The relay is restarted behind a socket that somebody else holds, as under systemd, while posts come in: nobody is refused."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Thread

from benchmarks.load import request
from benchmarks.sinks import mark, names
from tests.chaos.counting import Deliveries
from tests.chaos.finding import Finding
from tests.chaos.sending import read_answer
from tests.chaos.stage import AT_ONCE, Database, Relay, Stage, account

NODES = 8
KEPT = ANEW = 8
"""Senders that keep their connection, as a proxy does, and such that make one for each post."""
RATE = 150.0
"""Posts a second."""
WAITING = 4096
PATIENCE = 60.0
DRAIN = 300.0
"""Seconds until the last post is everywhere: how fast that goes is not in question here."""
STOP = 10.0
"""Seconds for a stop."""
BETWEEN = 2.0
"""Seconds from a start to the next stop, in which posts come in as ever."""


def prove(full: bool) -> Finding:
    """As L{tests.chaos.finding.Proof}."""
    restarts, posts = (10, 10_000) if full else (1, 600)
    stops, codes = [], set()
    with Stage() as stage, stage.database() as database:
        database.subscribe(names("n", NODES))
        bodies = stage.posts.first(posts)
        deliveries = Deliveries(stage.sinks, NODES)
        with _handed_over(stage, database) as relay:
            senders = Senders(relay.port, bodies).start()
            for _ in range(restarts):
                time.sleep(BETWEEN)
                began = time.monotonic()
                codes.add(relay.terminate())
                stops.append(time.monotonic() - began)
                relay.start()
            during = senders.sent
            senders.join()
            missing = deliveries.wait(senders.accepted, DRAIN)
            codes.add(relay.terminate())
        deliveries.look()
        books = account(database)
    failed = posts - len(senders.accepted)
    told = ", ".join(f"{times} {what}" for what, times in senders.failed.most_common())
    return Finding(
        done=f"{restarts} times SIGTERM and a start, while {posts} posts were brought at {RATE:g} a second, {during} of them until the last "
        f"start, on kept connections and on new ones",
        figure=f"{failed} posts not answered 202 at their first try{f' ({told})' if told else ''}, the longest wait {senders.longest:.1f} s; "
        f"each stop within {max(stops):.1f} s; {missing} of {len(senders.accepted) * NODES} deliveries lost, {deliveries.doubled} twice",
        held=not (failed or missing or deliveries.doubled or books.difference) and max(stops) <= STOP and codes == {0},
        figures={
            "failed": failed,
            "longest_wait_s": senders.longest,
            "longest_stop_s": max(stops),
            "lost": missing,
            "twice": deliveries.doubled,
            "imbalance": books.difference,
        },
        scope="one process",
    )


@contextmanager
def _handed_over(stage: Stage, database: Database) -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0), backlog=WAITING) as listener:
        relay = _Activated(stage, database, listener)
        try:
            relay.start()
            yield relay
        finally:
            relay.stop()


class _Activated(Relay):
    """A relay that is handed its socket."""

    def __init__(self, stage: Stage, database: Database, listener: socket.socket) -> None:
        super().__init__(stage, database, AT_ONCE)
        self.port = listener.getsockname()[1]
        self._daemon.listen = ("systemd:domain=INET:name=public",)
        self._daemon.listener = listener


class Senders:
    """
    Bring each post once.

    @ivar accepted: marks of posts that were answered 202.
    @ivar failed: how often something else became of one, by what it was.
    @ivar longest: seconds that one waited for its answer.
    """

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        self._port = port
        self._bodies = bodies
        self._lock = Lock()
        self._threads = [Thread(target=self._work, args=(number < KEPT,), daemon=True) for number in range(KEPT + ANEW)]
        self._began = 0.0
        self.sent = 0
        self.accepted: set[int] = set()
        self.failed: Counter[str] = Counter()
        self.longest = 0.0

    def start(self) -> Senders:
        """Begin."""
        self._began = time.monotonic()
        for each in self._threads:
            each.start()
        return self

    def join(self) -> None:
        """Until all are brought."""
        for each in self._threads:
            each.join()

    def _take(self) -> bytes | None:
        with self._lock:
            if self.sent >= len(self._bodies):
                return None
            number, self.sent = self.sent, self.sent + 1
        time.sleep(max(self._began + number / RATE - time.monotonic(), 0.0))
        return self._bodies[number]

    def _work(self, keeps: bool) -> None:
        connection: socket.socket | None = None
        while (body := self._take()) is not None:
            if connection is not None and _hung_up(connection):
                connection.close()
                connection = None
            began = time.monotonic()
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self._port), PATIENCE)
                connection.sendall(request(body))
                status, _, close = read_answer(connection)
            except OSError as error:
                what, close = f"{type(error).__name__}: {error}", True
            else:
                what = str(status)
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - began)
                if what == "202":
                    self.accepted.add(mark(body))
                else:
                    self.failed[what] += 1
            if (close or not keeps) and connection is not None:
                connection.close()
                connection = None


def _hung_up(connection: socket.socket) -> bool:
    """Between two requests nothing comes but the end."""
    return bool(select.select([connection], [], [], 0)[0])

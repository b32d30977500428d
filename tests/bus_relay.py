"""
A relay of the bus that does as tests tell it: a ROUTER in a thread, which remembers what it keeps while it is stopped and started again.

It speaks as the real one does (L{socialrelay.bus.wire}), and breaks down as no real one can be asked to.
"""

from __future__ import annotations

import json
import time
from collections import deque
from threading import Event, Thread
from typing import Any

import zmq

from tests.bus_wire import PATIENCE, free_address

_LOOK = 10
"""Milliseconds."""


class ScriptedRelay:
    """
    @ivar kept: C{(msg_id, topic, body)}, in order; the first has number C{1}.
    @ivar seen: C{msg_id} of whatever came, as often as it came.
    @ivar script: what is done with the next messages, in turn: C{lose} (kept, and the answer is lost), C{drop} (neither), C{busy},
        C{break} (kept, and the connection breaks), C{swap} (answered after the next one).
    @ivar refused: topic -> status and reason.
    @ivar oldest: what is before this number has been forgotten.
    @ivar queries: that came.
    @ivar busy_queries: how many of the next ones are answered so.
    """

    def __init__(self) -> None:
        self.address = free_address()
        self.kept: list[tuple[str, str, bytes]] = []
        self.seen: list[str] = []
        self.script: deque[str] = deque()
        self.refused: dict[str, tuple[str, str]] = {}
        self.oldest = 1
        self.queries: list[dict[str, Any]] = []
        self.busy_queries = 0
        self._numbers: dict[str, int] = {}
        self._over = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen; where it listened before if it did."""
        self._over.clear()
        ready = Event()
        self._thread = Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE)

    def stop(self) -> None:
        """Vanish."""
        if self._thread is not None:
            self._over.set()
            self._thread.join(PATIENCE)
            self._thread = None

    def keep(self, msg_id: str, topic: str, msg: object) -> None:
        """Somebody else publishes."""
        body = json.dumps({"topic": topic, "msg": msg, "msg_id": msg_id}).encode()
        self._numbers[msg_id] = len(self.kept) + 1
        self.kept.append((msg_id, topic, body))

    def _run(self, ready: Event) -> None:
        context = zmq.Context()
        try:
            router = self._bind(context)
            ready.set()
            self._waiting: list[tuple[float, bytes, bytes, dict[str, Any]]] = []
            self._swapped: list[list[bytes]] = []
            while not self._over.is_set():
                if router.poll(_LOOK) and not self._take(router, router.recv_multipart()):
                    router.close(0)
                    router = self._bind(context)
                self._answer_waiting(router)
            router.close(0)
        finally:
            context.term()

    def _bind(self, context: Any) -> Any:
        router = context.socket(zmq.ROUTER)
        router.set(zmq.LINGER, 0)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                router.bind(self.address)
            except zmq.ZMQError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return router

    def _take(self, router: Any, frames: list[bytes]) -> bool:
        """Whether the connection goes on."""
        if len(frames) == 3:
            query = json.loads(frames[2])
            self.queries.append(query)
            if self.busy_queries:
                self.busy_queries -= 1
                router.send_multipart([*frames[:2], b"busy", b"too many ask"])
                return True
            self._waiting.append((time.monotonic() + query.get("wait", 0), frames[0], frames[1], query))
            return True
        peer, name, topic, body = frames
        msg_id = name.decode()
        self.seen.append(msg_id)
        what = self.script.popleft() if self.script else ""
        if what == "drop":
            return True
        status, detail = self._judge(msg_id, topic.decode(), body) if what != "busy" else ("busy", "too much to do")
        if what in ("lose", "break"):
            return what == "lose"
        self._swapped.append([peer, name, status.encode(), detail.encode()])
        if what != "swap":
            while self._swapped:
                router.send_multipart(self._swapped.pop())
        return True

    def _judge(self, msg_id: str, topic: str, body: bytes) -> tuple[str, str]:
        if topic in self.refused:
            return self.refused[topic]
        if msg_id in self._numbers:
            return "dup", str(self._numbers[msg_id])
        self.kept.append((msg_id, topic, body))
        self._numbers[msg_id] = len(self.kept)
        return "ok", str(len(self.kept))

    def _answer_waiting(self, router: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for deadline, peer, name, query in waiting:
            last = len(self.kept)
            since = query.get("since", last)
            if "since" not in query:
                query["since"] = since
            if since > last:
                router.send_multipart([peer, name, b"bad", b"there is no such number"])
            elif since + 1 < self.oldest:
                router.send_multipart([peer, name, b"gone", json.dumps({"oldest_seq": self.oldest}).encode()])
            elif (found := self._after(since, query)) or time.monotonic() >= deadline:
                end = found[-1]["seq"] if len(found) == query["limit"] else last
                extent = {"next": end, "last_seq": last, "oldest_seq": self.oldest, "oldest_own_seq": self.oldest}
                router.send_multipart([peer, name, b"ok", json.dumps({"messages": found, **extent}).encode()])
            else:
                self._waiting.append((deadline, peer, name, query))

    def _after(self, since: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for seq, (msg_id, topic, body) in enumerate(self.kept[since:], since + 1):
            if topic.startswith(query["topic"]):
                told = {"seq": seq, "msg_id": msg_id, "topic": topic, "body": body.decode()}
                found.append({**told, "received_at": "2026-11-22T06:00:00.123456+00:00", "source": "ingest"})
        return found[: query["limit"]]

"""
The two ends of the bus as other programs hold them: one that publishes, one that listens to everything and finds fault.

Both block, and neither knows the reactor: a listener receives in a thread of its own.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Thread
from typing import Any

import zmq

PATIENCE = 30.0
"""Seconds after which something that was waited for has failed."""
_LOOK = 50
"""Milliseconds after which a listener looks whether it shall end."""


def free_address() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def canonical(envelope: object) -> bytes:
    """JSON as fedmsg writes it."""
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def envelope(topic: str, msg: object, msg_id: str) -> bytes:
    """A message as a publisher of fedmsg would write it."""
    return canonical({"i": 1, "msg": msg, "msg_id": msg_id, "timestamp": 1793707200, "topic": topic, "username": "git"})


def audit(frames: Sequence[bytes]) -> str:
    """What of a published message would end a stock C{fedmsg-tail}, or mislead it; empty if nothing."""
    if len(frames) != 2:
        return f"{len(frames)} frames: {list(frames)!r:.200}"
    topic, body = frames
    try:
        said = json.loads(body.decode())
        name = topic.decode()
    except ValueError as error:
        return f"{topic!r}: {error}: {body!r:.200}"
    if not isinstance(said, dict):
        return f"{name}: not an object: {body!r:.200}"
    if said.get("topic") != name:
        return f"{name}: in the body it is {said.get('topic')!r}"
    return "" if "msg" in said else f"{name}: no 'msg': {body!r:.200}"


class Publisher:
    """
    Connects as a publisher of fedmsg does.

    Its socket is an XPUB, which is a PUB that hears of subscriptions: so it knows when the relay listens.
    """

    def __init__(self, address: str, linger: int = 10_000) -> None:
        """@param linger: milliseconds that L{close} may take to get rid of what was not sent yet."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.LINGER, linger)
        self._socket.connect(address)
        if not self._socket.poll(int(PATIENCE * 1000)):
            self.close()
            raise AssertionError(f"nobody subscribes at {address}")

    def send(self, topic: str, body: bytes) -> None:
        """Publish a message."""
        self.send_frames([topic.encode(), body])

    def send_frames(self, frames: Sequence[bytes]) -> None:
        """Publish whatever that is."""
        self._socket.send_multipart(frames)

    def close(self) -> None:
        """Hang up, once all is sent."""
        self._socket.close()
        self._context.term()


class Asker:
    """Connects to C{relay_ingest} as a client does, with a DEALER."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(address)

    def close(self) -> None:
        """Hang up, whatever was not sent yet."""
        self._socket.close()
        self._context.term()

    def give(self, msg_id: str, topic: str, body: bytes) -> None:
        """Publish a message."""
        self._socket.send_multipart([msg_id.encode(), topic.encode(), body])

    def answer(self, patience: float = PATIENCE) -> list[str]:
        """
        The next answer: identifier, status, detail.

        @raise AssertionError: there is none.
        """
        if not self._socket.poll(int(patience * 1000)):
            raise AssertionError("the relay does not answer")
        return [frame.decode() for frame in self._socket.recv_multipart()]

    def tell(self, msg_id: str, topic: str, body: bytes) -> tuple[str, str]:
        """Publish a message; status and detail of the answer."""
        self.give(msg_id, topic, body)
        answered, status, detail = self.answer()
        if answered != msg_id:
            raise AssertionError(f"{answered} was answered instead of {msg_id}")
        return status, detail

    def tell_all(self, messages: Sequence[tuple[str, str, bytes]], answers: dict[str, str], over: Event, window: int = 500) -> None:
        """
        Publish all of these, with so many unanswered, until each has its answer or it is over.

        @param answers: is given the status for each identifier.
        """
        number = 0
        while len(answers) < len(messages) and not over.is_set():
            while number < len(messages) and number - len(answers) < window:
                self.give(*messages[number])
                number += 1
            if self._socket.poll(_LOOK):
                msg_id, status, _ = self.answer()
                answers[msg_id] = status

    def ask(self, **query: object) -> tuple[str, Any]:
        """Ask for what was said; status and detail of the answer, which is read if it is JSON."""
        self._socket.send_multipart([b"query", json.dumps(query).encode()])
        _, status, detail = self.answer()
        return status, json.loads(detail) if status in ("ok", "gone") else detail

    def said(self, since: int = 0, topic: str = "") -> list[dict[str, Any]]:
        """
        All that is kept after a number.

        @raise AssertionError: the relay does not say.
        """
        found: list[dict[str, Any]] = []
        while True:
            status, page = self.ask(since=since, topic=topic)
            if status != "ok":
                raise AssertionError(f"the relay answers {status}: {page!r}")
            found += page["messages"]
            if page["next"] <= since or page["next"] >= page["last_seq"]:
                return found
            since = page["next"]


class Listener:
    """
    Hears all that is published, and looks at each message.

    @ivar heard: frames of each, as they came.
    @ivar faults: what L{audit} says.
    @ivar paused: it reads nothing.
    """

    def __init__(self, address: str, topic: str = "", queue: int = 0) -> None:
        """
        @param topic: what the topics that it wants begin with.
        @param queue: messages that it takes from the network while it is L{paused}; 0: all.
        """
        self.paused = False
        self.heard: list[list[bytes]] = []
        self.faults: list[str] = []
        self._over = Event()
        self._address, self._topic, self._queue = address, topic, queue
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        context = zmq.Context()
        try:
            with context.socket(zmq.SUB) as receives:
                receives.set(zmq.RCVHWM, self._queue)
                if self._queue:
                    receives.set(zmq.RCVBUF, 16384)
                receives.set(zmq.LINGER, 0)
                receives.set(zmq.RECONNECT_IVL, 50)
                receives.connect(self._address)
                receives.subscribe(self._topic)
                while not self._over.is_set():
                    if self.paused:
                        self._over.wait(_LOOK / 1000)
                    elif receives.poll(_LOOK):
                        frames = receives.recv_multipart()
                        self.heard.append(frames)
                        if fault := audit(frames):
                            self.faults.append(fault)
        finally:
            context.term()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join(PATIENCE)

    def bodies(self, topic: str = "") -> list[bytes]:
        """Of the messages whose topics begin so."""
        prefix = topic.encode()
        return [frames[1] for frames in self.heard if len(frames) == 2 and frames[0].startswith(prefix)]

    def messages(self, topic: str = "") -> list[dict[str, Any]]:
        """The same, read."""
        return [json.loads(body) for body in self.bodies(topic)]

    def ids(self, topic: str = "") -> list[str]:
        """C{msg_id} of each."""
        return [message["msg_id"] for message in self.messages(topic)]


def until(ask: Callable[[], Any], well: Callable[[Any], object] = bool, patience: float = PATIENCE) -> Any:
    """
    Ask until the answer is as it should be; what it is then.

    @raise AssertionError: it never was.
    """
    end = time.monotonic() + patience
    while not well(answer := ask()):
        if time.monotonic() > end:
            raise AssertionError(f"after {patience} s it is still {answer!r:.500}")
        time.sleep(0.02)
    return answer


def met(publisher: Publisher, heard: Iterable[Callable[[], Iterable[str]]], topic: str) -> None:
    """Publish probes until each of these listeners has heard one: from then on they hear everything."""
    waiting = list(heard)
    number = 0

    def ask() -> list[object]:
        nonlocal number, waiting
        number += 1
        publisher.send(topic, envelope(topic, {"probe": number}, f"probe-{id(publisher)}-{number}"))
        time.sleep(0.1)
        waiting = [each for each in waiting if topic not in each()]
        return list(waiting)

    until(ask, lambda waiting: not waiting)

"""
The ends of the bus while it is measured, each a process that does as little as can be: C{python -m benchmarks.bus_ends WHAT …}.

    publish ADDRESS COUNT RATE      as a publisher of fedmsg; RATE 0: as fast as it goes
    listen ADDRESS COUNT            as a listener of fedmsg
    acknowledge ADDRESS COUNT WINDOW    on relay_ingest, with so many messages unanswered
    post PORT COUNT                 by HTTP, one after another, with the token in the environment

C{publish}, C{acknowledge} and C{post} say C{ready}, wait for a line, and end with a line of JSON; C{listen} says C{ready} when it hears a
probe, and ends when it has as many messages as it was told, or when none comes any more.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import zmq

TOPIC = b"org.example.dev.bench.flood"
PROBE = b"org.example.dev.bench-probe"
SIZE = 1000
"""Bytes of a body."""
SENT = slice(37, 57)
"""Where in a body it stands when it was sent: nanoseconds of C{time.monotonic_ns}."""
QUIET = 3
"""Seconds without a message after which a listener takes it that none will come."""


def body(number: int, mark: str, sent: int = 0, topic: bytes = TOPIC) -> bytes:
    """
    A message, as fedmsg writes it.

    @param mark: what tells the messages of one publisher from another's.
    """
    head = f'{{"i":1,"msg":{{"n":"{number:08d}","sent":"{sent:020d}","text":"'
    tail = f'"}},"msg_id":"2026-{mark}-{number:08d}","timestamp":1793707200,"topic":"{topic.decode()}","username":"bench"}}'
    return f"{head}{'x' * (SIZE - len(head) - len(tail))}{tail}".encode()


def publish(address: str, count: int, rate: float) -> dict[str, Any]:
    """See the module; C{began} and C{ended} in nanoseconds."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.LINGER, -1)
        socket.connect(address)
        socket.poll()  # somebody subscribes
        mark = uuid4().hex
        bodies = [body(number, mark) for number in range(count)]
        _ready()
        began = time.monotonic_ns()
        for number, each in enumerate(bodies):
            if rate:
                while (wait := began / 1e9 + number / rate - time.monotonic()) > 0:
                    time.sleep(wait)
                stamped = b"".join((each[: SENT.start], b"%020d" % time.monotonic_ns(), each[SENT.stop :]))
            socket.send_multipart((TOPIC, stamped if rate else each))
        ended = time.monotonic_ns()
    return {"began": began, "ended": ended}


def listen(address: str, count: int) -> dict[str, Any]:
    """See the module; C{numbers} of those that came, C{last} when, and C{delays} in milliseconds."""
    bodies: list[bytes] = []
    came: list[int] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.connect(address)
        for topic in (TOPIC, PROBE):
            socket.subscribe(topic)
        ready, quiet = False, 0
        while len(bodies) < count and quiet < QUIET:
            if not socket.poll(1000):
                quiet += ready
                continue
            quiet = 0
            for topic, each in _all(socket):
                if topic == TOPIC:
                    bodies.append(each)
                    came.append(time.monotonic_ns())
                elif not ready:
                    ready = True
                    print("ready", flush=True)
    said = [json.loads(each)["msg"] for each in bodies]
    delays = [(at - int(each["sent"])) / 1e6 for at, each in zip(came, said, strict=True)]
    return {"numbers": [int(each["n"]) for each in said], "last": came[-1] if came else 0, "delays": delays}


def acknowledge(address: str, count: int, window: int) -> dict[str, Any]:
    """See the module; C{seconds}, C{delays} of the answers in milliseconds, and C{answers}: how many of each."""
    mark = uuid4().hex
    bodies = [body(number, mark) for number in range(count)]
    ids = [json.loads(each)["msg_id"].encode() for each in bodies]
    sent: dict[bytes, int] = {}
    delays: list[float] = []
    answers: Counter[str] = Counter()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.LINGER, 0)
        socket.connect(address)
        _ready()
        began = time.monotonic_ns()
        number = 0
        while len(delays) < count:
            while number < count and number - len(delays) < window:
                sent[ids[number]] = time.monotonic_ns()
                socket.send_multipart((ids[number], TOPIC, bodies[number]))
                number += 1
            if not socket.poll(10_000):
                break
            for msg_id, status, _ in _all(socket):
                delays.append((time.monotonic_ns() - sent[msg_id]) / 1e6)
                answers[status.decode()] += 1
        ended = time.monotonic_ns()
    return {"seconds": (ended - began) / 1e9, "delays": delays, "answers": answers}


def post(port: int, count: int) -> dict[str, Any]:
    """The same by HTTP."""
    mark = uuid4().hex
    head = {"Authorization": f"Bearer {os.environ['TOKEN']}", "Content-Type": "application/json"}
    delays: list[float] = []
    answers: Counter[str] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    _ready()
    began = time.monotonic_ns()
    for number in range(count):
        started = time.monotonic_ns()
        connection.request("POST", "/bus/v1/messages", body(number, mark), head)
        answer = connection.getresponse()
        answer.read()
        delays.append((time.monotonic_ns() - started) / 1e6)
        answers[str(answer.status)] += 1
    ended = time.monotonic_ns()
    connection.close()
    return {"seconds": (ended - began) / 1e9, "delays": delays, "answers": answers}


def _all(socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
    """What is there now."""
    try:
        while True:
            yield socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return


def _ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


ENDS: dict[str, Callable[..., dict[str, Any]]] = {"publish": publish, "listen": listen, "acknowledge": acknowledge, "post": post}

if __name__ == "__main__":
    _, what, *words = sys.argv
    print(json.dumps(ENDS[what](*(int(word) if word.isdigit() else word for word in words))), flush=True)

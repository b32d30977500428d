"""What the bus's sockets meet in tests: publishers and listeners on loopback, and a reactor that waits for what comes."""

from __future__ import annotations

import shutil
import socket as sockets
import tempfile
from collections.abc import Callable
from typing import Any

import zmq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from socialrelay.bus.context import BusContext
from socialrelay.bus.reader import ZmqReader

PATIENCE = 20.0


class Arrivals:
    """
    Messages that came, and who waits for how many.

    @ivar react: called with each.
    """

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self.react: Callable[[list[bytes]], object] = lambda frames: None
        self._awaited: tuple[int, Deferred[None]] | None = None

    def __call__(self, frames: list[bytes]) -> None:
        self.messages.append(frames)
        if self._awaited is not None and len(self.messages) >= self._awaited[0]:
            (_, awaited), self._awaited = self._awaited, None
            reactor.callLater(0, awaited.callback, None)
        self.react(frames)

    def wait(self, count: int) -> Deferred[None]:
        """@return: fires when so many came in all."""
        awaited: Deferred[None] = Deferred()
        if len(self.messages) >= count:
            awaited.callback(None)
        else:
            self._awaited = (count, awaited)
        return awaited.addTimeout(PATIENCE, reactor)


def until(condition: Callable[[], object]) -> Deferred[None]:
    """@return: fires when the condition holds; looked at in each turn of the reactor."""
    done: Deferred[None] = Deferred()
    done.addTimeout(PATIENCE, reactor)

    def look() -> None:
        if done.called:
            return
        if condition():
            done.callback(None)
        else:
            reactor.callLater(0.001, look)

    look()
    return done


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses."""
    with sockets.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ZmqCase(TestCase):
    """
    @ivar context: of what is tested.
    @ivar others: of those who come by.
    """

    def setUp(self) -> None:
        self.context = BusContext(reactor)
        self.others: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.addCleanup(self.others.term)
        self.addCleanup(self.context.close)
        self.arrived = Arrivals()

    def folder(self) -> str:
        """A folder whose name is short enough for UNIX sockets."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def peer(self, kind: int, address: str) -> zmq.Socket[bytes]:
        """A socket of somebody else, connected."""
        socket = self.others.socket(kind)
        socket.linger = 0
        socket.sndhwm = 0
        socket.connect(address)
        self.addCleanup(socket.close)
        return socket

    def publisher(self, address: str) -> zmq.Socket[bytes]:
        """A publisher that is heard."""
        socket = self.peer(zmq.XPUB, address)
        if not socket.poll(int(PATIENCE * 1000)):
            raise TimeoutError(f"nobody subscribes at {address}")
        socket.recv()
        return socket

    def listener(self, address: str, *topics: bytes) -> Arrivals:
        """Somebody who listens to some topics; to all if none is given."""
        socket = self.peer(zmq.SUB, address)
        socket.rcvhwm = 0
        for topic in topics or (b"",):
            socket.subscribe(topic)
        heard = Arrivals()
        self.addCleanup(ZmqReader(reactor, socket, heard).stop)
        return heard


def garbage(address: str) -> Any:
    """
    Somebody at a TCP port who does not speak ZMTP.

    @return: the connection, on which it was all sent.
    """
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    connection = sockets.create_connection((host, int(port)))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n" + bytes(range(256)) * 16)
    return connection

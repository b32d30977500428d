"""A client's connection to the relay: one that tells when it breaks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import zmq

from socialrelay.bus.finding import reachable

_EVENT = struct.Struct("=hi")
_AT_ONCE = 200
"""Messages that are read in one go."""


class Link:
    """
    A DEALER socket that is connected to C{relay_ingest}.

    ZeroMQ connects again by itself, and says nothing of what was lost on the way.  So a connection that breaks is told, L{broke}, and is
    replaced by a new one: close this, open it again, and send again what was not answered.

    It belongs to one thread at a time, and to the process that made it.

    @ivar address: C{tcp://…} or C{ipc://…}.
    @ivar answered: somebody who speaks so has been there, at some time, although perhaps no message was answered.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answered = False
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._broke = False

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent; they wait until there is a connection."""
        return self._socket is not None

    def open(self) -> None:
        """
        Begin to connect.

        @raise ValueError: that is no address.
        """
        if self._context is None:
            self._context = zmq.Context()
        opened = self._context.socket(zmq.DEALER)
        opened.set(zmq.LINGER, 0)
        opened.set(zmq.SNDHWM, 0)  # who sends counts what is not answered
        opened.set(zmq.RCVHWM, 0)
        opened.set(zmq.RECONNECT_IVL, 100)
        opened.set(zmq.RECONNECT_IVL_MAX, 1000)
        self._monitor = opened.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._monitor.set(zmq.LINGER, 0)
        self._socket, self._broke = opened, False
        try:
            opened.connect(reachable(self.address))
        except zmq.ZMQError as error:
            self.close()
            raise ValueError(f"{self.address} is no address that can be connected to: {error.strerror}") from None

    def close(self) -> None:
        """Hang up; what was not sent yet is lost."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(0)
        if self._monitor is not None:
            self._monitor.close(0)
        self._socket = self._monitor = None
        if self._context is not None:
            self._context.term()
            self._context = None

    def send(self, frames: Sequence[bytes]) -> None:
        """Send, now or once there is a connection.  It must be open."""
        assert self._socket is not None
        self._socket.send_multipart(frames, zmq.NOBLOCK)

    def read(self) -> list[list[bytes]]:
        """What has come; not all of it if it is much."""
        found: list[list[bytes]] = []
        if self._socket is None:
            return found
        while len(found) < _AT_ONCE:
            try:
                found.append(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
        return found

    def broke(self) -> bool:
        """Whether the connection that there was has ended: what was sent may be lost.  Read first what came."""
        while self._monitor is not None:
            try:
                event = self._monitor.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            broke = _EVENT.unpack(event)[0] == zmq.EVENT_DISCONNECTED
            self._broke, self.answered = self._broke or broke, self.answered or not broke
        return self._broke

    def wait(self, seconds: float, descriptor: int | None = None) -> bool:
        """
        Wait until something has come, the connection has changed, or something else can be read.

        @param descriptor: of that.
        @return: whether it can be read, or has ended.
        """
        poller = zmq.Poller()
        for each in (self._socket, self._monitor):
            if each is not None:
                poller.register(each, zmq.POLLIN)
        if descriptor is not None:
            poller.register(descriptor, zmq.POLLIN)
        ready = dict(poller.poll(max(0, int(seconds * 1000) + 1)))
        return descriptor is not None and descriptor in ready

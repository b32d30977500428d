"""
Where listeners connect, stock C{fedmsg-tail} and hubs among them.

Each listener has a queue of its own, the high-water mark long.  One that does not read loses what comes when its queue is full, and the
others lose nothing: the socket is asked to refuse a message that a queue cannot take (ZMQ_XPUB_NODROP), which tells that there is one; then
the same message is sent without asking, to all whose queues can take it.  From then on ZeroMQ leaves the full queue out of the question
until it has been emptied, so what is counted are such I{episodes}, not messages; what a listener lost it finds by the sequence numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import zmq
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from socialrelay.bus.context import BusContext
from socialrelay.bus.reader import ZmqReader

MAX_SUBSCRIPTION = 300
"""
Bytes; no topic is as long, also with what ZeroMQ writes before it, and the connection of a listener that sends more is closed.  ZeroMQ
takes some 50 bytes of memory for each byte of each, and needs long to take them out again when the listener goes: five thousand of 1000
bytes were 230 MB and 3 s.
"""
UPSTREAM = 10
"""Messages from each listener that ZeroMQ holds; the rest waits with the listener.  With 100 it takes in more than is read."""

_NOBLOCK = int(zmq.NOBLOCK)
_FIRST = int(zmq.NOBLOCK | zmq.SNDMORE)


class Outbound:
    """
    The compatible way out: topic and body, two frames.

    @ivar addresses: where it listens, in ZeroMQ's words, once it has started.
    @ivar subscriptions: what listeners have asked for, all of them together; as they say.
    @ivar published: messages.
    @ivar overflows: times that a listener's queue became full.
    """

    def __init__(
        self,
        reactor: Any,
        context: BusContext,
        addresses: Sequence[str],
        high_water_mark: int,
        linger: float,
        on_overflow: Callable[[], object],
    ) -> None:
        """
        @param addresses: all of them are bound.
        @param high_water_mark: messages that wait for each listener; at least 1.
        @param linger: seconds that what is not sent yet may take at the end.
        @param on_overflow: called after L{overflows} has grown, in a later turn of the reactor.
        """
        self.addresses: list[str] = []
        self.subscriptions = 0
        self.published = 0
        self.overflows = 0
        self._reactor = reactor
        self._context = context
        self._wanted = tuple(addresses)
        self._high_water_mark = max(1, high_water_mark)
        self._linger = linger
        self._on_overflow = on_overflow
        self._socket: zmq.Socket[bytes] | None = None
        self._reader: ZmqReader | None = None
        self._telling: IDelayedCall | None = None

    def start(self) -> None:
        """
        Bind all addresses.

        @raise CannotBind: nothing is left then.
        """
        socket = self._context.socket(zmq.XPUB, self._linger, MAX_SUBSCRIPTION)
        socket.set(zmq.SNDHWM, self._high_water_mark)
        socket.set(zmq.RCVHWM, UPSTREAM)
        socket.set(zmq.XPUB_VERBOSER, 1)  # else only the first for the same topic is told
        socket.set(zmq.XPUB_NODROP, 1)
        try:
            self.addresses = [self._context.bind(socket, address) for address in self._wanted]
        except BaseException:
            socket.close(0)
            raise
        self._socket = socket
        self._reader = ZmqReader(self._reactor, socket, self._subscribed)

    def publish(self, topic: str, body: bytes) -> None:
        """
        Send to all who asked for the topic and whose queues can take it; to nobody before the start and after the end.

        @param body: a JSON object, UTF-8.
        """
        socket, reader = self._socket, self._reader
        if socket is None or reader is None or not reader.running:
            return
        try:
            socket.send(topic.encode(), _FIRST)
        except zmq.Again:
            self._send_to_others(socket, topic.encode(), _FIRST)
        try:
            socket.send(body, _NOBLOCK)
        except zmq.Again:
            self._send_to_others(socket, body, _NOBLOCK)
        self.published += 1
        reader.poke()

    def stop(self) -> Deferred[None]:
        """
        Publish nothing more.  What is not sent yet goes out while the context ends, within the linger.

        @return: fires when the socket is closed for us.
        """
        if self._reader is not None:
            self._reader.stop()
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self.subscriptions = 0
        return succeed(None)

    def _send_to_others(self, socket: zmq.Socket[bytes], frame: bytes, flags: int) -> None:
        self.overflows += 1
        socket.set(zmq.XPUB_NODROP, 0)
        try:
            socket.send(frame, flags)
        finally:
            socket.set(zmq.XPUB_NODROP, 1)
        if self._telling is None:
            self._telling = self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._on_overflow()

    def _subscribed(self, frames: list[bytes]) -> None:
        # Anything may come from a listener; what is no subscription is nothing to us.
        first = frames[0][:1]
        if first == b"\x01":
            self.subscriptions += 1
        elif first == b"\x00":
            self.subscriptions = max(0, self.subscriptions - 1)

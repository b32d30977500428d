"""What is said on the bus at this moment, heard where stock listeners hear it: what is missed is missed."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Generator, Sequence

import zmq

from socialrelay.bus.finding import reachable

WAITING = 100_000
"""Messages that wait to be read, at most; more are lost."""
_IDLE = 1.0
_PATIENCE = 3.0
"""Seconds after which nobody has been there."""
_EVENT = struct.Struct("=hi")


def listen(
    addresses: Sequence[str],
    topic: str = "",
    *,
    on_away: Callable[[], object] = lambda: None,
    on_back: Callable[[], object] = lambda: None,
    on_idle: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[tuple[str, bytes], None, None]:
    """
    Topics and bodies, as they are published at C{relay_outbound}, for ever.

    @param topic: what their whole topics begin with.
    @param on_away: told that nobody publishes there; C{on_back}: that somebody does again.
    @param on_idle: called every second or so while nothing comes.  Whatever these raise ends the iterator.
    @raise ValueError: that is no address.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hears = context.socket(zmq.SUB)
    hears.set(zmq.LINGER, 0)
    hears.set(zmq.RCVHWM, WAITING)
    hears.set(zmq.RECONNECT_IVL_MAX, 1000)
    monitor = hears.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    try:
        for address in addresses:
            try:
                hears.connect(reachable(address))
            except zmq.ZMQError as error:
                raise ValueError(f"{address} is no address that can be connected to: {error.strerror}") from None
        hears.subscribe(topic)
        presence = _Presence(monitor, on_away, on_back, clock)
        while True:
            if not hears.poll(int(_IDLE * 1000)):
                presence.look()
                on_idle()
                continue
            frames = hears.recv_multipart()
            if presence.away:
                presence.look()
            if len(frames) == 2:
                yield frames[0].decode("utf-8", "replace"), frames[1]
    finally:
        hears.disable_monitor()
        hears.close(0)
        monitor.close(0)
        context.term()


class _Presence:
    """
    Whether anybody publishes, and who is told so.

    @ivar away: it was told that nobody does.
    """

    def __init__(
        self, monitor: zmq.Socket[bytes], on_away: Callable[[], object], on_back: Callable[[], object], clock: Callable[[], float]
    ) -> None:
        self._monitor, self._on_away, self._on_back, self._clock = monitor, on_away, on_back, clock
        self._there, self.away = 0, False
        self._since = clock()

    def look(self) -> None:
        """Tell what has changed."""
        while self._monitor.poll(0):
            kind, _ = _EVENT.unpack(self._monitor.recv_multipart()[0])
            self._there += 1 if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED else -1
            self._since = self._clock()
        if self._there > 0 and self.away:
            self.away = False
            self._on_back()
        elif self._there <= 0 and not self.away and self._clock() - self._since >= _PATIENCE:
            self.away = True
            self._on_away()

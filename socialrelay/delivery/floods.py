"""
Peers that send without end what is no part of an answer.

libcurl reports headers and bodies, which are counted where they arrive.  What it skips nobody counts: the extension of a chunk of HTTP/1.1,
padding and acknowledgements of HTTP/2.  A host could send such things as fast as the network carries them until the time of the delivery is
over, and keep a processor busy with it.
"""

from __future__ import annotations

import socket
import struct

MOST = 1024 * 1024
"""Bytes in a second: sixteen times the longest answer."""

EVERY = 16
"""Events between two looks at a descriptor; most transfers are over before the first."""

_RECEIVED = struct.Struct("@Q")
_RECEIVED_AT = 128
"""Where C{tcpi_bytes_received} stands in Linux's C{struct tcp_info}."""


class Floods:
    """
    Cuts off the connections at which too much arrives.

    @ivar cut_off: how many there were.
    @ivar _events: descriptor -> how often something arrived since it is watched.
    @ivar _marks: descriptor -> when it was looked at, and the bytes that had arrived then.
    """

    def __init__(self) -> None:
        self.cut_off = 0
        self._events: dict[int, int] = {}
        self._marks: dict[int, tuple[float, int]] = {}

    def arrived(self, descriptor: int, now: float) -> None:
        """
        Something is there to be read.

        @param now: seconds, of any clock that does not go back.
        """
        events = self._events[descriptor] = self._events.get(descriptor, 0) + 1
        if events % EVERY == 0:
            self._look(descriptor, now)

    def forget(self, descriptor: int) -> None:
        """It is watched no more: the transfer is over, or the last one of those that share it."""
        self._events.pop(descriptor, None)
        self._marks.pop(descriptor, None)

    def _look(self, descriptor: int, now: float) -> None:
        try:
            borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
        except OSError:
            return  # no socket, or closed already
        try:
            info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + _RECEIVED.size)
            (received,) = _RECEIVED.unpack_from(info, _RECEIVED_AT)
            since, before = self._marks.setdefault(descriptor, (now, received))
            if received - before > MOST:
                self.forget(descriptor)
                self.cut_off += 1
                borrowed.shutdown(socket.SHUT_RDWR)  # libcurl reads what has come, and then that the peer has closed
            elif now - since >= 1.0:
                self._marks[descriptor] = (now, received)
        except (OSError, struct.error):
            pass  # no TCP, or a kernel that does not count
        finally:
            borrowed.detach()

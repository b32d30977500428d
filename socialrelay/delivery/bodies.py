"""Bodies of posts, at hand while they are being sent."""

from __future__ import annotations

from collections import OrderedDict


class BodyCache:
    """
    The most recently used bodies, bounded in bytes. One body is shared by all that send it.

    @ivar size: bytes held.
    @ivar limit: how many there may be.
    """

    def __init__(self, max_bytes: int) -> None:
        self.limit = max_bytes
        self._bodies: OrderedDict[int, bytes] = OrderedDict()
        self.size = 0

    def get(self, position: int) -> bytes | None:
        """The body, if it is at hand."""
        body = self._bodies.get(position)
        if body is not None:
            self._bodies.move_to_end(position)
        return body

    def put(self, position: int, body: bytes) -> None:
        """Hold it, and let go what was not used for longest."""
        self.discard(position)
        self._bodies[position] = body
        self.size += len(body)
        while self.size > self.limit and len(self._bodies) > 1:
            self.size -= len(self._bodies.popitem(last=False)[1])

    def discard(self, position: int) -> None:
        """Let go of it."""
        self.size -= len(self._bodies.pop(position, b""))

"""Which messages were published lately, so that one that a bridge or a tail sends back is known again."""

from __future__ import annotations

from socialrelay.config import Bus


class Recent:
    """
    The latest C{msg_id}s, in two halves: when the younger is full, the older is forgotten at once.

    An ordered mapping would forget them one by one, at three times the price for each message.
    """

    def __init__(self, most: int = Bus().remembered) -> None:
        """@param most: so many are remembered at least, and twice as many at most."""
        if most < 1:
            raise ValueError(f"a bound must be at least 1, not {most}")
        self.most = most
        self.forgotten = 0
        self._younger: set[str] = set()
        self._older: set[str] = set()

    def add(self, msg_id: str) -> None:
        """It was published."""
        self._younger.add(msg_id)
        if len(self._younger) >= self.most:
            self.forgotten += len(self._older)
            self._older, self._younger = self._younger, set()

    @property
    def limit(self) -> int:
        """How many there may be."""
        return 2 * self.most

    def __contains__(self, msg_id: str) -> bool:
        return msg_id in self._younger or msg_id in self._older

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

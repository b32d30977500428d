"""Publication in the order of the sequence numbers, none left out, none twice."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from socialrelay.boundaries.bus import OWN, SEQUENCE_MARK
from socialrelay.bus.counts import Counts
from socialrelay.bus.recent import Recent
from socialrelay.config import Bus

_MARK = SEQUENCE_MARK.encode()


class Publication:
    """
    @ivar reached: up to this number everything is published.
    @ivar recent: what was published lately.
    """

    _log = Logger()

    def __init__(self, publish: Callable[[str, bytes], object], counts: Counts, remembered: int = Bus().remembered) -> None:
        """
        @param publish: given topic and body; returns at once.
        @param remembered: messages, at least.
        """
        self.reached = 0
        self.recent = Recent(remembered)
        self._publish = publish
        self._counts = counts

    def offer(self, seq: int, msg_id: str, topic: str, body: bytes, source: str) -> bool:
        """
        Publish a message if it is the next one, or pass over it if it has been.

        @return: false: it is neither; messages before it are missing.
        """
        if seq <= self.reached:
            return True
        if seq > self.reached + 1:
            return False
        self.reached = seq
        if source == OWN:
            body = body.replace(_MARK, b"%d" % seq)
        self.at_once(msg_id, topic, body, source)
        return True

    def at_once(self, msg_id: str, topic: str, body: bytes, source: str) -> None:
        """Publish a message that is not kept."""
        self.recent.add(msg_id)
        self._counts.published[source] += 1
        try:
            self._publish(topic, body)
        except Exception:
            self._log.failure("A message on {topic} could not be published.", topic=topic)

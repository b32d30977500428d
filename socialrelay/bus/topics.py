"""Topics: C{<prefix>.<environment>.<module>.<event>}, and which of them the relay keeps for itself."""

from __future__ import annotations

import re

from attrs import field, frozen

MAX_TOPIC = 255
"""Bytes."""

OWN_MODULE = "socialrelay"
"""The third part of the topics that only the relay itself speaks of."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_topic(text: str) -> bool:
    """Whether this can be a topic: something, not too long, without control characters."""
    return bool(text) and len(text.encode("utf-8", "surrogatepass")) <= MAX_TOPIC and _CONTROL.search(text) is None


@frozen
class Topics:
    """
    The topics of a bus.

    @ivar prefix: C{topic_prefix} of fedmsg's configuration: C{org.example}.
    @ivar environment: C{dev}, C{stg} or C{prod}.
    """

    prefix: str
    environment: str
    _reserved: re.Pattern[str] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_reserved", re.compile(rf"{re.escape(self.prefix)}\.[^.]*\.{OWN_MODULE}(\.|\Z)"))

    def full(self, topic: str) -> str:
        """
        With prefix and environment, which are added where the prefix is absent (fedora-infra/fedmsg:fedmsg/core.py, which takes
        C{com.examples} for a topic with the prefix C{com.example}).
        """
        return topic if f"{topic}.".startswith(f"{self.prefix}.") else f"{self.prefix}.{self.environment}.{topic}"

    def own(self, event: str) -> str:
        """
        A topic of the relay itself.

        @param event: C{payload.received}.
        """
        return f"{self.prefix}.{self.environment}.{OWN_MODULE}.{event}"

    def reserved(self, topic: str) -> bool:
        """Whether the relay alone may use it, in whatever environment it is said to be."""
        return self._reserved.match(topic) is not None

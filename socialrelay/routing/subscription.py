"""What a node asked for, and what the operator and the relay make of it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from attrs import frozen


class Scope(Enum):
    """How much of the stream a node wants."""

    ALL = "all"
    TAGS = "tags"
    NONE = "none"
    """It said, in so many words, that it wants nothing."""


@frozen
class Preferences:
    """
    What a node publishes about itself.

    @ivar tags: match keys, without C{#}; only for L{Scope.TAGS}.
    @ivar receive_url: where it wants to be sent to; empty for L{Scope.NONE}.
    @ivar dropped_tags: how many tags were cut off or could not be tags.
    """

    scope: Scope
    tags: frozenset[str] = frozenset()
    receive_url: str = ""
    dropped_tags: int = 0


@frozen
class Subscription:
    """What the operator subscribed a node to, by hand."""

    scope: Scope
    tags: frozenset[str] = frozenset()


@frozen
class Effective:
    """
    What a host is subscribed to, everything considered.

    @ivar why: one line: who asked for it, or why there is none.
    @ivar until: it would have one, but is left alone until then: it answered 410 Gone to deliveries.
    """

    scope: Scope
    tags: frozenset[str] = frozenset()
    url: str = ""
    why: str = ""
    until: datetime | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a subscription."""
        return self.scope is not Scope.NONE

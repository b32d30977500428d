"""What is forgotten when."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from socialrelay.config import Retention

RANGE = 5000
"""Positions that are read at a time: a range costs one or two milliseconds, however rare the matches are."""

BATCH = 5000
"""Rows that one step of pruning removes."""

_SETTLED_BODIES = timedelta(days=1)


def check_range(after: int, upto: int) -> None:
    """@raise ValueError: that is more than may be read at a time."""
    if upto - after > RANGE:
        raise ValueError(f"a range of {upto - after} positions: at most {RANGE} are read at a time")


@frozen
class Horizons:
    """
    What is older than these moments goes.

    @ivar settled_bodies: bodies that no destination has still to get.
    @ivar bodies: all other bodies.
    """

    settled_bodies: datetime
    bodies: datetime
    posts: datetime
    identities: datetime
    rejections: datetime
    statistics: datetime

    @classmethod
    def at(cls, now: datetime, retention: Retention) -> Horizons:
        """The horizons at a moment."""

        def days(count: float) -> datetime:
            return now - timedelta(days=count)

        return cls(
            settled_bodies=now - _SETTLED_BODIES,
            bodies=days(retention.bodies),
            posts=days(retention.posts),
            identities=days(retention.identities),
            rejections=days(retention.rejections),
            statistics=days(retention.statistics),
        )

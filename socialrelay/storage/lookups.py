"""What operators look up of destinations, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from twisted.internet.defer import Deferred

from socialrelay.boundaries import BouncedPost, DatedGap, SinglePost
from socialrelay.boundaries.destinations import COUNTED
from socialrelay.scheduler.record import Bounce, DeferredDelivery, Gap
from socialrelay.storage.queries import Queries, Rows

# Positions are given without gaps, but for what failed: if the log does not begin later, the first post of the stretch is still in it.
_GAPS_OF = """
    SELECT destination, after, upto, posts, outcome, reason,
           CASE WHEN (SELECT min(position) FROM post) <= after + 1
                THEN (SELECT published_at FROM post WHERE position > after AND position <= upto ORDER BY position LIMIT 1) END,
           (SELECT published_at FROM post WHERE position > after AND position <= upto ORDER BY position DESC LIMIT 1)
      FROM gap
     WHERE destination = %(destination)s
     ORDER BY after DESC, outcome
     LIMIT %(limit)s
"""

_BOUNCES_OF = """
    SELECT destination, position, reason, bounced_at, coalesce(author, ''), coalesce(guid, ''), published_at,
           EXISTS (SELECT FROM post_body WHERE post_body.position = bounce.position), coalesce(cancelled, false)
      FROM bounce
      LEFT JOIN post USING (position)
     WHERE destination = %(destination)s AND (%(position)s::bigint IS NULL OR position = %(position)s)
     ORDER BY bounced_at DESC, position DESC
     LIMIT %(limit)s
"""

_SINGLES = """
    SELECT host, tried.destination, position, attempts, tried.next_attempt, reason, coalesce(author, ''), coalesce(guid, ''),
           (SELECT count(*) FROM deferred_delivery)
      FROM (SELECT * FROM deferred_delivery ORDER BY next_attempt, destination, position LIMIT %(limit)s) AS tried
      JOIN destination ON destination.number = tried.destination
      LEFT JOIN post USING (position)
     ORDER BY tried.next_attempt, tried.destination, position
"""

_BACKLOG = f"""
    SELECT count(*), min(published_at)
      FROM post
     WHERE position > %(after)s
       AND position <= %(after)s + {COUNTED}
       AND CASE WHEN octet_length(recipients) > %(byte)s THEN get_bit(recipients, %(bit)s) = 1 ELSE false END
"""


class DestinationLookups:
    """The part of L{Destinations<socialrelay.boundaries.Destinations>} that only operators ask."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def bounced(self, destination: int, limit: int, position: int | None = None) -> Deferred[list[BouncedPost]]:
        """See L{Destinations.bounced}."""
        query = self._database.query(_BOUNCES_OF, {"destination": destination, "limit": limit, "position": position}, idempotent=True)
        return query.addCallback(lambda found: [BouncedPost(Bounce(*row[:4]), *row[4:]) for row in found])

    def singles(self, limit: int) -> Deferred[tuple[list[SinglePost], int]]:
        """See L{Destinations.singles}."""

        def listed(found: Rows) -> tuple[list[SinglePost], int]:
            return [SinglePost(row[0], DeferredDelivery(*row[1:6]), *row[6:8]) for row in found], found[0][-1] if found else 0

        return self._database.query(_SINGLES, {"limit": limit}, idempotent=True).addCallback(listed)

    def backlog(self, destination: int, after: int) -> Deferred[tuple[int, datetime | None]]:
        """See L{Destinations.backlog}."""
        span: dict[str, object] = {"after": after, "byte": destination >> 3, "bit": destination}
        return self._database.query(_BACKLOG, span, idempotent=True).addCallback(lambda found: (int(found[0][0]), found[0][1]))

    def gaps(self, destination: int, limit: int) -> Deferred[list[DatedGap]]:
        """See L{Destinations.gaps}."""
        query = self._database.query(_GAPS_OF, {"destination": destination, "limit": limit}, idempotent=True)
        return query.addCallback(lambda found: [DatedGap(Gap(*row[:6]), *row[6:]) for row in found])

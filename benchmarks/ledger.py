"""After a relay has stopped: what became of each post at each node, as its database has it."""

from __future__ import annotations

from attrs import frozen

from benchmarks.bed import Database

# A destination that follows has come up to the shared position: what is between that and its own cursor was delivered, and what it is noted
# to have taken above that.
_LEDGER = """
    WITH shared AS (
        SELECT taken.position, taken.takers FROM log_state, unnest(log_state.taken, log_state.takers) AS taken (position, takers)
    ), reached AS (
        SELECT *, CASE WHEN following THEN greatest(cursor, (SELECT followed FROM log_state)) ELSE cursor END AS reached
          FROM destination
    ), named AS (
        SELECT number,
               count(*) AS matching,
               count(*) FILTER (WHERE position > reached AND position <> ALL(ahead) AND NOT taken) AS pending,
               count(*) FILTER (WHERE position > cursor AND (position <= reached OR taken) AND position <> ALL(ahead)) AS followed
          FROM (SELECT post.position, recipients, takers FROM post LEFT JOIN shared USING (position)) AS post
          JOIN reached
            ON CASE WHEN octet_length(recipients) > number >> 3 THEN get_bit(recipients, number) = 1 ELSE false END
         CROSS JOIN LATERAL (
               SELECT following AND CASE WHEN octet_length(takers) > number >> 3 THEN get_bit(takers, number) = 1 ELSE false END AS taken
         ) AS taken
         GROUP BY number
    ), single AS (
        SELECT destination AS number, count(*) AS pending FROM deferred_delivery GROUP BY destination
    )
    SELECT host,
           coalesce(named.matching, 0),
           delivered + coalesce(named.followed, 0),
           bounced + expired + cancelled,
           coalesce(named.pending, 0) + coalesce(single.pending, 0)
      FROM destination LEFT JOIN named USING (number) LEFT JOIN single USING (number)
     ORDER BY number
"""


@frozen
class Account:
    """
    One destination's.

    @ivar matching: posts that name it.
    @ivar failed: posts that are settled and were not delivered: bounced, expired, cancelled.
    @ivar pending: posts that wait for it, those that are tried on their own included.
    """

    host: str
    matching: int
    delivered: int
    failed: int
    pending: int

    @property
    def difference(self) -> int:
        """How many posts have no outcome and do not wait either, or have one too many."""
        return abs(self.matching - self.delivered - self.failed - self.pending)


def ledger(database: Database) -> list[Account]:
    """The accounts of all destinations; the log began with the relay, so that none of its posts was settled before."""
    return [Account(*row) for row in database.run(_LEDGER)]

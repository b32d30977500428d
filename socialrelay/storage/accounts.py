"""The accounts of destinations, in PostgreSQL."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.boundaries.accounts import Account, Accounts, Examined
from socialrelay.storage.queries import Queries, Rows
from socialrelay.storage.rows import LAZY

SETTLED = """
    delivered + bounced - requeued + expired + cancelled - cardinality(ahead)
    + (SELECT count(*) FROM deferred_delivery tried WHERE tried.destination = destination.number)
"""
"""SQL: for how many posts up to its cursor a row of C{destination} accounts, if it missed none."""

UNEVEN = f"""
    SELECT host, settled - posts
      FROM (SELECT host, posts, {SETTLED} AS settled
              FROM destination JOIN account ON account.destination = number AND account.position = cursor
             WHERE missed = '[]') AS account
     WHERE settled <> posts
     ORDER BY host
     LIMIT 5
"""
"""SQL: accounts that are out, and by how many posts, as far as that is known without reading the log."""

# One statement, so one moment.  An account is opened where there is none, and anew where the log reaches no more back to where it was.
_EXAMINE = (
    LAZY
    + f"""
    WITH looked_at AS MATERIALIZED (
        SELECT number, host, cursor, missed = '[]' AS whole, {SETTLED} AS settled,
               CASE WHEN least(account.position, cursor) >= (SELECT forgotten FROM log_state) OR account.position = cursor
                    THEN account.position END AS position,
               account.posts
          FROM destination LEFT JOIN account ON account.destination = number
         WHERE number > %(after)s
         ORDER BY number
         LIMIT %(most)s
    ), stretch AS (
        SELECT *, CASE WHEN position IS NULL THEN cursor
                       ELSE greatest(least(cursor, position + %(positions)s), position - %(positions)s) END AS upto
          FROM looked_at
    ), measured AS (
        SELECT *, abs(upto - coalesce(position, upto)) AS length FROM stretch
    ), chosen AS (
        SELECT * FROM (SELECT *, sum(length) OVER (ORDER BY number) - length AS before FROM measured) AS summed
         WHERE before < %(positions)s
    ), counted AS MATERIALIZED (
        SELECT number, host, upto, whole, settled, upto = cursor AS arrived,
               CASE WHEN position IS NULL THEN settled
                    WHEN length = 0 THEN posts
                    ELSE posts + sign(upto - position)::bigint * (
                         SELECT count(*)
                           FROM post
                          WHERE post.position > least(upto, chosen.position) AND post.position <= greatest(upto, chosen.position)
                            AND CASE WHEN octet_length(recipients) > number >> 3 THEN get_bit(recipients, number) = 1 ELSE false END) END
               AS posts,
               position IS NULL OR length > 0 AS counted_on, position IS NULL AS opened
          FROM chosen
    ), kept AS (
        INSERT INTO account (destination, position, posts)
        SELECT number, upto, posts FROM counted WHERE counted_on AND (whole OR NOT opened)
            ON CONFLICT (destination) DO UPDATE SET position = excluded.position, posts = excluded.posts
    )
    SELECT number, host, CASE WHEN arrived AND whole THEN settled - posts END, (SELECT max(number) FROM destination)
      FROM counted
     ORDER BY number
"""
)


@frozen
class PostgresAccounts:
    """See L{Accounts}."""

    _database: Queries

    def examine(self, after: int, most: int, positions: int) -> Deferred[Examined]:
        """See L{Accounts.examine}."""
        query = self._database.query(_EXAMINE, {"after": after, "most": most, "positions": positions}, idempotent=True)
        return query.addCallback(_examined)


def _examined(found: Rows) -> Examined:
    accounts = tuple(Account(number, host, difference) for number, host, difference, _ in found)
    last = accounts[-1].number if accounts and accounts[-1].number < found[-1][3] else None
    return Examined(accounts, last)


_conforms: type[Accounts] = PostgresAccounts

"""What was refused lately, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, ensureDeferred, succeed

from socialrelay.boundaries import Rejection, Rejections
from socialrelay.boundaries.incoming import SEARCHED
from socialrelay.storage.queries import Queries
from socialrelay.storage.rows import LAZY, host_in, of_host, rows

_RECORD = (
    LAZY
    + """
    INSERT INTO rejected (rejected_at, reason, author, guid, kind)
    SELECT rejected_at, reason, author, guid, kind
      FROM json_to_recordset(%(rejections)s) AS rejection (
           n integer, rejected_at timestamptz, reason text, author text, guid text, kind text)
     ORDER BY n
"""
)

_RECENT = "SELECT rejected_at, reason, author, guid, kind FROM rejected ORDER BY rejected_at DESC, id DESC LIMIT %(limit)s"


_REASONS = f"""
    SELECT reason, count(*) AS many
      FROM (SELECT reason, author FROM rejected ORDER BY rejected_at DESC, id DESC LIMIT {SEARCHED}) AS last
     WHERE {host_in("author")} = %(host)s
     GROUP BY reason
     ORDER BY many DESC, reason
"""

_REJECTED = "SELECT coalesce(min(id), 1) - 1, coalesce(max(id), 0) FROM rejected"

_ERASE_REJECTED = f"""
    DELETE FROM rejected
     WHERE id > %(after)s AND id <= %(upto)s
       AND ((%(author)s <> '' AND author = %(author)s) OR (%(guid)s <> '' AND guid = %(guid)s) OR {of_host(host_in("author"))})
 RETURNING 1
"""

_ERASE_RANGE = 50_000


class PostgresRejections:
    """See L{Rejections}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def record(self, rejections: Sequence[Rejection]) -> Deferred[None]:
        """See L{Rejections.record}."""
        if not rejections:
            return succeed(None)
        entries = rows(
            {"n": n, "rejected_at": r.rejected_at, "reason": r.reason, "author": r.author, "guid": r.guid, "kind": r.kind}
            for n, r in enumerate(rejections)
        )
        return self._database.query(_RECORD, {"rejections": entries}).addCallback(_nothing)

    def recent(self, limit: int) -> Deferred[list[Rejection]]:
        """See L{Rejections.recent}."""
        query = self._database.query(_RECENT, {"limit": limit}, idempotent=True)
        return query.addCallback(lambda found: [Rejection(*row) for row in found])

    def reasons(self, host: str) -> Deferred[dict[str, int]]:
        """See L{Rejections.reasons}."""
        return self._database.query(_REASONS, {"host": host}, idempotent=True).addCallback(dict)

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[int]:
        """See L{Rejections.erase}."""
        return ensureDeferred(self._erase({"author": author, "guid": guid, "host": host}))

    async def _erase(self, names: dict[str, object]) -> int:
        erased = 0
        [(first, last)] = await self._database.query(_REJECTED, idempotent=True)
        for after in range(first, last, _ERASE_RANGE):
            span = names | {"after": after, "upto": after + _ERASE_RANGE}
            erased += len(await self._database.query(_ERASE_REJECTED, span, idempotent=True))
        return erased


def _nothing(_: object) -> None:
    return None


_conforms: type[Rejections] = PostgresRejections

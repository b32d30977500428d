"""Destinations, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from sys import intern
from typing import Any

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Destinations
from socialrelay.boundaries.destinations import BOUNCES_KEPT
from socialrelay.routing.recipients import Recipients
from socialrelay.scheduler.record import Bounce, DeferredDelivery, DestinationRecord, Gap, Progress, State
from socialrelay.storage.followers import Follower, FollowersTally
from socialrelay.storage.lookups import DestinationLookups
from socialrelay.storage.queries import Queries
from socialrelay.storage.rows import LOG_LOCK, rows

_COLUMNS = """
    number, host, protocol, url, cursor, subscribed, state, ahead, failures, failing_since, next_attempt, last_success, last_reason,
    gone_answers, gone_since, delivered, bounced, expired, cancelled, last_bounce, following, tried, missed, requeued, begin
"""

_FOLLOWERS = """
    SELECT number, cursor, ahead
      FROM destination, log_state
     WHERE subscribed AND following AND (cursor < followed OR taken <> '{}')
"""

_SHARED = "SELECT followed, taken, takers FROM log_state"

_BITMAPS = """
    SELECT position, recipients
      FROM post
     WHERE position > %(after)s AND position <= %(upto)s
     ORDER BY position
     LIMIT %(limit)s
"""

_AT_ONCE = 1000
"""Bitmaps read by one statement."""

_RECORDS = 1000
"""Destinations read by one statement."""

# Twice is as good as once: it takes only rows that follow, and leaves none.
_SETTLE_FOLLOWERS = """
    UPDATE destination
       SET delivered = destination.delivered + now.delivered, ahead = now.ahead, cursor = greatest(destination.cursor, %(followed)s)
      FROM json_to_recordset(%(followers)s) AS now (number integer, delivered bigint, ahead bigint[])
     WHERE destination.number = now.number AND destination.following;
    UPDATE destination SET following = false WHERE following;
    UPDATE log_state SET taken = '{}', takers = '{}';
"""

_LOAD = f"SELECT {_COLUMNS} FROM destination WHERE number > %(after)s ORDER BY number LIMIT %(limit)s"

_DEFERRED = """
    SELECT destination, position, attempts, next_attempt, reason
      FROM deferred_delivery
     WHERE %(destination)s::integer IS NULL OR destination = %(destination)s
     ORDER BY destination, position
     LIMIT 100000
"""

# Whoever changes several rows of destination begins with this: two that change the same rows, each in its own order, would wait for each
# other until PostgreSQL ends one of them.
_ALONE = "SELECT followed FROM log_state FOR UPDATE"

_WANTED = "json_to_recordset(%(wanted)s) AS wanted (n integer, host text, url text)"

# Not simply NOT subscribed: when rules have just ended thousands, the statistics still say that there is nobody of the kind, and PostgreSQL
# would compare each of them with each that is wanted.
_CLOSED = "CASE WHEN subscribed THEN false ELSE true END"

# Under the lock of the log: no post can be published between the reading of its end and the row that starts there, and no two rows can be
# given one number.  Not with ON CONFLICT, which would use up a number of a sequence each time: a bitmap is as long as the greatest.
_OPEN = f"""
    {_ALONE};
    SELECT pg_advisory_xact_lock(%(lock)s);
    UPDATE destination
       SET subscribed = true,
           state = CASE WHEN state = 'suspended' THEN state ELSE 'active' END,
           begin = (SELECT coalesce(max(position), 0) FROM post),
           failures = 0, failing_since = NULL, next_attempt = NULL, last_reason = '', gone_answers = 0, gone_since = NULL,
           following = false, tried = greatest(tried, (SELECT coalesce(max(position), 0) FROM post))
      FROM {_WANTED}
     WHERE destination.host = wanted.host AND protocol = %(protocol)s AND {_CLOSED};
    UPDATE destination
       SET url = wanted.url
      FROM {_WANTED}
     WHERE destination.host = wanted.host AND protocol = %(protocol)s AND destination.url <> wanted.url;
    INSERT INTO destination (number, host, protocol, url, cursor, created_at)
    SELECT (SELECT coalesce(max(number), -1) FROM destination) + row_number() OVER (ORDER BY n), wanted.host, %(protocol)s, wanted.url,
           (SELECT coalesce(max(position), 0) FROM post), %(now)s
      FROM {_WANTED}
     WHERE NOT EXISTS (SELECT FROM destination WHERE destination.host = wanted.host AND protocol = %(protocol)s);
    INSERT INTO account (destination, position, posts)
    SELECT number, cursor, 0
      FROM destination
     WHERE host IN (SELECT wanted.host FROM {_WANTED}) AND protocol = %(protocol)s
       AND cursor = (SELECT coalesce(max(position), 0) FROM post) AND delivered + bounced + expired + cancelled = 0 AND created_at = %(now)s
        ON CONFLICT (destination) DO NOTHING;
    SELECT {_COLUMNS} FROM destination WHERE host IN (SELECT wanted.host FROM {_WANTED}) AND protocol = %(protocol)s ORDER BY number
"""

_CLOSE = f"""
    {_ALONE};
    UPDATE destination
       SET subscribed = false, following = false, begin = (SELECT coalesce(max(position), 0) FROM post)
     WHERE number = ANY(%(numbers)s::integer[])
"""

_SUSPEND = "UPDATE destination SET state = 'suspended' WHERE number = %(number)s"

_RESUME = "UPDATE destination SET state = 'active' WHERE number = %(number)s AND state = 'suspended'"

_ADVANCE = f"""
    {_ALONE};
    UPDATE destination
       SET cursor = greatest(destination.cursor, now.cursor),
           ahead = CASE WHEN now.cursor < destination.cursor THEN destination.ahead ELSE now.ahead END,
           state = now.state, failures = now.failures, failing_since = now.failing_since, next_attempt = now.next_attempt,
           last_success = now.last_success, last_reason = now.last_reason, last_bounce = now.last_bounce,
           gone_answers = now.gone_answers, gone_since = now.gone_since,
           delivered = greatest(destination.delivered, now.delivered), bounced = greatest(destination.bounced, now.bounced),
           expired = greatest(destination.expired, now.expired), cancelled = greatest(destination.cancelled, now.cancelled),
           following = now.following AND %(followed)s >= (SELECT followed FROM log_state), tried = greatest(destination.tried, now.tried),
           missed = CASE WHEN now.cursor < destination.cursor THEN destination.missed ELSE now.missed END,
           requeued = greatest(destination.requeued, now.requeued)
      FROM json_to_recordset(%(destinations)s) AS now (
           number integer, cursor bigint, ahead bigint[], state text, failures integer, failing_since timestamptz, next_attempt timestamptz,
           last_success timestamptz, last_reason text, gone_answers integer, gone_since timestamptz, delivered bigint, bounced bigint,
           expired bigint, cancelled bigint, last_bounce text, following boolean, tried bigint, missed jsonb, requeued bigint)
     WHERE destination.number = now.number;
"""

# A post that retention has removed meanwhile is not tried any more.
_DEFER = """
    INSERT INTO deferred_delivery (destination, position, attempts, next_attempt, reason)
    SELECT destination, position, attempts, next_attempt, reason
      FROM json_to_recordset(%(deferred)s) AS delivery (
           destination integer, position bigint, attempts integer, next_attempt timestamptz, reason text)
     WHERE EXISTS (SELECT FROM post WHERE post.position = delivery.position)
        ON CONFLICT (destination, position) DO UPDATE
       SET attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason;
"""

_SETTLE = """
    DELETE FROM deferred_delivery
     USING json_to_recordset(%(settled)s) AS settled (destination integer, position bigint)
     WHERE deferred_delivery.destination = settled.destination AND deferred_delivery.position = settled.position;
"""

_GAPS = """
    INSERT INTO gap (destination, after, upto, posts, outcome, reason, made_at)
    SELECT destination, after, upto, posts, outcome, reason, now()
      FROM json_to_recordset(%(gaps)s) AS gap (destination integer, after bigint, upto bigint, posts bigint, outcome text, reason text)
        ON CONFLICT (destination, after, outcome) DO UPDATE
       SET upto = excluded.upto, posts = excluded.posts, reason = excluded.reason;
"""

_BOUNCED = f"""
    INSERT INTO bounce (destination, position, reason, bounced_at)
    SELECT destination, position, reason, bounced_at
      FROM json_to_recordset(%(bounces)s) AS bounce (destination integer, position bigint, reason text, bounced_at timestamptz)
        ON CONFLICT (destination, position) DO UPDATE SET reason = excluded.reason, bounced_at = excluded.bounced_at;
    DELETE FROM bounce
     USING (SELECT destination, position, row_number() OVER (PARTITION BY destination ORDER BY bounced_at DESC, position DESC) AS place
              FROM bounce
             WHERE destination IN (SELECT destination FROM json_to_recordset(%(bounces)s) AS new (destination integer))) AS kept
     WHERE bounce.destination = kept.destination AND bounce.position = kept.position AND place > {BOUNCES_KEPT};
"""

_REQUEUED = """
    DELETE FROM bounce
     USING json_to_recordset(%(requeued)s) AS requeued (destination integer, position bigint)
     WHERE bounce.destination = requeued.destination AND bounce.position = requeued.position;
"""

_FOLLOWED = "UPDATE log_state SET followed = %(followed)s WHERE followed < %(followed)s;"

_TAKEN = """
    UPDATE log_state
       SET followed = %(followed)s, taken = now.taken, takers = now.takers
      FROM (SELECT coalesce(array_agg(position), '{}') AS taken, coalesce(array_agg(takers), '{}') AS takers
              FROM json_to_recordset(%(taken)s) AS taken (position bigint, takers bytea)) AS now
     WHERE followed <= %(followed)s;
"""


# A write of which nobody knows whether it was done may be done after the next one, and would take back what that says: it fails instead.
# The lock makes those that are done at the same time wait for each other.
_IN_TIME = f"""
    {_ALONE};
    SELECT ('after ' || written || ' this comes too late')::integer FROM log_state WHERE run <> %(run)s OR written > %(number)s;
    UPDATE log_state SET written = %(number)s;
"""


class PostgresDestinations(DestinationLookups):
    """
    See L{Destinations}.

    @ivar _run: which run of the relay this is: what an earlier one still sends comes too late.
    """

    def __init__(self, database: Queries, run: int) -> None:
        super().__init__(database)
        self._run = run

    def settle_followers(self) -> Deferred[None]:
        """See L{Destinations.settle_followers}."""
        return Deferred.fromCoroutine(self._settle_followers())

    async def _settle_followers(self) -> None:
        [(followed, taken, takers)] = await self._database.query(_SHARED, idempotent=True)
        found = await self._database.query(_FOLLOWERS, idempotent=True)
        tally = FollowersTally(Follower(*row) for row in found)
        after = tally.after
        while after < followed:
            # A few at a time: they are long, and the server ends a statement that takes seconds.
            span = {"after": after, "upto": followed, "limit": _AT_ONCE}
            posts = await self._database.query(_BITMAPS, span, idempotent=True)
            for position, recipients in posts:
                tally.add(position, recipients)
            after = posts[-1][0] if len(posts) == _AT_ONCE else followed
        for position, some in zip(taken, takers, strict=True):
            tally.add_taken(position, some)
        parameters = {"followed": followed, "followers": rows(tally.settled(followed))}
        await self._database.query(_SETTLE_FOLLOWERS, parameters, idempotent=True)

    def load(self) -> Deferred[list[DestinationRecord]]:
        """See L{Destinations.load}."""
        return Deferred.fromCoroutine(self._load())

    async def _load(self) -> list[DestinationRecord]:
        # In parts: the rows of all at once would be the most memory that the relay ever needs for them.
        records: list[DestinationRecord] = []
        more = True
        while more:
            span = {"after": records[-1].number if records else -1, "limit": _RECORDS}
            found = await self._database.query(_LOAD, span, idempotent=True)
            records += [_record(row) for row in found]
            more = len(found) == _RECORDS
        return records

    def deferred(self, destination: int | None = None) -> Deferred[list[DeferredDelivery]]:
        """See L{Destinations.deferred}."""
        query = self._database.query(_DEFERRED, {"destination": destination}, idempotent=True)
        return query.addCallback(lambda found: [DeferredDelivery(*row) for row in found])

    def open(self, host: str, protocol: str, url: str, now: datetime) -> Deferred[DestinationRecord]:
        """See L{Destinations.open}."""
        return self.open_all({host: url}, protocol, now).addCallback(lambda found: found[0])

    def open_all(self, urls: Mapping[str, str], protocol: str, now: datetime) -> Deferred[list[DestinationRecord]]:
        """See L{Destinations.open_all}."""
        wanted = rows({"n": n, "host": host, "url": url} for n, (host, url) in enumerate(urls.items()))
        parameters = {"lock": LOG_LOCK, "wanted": wanted, "protocol": protocol, "now": now}
        return self._database.query(_OPEN, parameters, idempotent=True).addCallback(lambda found: [_record(row) for row in found])

    def close(self, *numbers: int) -> Deferred[None]:
        """See L{Destinations.close}."""
        return self._database.query(_CLOSE, {"numbers": list(numbers)}, idempotent=True).addCallback(_nothing)

    def suspend(self, number: int) -> Deferred[None]:
        """See L{Destinations.suspend}."""
        return self._database.query(_SUSPEND, {"number": number}, idempotent=True).addCallback(_nothing)

    def resume(self, number: int) -> Deferred[None]:
        """See L{Destinations.resume}."""
        return self._database.query(_RESUME, {"number": number}, idempotent=True).addCallback(_nothing)

    def save(self, progress: Progress) -> Deferred[None]:
        """See L{Destinations.save}."""
        statements: list[str] = []
        parameters: dict[str, object] = {"followed": progress.followed, "run": self._run, "number": progress.number}
        if progress.number:
            statements.append(_IN_TIME)
        # Of two values for one row the last counts; a statement may touch a row only once.
        for name, statement, entries in (
            ("destinations", _ADVANCE, {record.number: _advance(record) for record in progress.destinations}),
            ("deferred", _DEFER, {(each.destination, each.position): _delivery(each) for each in progress.deferred}),
            ("settled", _SETTLE, {key: {"destination": key[0], "position": key[1]} for key in progress.settled}),
            ("gaps", _GAPS, {(gap.destination, gap.after, gap.outcome): _gap(gap) for gap in progress.gaps}),
            ("bounces", _BOUNCED, {(each.destination, each.position): _bounce(each) for each in progress.bounces}),
            ("requeued", _REQUEUED, {key: {"destination": key[0], "position": key[1]} for key in progress.requeued}),
        ):
            if entries:
                statements.append(statement)
                parameters[name] = rows(entries.values())
        if progress.taken is None:
            statements.append(_FOLLOWED)
        else:
            statements.append(_TAKEN)
            parameters["taken"] = rows(_takers(*each) for each in progress.taken)
        return self._database.query("".join(statements), parameters, idempotent=True).addCallback(_nothing)


def _record(row: tuple[Any, ...]) -> DestinationRecord:
    number, host, protocol, url, cursor, subscribed, state, ahead, *others, missed, requeued, begin = row
    # Of one protocol and one reason there are thousands.
    shared: list[Any] = [*(intern(each) if isinstance(each, str) else each for each in others), _stretches(missed), requeued, begin]
    return DestinationRecord(number, host, intern(protocol), url, cursor, subscribed, State(state), tuple(ahead), *shared)


def _stretches(missed: list[Any]) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    return tuple((after, upto, tuple(done)) for after, upto, done in missed)


def _advance(record: DestinationRecord) -> dict[str, object]:
    return {
        "number": record.number,
        "cursor": record.cursor,
        "ahead": record.ahead,
        "state": record.state.value,
        "failures": record.failures,
        "failing_since": record.failing_since,
        "next_attempt": record.next_attempt,
        "last_success": record.last_success,
        "last_reason": record.last_reason,
        "gone_answers": record.gone_answers,
        "gone_since": record.gone_since,
        "delivered": record.delivered,
        "bounced": record.bounced,
        "expired": record.expired,
        "cancelled": record.cancelled,
        "last_bounce": record.last_bounce,
        "following": record.following,
        "tried": record.tried,
        "missed": record.missed,
        "requeued": record.requeued,
    }


def _delivery(delivery: DeferredDelivery) -> dict[str, object]:
    return {
        "destination": delivery.destination,
        "position": delivery.position,
        "attempts": delivery.attempts,
        "next_attempt": delivery.next_attempt,
        "reason": delivery.reason,
    }


def _gap(gap: Gap) -> dict[str, object]:
    return {
        "destination": gap.destination,
        "after": gap.after,
        "upto": gap.upto,
        "posts": gap.posts,
        "outcome": gap.outcome,
        "reason": gap.reason,
    }


def _takers(position: int, takers: int) -> dict[str, object]:
    return {"position": position, "takers": Recipients(takers).packed()}


def _bounce(bounce: Bounce) -> dict[str, object]:
    return {
        "destination": bounce.destination,
        "position": bounce.position,
        "reason": bounce.reason,
        "bounced_at": bounce.bounced_at,
    }


def _nothing(_: object) -> None:
    return None


_conforms: type[Destinations] = PostgresDestinations

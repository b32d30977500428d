"""Rules, in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from twisted.internet.defer import Deferred

from socialrelay.boundaries import BY_HAND, Changes, InForce, ListedRule, Rule, Rules, RuleSet
from socialrelay.storage.queries import Queries, Rows
from socialrelay.storage.rows import host_in

_COLUMNS = "action, subject, reason, created_at, created_by, list, ends_at"

_PUT = """
    INSERT INTO rule (action, subject, list, reason, created_at, created_by, ends_at)
    VALUES (%(action)s, %(subject)s, %(list)s, %(reason)s, %(created_at)s, %(created_by)s, %(ends_at)s)
        ON CONFLICT (subject, action, list) DO UPDATE
       SET reason = excluded.reason, created_at = excluded.created_at, created_by = excluded.created_by, ends_at = excluded.ends_at
"""

_REMOVE = "DELETE FROM rule WHERE action = %(action)s AND subject = %(subject)s AND list = %(list)s RETURNING 1"

# One text for all subjects of a kind: thousands of rows would take the reactor ten times as long to read.  No subject has a blank.
_IN_FORCE = """
    SELECT list <> '', action, string_agg(subject, ' '), min(ends_at)
      FROM rule
     WHERE ends_at IS NULL OR ends_at > %(now)s
     GROUP BY list <> '', action
"""

_ABOUT = f"""
    SELECT {_COLUMNS}
      FROM rule
     WHERE subject = ANY(%(subjects)s::text[])
        OR (%(authors_of)s <> '' AND position('@' IN subject) > 0 AND left(subject, 1) <> '#' AND {host_in("subject")} = %(authors_of)s)
     ORDER BY list COLLATE "C", action COLLATE "C", subject
"""

_CHOSEN = """
      FROM rule
     WHERE (%(action)s = '' OR action = %(action)s)
       AND (%(list)s::text IS NULL OR list = %(list)s)
       AND (%(text)s = '' OR position(lower(%(text)s) IN subject) > 0 OR position(lower(%(text)s) IN lower(reason)) > 0)
"""

_PAGE = f"""
    SELECT {_COLUMNS} {_CHOSEN}
     ORDER BY action COLLATE "C", subject, list COLLATE "C"
    OFFSET %(offset)s
     LIMIT %(limit)s
"""

_TOTAL = f"SELECT count(*) {_CHOSEN}"

# Three arrays, because rows of names and values take four times as long to write as JSON.
_GIVEN = """
    WITH given AS MATERIALIZED (
        SELECT action, subject, reason
          FROM ROWS FROM (json_array_elements_text(%(actions)s), json_array_elements_text(%(subjects)s),
                          json_array_elements_text(%(reasons)s)) AS given (action, subject, reason)
    ), known AS MATERIALIZED (
        SELECT given.action, given.subject, given.reason, rule.reason AS before
          FROM given LEFT JOIN rule ON rule.list = %(list)s AND rule.action = given.action AND rule.subject = given.subject
    ), old AS MATERIALIZED (
        SELECT action, subject FROM rule WHERE list = %(list)s
        EXCEPT
        SELECT action, subject FROM given
    )
"""

_CHANGES = """
    SELECT count(*) FILTER (WHERE before IS NULL), (SELECT count(*) FROM old), count(*) FILTER (WHERE before <> reason),
           count(*) FILTER (WHERE before = reason)
      FROM known
"""

_REPLACE = f"""{_GIVEN}, gone AS (
        DELETE FROM rule USING old WHERE rule.list = %(list)s AND rule.action = old.action AND rule.subject = old.subject
    ), new AS (
        INSERT INTO rule (action, subject, list, reason, created_at, created_by)
        SELECT action, subject, %(list)s, reason, %(fetched_at)s, %(fetched_by)s FROM known WHERE before IS NULL
            ON CONFLICT (subject, action, list) DO NOTHING
    ), changed AS (
        UPDATE rule
           SET reason = known.reason
          FROM known
         WHERE rule.list = %(list)s AND rule.action = known.action AND rule.subject = known.subject AND known.before <> known.reason
    ), noted AS (
        INSERT INTO rule_list (name, source, action, fetched_at, fetched_by, tried_at)
        VALUES (%(list)s, %(source)s, %(action)s, %(fetched_at)s, %(fetched_by)s, %(tried_at)s)
            ON CONFLICT (name) DO UPDATE
           SET source = excluded.source, action = excluded.action, fetched_at = excluded.fetched_at, fetched_by = excluded.fetched_by,
               tried_at = excluded.tried_at, error = ''
    ) {_CHANGES}
"""

_FAILED = """
    INSERT INTO rule_list (name, source, action, tried_at, error)
    VALUES (%(list)s, %(source)s, %(action)s, %(tried_at)s, %(error)s)
        ON CONFLICT (name) DO UPDATE
       SET source = excluded.source, action = excluded.action, tried_at = excluded.tried_at, error = excluded.error
"""

_SETS = """
    SELECT name, source, action, fetched_at, fetched_by, tried_at, error, (SELECT count(*) FROM rule WHERE rule.list = rule_list.name)
      FROM rule_list
     ORDER BY name COLLATE "C"
"""

_DROP = """
    WITH gone AS (
        DELETE FROM rule WHERE list = %(list)s AND list <> '' RETURNING 1
    ), unlisted AS (
        DELETE FROM rule_list WHERE name = %(list)s RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM unlisted)
"""

_FORGET = """
    WITH gone AS (
        DELETE FROM rule WHERE ends_at < %(before)s RETURNING 1
    )
    SELECT count(*) FROM gone
"""


class PostgresRules:
    """See L{Rules}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def put(self, rule: Rule) -> Deferred[None]:
        """See L{Rules.put}."""
        parameters = {
            "action": rule.action,
            "subject": rule.subject,
            "list": rule.list,
            "reason": rule.reason,
            "created_at": rule.created_at,
            "created_by": rule.created_by,
            "ends_at": rule.ends_at,
        }
        return self._database.query(_PUT, parameters, idempotent=True).addCallback(_nothing)

    def remove(self, action: str, subject: str, name: str = BY_HAND) -> Deferred[bool]:
        """See L{Rules.remove}."""
        return self._database.query(_REMOVE, {"action": action, "subject": subject, "list": name}).addCallback(bool)

    def in_force(self, now: datetime) -> Deferred[InForce]:
        """See L{Rules.in_force}."""
        return self._database.query(_IN_FORCE, {"now": now}, idempotent=True).addCallback(_in_force)

    def about(self, subjects: Collection[str], authors_of: str = "") -> Deferred[list[Rule]]:
        """See L{Rules.about}."""
        return self._database.query(_ABOUT, {"subjects": list(subjects), "authors_of": authors_of}, idempotent=True).addCallback(_rules)

    def page(
        self, *, text: str = "", action: str = "", name: str | None = None, offset: int = 0, limit: int = 100
    ) -> Deferred[tuple[list[Rule], int]]:
        """See L{Rules.page}."""
        return Deferred.fromCoroutine(self._page({"text": text, "action": action, "list": name, "offset": offset, "limit": limit}))

    async def _page(self, parameters: dict[str, object]) -> tuple[list[Rule], int]:
        [(total,)] = await self._database.query(_TOTAL, parameters, idempotent=True)
        return _rules(await self._database.query(_PAGE, parameters, idempotent=True)), int(total)

    def compare(self, name: str, entries: Sequence[ListedRule]) -> Deferred[Changes]:
        """See L{Rules.compare}."""
        return self._database.query(_GIVEN + _CHANGES, {"list": name, **_given(entries)}, idempotent=True).addCallback(_changes)

    def replace(self, taken: RuleSet, entries: Sequence[ListedRule]) -> Deferred[Changes]:
        """See L{Rules.replace}."""
        return self._database.query(_REPLACE, {**_set(taken), **_given(entries)}).addCallback(_changes)

    def failed(self, tried: RuleSet) -> Deferred[None]:
        """See L{Rules.failed}."""
        return self._database.query(_FAILED, _set(tried), idempotent=True).addCallback(_nothing)

    def sets(self) -> Deferred[list[RuleSet]]:
        """See L{Rules.sets}."""
        return self._database.query(_SETS, idempotent=True).addCallback(lambda found: [RuleSet(*row) for row in found])

    def drop(self, name: str) -> Deferred[int | None]:
        """See L{Rules.drop}."""
        query = self._database.query(_DROP, {"list": name})
        return query.addCallback(lambda found: int(found[0][0]) if any(found[0]) else None)

    def forget(self, ended_before: datetime) -> Deferred[int]:
        """See L{Rules.forget}."""
        return self._database.query(_FORGET, {"before": ended_before}, idempotent=True).addCallback(lambda found: int(found[0][0]))


def _in_force(found: Rows) -> InForce:
    of: dict[bool, dict[str, frozenset[str]]] = {False: {}, True: {}}
    for listed, action, subjects, _ in found:
        of[listed][action] = frozenset(subjects.split(" "))
    return InForce(of[False], of[True], min((end for *_, end in found if end is not None), default=None))


def _rules(found: Rows) -> list[Rule]:
    return [Rule(*row) for row in found]


def _changes(found: Rows) -> Changes:
    return Changes(*map(int, found[0]))


def _given(entries: Sequence[ListedRule]) -> dict[str, object]:
    return {
        "actions": json.dumps([entry.action for entry in entries]),
        "subjects": json.dumps([entry.subject for entry in entries], ensure_ascii=False),
        "reasons": json.dumps([entry.reason for entry in entries], ensure_ascii=False),
    }


def _set(each: RuleSet) -> dict[str, object]:
    return {
        "list": each.name,
        "source": each.source,
        "action": each.action,
        "fetched_at": each.fetched_at,
        "fetched_by": each.fetched_by,
        "tried_at": each.tried_at,
        "error": each.error,
    }


def _nothing(_: object) -> None:
    return None


_conforms: type[Rules] = PostgresRules

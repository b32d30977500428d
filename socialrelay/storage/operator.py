"""Whom the operator subscribed, and what the authors wish, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from sys import intern

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Contacts, ManualSubscription, Subscriptions
from socialrelay.routing.subscription import Scope, Subscription
from socialrelay.storage.queries import Queries, Rows

_SUBSCRIPTIONS = 'SELECT host, scope, tags, created_at, created_by FROM subscription ORDER BY host COLLATE "C"'

_SUBSCRIBE = """
    INSERT INTO subscription (host, scope, tags, created_at, created_by)
    VALUES (%(host)s, %(scope)s, %(tags)s::text[], %(created_at)s, %(created_by)s)
        ON CONFLICT (host) DO UPDATE
       SET scope = excluded.scope, tags = excluded.tags, created_at = excluded.created_at, created_by = excluded.created_by
"""

_UNSUBSCRIBE = "DELETE FROM subscription WHERE host = %(host)s RETURNING 1"

_CONTACTS = "SELECT handle, wishes FROM contact"

_PUT_CONTACT = """
    INSERT INTO contact (handle, wishes, changed_at)
    VALUES (%(handle)s, %(wishes)s, %(now)s)
        ON CONFLICT (handle) DO UPDATE SET wishes = excluded.wishes, changed_at = excluded.changed_at
"""

_REMOVE_CONTACT = "DELETE FROM contact WHERE handle = %(handle)s"


class PostgresSubscriptions:
    """See L{Subscriptions}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def all(self) -> Deferred[list[ManualSubscription]]:
        """See L{Subscriptions.all}."""

        def entries(found: Rows) -> list[ManualSubscription]:
            alike: dict[tuple[str, ...], Subscription] = {}  # one object for all that are
            entries = []
            for host, scope, tags, created_at, created_by in found:
                subscription = alike.get((scope, *tags))
                if subscription is None:
                    subscription = alike[scope, *tags] = Subscription(Scope(scope), frozenset(map(intern, tags)))
                entries.append(ManualSubscription(host, subscription, created_at, created_by))
            return entries

        return self._database.query(_SUBSCRIPTIONS, idempotent=True).addCallback(entries)

    def put(self, entry: ManualSubscription) -> Deferred[None]:
        """See L{Subscriptions.put}."""
        parameters = {
            "host": entry.host,
            "scope": entry.subscription.scope.value,
            "tags": sorted(entry.subscription.tags),
            "created_at": entry.created_at,
            "created_by": entry.created_by,
        }
        return self._database.query(_SUBSCRIBE, parameters, idempotent=True).addCallback(_nothing)

    def remove(self, host: str) -> Deferred[bool]:
        """See L{Subscriptions.remove}."""
        return self._database.query(_UNSUBSCRIBE, {"host": host}).addCallback(bool)


class PostgresContacts:
    """See L{Contacts}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def all(self) -> Deferred[dict[str, bool]]:
        """See L{Contacts.all}."""
        return self._database.query(_CONTACTS, idempotent=True).addCallback(dict)

    def put(self, handle: str, wishes: bool, now: datetime) -> Deferred[None]:
        """See L{Contacts.put}."""
        parameters = {"handle": handle, "wishes": wishes, "now": now}
        return self._database.query(_PUT_CONTACT, parameters, idempotent=True).addCallback(_nothing)

    def remove(self, handle: str) -> Deferred[None]:
        """See L{Contacts.remove}."""
        return self._database.query(_REMOVE_CONTACT, {"handle": handle}, idempotent=True).addCallback(_nothing)


def _nothing(_: object) -> None:
    return None


_conforms_subscriptions: type[Subscriptions] = PostgresSubscriptions
_conforms_contacts: type[Contacts] = PostgresContacts

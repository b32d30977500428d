"""All stores in PostgreSQL."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from socialrelay.config import Receive, Retention
from socialrelay.storage.accounts import PostgresAccounts
from socialrelay.storage.aside import PostgresAside
from socialrelay.storage.bus import PostgresBus
from socialrelay.storage.database import Database, Limits
from socialrelay.storage.destinations import PostgresDestinations
from socialrelay.storage.figures import PostgresFigures
from socialrelay.storage.incoming import PostgresIncoming
from socialrelay.storage.log import PostgresLog
from socialrelay.storage.migrate import migrate
from socialrelay.storage.node_table import PostgresNodeTable
from socialrelay.storage.nodes import PostgresNodes
from socialrelay.storage.operator import PostgresContacts, PostgresSubscriptions
from socialrelay.storage.records import PostgresIdentity, PostgresProfiles, PostgresStatistics
from socialrelay.storage.rejections import PostgresRejections
from socialrelay.storage.rules import PostgresRules
from socialrelay.storage.stores import Storage
from socialrelay.storage.usage import Usage

__all__ = ["Limits", "open_storage"]

# What another run of the relay still sends to the database comes too late.
_BEGIN = """
    UPDATE log_state SET run = run + 1, written = 0;
    SELECT coalesce(max(position), 0), (SELECT run FROM log_state) FROM post
"""


def open_storage(
    reactor: Any,
    dsn: str,
    *,
    receive: Receive = Receive(),
    retention: Retention = Retention(),
    limits: Limits = Limits(),
) -> Deferred[Storage]:
    """
    Bring the schema up to date, connect, and put the stores over the connections.

    @param reactor: provides IReactorTime, IReactorFDSet and IReactorThreads.
    @param dsn: a libpq connection string or URI.
    @raise Unavailable: the database cannot be reached; nothing is left open.
    @raise StorageError: the database is not as it must be, or the connection string is none.
    """
    return ensureDeferred(_open(reactor, dsn, receive, retention, limits))


async def _open(reactor: Any, dsn: str, receive: Receive, retention: Retention, limits: Limits) -> Storage:
    database = Database(reactor, dsn, limits)
    await migrate(reactor, dsn)
    try:
        await database.start()
        [(end, run)] = await database.query(_BEGIN, idempotent=True)
    except Exception:
        await database.close()
        raise
    usage = Usage(receive)
    log = PostgresLog(reactor, database, usage, retention, receive, end)

    incoming = PostgresIncoming(reactor, database, usage, receive)

    def adjust(receive: Receive, retention: Retention) -> None:
        usage.bounds = receive
        log.commits.bytes_limit = incoming.commits.bytes_limit = receive.bytes_in_hand
        log.retention = retention

    def close() -> Deferred[None]:
        log.close()
        return database.close()

    return Storage(
        log=log,
        incoming=incoming,
        aside=PostgresAside(database, usage),
        rejections=PostgresRejections(database),
        destinations=PostgresDestinations(database, run),
        accounts=PostgresAccounts(database),
        nodes=PostgresNodes(database),
        node_table=PostgresNodeTable(database),
        subscriptions=PostgresSubscriptions(database),
        rules=PostgresRules(database),
        contacts=PostgresContacts(database),
        profiles=PostgresProfiles(database),
        statistics=PostgresStatistics(database),
        identity=PostgresIdentity(database),
        bus=PostgresBus(database),
        health=database,
        figures=PostgresFigures(database, usage, log.commits, incoming.commits, incoming.usage),
        adjust=adjust,
        close=close,
    )

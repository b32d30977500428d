"""All stores in memory: for tests, and for a relay that may forget."""

from __future__ import annotations

from twisted.internet.defer import succeed

from socialrelay.config import Receive, Retention
from socialrelay.storage.memory.accounts import MemoryAccounts
from socialrelay.storage.memory.aside import MemoryAside
from socialrelay.storage.memory.bus import MemoryBus
from socialrelay.storage.memory.destinations import MemoryDestinations
from socialrelay.storage.memory.figures import MemoryFigures
from socialrelay.storage.memory.incoming import MemoryIncoming, MemoryRejections
from socialrelay.storage.memory.log import MemoryPostLog
from socialrelay.storage.memory.node_table import MemoryNodeTable
from socialrelay.storage.memory.nodes import MemoryContacts, MemoryNodes, MemorySubscriptions
from socialrelay.storage.memory.records import MemoryIdentity, MemoryProfiles, MemoryStatistics
from socialrelay.storage.memory.rules import MemoryRules
from socialrelay.storage.memory.tables import MemoryTables
from socialrelay.storage.stores import Storage

__all__ = ["MemoryTables", "memory_storage"]


def memory_storage(tables: MemoryTables | None = None, *, receive: Receive = Receive(), retention: Retention = Retention()) -> Storage:
    """
    Stores over the same tables.

    @param tables: to look into, to take away, or to open a second time; new ones if none are given.
    """
    tables = tables if tables is not None else MemoryTables()
    tables.run, tables.written = tables.run + 1, 0
    return Storage(
        log=MemoryPostLog(tables, retention),
        incoming=MemoryIncoming(tables, receive),
        aside=MemoryAside(tables),
        rejections=MemoryRejections(tables),
        destinations=MemoryDestinations(tables, tables.run),
        accounts=MemoryAccounts(tables),
        nodes=MemoryNodes(tables),
        node_table=MemoryNodeTable(tables),
        subscriptions=MemorySubscriptions(tables),
        rules=MemoryRules(tables),
        contacts=MemoryContacts(tables),
        profiles=MemoryProfiles(tables),
        statistics=MemoryStatistics(tables),
        identity=MemoryIdentity(tables),
        bus=MemoryBus(tables),
        health=tables,
        figures=MemoryFigures(tables),
        adjust=lambda receive, retention: None,
        close=lambda: succeed(None),
    )

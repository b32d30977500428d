"""The takeover from beginning to end."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from attrs import Factory, frozen

from socialrelay.config import Config
from socialrelay.storage.blocking import connected, require_alone
from socialrelay.takeover.nodes import known_nodes
from socialrelay.takeover.old_config import OldConfig, TakeoverError
from socialrelay.takeover.old_redis import OldRedis
from socialrelay.takeover.old_tables import from_files, from_postgres, prepare
from socialrelay.takeover.taking import Taken, take_counts, take_forwards, take_keys, take_nodes

APPLICATION = "socialrelay import"

Tell = Callable[[str, float], None]

# Which part of the whole each step takes, about.
_TABLES_END, _NODES_END, _KEYS_END = 0.6, 0.7, 0.95


@frozen
class Old:
    """
    What there is of the old relay.

    @ivar database: connection string of its PostgreSQL; empty for none.
    @ivar tables: a folder of files in place of it.
    @ivar zone: the time zone of its host.
    """

    config: OldConfig = Factory(lambda: OldConfig({}))
    database: str = ""
    tables: Path | None = None
    redis: OldRedis = OldRedis()
    zone: str = "UTC"


def take_over(
    old: Old,
    dsn: str,
    config: Config,
    *,
    now: datetime,
    commit: bool,
    leave_queue: bool = False,
    chance: Callable[[], float] = random.random,
    tell: Tell = lambda what, part: None,
) -> Taken:
    """
    Take over all of it, or nothing. Blocks. The daemon must not run; the schema is up to date.

    @param dsn: of the new database.
    @param commit: else all is undone at the end, and what is returned is what would have been done.
    @param leave_queue: although posts wait in the old relay's queue.
    @raise TakeoverError: something of the old relay cannot be read, or is not ready.
    @raise socialrelay.boundaries.Unavailable: a database cannot be reached.
    @raise socialrelay.storage.database.StorageError: one refuses something.
    """
    if commit and old.redis.waiting and not leave_queue:
        raise TakeoverError(
            f"{old.redis.waiting} posts wait in the old relay's queue: stop its web process, let its workers finish, and come again; "
            "or say --leave-queue to lose them"
        )
    taken = Taken()
    with connected(dsn, APPLICATION) as connection, connection.cursor() as cursor:
        require_alone(cursor)
        prepare(cursor)
        if old.database:
            from_postgres(cursor, old.database, old.zone, lambda what, part: tell(what, part * _TABLES_END))
        elif old.tables is not None:
            from_files(cursor, old.tables, old.zone, lambda what, part: tell(what, part * _TABLES_END))
        cursor.execute("SELECT host FROM old_node WHERE host IS NOT NULL ORDER BY host")
        hosts = [*(name for (name,) in cursor.fetchall()), *old.redis.pods]
        tell("nodes", _TABLES_END)
        max_tags = config.polling.max_tags_per_node
        known = known_nodes(hosts, old.redis.preferences, own_host=config.host or old.config.host, max_tags=max_tags)
        take_nodes(cursor, known, config, zone=old.zone, now=now, chance=chance, taken=taken)
        take_forwards(cursor, old.config.forward_to, config, now=now, taken=taken)
        tell("keys", _NODES_END)
        scale = _KEYS_END - _NODES_END
        take_keys(cursor, zone=old.zone, now=now, taken=taken, tell=lambda part: tell("keys", _NODES_END + part * scale))
        tell("counts", _KEYS_END)
        take_counts(cursor, config, now=now, taken=taken)
        if commit:
            connection.commit()
        tell("", 1.0)
    return taken

"""Checks of PostgreSQL and Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import redis

from socialrelay.backup.exporting import public_hash
from socialrelay.backup.tables import tables_of
from socialrelay.boundaries import Unavailable
from socialrelay.config import Config
from socialrelay.doctor.findings import Finding, failure, ok, warning
from socialrelay.identity import IdentityError, key_path, read_key
from socialrelay.running.offline import as_owner
from socialrelay.storage.accounts import UNEVEN
from socialrelay.storage.blocking import connected
from socialrelay.storage.cache import RedisAddress
from socialrelay.storage.embedded import EmbeddedError, existing_runtime_directory
from socialrelay.storage.embedded.binaries import find_postgres, find_valkey
from socialrelay.storage.embedded.postgres import PostgresServer, dsn_at
from socialrelay.storage.embedded.valkey import SOCKET
from socialrelay.storage.migrate import known_migrations, schema
from socialrelay.storage.queries import StorageError

SECONDS = 4
OLDEST = 15
"""Major version of PostgreSQL."""

_ABOUT = """
    SELECT current_setting('server_version'), current_setting('server_version_num')::integer / 10000, getdatabaseencoding(),
           pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'), current_schema(),
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
           current_setting('max_connections')::integer - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
           pg_database_size(current_database()) / 1024 / 1024
"""

_NOT_OURS = """
    SELECT tablename FROM pg_tables
     WHERE schemaname = current_schema() AND tablename = ANY(%(tables)s) AND NOT pg_has_role(tableowner, 'MEMBER')
"""

_DSN = "Start it, or correct postgres.dsn."


def database(config: Config) -> Iterator[Finding]:
    """The operator's own PostgreSQL, or the embedded one."""
    name = "database"
    dsn = config.postgres.dsn
    if not dsn:
        try:
            find_postgres(config.embedded.postgres_bin)
            PostgresServer(config.state_dir.resolve(), as_owner(config), {}).check_data()
        except EmbeddedError as error:
            yield failure(name, f"The embedded PostgreSQL cannot be started: {error}.", "")
            return
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is None or not (runtime / "postgres").exists():
            yield ok(name, "The embedded PostgreSQL can be started; it does not run now, so nothing else was looked at.")
            return
        dsn = dsn_at(runtime)
    try:
        with connected(dsn, "socialrelay doctor", SECONDS) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{SECONDS}s'")
            yield from _server(config, cursor)
            yield from _schema(cursor)
            yield from _owner(config, cursor)
            yield from _accounts(cursor)
    except Unavailable as error:
        yield failure(name, f"PostgreSQL cannot be reached: {error}.", _DSN if config.postgres.dsn else "Look into postgres.log.")
    except StorageError as error:
        yield failure(name, f"{error}.", "")


def _server(config: Config, cursor: Any) -> Iterator[Finding]:
    name = "database"
    cursor.execute(_ABOUT)
    version, major, encoding, standby, fsync, commit, where, creates, free, size = cursor.fetchone()
    yield ok(name, f"PostgreSQL {version} answers; the database has {size} MiB.")
    if major < OLDEST:
        yield failure(name, f"PostgreSQL {version} is too old.", f"Upgrade it to {OLDEST} or newer.")
    if encoding != "UTF8":
        yield failure(name, f"The database is in {encoding}.", "Make one with createdb --encoding UTF8 --template template0.")
    if standby:
        yield failure(name, "It is a standby, and takes nothing.", "Name the primary in postgres.dsn.")
    if where is None or not creates:
        yield failure(
            name, "The relay may not make tables there.", "Make its user the owner of the database, or of a schema in search_path."
        )
    for setting, value in (("fsync", fsync), ("synchronous_commit", commit)):
        if value == "off":
            text = f"{setting} is off: posts and messages that were acknowledged may be lost in a power failure."
            yield warning(name, text, f"Set {setting} = on.")
    if free < config.postgres.connections:
        yield warning(name, f"It has room for {free} more connections.", "Raise max_connections, or lower postgres.connections.")


def _schema(cursor: Any) -> Iterator[Finding]:
    name = "schema"
    migrations = known_migrations()
    try:
        found = schema(cursor, migrations)
    except StorageError as error:
        yield failure(name, f"{error}.", "")
        return
    cursor.execute(_NOT_OURS, {"tables": tables_of(migrations)})
    foreign = [table for (table,) in cursor.fetchall()]
    if foreign:
        yield failure(name, f"{', '.join(foreign[:5])} belong to another user.", "REASSIGN OWNED BY that user TO the relay's.")
    elif found.missing:
        yield ok(name, f"It is at {found.present}; the next start, or `socialrelay migrate`, brings it to {migrations[-1].version}.")
    else:
        yield ok(name, f"It is at {found.present}, as this version wants it.")


def _accounts(cursor: Any) -> Iterator[Finding]:
    """As far as they are counted: nothing is read of the log."""
    name = "accounts"
    cursor.execute("SELECT to_regclass('account') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return
    cursor.execute(UNEVEN)
    uneven = cursor.fetchall()
    if uneven:
        hosts = ", ".join(f"{host} ({difference:+})" for host, difference in uneven)
        text = f"What was published for {hosts}, and what is settled there or waits, do not add up."
        yield warning(name, text, "See docs/runbook.md, SocialrelayUnaccounted.")


def _owner(config: Config, cursor: Any) -> Iterator[Finding]:
    """Whose database it is must agree with the configuration and the private key, or the relay does not start."""
    name = "identity"
    cursor.execute("SELECT to_regclass('relay_identity') IS NOT NULL")
    if not config.production or not cursor.fetchone()[0]:
        return
    cursor.execute("SELECT host, username, key_hash FROM relay_identity")
    found = cursor.fetchone()
    if found is None:
        return
    handle, mine = f"{found[1]}@{found[0]}", f"{config.identity.username}@{config.host}"
    if handle != mine:
        text = f"The database belongs to {handle}, and the configuration says {mine}."
        yield failure(name, text, "Set host and identity.username to what they were, or name the relay's own database.")
    path = key_path(config)
    try:
        key = read_key(path)
    except IdentityError:
        return  # that is told of the secrets
    if key is None and os.access(path.parent, os.X_OK):
        yield failure(name, f"The private key of {handle}, {path}, is missing.", "Restore it from your backup: nodes accept no other.")
    elif key is not None and public_hash(key) != bytes(found[2]).hex():
        yield failure(name, f"{path} is not the private key of {handle}.", "Restore the right one from your backup: nodes accept no other.")


def cache(config: Config) -> Iterator[Finding]:
    """The operator's own Redis or Valkey, or the embedded one."""
    name, url = "redis", config.redis.url
    if url == "off":
        yield ok(name, "The relay goes without.")
        return
    if not url:
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is None or not (runtime / "valkey").exists():
            yield from _embedded_cache(config)
            return
        url = f"unix://{runtime / 'valkey' / SOCKET}"
    try:
        RedisAddress.parse(url)  # whose refusal shows no password
        with redis.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS) as client:
            about: Any = client.info("server")
            yield ok(name, f"{about.get('server_name', 'redis')} {about.get('valkey_version') or about.get('redis_version')} answers.")
            yield from _policy(client)
    except (redis.RedisError, OSError, ValueError) as error:
        yield warning(
            name,
            f"Redis cannot be used: {error}. The relay works without it, and more slowly.",
            "Start it, or correct redis.url." if config.redis.url else "Look into valkey.log.",
        )


def _embedded_cache(config: Config) -> Iterator[Finding]:
    try:
        find_valkey(config.embedded.valkey_server)
        yield ok("redis", "The embedded Valkey can be started; it does not run now.")
    except EmbeddedError as error:
        yield failure("redis", f"The embedded Valkey cannot be started: {error}.", "")


def _policy(client: redis.Redis) -> Iterator[Finding]:
    try:
        said: Any = client.config_get("maxmemory*")
    except redis.RedisError:
        return  # it may be forbidden
    if int(said.get("maxmemory", 0)) and said.get("maxmemory-policy") == "noeviction":
        yield warning(
            "redis",
            "When its memory is full it refuses to write (maxmemory-policy is noeviction).",
            "Give the relay a Redis of its own with maxmemory-policy allkeys-lru.",
        )

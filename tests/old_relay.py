"""A made-up old Social-Relay, as its own migrations leave it: database, files of it, Redis, and local_config.py."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import redis
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests import servers

_SCHEMA = """
    CREATE TABLE node (
        id serial PRIMARY KEY, host varchar(255) NOT NULL UNIQUE, created_at timestamp NOT NULL, last_success timestamp,
        total_delivered integer NOT NULL, failure_count integer NOT NULL, https boolean NOT NULL);
    CREATE TABLE profile (id serial PRIMARY KEY, identifier varchar(255) NOT NULL UNIQUE, public_key text NOT NULL, created_at timestamp NOT NULL);
    CREATE TABLE receivestatistic (id serial PRIMARY KEY, created_at timestamp NOT NULL, sender_host varchar(255) NOT NULL);
    CREATE TABLE workerreceivestatistic (
        id serial PRIMARY KEY, created_at timestamp NOT NULL, protocol varchar(32) NOT NULL, entities integer NOT NULL,
        sent_amount integer NOT NULL, sent_success integer NOT NULL)
"""

_KEY = generate_private_key(65537, 2048).public_key()
PEM = _KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SSH = _KEY.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

_ROWS = """
    INSERT INTO node (host, created_at, last_success, total_delivered, failure_count, https) VALUES
        ('pod-a.example', '2016-07-01 12:30:00', '2020-03-01 08:00:00', 1000, 0, true),
        ('pod-b.example', '2016-07-01 12:30:00', NULL, 0, 0, true),
        ('localhost', '2016-07-01 12:30:00', NULL, 3, 0, false);
    INSERT INTO profile (identifier, public_key, created_at) VALUES
        ('ada@pod-a.example', '{pem}', '2017-01-01 00:00:00'),
        ('bob@pod-b.example', '{ssh}', '2017-01-01 00:00:00'),
        ('eve@pod-b.example', 'no key', '2017-01-01 00:00:00');
    INSERT INTO receivestatistic (created_at, sender_host)
    SELECT timestamp '2026-05-16 23:10:00' + n * interval '20 minutes', '127.0.0.1' FROM generate_series(0, 8) AS n;
    INSERT INTO receivestatistic (created_at, sender_host) SELECT '2018-01-01', '127.0.0.1' FROM generate_series(1, 100);
    INSERT INTO workerreceivestatistic (created_at, protocol, entities, sent_amount, sent_success)
    SELECT timestamp '2026-05-17 10:00:00' + n * interval '1 minute', 'diaspora', least(n, 1), 10, 7 FROM generate_series(0, 9) AS n
"""

PREFERENCES = {
    "pod-a.example": '{"subscribe": true, "scope": "tags", "tags": ["Cats", "dogs"]}',
    "pod-c.example": '{"subscribe": true, "scope": "all", "tags": []}',
    "never.example": '{"subscribe": false, "scope": "", "tags": []}',
    "strange.example": "<html>",
}

LOCAL_CONFIG = """
import os
RELAY_GUID = "0123456789abcdef0123456789abcdef"
RELAY_USERNAME = "relay"
SERVER_HOST = "https://relay.example"
RELAY_NAME = "Our relay"
ALWAYS_FORWARD_TO_HOSTS = ["https://archive.example", "relay.example", "10.0.0.1"]
POD_LIST_JSON = "https://pods.example/pods.json"
DATABASE_TYPE = "{kind}"
DATABASE_NAME = "{name}"
DATABASE_HOST = "{host}"
DATABASE_USER = "{user}"
REDIS_HOST = os.environ["NOBODY_KNOWS"]
open("/nowhere/executed", "w")
"""


def old_database() -> str:
    """Connection string of its database."""
    dsn = servers.empty_database()
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(_SCHEMA)
        cursor.execute(_ROWS.format(pem=PEM, ssh=SSH))
    connection.close()
    return dsn


def old_files(dsn: str, folder: Path) -> Path:
    """The same as files of C{mysql -B}."""
    columns = {
        "node": "host, created_at, last_success, total_delivered",
        "profile": "identifier, public_key, created_at",
        "receivestatistic": "created_at",
        "workerreceivestatistic": "created_at, entities, sent_amount, sent_success",
    }
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        for table, names in columns.items():
            cursor.execute(f"SELECT {names} FROM {table}")
            lines = [names.replace(", ", "\t"), *("\t".join(map(_in_mysql, row)) for row in cursor.fetchall())]
            (folder / f"{table}.tsv").write_text("\n".join(lines) + "\n")
    connection.close()
    return folder


def _in_mysql(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def old_redis(waiting: int = 0) -> str:
    """URL of its Redis, filled."""
    url = f"{servers.valkey()}?db=9"
    with redis.Redis.from_url(url) as old:
        old.flushdb()
        old.hset("pods", mapping={"pod-c.example": "{'host': 'pod-c.example', 'ip': None}", "bad host": "{}"})
        old.hset("pod_preferences", mapping=PREFERENCES)
        for number in range(waiting):
            old.rpush("rq:queue:receive", f"job-{number}")
    return url

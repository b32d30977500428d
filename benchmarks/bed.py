"""
Where measurements lie: real servers, the sinks, signed posts, and relays that come and go.

The relay runs alone on the first processor; sinks, load, PostgreSQL and Valkey share the others. PostgreSQL waits for the disk, as it does
for an operator. Each relay gets a database of its own, filled before it starts.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from attrs import frozen

from benchmarks import processes
from benchmarks.load import Door
from benchmarks.posts import Posts
from benchmarks.sinks import Sinks
from socialrelay.config import Embedded
from socialrelay.storage import migrate
from socialrelay.storage.embedded.valkey import SOCKET, ValkeyServer
from tests.daemon import Daemon
from tests.servers import RunningPostgres, RunningServer, take_away

T = TypeVar("T")
POSTGRES = {"fsync": "on", "max_connections": "30"}
AT_ONCE = "[delivery]\norigin_spread = 0\n"
"""What is measured nearly everywhere is what a delivery costs, not how long it was held back."""


class Bed:
    """
    @ivar quick: small sizes, to see that it works.
    @ivar minutes: how long the recorded run lasts.
    """

    def __init__(self, *, quick: bool = False, minutes: float = 10.0, beside: Path | None = None, bits: int = 4096) -> None:
        """
        @param beside: the folder for what L{record} is given.
        @param bits: of the authors' keys.
        """
        self.quick = quick
        self.minutes = minutes
        self._beside = beside
        self.folder = Path(tempfile.mkdtemp(prefix="socialrelay-bench-", dir="/tmp"))
        self.folder.chmod(0o711)
        measured, others = processes.cores()
        os.sched_setaffinity(0, others | measured)
        self.posts = Posts(self.folder / "keys", bits)
        self.postgres = RunningPostgres(POSTGRES)
        self.postgres.start()
        self.postgres.run("CREATE DATABASE with_schema TEMPLATE template0")
        migrate.apply(self.postgres.dsn("with_schema"), migrate.known_migrations())
        (self.folder / "valkey").mkdir()
        valkey = ValkeyServer(self.folder / "valkey", Embedded())
        self.valkey = RunningServer(valkey, self.folder / "valkey")
        self.valkey.start()
        self.valkey_url = f"unix://{valkey.sockets}/{SOCKET}"
        self.sinks = Sinks(self.folder)
        for server in (self.postgres, self.valkey):
            processes.pin(processes.family(server_pid(server)), others)

    def close(self) -> None:
        """End everything."""
        self.sinks.close()
        self.valkey.remove()
        self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def size(self, full: T, quick: T) -> T:
        """A size, by whether it is a quick run."""
        return quick if self.quick else full

    def record(self, name: str, text: str) -> None:
        """Keep a file with more than figures beside these, if they are kept."""
        if self._beside is not None:
            (self._beside / name).write_text(text)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """An empty database with the relay's schema, for as long as it is needed."""
        name = f"bench_{time.monotonic_ns()}"
        self.postgres.run(f"CREATE DATABASE {name} TEMPLATE with_schema")
        database = Database(self.postgres.dsn(name))
        try:
            yield database
        finally:
            database.close()
            self.postgres.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def relay(
        self, database: Database | None, configuration: str = AT_ONCE, *, network: str = "", program: Sequence[str] = ()
    ) -> Iterator[Relay]:
        """
        A relay that is ready; afterwards it is stopped as an operator does.

        @param database: C{None}: it has the servers that it brings along.
        @param network: more lines of C{network.connect_to}.
        @param program: what Python is to run instead of C{socialrelay}, with its first arguments.
        """
        self.sinks.forget()
        relay = Relay(self, database, configuration, network=network, program=program)
        try:
            relay.start()
            yield relay
        finally:
            relay.stop()


def server_pid(server: RunningServer) -> int:
    """The process id of a running server."""
    assert server._process is not None
    return server._process.pid


class Database:
    """One connection to a database, beside the relay's."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connect()

    def _connect(self) -> None:
        self._connection = psycopg2.connect(self.dsn)
        self._connection.autocommit = True

    def run(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement; its rows. A server that was started anew since the last one is asked again."""
        try:
            return self._run(statement, parameters)
        except psycopg2.Error as error:
            if error.pgcode is not None:  # the server said so, and is there
                raise
            self._connection.close()
            self._connect()
            return self._run(statement, parameters)

    def _run(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def subscribe(self, hosts: Sequence[str], *, tags: Sequence[str] = (), state: str = "active", cursor: int = 0) -> None:
        """
        Subscribe nodes, as if it had happened before the relay started.

        @param tags: for these tags; without any, for everything.
        @param state: in which the destinations are; those that are not active are due in some hours.
        @param cursor: up to where they have what they wanted.
        """
        scope = "tags" if tags else "all"
        self.run(
            """
            INSERT INTO subscription (host, scope, tags, created_at, created_by)
            SELECT host, %s, %s, now(), 'bench' FROM unnest(%s::text[]) AS host
            """,
            (scope, list(tags), list(hosts)),
        )
        self.run(
            """
            INSERT INTO destination (number, host, protocol, url, state, cursor, failures, failing_since, next_attempt, created_at)
            SELECT (SELECT coalesce(max(number) + 1, 0) FROM destination) + n - 1, host, 'diaspora',
                   'https://' || host || '/receive/public', %(state)s, %(cursor)s,
                   CASE WHEN %(failing)s THEN 9 ELSE 0 END, CASE WHEN %(failing)s THEN now() - interval '2 days' END,
                   CASE WHEN %(failing)s THEN now() + (2 + random() * 10) * interval '1 hour' END, now()
              FROM unnest(%(hosts)s::text[]) WITH ORDINALITY AS host (host, n)
            """,
            {"state": state, "cursor": cursor, "hosts": list(hosts), "failing": state in ("deferred", "dead")},
        )


@frozen
class Cost:
    """CPU seconds."""

    relay: float
    postgres: float
    valkey: float
    sinks: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.relay - other.relay, self.postgres - other.postgres, self.valkey - other.valkey, self.sinks - other.sinks)


class Relay:
    """
    The daemon as a process, on the bed's servers or on its own.

    What the configuration says of PostgreSQL and Redis goes before what the bed has.
    """

    def __init__(self, bed: Bed, database: Database | None, configuration: str, *, network: str = "", program: Sequence[str] = ()) -> None:
        """See L{Bed.relay}."""
        self._bed = bed
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._daemon = Daemon(None, listen=(f"tcp:{self.port}:interface=127.0.0.1",))
        if program:
            self._daemon.program = tuple(program)
        servers = {}
        if database is not None:
            servers = {"postgres": f"dsn = {json.dumps(database.dsn)}", "redis": f"url = {json.dumps(bed.valkey_url)}"}
        self._daemon.configuration = "\n".join(
            (
                configuration,
                *(f"[{name}]\n{option}" for name, option in servers.items() if f"[{name}]" not in configuration),
                "[network]",
                f"ca_file = {json.dumps(str(bed.sinks.ca_file))}",
                'allow_addresses = ["127.0.0.0/8"]',
                f"author_keys = {json.dumps(str(bed.posts.keys))}",
                bed.sinks.network,
                network,
            )
        )
        self.seconds_to_ready = 0.0

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._daemon.process is not None
        return self._daemon.process.pid

    @property
    def log(self) -> str:
        """What it logged."""
        return self._daemon.log

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self._daemon.state

    @property
    def output(self) -> Path:
        """What it writes to standard output goes there."""
        return self._daemon.folder / "log"

    @property
    def peak(self) -> float:
        """Peak memory, MB."""
        return processes.peak(self.pid)

    @property
    def resident(self) -> float:
        """Memory now, MB."""
        return processes.resident(self.pid)

    @property
    def descriptors(self) -> int:
        """Files, sockets and pipes that it has open."""
        return processes.descriptors(self.pid)

    @property
    def connections(self) -> int:
        """Its established TCP connections."""
        return processes.connections(self.pid)

    def start(self, *options: str) -> None:
        """Start it, wait until it is ready, and give it its processor."""
        started = time.monotonic()
        process = self.launch(*options)
        while not answers_ready(self.port):
            if process.poll() is not None or time.monotonic() > started + 120:
                raise RuntimeError(f"the relay does not start:\n{self.log[-3000:]}")
            time.sleep(0.02)
        self.seconds_to_ready = time.monotonic() - started

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it, and do not wait."""
        process = self._daemon.launch(*options)
        processes.pin([process.pid], processes.cores()[0])
        return process

    def kill(self) -> None:
        """End it as a crash does; it can be started again."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Stop it as an operator does, its exit code; it can be started again."""
        return self._end(signal.SIGTERM)

    def stop(self) -> None:
        """Stop it for good."""
        self.terminate()
        take_away(self._daemon.folder, self.state)

    def _end(self, number: int) -> int:
        process, self._daemon.process = self._daemon.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(60)

    def cost(self) -> Cost:
        """What was spent up to now; of Postgres and Valkey, for all that they do."""
        return Cost(
            processes.cpu(self.pid),
            processes.family_cpu(server_pid(self._bed.postgres)),
            processes.family_cpu(server_pid(self._bed.valkey)),
            self._bed.sinks.cpu,
        )

    @contextmanager
    def door(self, connections: int) -> Iterator[Door]:
        """Connections to its front door."""
        door = Door(("127.0.0.1", self.port), connections)
        try:
            yield door
        finally:
            door.close()


def answers_ready(port: int) -> bool:
    """Whether a relay at this port says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready", headers={"Accept": "application/json"})
        return str(json.loads(connection.getresponse().read())["status"]) in ("ready", "degraded")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

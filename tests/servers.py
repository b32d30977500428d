"""
Real servers for tests: one PostgreSQL and one Valkey per test run, started when the first test asks for them, stopped when the run ends.

They are started without the reactor, which trial wants to find clean after each test.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2

from socialrelay.config import Embedded
from socialrelay.storage import migrate
from socialrelay.storage.embedded import existing_runtime_directory
from socialrelay.storage.embedded.postgres import DATABASE, PORT, USER, PostgresServer
from socialrelay.storage.embedded.valkey import SOCKET, ValkeyServer

_START_SECONDS = 60.0
# A test run that is killed leaves no server behind, where there is util-linux.
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "QUIT") if shutil.which("setpriv") else ()
_names = count(1)


def take_away(folder: Path, state: Path) -> None:
    """Remove a test's folder, and the folder that a relay with this state directory made elsewhere for its sockets."""
    if (sockets := existing_runtime_directory(state)) is not None:
        shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


class RunningServer:
    """A server of its own, to be stopped, killed and started again at will."""

    def __init__(self, server: Any, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command, account = self._server.prepare()
        with open(self._server.log, "ab") as log:
            self._process = subprocess.Popen([*_END_WITH_PARENT, *command], **account.process_options(), stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._server.name} does not start: {self._server.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self, number: int = signal.SIGQUIT) -> None:
        """End it; by default as a crash does: without a word to its clients."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)
            self._server.remove_sockets()

    def crash(self) -> None:
        """Kill all its processes at once, hanging or not."""
        process, self._process = self._process, None
        assert process is not None
        for each in (process.pid, *_children(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait(30)
        self._server.remove_sockets()

    def pause(self) -> None:
        """Let all its processes hang."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        main = self._process.pid
        for process in (main, *_children(main)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def remove(self) -> None:
        """End it for good, and take away its files."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
        self.kill(signal.SIGKILL if isinstance(self._server, ValkeyServer) else signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)


class RunningPostgres(RunningServer):
    """A PostgreSQL that does not wait for the disk."""

    def __init__(self, settings: dict[str, str] | None = None, directory: Path | None = None) -> None:
        """@param directory: where it keeps all that it has; taken away at the end."""
        directory = directory or _directory()
        self._postgres = PostgresServer(directory, Embedded(), {"fsync": "off", "max_connections": "60", **(settings or {})})
        super().__init__(self._postgres, directory)

    def dsn(self, database: str = DATABASE) -> str:
        """libpq connection string."""
        return f"host={self._postgres.sockets} port={PORT} user={USER} dbname={database}"

    def new_database(self, template: str = "template0") -> str:
        """Make a database; its connection string."""
        name = f"test_{next(_names)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.dsn(name)

    def run(self, statement: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run a statement by itself, blocking."""
        connection = psycopg2.connect(self.dsn(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@cache
def postgres() -> RunningPostgres:
    """The PostgreSQL of this test run; not to be killed."""
    server = RunningPostgres()
    server.start()
    server.run("CREATE DATABASE with_schema TEMPLATE template0")
    migrate.apply(server.dsn("with_schema"), migrate.known_migrations())
    return server


def empty_database() -> str:
    """Connection string of a new database without any table."""
    return postgres().new_database()


def database() -> str:
    """Connection string of a new database with the relay's schema."""
    return postgres().new_database("with_schema")


@cache
def valkey() -> str:
    """URL of the Valkey of this test run; not to be killed. Its databases are shared by all tests: use keys of your own."""
    server = ValkeyServer(_directory(), Embedded())
    RunningServer(server, server.data.parent).start()
    return f"unix://{server.sockets}/{SOCKET}"


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="socialrelay-test-", dir="/tmp"))
    directory.chmod(0o711)
    return directory


def _children(parent: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{parent}/task").iterdir() for child in (task / "children").read_text().split()]

"""The embedded PostgreSQL."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from socialrelay.config import Embedded
from socialrelay.storage.embedded.account import Account, EmbeddedError
from socialrelay.storage.embedded.binaries import Installation, find_postgres, reachable
from socialrelay.storage.embedded.runtime import remove_if_empty, runtime_directory
from socialrelay.storage.embedded.state import private_directory, require_state
from socialrelay.storage.embedded.supervisor import DEFAULT, Limits, Supervisor

USER = "socialrelay"
DATABASE = "postgres"
PORT = 5432
FOLDER = "postgres"
"""Of its socket, in the runtime directory."""
_ORPHANS_GO = 5.0

# Small, durable, and nothing on TCP.  On the command line, so that a server that runs with other settings is known by it.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "40",
        "shared_buffers": "64MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "max_wal_size": "512MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        # With a statement that fails, on a full disk say, the bodies would be logged that are in it.
        "log_min_error_statement": "panic",
        "logging_collector": "off",
        "cluster_name": "socialrelay",
    }
)


class PostgresServer:
    """
    PostgreSQL as a supervisor sees it: data in C{postgres/}, output in C{postgres.log} of the state directory.
    """

    name = "PostgreSQL"
    program: tuple[str, ...] = ("postgres",)
    # "Fast": what clients have begun is rolled back; then "immediate": recovery at the next start.
    stop_signals: tuple[tuple[int, float], ...] = ((signal.SIGINT, 8.0), (signal.SIGQUIT, 3.0))

    def __init__(self, state_dir: Path, config: Embedded, settings: Mapping[str, str]) -> None:
        self.data = state_dir / "postgres"
        self.log = state_dir / "postgres.log"
        self.sockets: Path | None = None
        self._state_dir = state_dir
        self._config = config
        self._settings = {**SETTINGS, **settings}

    def prepare(self) -> tuple[list[str], Account]:
        account = Account.current(self._config.user)
        require_state(self._state_dir, account)
        installation = reachable(find_postgres(self._config.postgres_bin), account, self._state_dir)
        if self.data.exists():
            self._check(installation, account)
        else:
            self._initialise(installation, account)
        private_directory(self.place_sockets(), account)
        command = [str(installation.program("postgres")), "-D", str(self.data), "-k", str(self.sockets), "-p", str(PORT)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return command, account

    def check_data(self) -> None:
        """
        See whether the installed server can run on the data directory, if there is one; nothing is changed. Blocks.

        @raise EmbeddedError: it cannot.
        """
        if self.data.exists():
            self._check(find_postgres(self._config.postgres_bin), Account.current(self._config.user))

    def place_sockets(self) -> Path:
        """Where its socket is, or will be."""
        self.sockets = runtime_directory(self._state_dir) / FOLDER
        return self.sockets

    def _check(self, installation: Installation, account: Account) -> None:
        """
        @raise EmbeddedError: this server cannot run on this data directory.
        """
        if not account.owns(self.data):
            raise EmbeddedError(
                f"{self.data} is not {account.name}'s, whom PostgreSQL runs as: chown -R it, or set embedded.user to its owner"
            )
        try:
            existing = (self.data / "PG_VERSION").read_text().strip()
        except OSError:
            raise EmbeddedError(f"{self.data} is not a PostgreSQL data directory; move it away") from None
        answer = _run([str(installation.program("postgres")), "--version"], account)
        version = re.search(r"(\d+)(\.\d+|devel|beta\d+|rc\d+)", answer.stdout)
        if version is not None and version[1] != existing:
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {existing}, and {installation.folder} is PostgreSQL {version[1]}, "
                f"which cannot read it: set embedded.postgres_bin to the folder of a PostgreSQL {existing}; or change over: "
                f"`socialrelay export FILE` with the installation that made it, move {self.data} away, "
                "and `socialrelay restore FILE` with this one"
            )

    def _initialise(self, installation: Installation, account: Account) -> None:
        """Make the data directory, whole or not at all."""
        for leftover in self._state_dir.glob(".postgres-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=".postgres-", dir=self._state_dir))
        account.own(fresh)
        command = [str(installation.program("initdb")), "-D", str(fresh), "-U", USER, "--auth-local=trust", "--auth-host=reject"]
        command += ["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
        answer = _run(command, account)
        if answer.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {answer.stderr.strip() or answer.stdout.strip()}")
        fresh.rename(self.data)

    def recorded_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def clear(self, foreign: bool) -> None:
        # A killed postmaster's children go soon; until then the data directory is theirs.
        deadline = time.monotonic() + _ORPHANS_GO
        while self._orphans_at_work() and time.monotonic() < deadline:
            time.sleep(0.05)
        if foreign and not self._orphans_at_work():
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._remove_socket_files()

    def _orphans_at_work(self) -> bool:
        """Whether a process is attached to the shared memory that the dead postmaster's file names (its seventh line: key, id)."""
        try:
            id = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            rows = [row.split() for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        except (OSError, IndexError):
            return False
        return any(row[1] == id and row[6] != "0" for row in rows)

    def answers(self) -> bool:
        """A session can be opened."""
        words = b"user\0" + USER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(f"{self.sockets}/.s.PGSQL.{PORT}")
                connection.sendall(struct.pack("!II", len(words) + 8, 196608) + words)
                answer = b""
                while not answer.endswith(b"Z\0\0\0\5I"):
                    more = connection.recv(4096)
                    if not more or not (answer or more.startswith(b"R")):
                        return False
                    answer += more
                connection.sendall(b"X\0\0\0\4")
                return True
        except OSError:
            return False

    def remove_sockets(self) -> None:
        if self.sockets is not None and self.sockets.is_dir():
            self._remove_socket_files()
            with suppress(OSError):
                self.sockets.rmdir()
            remove_if_empty(self._state_dir, self.sockets.parent)

    def _remove_socket_files(self) -> None:
        if self.sockets is not None:
            for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
                (self.sockets / name).unlink(missing_ok=True)


class EmbeddedPostgres(Service):
    """
    A PostgreSQL for this daemon alone, below its state directory.

    It runs as the daemon's user, or as C{embedded.user} if the daemon is root when L{startService} is called (C{twistd --uid} has dropped
    root by then, so the state directory must belong to that user).
    """

    def __init__(
        self,
        state_dir: Path,
        reactor: Any,
        config: Embedded,
        settings: Mapping[str, str] = MappingProxyType({}),
        limits: Limits = DEFAULT,
    ) -> None:
        """
        @param state_dir: exists.
        @param reactor: provides IReactorTime and IReactorThreads.
        @param settings: of C{postgresql.conf}, besides L{SETTINGS} or instead of them.
        """
        self._server = PostgresServer(state_dir.resolve(), config, settings)
        self.supervisor = Supervisor(self._server, reactor, limits)

    @property
    def dsn(self) -> str:
        """
        libpq connection string, known before the start.

        @raise EmbeddedError: there is no place for its socket.
        """
        return dsn_at(self._server.place_sockets().parent)

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it takes connections.
        @raise EmbeddedError: it does not; nothing is left running.
        """
        super().startService()
        return self.supervisor.start()

    def stopService(self) -> Deferred[None]:
        """
        @return: fires when no process and no socket is left; within 13 seconds.
        """
        super().stopService()
        return self.supervisor.stop()


def dsn_at(runtime: Path) -> str:
    """libpq connection string of the server whose socket is below this runtime directory."""
    return f"host={runtime / FOLDER} port={PORT} user={USER} dbname={DATABASE}"


def _run(command: list[str], account: Account) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - PostgreSQL's own programs, by their paths
            command, **account.process_options(), check=False, capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(f"{command[0]} cannot be run: {error}") from error

"""The embedded Valkey."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from socialrelay.config import Embedded
from socialrelay.storage.embedded.account import Account
from socialrelay.storage.embedded.binaries import find_valkey, reachable
from socialrelay.storage.embedded.runtime import remove_if_empty, runtime_directory
from socialrelay.storage.embedded.state import private_directory, require_state
from socialrelay.storage.embedded.supervisor import DEFAULT, Limits, Supervisor

SOCKET = "valkey.sock"

# It is a cache: nothing is written to disk, and what is used least goes when it is full.  Its arguments stay visible, since a later daemon
# knows it by them.
_SETTINGS = (
    *("--port", "0", "--unixsocketperm", "700"),
    *("--save", "", "--appendonly", "no"),
    *("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--maxclients", "200"),
    *("--daemonize", "no", "--set-proc-title", "no"),
)


class ValkeyServer:
    """Valkey as a supervisor sees it: its folder is C{valkey/}, its output C{valkey.log} of the state directory."""

    name = "Valkey"
    program: tuple[str, ...] = ("valkey-server", "redis-server")
    stop_signals: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 3.0),)

    def __init__(self, state_dir: Path, config: Embedded) -> None:
        self.data = state_dir / "valkey"
        self.log = state_dir / "valkey.log"
        self.sockets: Path | None = None
        self._state_dir = state_dir
        self._config = config
        self._pid_file = self.data / "valkey.pid"

    def prepare(self) -> tuple[list[str], Account]:
        account = Account.current(self._config.user)
        require_state(self._state_dir, account)
        installation = reachable(find_valkey(self._config.valkey_server), account, self._state_dir)
        private_directory(self.data, account)
        sockets = private_directory(self.place_sockets(), account)
        command = [str(installation.needs[0]), "--dir", str(self.data), "--pidfile", str(self._pid_file)]
        return [*command, "--unixsocket", str(sockets / SOCKET), *_SETTINGS], account

    def place_sockets(self) -> Path:
        """Where its socket is, or will be."""
        self.sockets = runtime_directory(self._state_dir) / "valkey"
        return self.sockets

    def recorded_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None

    def clear(self, foreign: bool) -> None:
        self._pid_file.unlink(missing_ok=True)

    def answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(f"{self.sockets}/{SOCKET}")
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def remove_sockets(self) -> None:
        if self.sockets is not None:
            (self.sockets / SOCKET).unlink(missing_ok=True)
            with suppress(OSError):
                self.sockets.rmdir()
            remove_if_empty(self._state_dir, self.sockets.parent)


class EmbeddedValkey(Service):
    """
    A Valkey for this daemon alone, as L{EmbeddedPostgres<socialrelay.storage.embedded.postgres.EmbeddedPostgres>} is its PostgreSQL.
    """

    def __init__(self, state_dir: Path, reactor: Any, config: Embedded, limits: Limits = DEFAULT) -> None:
        """
        @param state_dir: exists.
        @param reactor: provides IReactorTime and IReactorThreads.
        """
        self._server = ValkeyServer(state_dir.resolve(), config)
        self.supervisor = Supervisor(self._server, reactor, limits)

    @property
    def socket(self) -> Path:
        """
        Where it listens, known before the start.

        @raise EmbeddedError: there is no place for its socket.
        """
        return self._server.place_sockets() / SOCKET

    @property
    def url(self) -> str:
        """The same as C{redis.url} would say it."""
        return f"unix://{self.socket}"

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it answers.
        @raise EmbeddedError: it does not; nothing is left running.
        """
        super().startService()
        return self.supervisor.start()

    def stopService(self) -> Deferred[None]:
        """
        @return: fires when no process and no socket is left; within 5 seconds.
        """
        super().stopService()
        return self.supervisor.stop()

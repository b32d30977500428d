"""How the operators' command reaches the running daemon: HTTP and JSON over the control socket, one question, one answer."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import frozen

from socialrelay.loading import load
from socialrelay.storage.embedded.runtime import CONTROL_SOCKET, LINK, existing_runtime_directory

SYSTEM_SOCKET = Path("/run/socialrelay") / CONTROL_SOCKET
PATIENCE = 120.0
"""Seconds: a poll or the node lists take as long as the slowest server that is asked."""


class CallFailed(Exception):
    """
    There is no answer, or it is a refusal; the message is for the operator.

    @ivar code: as the relay gives it; C{no-daemon}, C{no-permission} or C{no-answer} if it gave none.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def find_socket(given: Path | None, config: Path | None, state_dir: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """
    The control socket of the daemon that would be started with the same options and environment.

    @raise ConfigError: the configuration is wrong or cannot be read.
    """
    if given is not None:
        return given
    data = load(config, {"state_dir": None if state_dir is None else str(state_dir)}, environ).state_dir
    runtime = existing_runtime_directory(data)
    if runtime is not None:
        return runtime / CONTROL_SOCKET
    # Members of the socket's group may not look into the state directory; systemd's directory is open to them.
    return SYSTEM_SOCKET if SYSTEM_SOCKET.exists() else data / LINK / CONTROL_SOCKET


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@frozen
class Daemon:
    """
    The running daemon, as the command speaks to it.

    @ivar path: of its control socket.
    @ivar patience: seconds for an answer.
    """

    path: Path
    patience: float = PATIENCE

    def view(self, name: str, /, **fields: object) -> dict[str, Any]:
        """
        Ask for a view; fields that are C{None} or empty are not sent.

        @raise CallFailed: for whatever is no answer.
        """
        query = urlencode({key: value for key, value in fields.items() if value not in (None, "")})
        return self._ask("GET", f"/v1/{name}?{query}", None)

    def act(self, name: str, /, **fields: object) -> dict[str, Any]:
        """
        Have something done.

        @raise CallFailed: it was refused or failed.
        """
        return self._ask("POST", f"/v1/{name}", json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        connection = _UnixConnection(self.path, self.patience)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"} if body is not None else {})
            answer = json.loads(connection.getresponse().read())
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise CallFailed("no-daemon", _NO_DAEMON.format(path=self.path)) from None
        except PermissionError:
            raise CallFailed("no-permission", _NO_PERMISSION.format(path=self.path)) from None
        except TimeoutError:
            raise CallFailed("no-answer", f"The relay did not answer within {self.patience:.0f} s; its log says what it does.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CallFailed("no-answer", f"The relay gave no answer at {self.path}: {error or type(error).__name__}.") from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise CallFailed("no-answer", f"That is no relay that listens at {self.path}.")
        if "error" in answer:
            raise CallFailed(str(answer["error"].get("code")), str(answer["error"].get("message")))
        return answer


_NO_DAEMON = (
    "No relay is running: nobody listens at {path}.\n"
    "Start one with `socialrelay run`, or look with `systemctl status socialrelay` why it does not run.\n"
    "If it runs with another state directory, name that with --state-dir or --config, or the socket itself with --socket."
)
_NO_PERMISSION = (
    "You may not use the relay's control socket, {path}.\n"
    "Do it as root or as the relay's own user (sudo -u socialrelay socialrelay …), or become a member of the socket's group."
)

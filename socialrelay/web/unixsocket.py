"""Listening on a UNIX socket that only the relay's user and its group may use."""

from __future__ import annotations

import errno
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX

from socialrelay.services import StartFailed, reason_of

MODE = 0o660


def remove_stale(path: Path) -> None:
    """
    Make room for our socket: one that nobody listens at any more is removed.

    @raise CannotListenError: somebody listens at it, or it is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotListenError("unix", str(path), FileExistsError(errno.EEXIST, "there is something else of this name"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(str(path)) in (errno.ECONNREFUSED, errno.ENOENT)
    if not refused:
        raise CannotListenError("unix", str(path), FileExistsError(errno.EADDRINUSE, "another daemon listens there"))
    path.unlink(missing_ok=True)


class SocketService(Service):
    """
    Listens on a UNIX socket while it runs.

    @ivar path: of the socket.
    """

    def __init__(self, reactor: IReactorUNIX, path: Path, factory: Any, what: str) -> None:
        """@param what: the socket is called, where it cannot be made."""
        self.path = path
        self._reactor = reactor
        self._factory = factory
        self._what = what
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """
        Listen.

        @raise StartFailed: another daemon listens there, or no socket can be made there.
        """
        super().startService()
        try:
            remove_stale(self.path)
            self._port = self._reactor.listenUNIX(str(self.path), self._factory, mode=MODE)
        except CannotListenError as error:
            raise StartFailed(f"{self._what} {self.path}", reason_of(error.socketError)) from error

    def stopService(self) -> Deferred[None]:
        """Listen no more; the socket is gone when this fires."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
            self.path.unlink(missing_ok=True)

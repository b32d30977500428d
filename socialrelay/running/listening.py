"""Sockets that are bound while a start can still be refused, and served when everything else runs."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure


def local_port(descriptions: Iterable[str]) -> str:
    """The first TCP port among endpoint descriptions; empty if there is none, or the system chooses it."""
    ports = (found[1] for each in descriptions if (found := re.match(r"tcp:(?:port=)?([1-9]\d*)", each)))
    return next(ports, "")


@frozen
class Setting:
    """
    How people who choose endpoints say so.

    @ivar names: all ways.
    @ivar short: the first of them.
    @ivar listening: the beginning of what is logged.
    """

    names: str
    short: str
    listening: str


PUBLIC = Setting("--listen, or listen in the configuration", "--listen", "Listening")
OPERATORS = Setting("admin_listen in the configuration", "admin_listen", "The operators' site is")


class CannotListen(Exception):
    """An endpoint cannot be listened on; the message is one line: which, why, and what to do."""


class Listener(Service):
    """
    Listens on endpoints for a factory.

    L{bind} does what can fail, before the process leaves its terminal and its privileges; the kernel then holds connections back until the
    service is started.  Stopping it closes the sockets; connections that are open stay so.
    """

    _log = Logger()

    def __init__(self, reactor: Any, descriptions: Iterable[str], factory: IProtocolFactory, setting: Setting = PUBLIC) -> None:
        """
        @param descriptions: C{tcp:8080:interface=127.0.0.1} and the like.
        @param setting: where they stand.
        """
        self._reactor = reactor
        self._descriptions = tuple(descriptions)
        self._factory = factory
        self._setting = setting
        self._ports: list[tuple[str, IListeningPort]] = []

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, as L{twisted.internet.interfaces.IAddress}."""
        return [port.getHost() for _, port in self._ports]

    def bind(self) -> None:
        """
        Take the sockets, if they are not taken yet.

        @raise CannotListen: an endpoint is in use, not allowed, or no endpoint.
        """
        if not self._ports:
            for description in self._descriptions:
                self._ports.append((description, self._listen(description)))

    def privilegedStartService(self) -> None:
        """Bind while the process may."""
        self.bind()

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self.bind()
        for description, port in self._ports:
            if isinstance(port, FileDescriptor):
                port.startReading()
            self._log.info("{what} on {endpoint}.", what=self._setting.listening, endpoint=description)

    def stopService(self) -> Deferred[Any]:
        """@return: fires when the sockets are closed."""
        super().stopService()
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for _, port in ports])

    def _listen(self, description: str) -> IListeningPort:
        results: list[IListeningPort | Failure] = []
        advice = f"Write it like tcp:8080:interface=127.0.0.1 ({self._setting.names})."
        try:
            serverFromString(self._reactor, description).listen(self._factory).addBoth(results.append)
        except OSError as error:  # a file that it names
            raise CannotListen(f"Cannot listen on {description}: {_words(error)}. Correct {self._setting.names}.") from None
        except Exception as error:  # each endpoint's parser raises what it likes, for what people write
            if description.startswith("systemd:") and isinstance(error, LookupError):
                raise CannotListen(f"Cannot listen on {description}: systemd handed no such socket over. {advice}") from None
            raise CannotListen(f"The endpoint {description} is not understood: {_words(error)}. {advice}") from None
        if not results:
            raise CannotListen(f"The endpoint {description} is of a kind that cannot be bound at once. {advice}")
        [port] = results
        if isinstance(port, Failure):
            raise CannotListen(
                f"Cannot listen on {description}: {_words(port.value)}. {_remedy(port.value, self._setting.short)}"
            ) from None
        if isinstance(port, FileDescriptor):
            port.stopReading()
        if isinstance(port, FileDescriptor) and "backlog=" not in description:
            port.socket.listen(_WAITING)  # type: ignore[attr-defined]
        if isinstance(port, Port):
            _accept_few(port)
        return port


def _accept_few(port: Port) -> None:
    accept = port.doRead

    def accept_few() -> None:
        port.numberAccepts = min(port.numberAccepts, AT_ONCE)
        accept()

    port.doRead = accept_few  # type: ignore[method-assign]


AT_ONCE = 16
"""
Connections that are taken in one turn of the event loop.  Twisted takes 20 more in each turn as long as more are waiting: a crowd of a
thousand would keep everybody else waiting for as long as it takes to welcome them.
"""

_WAITING = 1024
"""
Connections that the kernel keeps until the daemon takes them: while it restarts, where systemd has the socket, and when hundreds come at
once.  Twisted has 50 wait; who comes after them is told nothing, and tries again after one second and after three.
"""


def _words(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        # A UNIX socket's lock is a link to a process id, which stands in the place of a file's name.
        return f"{error.strerror}: {error.filename}" if str(error.filename or "").startswith("/") else error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _remedy(error: BaseException | None, option: str) -> str:
    code = getattr(getattr(error, "socketError", error), "errno", None)
    if code == errno.EACCES:
        return "Ports below 1024 are root's: start as root with --uid and --gid, or listen on another."
    if code == errno.EADDRINUSE:
        return f"Stop what uses it, or name another with {option}."
    return f"Name another with {option}."

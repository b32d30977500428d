"""Sockets that are bound while a start can still be refused, and served when everything else runs."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure


def local_port(descriptions: Iterable[str]) -> str:
    """The first TCP port among endpoint descriptions; empty if there is none, or the system chooses it."""
    ports = (found[1] for each in descriptions if (found := re.match(r"tcp:(?:port=)?([1-9]\d*)", each)))
    return next(ports, "")


class CannotListen(Exception):
    """An endpoint cannot be listened on; the message is one line: which, why, and what to do."""


class Listener(Service):
    """
    Listens on endpoints for a factory.

    L{bind} does what can fail, before the process leaves its terminal and its privileges; the kernel then holds connections back until the
    service is started.  Stopping it closes the sockets; connections that are open stay so.
    """

    _log = Logger()

    def __init__(self, reactor: Any, descriptions: Iterable[str], factory: IProtocolFactory) -> None:
        """@param descriptions: C{tcp:8080:interface=127.0.0.1} and the like."""
        self._reactor = reactor
        self._descriptions = tuple(descriptions)
        self._factory = factory
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
            self._log.info("Listening on {endpoint}.", endpoint=description)

    def stopService(self) -> Deferred[Any]:
        """@return: fires when the sockets are closed."""
        super().stopService()
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for _, port in ports])

    def _listen(self, description: str) -> IListeningPort:
        results: list[IListeningPort | Failure] = []
        try:
            serverFromString(self._reactor, description).listen(self._factory).addBoth(results.append)
        except OSError as error:  # a file that it names
            raise CannotListen(
                f"Cannot listen on {description}: {_words(error)}. Correct --listen, or listen in the configuration."
            ) from None
        except Exception as error:  # each endpoint's parser raises what it likes, for what people write
            if description.startswith("systemd:") and isinstance(error, LookupError):
                raise CannotListen(f"Cannot listen on {description}: systemd handed no such socket over. {_ADVICE}") from None
            raise CannotListen(f"The endpoint {description} is not understood: {_words(error)}. {_ADVICE}") from None
        if not results:
            raise CannotListen(f"The endpoint {description} is of a kind that cannot be bound at once. {_ADVICE}")
        [port] = results
        if isinstance(port, Failure):
            raise CannotListen(f"Cannot listen on {description}: {_words(port.value)}. {_remedy(port.value)}") from None
        if isinstance(port, FileDescriptor):
            port.stopReading()
        return port


_ADVICE = "Write it like tcp:8080:interface=127.0.0.1 (--listen, or listen in the configuration)."


def _words(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        # A UNIX socket's lock is a link to a process id, which stands in the place of a file's name.
        return f"{error.strerror}: {error.filename}" if str(error.filename or "").startswith("/") else error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _remedy(error: BaseException | None) -> str:
    code = getattr(getattr(error, "socketError", error), "errno", None)
    if code == errno.EACCES:
        return "Ports below 1024 are root's: start as root with --uid and --gid, or listen on another."
    if code == errno.EADDRINUSE:
        return "Stop what uses it, or name another with --listen."
    return "Name another with --listen."

"""Where the operators' site is, for people who want to get there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from twisted.internet.interfaces import IReactorUNIX
from twisted.logger import Logger

from socialrelay.config import Config
from socialrelay.operators.offers import Offer
from socialrelay.operators.plain import Plain
from socialrelay.operators.who import user_of
from socialrelay.running.listening import local_port
from socialrelay.web.admin.sessions import LINK_LIFETIME, Links
from socialrelay.web.site import GuardedSite
from socialrelay.web.unixsocket import SocketService

SOCKET_NAME = "admin.sock"
_TCP = re.compile(r"(tcp|ssl)6?:(?:port=)?([1-9]\d*)(?::.*?)??(?::interface=((?:\\:|[^:])*))?(?::.*)?")
_UNIX = re.compile(r"unix:(?:address=)?(/[^:]*)(?::.*)?")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognized, not bound


def next_port(config: Config) -> str:
    """
    The endpoint of a relay in development that is not told of any: the port after the public one, on this machine alone. Empty if there
    is none.
    """
    port = local_port(config.listen)
    if config.production or config.admin_listen or not port or int(port) >= 65535:
        return ""
    return f"tcp:{int(port) + 1}:interface=127.0.0.1"


@frozen
class Places:
    """
    @ivar urls: without final slash; only this machine may reach them.
    @ivar sockets: paths of UNIX sockets.
    """

    urls: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()

    @classmethod
    def of(cls, descriptions: Iterable[str], socket: Path | None = None) -> Places:
        """
        What endpoint descriptions lead to.

        @param socket: listened on besides.
        """
        urls, sockets = [], []
        for description in descriptions:
            if found := _TCP.fullmatch(description):
                scheme, port, interface = found.groups()
                host = (interface or "").replace("\\:", ":")
                host = "127.0.0.1" if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
                urls.append(f"{'https' if scheme == 'ssl' else 'http'}://{host}:{port}")
            elif found := _UNIX.fullmatch(description):
                sockets.append(found[1])
        return cls(tuple(urls), (*sockets, *([str(socket)] if socket is not None else [])))


class AdminSocket(SocketService):
    """The socket at which the operators' site is if nobody says another place."""

    _log = Logger()

    def __init__(self, reactor: IReactorUNIX, path: Path, site: GuardedSite) -> None:
        super().__init__(reactor, path, site, "operators' socket")

    def startService(self) -> None:
        """
        Listen.

        @raise StartFailed: another daemon listens there, or no socket can be made there.
        """
        super().startService()
        self._log.info("The operators' site is at {path}; `socialrelay login` leads to it.", path=str(self.path))


def login_offer(links: Links, places: Places, host: str) -> Offer:
    """The act C{login} of the control socket: only who may use that gets a link."""

    async def login(*, who: str) -> Plain:
        """C{path}, with the code; C{url}, C{socket}, C{host}: what is known of where it leads; C{seconds}: how long it holds."""
        path = f"/admin/login?code={links.make(user_of(who))}"
        return {
            "message": "This link logs you in to the operators' pages, once.",
            "path": path,
            "url": f"{places.urls[0]}{path}" if places.urls else None,
            "socket": places.sockets[0] if places.sockets else None,
            "host": host,
            "seconds": LINK_LIFETIME,
        }

    return Offer(login)

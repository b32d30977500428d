"""Where the relay is put together."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from socialrelay.config import Config
from socialrelay.listening import Listener
from socialrelay.services import Sequence


def compose(config: Config, reactor: Any) -> IService:
    """
    Make every part and introduce them to one another.  Starts no thread, no timer and no process: twistd may fork afterwards.

    @raise socialrelay.listening.CannotListen: a socket cannot be had.
    """
    root = Resource()
    root.putChild(b"", Data(b"socialrelay\n", "text/plain; charset=utf-8"))
    listener = Listener(reactor, config.listen, Site(root))
    listener.bind()
    return Sequence([("listening", listener)], reactor, config.stop_timeout)

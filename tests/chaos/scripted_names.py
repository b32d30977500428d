"""
The relay with a name server that a proof scripts: C{python -m tests.chaos.scripted_names SCRIPT run …}.

Everything is the daemon's own but three things.  Where it calls C{getaddrinfo}, in the threads that it keeps for that, a file is asked; an
answer is believed for seconds instead of minutes; and since DNS knows no ports, who is looked up is connected to at the nodes' port.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from twisted.internet.defer import Deferred

from socialrelay.assembly import network
from socialrelay.network import resolver


@frozen
class Script:
    """
    @ivar port: of the nodes.
    @ivar fresh: seconds for which an answer is believed.
    @ivar addresses: of the nodes, by the second label of their names.
    @ivar dead: what the first label of a name that is not answered begins with, any of these.
    @ivar blocks: seconds that a look-up takes which comes to nothing.
    """

    port: int
    fresh: float
    addresses: dict[str, str]
    dead: tuple[str, ...] = ()
    blocks: float = 5.0

    def write(self, path: Path) -> None:
        """From now on it is so."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> Script:
        """As it was written."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "dead": tuple(fields["dead"])})


def _getaddrinfo(path: Path, host: str, port: int, **hints: int) -> Sequence[Any]:
    script = Script.read(path)
    if host.startswith(script.dead):
        time.sleep(script.blocks)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    address = script.addresses[host.split(".")[1]]
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]


def main(path: Path, arguments: list[str]) -> None:
    """Be C{socialrelay}."""
    script = Script.read(path)

    class Elsewhere(resolver.Resolver):
        """At the nodes' port."""

        def at_hand(self, host: str, port: int) -> resolver.Resolution | None:
            return super().at_hand(host, script.port)

        def resolve(self, host: str, port: int) -> Deferred[resolver.Resolution]:
            return super().resolve(host, script.port)

    resolver.FRESH = resolver.NEGATIVE = script.fresh
    network.Resolver = Elsewhere  # type: ignore[misc]
    network.SystemLookup = partial(resolver.SystemLookup, getaddrinfo=partial(_getaddrinfo, path))  # type: ignore[misc, assignment]
    from socialrelay.cli.command import main as run

    sys.argv = ["socialrelay", *arguments]
    run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

"""
Nodes that mean harm, all in one process: C{python -m tests.chaos.hostile_server FOLDER}.

Each way to do harm has a port of its own; who comes is served so, whatever is asked for.  What is written here is written as fast as it is
read.  On standard output come the ports, as JSON; then, for each line on standard input, what became of the connections so far.

How long a connection lasted is counted from its first byte, or from the end of its handshake, until the other side has closed it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
import threading
import time
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from attrs import Factory, define
from OpenSSL import SSL

from tests.chaos.hostile_ways import ENCRYPTED, MULTIPLEXED, PLAIN, Connection, Way, bomb

ADDRESS = "127.0.67.1"
DOMAIN = "hostile.example"


@define
class Treated:
    """
    Connections that were treated alike.

    @ivar made: how many there were.
    @ivar open: when those began that the other side has not closed yet.
    @ivar longest: seconds that the longest lasted, of those that are over.
    """

    made: int = 0
    open: list[float] = Factory(list)
    longest: float = 0.0

    def told(self) -> dict[str, float]:
        """C{made}, how many are C{open}, the age of the C{oldest} of these, and C{longest}."""
        oldest = time.monotonic() - min(self.open) if self.open else 0.0
        return {"made": self.made, "open": len(self.open), "oldest": oldest, "longest": self.longest}


class Server:
    """All of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.treated: dict[str, Treated] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def listen(self) -> dict[str, int]:
        """Begin; the port of each way."""
        ports = {}
        for name, way in {**PLAIN, **ENCRYPTED, **MULTIPLEXED, "bomb": bomb()}.items():
            context = None if name in PLAIN else self._context(name)
            self.treated[name] = Treated()
            server = await asyncio.start_server(
                lambda reader, writer, name=name, way=way: self._serve(name, way, reader, writer),
                ADDRESS,
                0,
                ssl=context,
                backlog=1000,
                **({} if context is None else {"ssl_handshake_timeout": 60.0}),
            )
            ports[name] = server.sockets[0].getsockname()[1]
        return ports

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.pem")
        if name in MULTIPLEXED:
            context.set_alpn_protocols(["h2"])
        if name == "tickets":
            context.num_tickets = 200
        return context

    async def _serve(self, name: str, way: Way, reader: StreamReader, writer: StreamWriter) -> None:
        treated = self.treated[name]
        treated.made += 1
        began = time.monotonic()
        treated.open.append(began)
        connection = Connection(reader, writer)
        try:
            await way(connection)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, SSL.Error, EOFError):
            pass
        finally:
            treated.open.remove(began)
            treated.longest = max(treated.longest, time.monotonic() - began)
            writer.transport.abort()


def _tell(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main(folder: Path) -> None:
    logging.disable()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # handshakes that fail are what is wanted
    server = Server(folder)
    _tell(await server.listen())
    ended = asyncio.Event()

    def obey() -> None:
        for _ in sys.stdin:
            asyncio.run_coroutine_threadsafe(tell(), loop)
        loop.call_soon_threadsafe(ended.set)

    async def tell() -> None:
        _tell({name: each.told() for name, each in server.treated.items()})

    threading.Thread(target=obey, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

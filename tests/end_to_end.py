"""
What end-to-end tests have in common: a running relay, and a world of nodes around it.

One relay serves all tests that do it no harm.  Each test takes names of its own, so what it leaves behind concerns no other.
"""

from __future__ import annotations

import atexit
import signal
from functools import cache
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.daemon import Daemon
from tests.envelopes import new_guid
from tests.nodes import Node, World

NAMES = [f"pod-{number}.example" for number in range(150)]


class EndToEnd(TestCase):
    """
    @ivar relay: the process.
    @ivar world: its nodes.
    """

    timeout = 90.0
    relay: Daemon
    world: World

    async def setUp(self) -> None:
        self.relay, self.world = shared()
        if self.relay.process is None:
            await self.relay.start()
        self.addCleanup(self.nodes_stop)

    async def nodes_stop(self) -> None:
        """The nodes end, none of them had to complain, and the relay met nothing that it did not expect."""
        self.assertEqual(await self.world.stop(), [])
        self.assertNotIn("Traceback", self.relay.log)

    def node(self, **attributes: Any) -> Node:
        """A node that listens."""
        return self.world.node(**attributes).start()

    async def subscribe(self, node: Node, *tags: str) -> None:
        """Subscribe a node by hand: to the tags, or to everything."""
        await self.relay.act("subscribe", host=node.host, tags=list(tags), everything=not tags)

    async def accepted(self, body: bytes, **options: Any) -> None:
        """The relay takes it."""
        self.assertEqual(await self.relay.post(body, **options), 202)


class OwnRelay(EndToEnd):
    """Has a relay for each test, which it may harm."""

    configuration = ""
    names = NAMES[:20]

    async def setUp(self) -> None:
        self.relay = Daemon(reactor)
        self.world = World(reactor, self.relay.folder).reserve(*self.names)
        self.relay.configuration = self.configuration + self.world.network()
        self.addCleanup(self.world.close)
        self.addCleanup(self.relay.remove)
        self.addCleanup(self.nodes_stop)
        await self.prepare()
        await self.relay.start()

    async def prepare(self) -> None:
        """Done before the relay is started."""


@cache
def shared() -> tuple[Daemon, World]:
    """The relay of this run, which is not started yet, and its world."""
    daemon = Daemon(reactor)
    world = World(reactor, daemon.folder).reserve(*NAMES)
    daemon.configuration = world.network()

    def end() -> None:
        process, daemon.process = daemon.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        Deferred.fromCoroutine(daemon.remove())

    atexit.register(end)
    return daemon, world


def guids(count: int) -> list[str]:
    """So many new ones."""
    return [new_guid() for _ in range(count)]

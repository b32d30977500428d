"""A whole relay over stores in memory, put together as the daemon does it, and not started."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, evolve
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from socialrelay.assembly import Assembly, Given, assemble
from socialrelay.compose import make_cache
from socialrelay.config import Config, NodeList, Polling, Redis
from socialrelay.health import Health, Phase
from socialrelay.identity import RelayIdentity
from socialrelay.metrics.process import LogCounts
from socialrelay.running.lag import LoopLag
from socialrelay.running.reloading import Reloader
from socialrelay.storage.embedded.supervisor import Supervisor
from socialrelay.storage.memory import memory_storage
from socialrelay.storage.stores import Storage

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class _Server:
    name = "PostgreSQL"


@define(eq=False)
class Assembled:
    """
    @ivar config: how it was put together.
    @ivar found: what is read when it is told to reload.
    """

    config: Config
    found: Config
    storage: Storage
    reloader: Reloader
    assembly: Assembly

    async def reload(self, **tables: Any) -> str:
        """Let it find other tables; what came of it."""
        self.found = evolve(self.found, **tables)
        return await self.reloader.reload()


def assembled(case: TestCase, **tables: Any) -> Assembled:
    """
    @param tables: of the configuration.
    """
    folder = tempfile.TemporaryDirectory(dir="/tmp")
    case.addCleanup(folder.cleanup)
    case.patch(os, "environ", os.environ | {"RUNTIME_DIRECTORY": folder.name})
    polling = Polling(lists=(NodeList("the-federation", "https://lists.example/"),))
    config = evolve(Config(state_dir=Path(folder.name), host="relay.example", polling=polling), **tables)

    def in_thread(work: Any, *arguments: object) -> Deferred[Any]:
        return maybeDeferred(work, *arguments)

    reloader = Reloader(config, lambda: relay.found, in_thread)
    embedded: Any = {"postgres": Supervisor(_Server(), None)}  # type: ignore[arg-type]
    given = Given(
        config=config,
        reactor=reactor,
        cache=make_cache(evolve(config, redis=Redis("redis://127.0.0.1:1")), Clock(), [], {}),
        health=Health(Phase.RUNNING),
        operators_at=(),
        reloader=reloader,
        lag=LoopLag(Clock()),
        logged=LogCounts(),
        embedded=embedded,
        storage=memory_storage(),
        identity=RelayIdentity("relay.example", "relay", "f00d" * 8, "Relay", KEY.public_key(), KEY),
        log_end=0,
    )
    relay = Assembled(config, config, given.storage, reloader, assemble(given))
    return relay

"""What there is before the parts are made, and what all of them are made with."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from attrs import Factory, asdict, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from socialrelay.config import Config
from socialrelay.health import Health
from socialrelay.identity import RelayIdentity
from socialrelay.metrics.process import LogCounts
from socialrelay.running.calendar import Calendar
from socialrelay.running.lag import LoopLag
from socialrelay.running.reloading import Reloader
from socialrelay.storage.cache import FallbackCache
from socialrelay.storage.embedded.supervisor import Supervisor
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.storage.stores import Storage

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class Surroundings:
    """
    What is there before storage is.

    @ivar operators_at: endpoints at which the operators' site is listened.
    @ivar reloader: brings a changed configuration to those who can take it.
    @ivar lag: how late the event loop is.
    @ivar logged: what was logged, counted.
    @ivar embedded: the servers that the daemon brought along, by name.
    @ivar calendar: what time it is.
    """

    config: Config
    reactor: Any
    cache: FallbackCache | MemoryCache
    health: Health
    operators_at: Sequence[str]
    reloader: Reloader
    lag: LoopLag
    logged: LogCounts
    embedded: Mapping[str, Supervisor]
    chance: Callable[[], float] = random.random
    calendar: Calendar = Factory(Calendar)

    def now(self) -> datetime:
        """The time of the day."""
        return self.calendar.now()

    def in_thread(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        """Do something that blocks."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), work, *args)


@frozen(kw_only=True, eq=False)
class Given(Surroundings):
    """
    What the parts are made with.

    @ivar storage: open.
    @ivar log_end: the log's end at this moment; nobody writes to it before the parts are started.
    """

    storage: Storage
    identity: RelayIdentity
    log_end: int

    @classmethod
    def over(cls, surroundings: Surroundings, storage: Storage, identity: RelayIdentity, log_end: int) -> Given:
        """The same surroundings, and storage."""
        return cls(**asdict(surroundings, recurse=False), storage=storage, identity=identity, log_end=log_end)

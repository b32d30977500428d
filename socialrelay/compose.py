"""
Where the relay is put together: the servers that it brings along, what it keeps, its parts, its sockets.

What can be known before the process leaves its terminal is found out in L{compose}; the rest in the order of the sequence that it returns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from socialrelay.assembly import assemble
from socialrelay.boundaries import Unavailable
from socialrelay.config import Config
from socialrelay.health import Health, Phase
from socialrelay.identity import IdentityError, check_key_file, key_path, load_identity
from socialrelay.running.listening import Listener
from socialrelay.services import Sequence, StartFailed, reason_of
from socialrelay.storage.cache import FallbackCache, RedisAddress, RedisCache
from socialrelay.storage.database import StorageError
from socialrelay.storage.embedded import OWN_USER, Account, EmbeddedPostgres, EmbeddedValkey
from socialrelay.storage.embedded import check as check_embedded
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.storage.postgres import Limits, open_storage
from socialrelay.storage.stores import Storage

NO_SOURCE = (
    "Nobody who uses this relay can find its source code, which its licence (AGPL, section 13) entitles them to: "
    "set operator.source to its address, and operator.contact to yours."
)


class LateSite(Factory):
    """
    Stands for the public site while the sockets are bound and the site is not made yet; nobody is accepted until it is.

    @ivar site: the site, once there is one.
    """

    site: Any = None

    def doStart(self) -> None:
        """The site has its own."""
        if self.site is not None:
            self.site.doStart()

    def doStop(self) -> None:
        """The site has its own."""
        if self.site is not None:
            self.site.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | IProtocol | None:  # type: ignore[override]
        """What the site makes of it."""
        return None if self.site is None else self.site.buildProtocol(addr)


class Core(Service):
    """Everything between the servers below and the sockets above: opens storage, finds out who the relay is, starts the parts."""

    _log = Logger()

    def __init__(self, config: Config, reactor: Any, cache: FallbackCache | MemoryCache, health: Health, dsn: Any, front: LateSite) -> None:
        """@param dsn: asked at start: the embedded server chooses its place when the daemon has its user."""
        self._config = config
        self._reactor = reactor
        self._cache = cache
        self._health = health
        self._dsn = dsn
        self._front = front
        self._storage: Storage | None = None
        self._parts: Sequence | None = None

    def startService(self) -> Deferred[None]:
        """@return: fires when all parts run."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """@return: fires when all is settled and storage is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        config = self._config
        self._tell_network()
        self.tell_user()
        if config.production and not (config.operator.source or config.operator.contact):
            self._log.warn(NO_SOURCE)
        self._storage = storage = await self._open_storage()
        in_thread = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        try:
            identity = await load_identity(config, storage.identity, now=datetime.now(UTC), in_thread=in_thread)
        except IdentityError as error:
            raise StartFailed("identity", str(error)) from error
        assembly = assemble(config, self._reactor, storage, self._cache, identity, self._health, await storage.log.end())
        self._front.site = assembly.public.site
        self._parts = Sequence(assembly.parts, self._reactor, config.stop_timeout * 0.8)
        await self._parts.startService()

    async def _stop(self) -> None:
        if self._parts is not None:
            await self._parts.stopService()
        if self._storage is not None:
            await self._storage.close()

    async def _open_storage(self) -> Storage:
        config = self._config
        limits = Limits(connections=config.postgres.connections)
        try:
            return await open_storage(self._reactor, self._dsn(), receive=config.receive, retention=config.retention, limits=limits)
        except Unavailable as error:
            advice = " Start it, or correct postgres.dsn." if config.postgres.dsn else ""
            raise StartFailed("PostgreSQL", reason_of(error) + advice) from error
        except StorageError as error:
            raise StartFailed("PostgreSQL", str(error)) from error

    def _tell_network(self) -> None:
        """The table for tests bends rules: whoever runs with it is told."""
        network = self._config.network
        for name, where in network.connect_to.items():
            self._log.warn("network.connect_to: {name} is reached at {where}.", name=name, where=where)
        for what in ("ca_file", "author_keys"):
            if value := getattr(network, what):
                self._log.warn("network.{option}: {value} is trusted.", option=what, value=value)
        for cidr in network.allow_addresses:
            self._log.warn("network.allow_addresses: {cidr} may be connected to.", cidr=cidr)

    def tell_user(self) -> None:
        """The embedded servers trust whoever reaches their sockets, which is their user."""
        config = self._config
        embedded = not config.postgres.dsn or not config.redis.url
        if config.production and embedded and (account := Account.current(config.embedded.user)).shared:
            self._log.warn(
                "The embedded servers run as {user}: every process of that user can read and change what they hold. Stop the relay, "
                "adduser --system {own}, chown -R {own} {data}, and start it again.",
                user=account.name,
                own=OWN_USER,
                data=str(config.state_dir / "postgres"),
            )


class Life(Service):
    """The last to start and the first to stop: says in what phase of its life the daemon is."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def startService(self) -> None:
        """All runs."""
        super().startService()
        self._health.phase = Phase.RUNNING

    def stopService(self) -> None:
        """The end begins."""
        super().stopService()
        self._health.phase = Phase.STOPPING


def compose(config: Config, reactor: Any, *, stays: bool = True) -> IService:
    """
    Make every part that can be made before the daemon has forked.  Starts no thread, no timer and nothing that lives on.

    @param stays: the daemon remains the user who it is now.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded servers cannot be started.
    @raise socialrelay.running.listening.CannotListen: a socket cannot be had.
    @raise socialrelay.identity.IdentityError: the key file cannot be used.
    @raise StartFailed: another file cannot be read.
    """
    if config.production:
        check_key_file(key_path(config))
    if config.network.ca_file:
        _check_readable("network.ca_file", config.network.ca_file)
    if stays:
        check_embedded(config.state_dir, config.embedded, postgres=not config.postgres.dsn, valkey=not config.redis.url)
    health = Health()
    front = LateSite()
    listener = Listener(reactor, config.listen, front)
    listener.bind()
    children: list[tuple[str, IService]] = []
    if config.postgres.dsn:
        dsn = lambda: config.postgres.dsn  # noqa: E731
    else:
        postgres = EmbeddedPostgres(config.state_dir, reactor, config.embedded)
        children.append(("the embedded PostgreSQL", postgres))
        dsn = lambda: postgres.dsn  # noqa: E731
    cache = _cache(config, reactor, children)
    children += [
        ("the relay", Core(config, reactor, cache, health, dsn, front)),
        ("listening", listener),
        ("life", Life(health)),
    ]
    return Sequence(children, reactor, config.stop_timeout)


def _check_readable(option: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise StartFailed(option, f"{path} cannot be read: {error.strerror}") from None


def _cache(config: Config, reactor: Any, children: list[tuple[str, IService]]) -> FallbackCache | MemoryCache:
    memory = MemoryCache(reactor)
    if config.redis.url == "off":
        return memory
    url = config.redis.url
    if not url:
        valkey = EmbeddedValkey(config.state_dir, reactor, config.embedded)
        children.append(("the embedded Valkey", valkey))
        url = valkey.url
    cache = FallbackCache(RedisCache(RedisAddress.parse(url), reactor), memory, reactor)
    children.append(("Redis", cache))
    return cache

"""
Where the relay is put together: the servers that it brings along, what it keeps, its parts, its sockets.

What can be known before the process leaves its terminal is found out in L{compose}; the rest in the order of the sequence that it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, globalLogPublisher
from zope.interface import implementer

from socialrelay.assembly import Assembly, Given, Surroundings, assemble
from socialrelay.assembly.bridging import bridge_alone
from socialrelay.boundaries import Unavailable
from socialrelay.config import Config
from socialrelay.health import Health, Phase
from socialrelay.identity import IdentityError, check_key_file, key_path, load_identity
from socialrelay.metrics.process import LogCounts
from socialrelay.running import logs
from socialrelay.running.lag import LoopLag
from socialrelay.running.listening import OPERATORS, CannotListen, Listener
from socialrelay.running.reloading import Reloader
from socialrelay.services import Sequence, StartFailed, reason_of
from socialrelay.storage.cache import FallbackCache, RedisAddress, RedisCache
from socialrelay.storage.embedded import OWN_USER, Account, EmbeddedPostgres, EmbeddedValkey
from socialrelay.storage.embedded import check as check_embedded
from socialrelay.storage.embedded.supervisor import Supervisor
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.storage.postgres import Limits, open_storage
from socialrelay.storage.queries import StorageError
from socialrelay.storage.stores import Storage
from socialrelay.web.admin.places import next_port

NO_SOURCE = (
    "Nobody who uses this relay can find its source code, which its licence (AGPL, section 13) entitles them to: "
    "set operator.source to its address, and operator.contact to yours."
)

STOP_SHARE = 0.8
"""Of the time that the daemon has to stop: for all that needs storage."""

_log = Logger()


@implementer(IProtocolNegotiationFactory)
class LateSite(Factory):
    """
    Stands for a site while its sockets are bound and it is not made yet; nobody is accepted until it is.

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

    def acceptableProtocols(self) -> list[bytes]:
        """As the site's own. A factory that names none ends each TLS connection whose client names some, as nearly all do."""
        return [b"http/1.1"]


class Core(Service):
    """Everything between the servers below and the sockets above: opens storage, finds out who the relay is, starts the parts."""

    _log = Logger()

    def __init__(self, surroundings: Surroundings, dsn: Any, front: LateSite, operators: LateSite) -> None:
        """
        @param dsn: asked at start: the embedded server chooses its place when the daemon has its user.
        @param front: of the public site.
        @param operators: of the operators'.
        """
        self._surroundings = surroundings
        self._config = surroundings.config
        self._reactor = surroundings.reactor
        self._dsn = dsn
        self._front = front
        self._operators = operators
        self._storage: Storage | None = None
        self._parts: Sequence | None = None
        self._bridge: IService | None = None

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
        tell_user(config)
        self._storage = storage = await self._open_storage()
        self._surroundings.calendar.begin(await storage.figures.last_written())
        if config.federation.enabled:
            relay = await self._relay(storage)
            self._front.site = relay.public.site
            parts, admin, self._bridge = relay.parts, relay.admin, relay.bridge
        else:
            parts, admin, self._bridge = bridge_alone(self._surroundings, storage)
        self._operators.site = admin.site
        self._parts = Sequence(parts, self._reactor, config.stop_timeout * STOP_SHARE)
        await self._parts.startService()
        if self._bridge is not None:
            await maybeDeferred(self._bridge.startService)

    async def _relay(self, storage: Storage) -> Assembly:
        config = self._config
        self._tell_network()
        if config.production and not (config.operator.source or config.operator.contact):
            self._log.warn(NO_SOURCE)
        try:
            identity = await load_identity(config, storage.identity, now=self._surroundings.now(), in_thread=self._surroundings.in_thread)
        except IdentityError as error:
            raise StartFailed("identity", str(error)) from error
        return assemble(Given.over(self._surroundings, storage, identity, await storage.log.end()))

    async def _stop(self) -> None:
        end = self._reactor.seconds() + self._config.stop_timeout * STOP_SHARE
        try:
            if self._bridge is not None:
                await maybeDeferred(self._bridge.stopService)
        finally:
            if self._parts is not None:
                self._parts.stop_timeout = end - self._reactor.seconds()
                await self._parts.stopService()
            if self._storage is not None:
                await self._storage.close()

    async def _open_storage(self) -> Storage:
        config = self._config
        limits = Limits(connections=config.postgres.connections, waiting=config.memory.statements)
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


@frozen
class Composition:
    """
    @ivar service: everything.
    @ivar reloader: takes another configuration, once all runs.
    @ivar health: how it is.
    """

    service: IService
    reloader: Reloader
    health: Health


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


def compose(config: Config, reactor: Any, reread: Callable[[], Config], *, stays: bool = True) -> Composition:
    """
    Make every part that can be made before the daemon has forked.  Starts no thread, no timer and nothing that lives on.

    @param reread: reads the configuration again; blocks.
    @param stays: the daemon remains the user who it is now.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded servers cannot be started.
    @raise socialrelay.running.listening.CannotListen: a socket cannot be had.
    @raise socialrelay.identity.IdentityError: the key file cannot be used.
    @raise StartFailed: another file cannot be read.
    """
    federation = config.federation.enabled
    if federation and config.production:
        check_key_file(key_path(config))
    if federation and config.network.ca_file:
        _check_readable("network.ca_file", config.network.ca_file)
    if stays:
        check_embedded(config.state_dir, config.embedded, postgres=not config.postgres.dsn, valkey=federation and not config.redis.url)
    health = Health()
    in_thread = lambda work, *arguments: deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments)  # noqa: E731
    reloader = Reloader(config, reread, in_thread)
    reloader.register(("log_level",), lambda config: lambda: logs.set_level(config.log_level))
    front, operators = LateSite(), LateSite()
    listener = Listener(reactor, config.listen if federation else (), front)
    listener.bind()
    operators_socket, operators_at = operators_listener(config, reactor, operators)
    lag, embedded = LoopLag(reactor), {}
    children: list[tuple[str, IService]] = [("the measure of the event loop", lag)]
    if config.postgres.dsn:
        dsn = lambda: config.postgres.dsn  # noqa: E731
    else:
        postgres = EmbeddedPostgres(config.state_dir, reactor, config.embedded)
        children.append(("the embedded PostgreSQL", postgres))
        embedded["postgres"] = postgres.supervisor
        dsn = lambda: postgres.dsn  # noqa: E731
    cache = make_cache(config, reactor, children, embedded)
    surroundings = Surroundings(
        config=config,
        reactor=reactor,
        cache=cache,
        health=health,
        operators_at=operators_at,
        reloader=reloader,
        lag=lag,
        logged=LogCounts(),
        embedded=embedded,
    )
    globalLogPublisher.addObserver(surroundings.logged)
    children += [
        ("the relay", Core(surroundings, dsn, front, operators)),
        ("listening", listener),
        ("listening for operators", operators_socket),
        ("life", Life(health)),
    ]
    return Composition(Sequence(children, reactor, config.stop_timeout), reloader, health)


def operators_listener(config: Config, reactor: Any, site: LateSite) -> tuple[Listener, tuple[str, ...]]:
    """The listener for the operators' site, which is bound, and where it listens."""
    chosen = config.admin_listen or tuple(filter(None, [next_port(config)]))
    listener = Listener(reactor, chosen, site, OPERATORS)
    try:
        listener.bind()
    except CannotListen as error:
        if config.admin_listen:
            raise
        # Nobody asked for this port, and there is the socket.
        _log.warn("{reason}", reason=str(error))
        return Listener(reactor, (), site, OPERATORS), ()
    return listener, chosen


def tell_user(config: Config) -> None:
    """The embedded servers trust whoever reaches their sockets, which is their user."""
    embedded = not config.postgres.dsn or (config.federation.enabled and not config.redis.url)
    if config.production and embedded and (account := Account.current(config.embedded.user)).shared:
        _log.warn(
            "The embedded servers run as {user}: every process of that user can read and change what they hold. Stop the relay, "
            "adduser --system {own}, chown -R {own} {data}, and start it again.",
            user=account.name,
            own=OWN_USER,
            data=str(config.state_dir / "postgres"),
        )


def _check_readable(option: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise StartFailed(option, f"{path} cannot be read: {error.strerror}") from None


def make_cache(
    config: Config, reactor: Any, children: list[tuple[str, IService]], embedded: dict[str, Supervisor]
) -> FallbackCache | MemoryCache:
    """The cache; the server that is brought along for it goes to C{children} and C{embedded}."""
    memory = MemoryCache(reactor, config.memory.cache, config.memory.cache_bytes)
    if config.redis.url == "off" or not config.federation.enabled:
        return memory
    url = config.redis.url
    if not url:
        valkey = EmbeddedValkey(config.state_dir, reactor, config.embedded)
        children.append(("the embedded Valkey", valkey))
        embedded["valkey"] = valkey.supervisor
        url = valkey.url
    try:
        address = RedisAddress.parse(url)
    except ValueError as error:
        raise StartFailed("redis.url", str(error)) from None
    cache = FallbackCache(RedisCache(address, reactor), memory, reactor, out_of_date=config.memory.out_of_date)
    children.append(("Redis", cache))
    return cache

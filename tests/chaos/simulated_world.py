"""
A whole relay on simulated time: its real parts, put together as the daemon does it, between clients, nodes and names that are scripted.

Hosts do what their names say: C{silent-…} take a connection and say nothing, of C{dead-…} there is no name, C{failing-…} answer 503,
C{refusing-…} 403, C{empty-…} know neither authors nor preferences, all others are well.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.application.service import IService
from twisted.internet.address import IPv4Address
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from socialrelay import accounts, assembly, judging
from socialrelay.assembly import surface
from socialrelay.assembly.engine import Engine
from socialrelay.assembly.given import Given
from socialrelay.assembly.network import Network
from socialrelay.boundaries import Document, FetchFailed
from socialrelay.bounds import Bound
from socialrelay.compose import make_cache
from socialrelay.config import Config, Redis
from socialrelay.delivery.transport import CurlTransport
from socialrelay.health import Health, Phase
from socialrelay.identity import RelayIdentity
from socialrelay.metrics.memory import MemoryMetrics
from socialrelay.metrics.process import LogCounts
from socialrelay.network.fetch import TreqFetcher
from socialrelay.network.resolver import Answer as NameAnswer
from socialrelay.network.resolver import Endpoints, Found, NotFound, Resolver
from socialrelay.network.trust import load_trust
from socialrelay.nodes import poller
from socialrelay.running.calendar import Calendar
from socialrelay.running.lag import LoopLag
from socialrelay.running.limits import share_descriptors
from socialrelay.running.reloading import Reloader
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.envelopes import Author, preferences, private_key

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
RELAY = "relay.example"
GUID = "f00d" * 8
ADDRESS = ip_address("93.184.216.34")
SOCKETS = ("the control socket", "the operators' socket")


class Somebody(Author):
    """An author whose key is everybody's: to make one takes longer than all else."""

    @property
    def private_key(self) -> RSAPrivateKey:
        return private_key("everybody")


class SimulatedReactor(Clock):
    """Whatever is done in threads is done at once. What waits stays in order, which Twisted's own sorts anew each time."""

    def callLater(self, delay: float, callable: Callable[..., Any], *arguments: Any, **options: Any) -> DelayedCall:
        call = DelayedCall(self.seconds() + delay, callable, arguments, options, self.calls.remove, self._moved, self.seconds)
        insort(self.calls, call, key=DelayedCall.getTime)
        return call

    def _moved(self, call: DelayedCall) -> None:
        self.calls.remove(call)
        insort(self.calls, call, key=DelayedCall.getTime)

    def _sortCalls(self) -> None: ...

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)

    def getThreadPool(self) -> SimulatedReactor:
        return self

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], object], function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> None:
        try:
            result = function(*arguments, **options)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)

    def run_until(self, end: float) -> None:
        """Go from one thing that is due to the next."""
        while self.calls and self.calls[0].getTime() <= end:
            self.advance(max(0.0, self.calls[0].getTime() - self.seconds()))
        self.advance(end - self.seconds())


@frozen
class Names:
    """What DNS says, sooner or later."""

    clock: SimulatedReactor

    def look_up(self, host: str, proven: bool, done: Callable[[NameAnswer], None]) -> None:
        if host.startswith("dead"):
            self.clock.callLater(0.5, done, NotFound("name does not resolve", final=True))
        elif host.startswith("hanging"):
            self.clock.callLater(20.0, done, NotFound("DNS gives no answer", final=False))
        else:
            self.clock.callLater(0.01, done, Found((ADDRESS,)))

    def close(self) -> None: ...


class ScriptedFetcher(TreqFetcher):
    """All of it but the connection."""

    async def _exchange(self, exchange: Any, method: str, target: Any, headers: Any, body: Any, max_body: int) -> Document:
        found = await self.resolver.resolve(target.host, target.port)
        if not isinstance(found, Endpoints):
            raise FetchFailed(found.reason)
        if target.host.startswith("silent"):
            await Deferred()
        path = target.url.split("/", 3)[3]
        if target.host.startswith("empty"):
            return Document(target.url, 404, {}, b"")
        if path.startswith(".well-known/webfinger"):
            return Document(target.url, 200, {}, Somebody(path.partition("acct:")[2]).webfinger())
        if path.startswith("hcard"):
            return Document(target.url, 200, {}, Somebody("somebody@pod.example").hcard())
        if path == ".well-known/x-social-relay":
            return Document(target.url, 200, {"etag": f'"{target.host}"'}, wish_of(target.host, self._now()))
        return Document(target.url, 404, {}, b"")


def wish_of(host: str, now: datetime) -> bytes:
    """What a host publishes: one of a few hundred tags mostly, another one each half day; some want all, some nothing any more."""
    half_day = int((now - EPOCH) / timedelta(hours=12))
    number = int.from_bytes(sha256(f"{host} {half_day}".encode()).digest()[:4], "big")
    if number % 100 == 0:
        return preferences(subscribe=False)
    return preferences() if host.startswith("all-") else preferences(f"tag{number % 300}", f"tag{number % 301}")


class ScriptedTransport(CurlTransport):
    """All of it but libcurl's transfers."""

    clock: SimulatedReactor
    sent = 0

    def _transfer(self, request: Any, target: Any, endpoints: Any, timeout: float) -> Any:
        host = target.host
        others = self._to_host.get(host, 0)
        self._to_host[host] = others + 1
        self._places.keep(host, others, self.clock.seconds())
        self._sessions.of(host)
        self.sent += 1
        if self.sent % 3 == 0:
            self._put_back(self._handle((target.url, others)))
        done: Deferred[Any] = Deferred()
        took, reply = 0.1, Answer(202)
        match host.partition("-")[0]:
            case "silent":
                took, reply = timeout, NoAnswer(Trouble.TIMEOUT)  # type: ignore[assignment]
            case "failing":
                reply = Answer(503)
            case "refusing":
                reply = Answer(403)
        self.clock.callLater(took, done.callback, reply)

        def over(result: Any) -> Any:
            self._leave(host)
            return result

        return done.addBoth(over)


class Wire(StringTransport):
    """A client's connection, in memory."""

    channel: Any
    clock: SimulatedReactor
    ended = False

    def loseConnection(self) -> None:
        self.clock.callLater(0, self.end)

    abortConnection = loseConnection

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.channel.connectionLost(Failure(connectionDone.value))


class SimulatedRelay:
    """
    @ivar engine: how posts go.
    @ivar bounds: of all that is held in memory.
    @ivar answers: what clients were answered, by status.
    """

    engine: Engine
    bounds: tuple[Bound, ...]

    def __init__(self, config: Config) -> None:
        self.clock = clock = SimulatedReactor()
        self.config = config
        self.tables = MemoryTables()
        self.answers: dict[str, int] = {}
        # More often it would be stores in memory that are busy.
        poller.ROUND, accounts.EVERY, judging.EVERY = 60.0, 3600.0, 30.0
        self._note()
        steady = clock.seconds
        given = Given(
            config=config,
            reactor=clock,
            cache=make_cache(evolve(config, redis=Redis("redis://127.0.0.1:1")), clock, [], {}),
            health=Health(Phase.RUNNING),
            operators_at=(),
            reloader=Reloader(config, lambda: config, None),  # type: ignore[arg-type]
            lag=LoopLag(clock),
            logged=LogCounts(),
            embedded={},
            storage=memory_storage(self.tables, receive=config.receive, retention=config.retention),
            identity=RelayIdentity(RELAY, "relay", GUID, "Relay", private_key("relay").public_key(), private_key("relay")),
            log_end=0,
            calendar=Calendar(lambda: EPOCH + timedelta(seconds=steady()), steady),
        )
        self.given = given
        self.assembly = assembly.assemble(given)
        self.site = self.assembly.public.site
        for name, part in self.assembly.parts:
            if name not in SOCKETS:
                IService(part).startService()
                clock.advance(0)

    def _note(self) -> None:
        """Remember what is made, and put what is scripted in the place of the network."""
        make_engine, of = assembly.make_engine, MemoryMetrics.of

        def engine(*arguments: Any) -> Engine:
            self.engine = make_engine(*arguments)
            return self.engine

        def metrics(*bounds: Any) -> MemoryMetrics:
            found = of(*bounds)
            self.bounds = found.bounds
            return found

        assembly.make_engine = engine
        assembly.make_network = self._network
        surface.MemoryMetrics = type("Noted", (), {"of": staticmethod(metrics)})

    def _network(self, given: Given) -> Network:
        config, clock = given.config, given.reactor
        names = Names(clock)
        resolver = Resolver(clock, names, max_names=config.memory.names)
        trust = load_trust("", config.state_dir)

        def fetcher(concurrency: int) -> ScriptedFetcher:
            return ScriptedFetcher(
                clock, resolver, trust, user_agent="x", concurrency=concurrency, max_waiting=config.memory.documents, now=given.now
            )

        descriptors = share_descriptors(config, 16384)
        transport = ScriptedTransport(
            clock,
            resolver,
            trust,
            user_agent="x",
            max_connections=descriptors.deliveries,
            kept_connections=config.delivery.kept_connections,
            now=given.now,
            memory=config.memory,
        )
        transport.clock = clock
        return Network(
            descriptors=descriptors,
            user_agent="x",
            names=names,  # type: ignore[arg-type]
            resolver=resolver,
            of_authors=fetcher(config.discovery.concurrency),
            of_nodes=fetcher(config.polling.concurrency),
            of_lists=fetcher(2),
            transport=transport,
        )

    # Clients

    def connect(self, client: str, *pieces: bytes, lasts: float = 5.0) -> Wire:
        """A client connects, sends something, and goes away after a while."""
        address = IPv4Address("TCP", client, 1)
        wire = Wire(peerAddress=address)
        wire.clock = self.clock
        wire.channel = self.site.buildProtocol(address)
        wire.channel.makeConnection(wire)
        for piece in pieces:
            if not wire.ended:
                wire.channel.dataReceived(piece)
        self.clock.callLater(lasts, self._gone, wire)
        return wire

    def _gone(self, wire: Wire) -> None:
        status = wire.value()[9:12].decode()
        self.answers[status] = self.answers.get(status, 0) + 1
        wire.end()

    def post(self, client: str, body: bytes, path: str = "/receive/public") -> None:
        """Somebody delivers something."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {RELAY}\r\nContent-Type: application/magic-envelope+xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.connect(client, head.encode(), body)

    def private(self, client: str, body: bytes) -> None:
        """Somebody tells the relay something."""
        self.post(client, body, f"/receive/users/{GUID}")

    def get(self, client: str, path: str) -> None:
        """Somebody looks at a page."""
        self.connect(client, f"GET {path} HTTP/1.1\r\nHost: {RELAY}\r\n\r\n".encode())

    # What there is

    def more_bounds(self) -> Mapping[str, tuple[int, int]]:
        """What has metrics of its own: how many there are, and may be."""
        receive, manager, quota = self.config.receive, self.engine.manager, self.engine.quota
        return {
            "connections": (self.site.connections, self.site.max_connections),
            "addresses of clients": (len(self.site._per_address), self.site.max_connections),
            "bytes of bodies": (self.site.room.receiving + self.site.room.kept, self.site.room.limit),
            "bodies that wait": (len(self.tables.incoming), receive.waiting_rows),
            "clients of these": (len(quota._held), receive.waiting_rows),
            "rows of these": (len(quota._owners), receive.waiting_rows),
            "deliveries in flight": (manager.in_flight, manager.limits.in_flight),
            "bytes of bodies at hand": (self.engine.bodies.size, self.engine.bodies.limit),
            "nodes": (len(self.tables.nodes), self.config.polling.max_nodes),
        }

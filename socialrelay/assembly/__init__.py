"""
The relay's parts, made and introduced to one another once storage and identity are there.

Whoever wants to know which part knows which reads it here and nowhere else: the L{network<socialrelay.assembly.network>}, the
L{engine<socialrelay.assembly.engine>} that carries posts, the L{surface<socialrelay.assembly.surface>} that people see; and below, in which
order all of them start.  A L{bridge of the bus alone<socialrelay.assembly.bridging>} has few of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from attrs import frozen
from twisted.application.service import IService

from socialrelay import accounts
from socialrelay.assembly.bus import make_bus
from socialrelay.assembly.engine import make_engine
from socialrelay.assembly.given import Given, Surroundings
from socialrelay.assembly.network import make_network
from socialrelay.assembly.surface import make_surface
from socialrelay.assembly.ways import Part, events_for
from socialrelay.boundaries import silence
from socialrelay.bus.retention import forget_without_bus
from socialrelay.discovery import keyring as keyrings
from socialrelay.discovery.provided import read_author_keys
from socialrelay.metrics import storage as stored
from socialrelay.moderation import lists as rule_list
from socialrelay.nodes import directory as directories
from socialrelay.nodes import poller as pollers
from socialrelay.rounds import Rounds
from socialrelay.running import disk
from socialrelay.running.finishing import Finishing
from socialrelay.scheduler.record import State
from socialrelay.services import Periodic, within
from socialrelay.web.admin.site import AdminSite
from socialrelay.web.public import PublicSite

__all__ = ["Assembly", "Given", "Surroundings", "assemble"]

TALLY_EVERY = 5.0
LAPSE_EVERY = 10.0
FORGET_EVERY = 60.0
FORGET_STEPS = 50
"""Small steps of a round, at most."""
FORGET_WORTH = 1000
"""A step that removes fewer rows is the round's last."""
ENDED = timedelta(days=30)
"""A rule is shown for so long after its end."""
UNLISTED = timedelta(days=30)
"""A node that no list names and that does not answer for so long is forgotten."""
DRAIN = 5.0
IN_FLIGHT_GRACE = 10.0


@frozen
class Assembly:
    """
    @ivar parts: (name, service), in the order in which they start.
    @ivar public: the public site.
    @ivar admin: the operators' site.
    @ivar bridge: of the message bus, if there is one: the last to start and the first to stop.
    """

    parts: tuple[tuple[str, IService], ...]
    public: PublicSite
    admin: AdminSite
    bridge: IService | None


def assemble(given: Given) -> Assembly:
    """
    Make all parts.

    @raise NoTrustRoot: the system has no trusted certificates.
    @raise OSError: C{network.ca_file} cannot be read.
    """
    config, reactor, storage, now = given.config, given.reactor, given.storage, given.now
    tasks: list[Rounds] = []
    bus = make_bus(given, storage)
    engine = make_engine(given, make_network(given), silence if bus is None else bus.bridge.announce)
    surface = make_surface(given, engine, bus, tasks)
    tasks += [engine.judge.rounds, engine.dispatcher.looks, engine.dispatcher.saves]
    if bus is not None:
        tasks.extend(bus.bridge.periodic)

    async def take_up() -> None:
        if config.network.author_keys:
            engine.keyring.provide(await given.in_thread(read_author_keys, Path(config.network.author_keys)))
        await engine.authors.load()
        await engine.subscribers.load()
        statuses = engine.dispatcher.destinations()
        engine.network.resolver.trust(
            status.record.host for status in statuses if status.record.state is State.ACTIVE and status.record.last_success
        )

    async def forget() -> None:
        for _ in range(FORGET_STEPS):
            if await storage.log.prune(now()) < FORGET_WORTH:
                break
        await storage.nodes.forget(now() - UNLISTED)
        await storage.rules.forget(now() - ENDED)
        await storage.profiles.prune((now() - timedelta(days=given.reloader.config.retention.keys)).date())
        if bus is None:
            await forget_without_bus(storage.bus, given.reloader.config.bus, now())

    def periodic(name: str, work: Callable[[], Awaitable[object]], every: float, first: float) -> Periodic:
        task = Periodic(work, every, reactor, name=name, first=first, jitter=lambda: 0.9 + 0.2 * given.chance())
        tasks.append(task)
        return task

    def refuse(_: object) -> None:
        surface.public.reception.stop()

    async def end_keyring() -> None:
        engine.lookup.cancel()
        await engine.keyring.stop()

    given.calendar.on_step += [engine.judge.recall, engine.poller.recall, engine.rule_lists.recall]
    rounds, directory = config.production, engine.directory
    parts: list[tuple[str, IService]] = [
        events_for(surface.seen),
        ("the network", Part(lambda: None, engine.network.close)),
        ("what is erased afterwards", Part(lambda: None, engine.afterwards.stop)),
        ("counts", Finishing(periodic("counts", engine.tally.flush, TALLY_EVERY, TALLY_EVERY), engine.tally.flush)),
        ("retention", periodic("retention", forget, FORGET_EVERY, FORGET_EVERY)),
        ("free disk space", periodic("free disk space", surface.space.look, disk.EVERY, 0.0)),
        ("metrics", periodic("metrics", lambda: surface.stored.measure(now()), stored.EVERY, 5.0)),
        ("subscriptions", Part(take_up, lambda: None)),
        ("keys", Finishing(periodic("keys", engine.keyring.flush, keyrings.FLUSH, keyrings.FLUSH), end_keyring)),
        ("deliveries", Part(engine.dispatcher.start, lambda: engine.dispatcher.stop(IN_FLIGHT_GRACE))),
        ("accounts", periodic("accounts", engine.auditor.look, accounts.EVERY, 1.0)),
        ("the judge", Part(engine.judge.start, engine.judge.stop)),
        ("polls", Finishing(periodic("polls", engine.poller.round, pollers.ROUND, 1.0) if rounds else None, engine.poller.stop)),
        ("node lists", Finishing(periodic("node lists", directory.round, directories.ROUND, 0.0) if rounds else None, directory.stop)),
        ("rules that end", periodic("rules that end", engine.subscribers.lapse, LAPSE_EVERY, LAPSE_EVERY)),
        ("lists of rules", Finishing(periodic("lists of rules", engine.rule_lists.round, rule_list.ROUND, 0.0), engine.rule_lists.stop)),
        *surface.sockets,
        ("requests in hand", Part(lambda: None, lambda: within(surface.public.end(), DRAIN, reactor).addCallback(refuse))),
        ("live pages", Part(lambda: None, surface.streams.stop)),
    ]
    return Assembly(tuple(parts), surface.public, surface.admin, None if bus is None else bus.bridge)

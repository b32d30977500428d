"""The public site, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from socialrelay import __version__
from socialrelay.boundaries import Cache, Intake, Overview, SelfService, Streams
from socialrelay.config import Config
from socialrelay.diaspora.identity import Introduction
from socialrelay.health import Health
from socialrelay.identity import RelayIdentity
from socialrelay.web.addresses import TrustedProxies
from socialrelay.web.admission import Admission
from socialrelay.web.check import CheckPage
from socialrelay.web.health import HealthPages
from socialrelay.web.identity import IdentityPages
from socialrelay.web.pages import Pages
from socialrelay.web.receive import Reception
from socialrelay.web.room import Room
from socialrelay.web.site import GuardedSite
from socialrelay.web.turns import Turns


class Root(Resource):
    """Hands each request to the resource of its first path segment, whole: routes stay as they are written."""

    isLeaf = True

    def __init__(self, parts: dict[bytes, IResource], otherwise: IResource) -> None:
        super().__init__()
        self._parts = parts
        self._otherwise = otherwise

    def render(self, request: Request) -> object:
        """As L{IResource.render}."""
        segment = request.postpath[0] if request.postpath else b""
        return self._parts.get(segment, self._otherwise).render(request)


@frozen
class PublicSite:
    """
    @ivar site: to be listened with.
    @ivar reception: to be stopped and drained before storage closes.
    @ivar admission: how many bodies are in hand.
    @ivar counters: what was refused and answered, by name; it only grows.
    @ivar prepare: makes the pages anew for another configuration; what it returns puts them in place.
    """

    site: GuardedSite
    reception: Reception
    admission: Admission
    counters: Counter[str]
    prepare: Callable[[Config], Callable[[], None]]

    def end(self) -> Deferred[None]:
        """
        Take leave of those who are connected: what they have begun is taken, as long as this waits.

        @return: fires when nobody is connected and nothing in hand.
        """
        return self.site.leave().addCallback(lambda _: self.reception.drain())


def public_site(
    *,
    intake: Intake,
    overview: Overview,
    self_service: SelfService,
    health: Health,
    identity: RelayIdentity,
    cache: Cache,
    streams: Streams,
    counters: Counter[str],
    config: Config,
    clock: IReactorTime,
    started_at: datetime | None = None,
    base_url: str = "",
    turned_away: Callable[[], None] = lambda: None,
    too_many: Callable[[], None] = lambda: None,
    connections: int | None = None,
) -> PublicSite:
    """
    The public site over its collaborators.

    @param streams: of pages that are kept up to date.
    @param counters: where is counted what was refused and answered.
    @param started_at: since when the relay runs.
    @param base_url: where the relay is reached, without final slash; by default C{https://} and its host.
    @param turned_away: called for each body that is refused because too many bytes are in hand.
    @param too_many: called for each body that is refused because too many are in hand.
    @param connections: how many there may be, if that is not as the configuration says.
    """
    introduction = Introduction(
        base_url=base_url or f"https://{identity.host}",
        username=identity.username,
        host=identity.host,
        guid=identity.guid,
        name=identity.name,
        public_pem=identity.public_pem,
        version=__version__,
        source=config.operator.source,
    )

    def resource(config: Config) -> Root:
        shown = evolve(introduction, source=config.operator.source)
        identity_pages = IdentityPages(shown).app.resource()
        parts: dict[bytes, IResource] = dict.fromkeys(
            (b".well-known", b"webfinger", b"hcard", b"nodeinfo", b"fetch", b"actor", b"inbox"), identity_pages
        )
        parts[b"receive"] = reception.app.resource()
        parts[b"check"] = CheckPage(self_service, cache, config, shown).app.resource()
        parts[b"health"] = HealthPages(health).app.resource()
        return Root(parts, Pages(overview, config, shown, streams, clock, started_at).app.resource())

    def prepare(config: Config) -> Callable[[], None]:
        anew = resource(config)

        def commit() -> None:
            site.resource = anew

        return commit

    limits = config.receive
    room = Room(limits.bytes_in_hand, clock, turned_away)
    admission = Admission(clock, too_many)
    turns = Turns(clock)
    reception = Reception(intake, identity.guid, clock, room, admission, turns, counters)
    site = GuardedSite(
        resource(config),
        clock=clock,
        max_body=limits.max_body,
        deadline=limits.deadline,
        max_connections=limits.connections if connections is None else connections,
        max_connections_per_address=limits.connections_per_address,
        room=room,
        turns=turns,
        shortcuts=reception.shortcuts,
        quick_answer=reception.quick_answer,
        trusted_proxies=TrustedProxies.parse(limits.trusted_proxies),
        counters=counters,
    )
    return PublicSite(site, reception, admission, counters, prepare)

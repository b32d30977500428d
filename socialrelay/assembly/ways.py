"""How operators reach the relay, and what is watched, whatever it does: relaying posts, or the bridge of the bus alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import globalLogPublisher

from socialrelay.assembly.given import Surroundings
from socialrelay.boundaries import Condition
from socialrelay.metrics.process import ProcessMetrics
from socialrelay.operators.offers import Offer
from socialrelay.rounds import Rounds, tasks_condition
from socialrelay.running.disk import DiskSpace
from socialrelay.running.logs import Quiet
from socialrelay.storage.embedded import runtime_directory
from socialrelay.storage.stores import Storage
from socialrelay.web.admin.events import LiveLog
from socialrelay.web.admin.places import SOCKET_NAME as ADMIN_SOCKET
from socialrelay.web.admin.places import AdminSocket, Places, login_offer
from socialrelay.web.admin.site import AdminSite
from socialrelay.web.control import SOCKET_NAME, ControlService, user_name
from socialrelay.web.live import LiveStreams


class Part(Service):
    """A part that starts and stops with a coroutine of its own."""

    def __init__(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self._start = start
        self._stop = stop

    def startService(self) -> Deferred[object]:
        """@return: fires when it runs."""
        super().startService()
        return maybeDeferred(self._start)

    def stopService(self) -> Deferred[object]:
        """@return: fires when it has ended."""
        super().stopService()
        return maybeDeferred(self._stop)


def heard_at(
    given: Surroundings, admin: AdminSite, views: Mapping[str, Offer], acts: Mapping[str, Offer], why_absent: str = ""
) -> tuple[tuple[str, IService], ...]:
    """
    (name, service): where operators are heard.

    @param acts: all but C{login}.
    @param why_absent: what is said to who asks for another view or act.
    """
    reactor, config = given.reactor, given.config
    runtime = runtime_directory(config.state_dir)
    own_socket = None if config.admin_listen else runtime / ADMIN_SOCKET
    login = login_offer(admin.links, Places.of(given.operators_at, own_socket), config.host)
    name_of = lambda uid: given.in_thread(user_name, uid)  # noqa: E731
    control = ControlService(reactor, runtime / SOCKET_NAME, views, {**acts, "login": login}, name_of, why_absent)
    sockets: list[tuple[str, IService]] = [("the control socket", control)]
    if own_socket is not None:
        sockets.append(("the operators' socket", AdminSocket(reactor, own_socket, admin.site)))
    return tuple(sockets)


def watch_basics(given: Surroundings, storage: Storage) -> DiskSpace:
    """Watch the database, and the disk; how much room there is on it."""
    stored = storage.health
    given.health.watch(
        "postgres", lambda: Condition("postgres", stored.answering and not stored.full, essential=True, detail=stored.detail)
    )
    space = DiskSpace(given.config.state_dir, given.in_thread)
    given.health.watch("disk", space.condition)
    given.health.watch("clock", given.calendar.condition)
    return space


def process_metrics(given: Surroundings, space: DiskSpace, streams: LiveStreams, tasks: Sequence[Rounds]) -> ProcessMetrics:
    """
    The process itself, as metrics; and whether its periodic work is done.

    @param tasks: the periodic work; it may be added to afterwards.
    """
    given.health.watch("tasks", lambda: tasks_condition(tasks))
    return ProcessMetrics(
        health=given.health,
        lag=given.lag,
        disk=space,
        logged=given.logged,
        embedded=given.embedded,
        streams=streams,
        tasks=lambda: tasks,
        calendar=given.calendar,
    )


def events_for(seen: LiveLog) -> tuple[str, IService]:
    """Lets operators see what is logged."""
    log = Quiet(seen, "info")
    return "events for operators", Part(lambda: globalLogPublisher.addObserver(log), lambda: globalLogPublisher.removeObserver(log))

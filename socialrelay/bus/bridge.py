"""
The bus, put together: what comes in at its doors is stored, then published.

::

    relay_inbound -> LegacyInbound --+                 +--> PostgreSQL
    relay_ingest --> IngestSocket ---+-> Intake -> Journal --> Outbound --> relay_outbound
    HTTP ----------> BusPages -------+                 |
    the relay -----> Announcer ------------------------+      Replayer <--- who asks what was said
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from socialrelay import __version__
from socialrelay.boundaries import BusMessage, BusStore, Condition, Extent
from socialrelay.bounds import Bound, bound_of, bound_of_answers
from socialrelay.bus import retention
from socialrelay.bus.addresses import is_loopback
from socialrelay.bus.announcer import Announcer
from socialrelay.bus.context import BusContext, CannotBind, threads_refused
from socialrelay.bus.counts import Counts
from socialrelay.bus.figures import BusFigures
from socialrelay.bus.heartbeat import Heartbeat
from socialrelay.bus.inbound import LegacyInbound
from socialrelay.bus.ingest import IngestSocket
from socialrelay.bus.intake import Intake
from socialrelay.bus.journal import Journal
from socialrelay.bus.message import read_topic
from socialrelay.bus.outbound import Outbound
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.probe import EVERY, Probe
from socialrelay.bus.replay import Replayer
from socialrelay.bus.topics import Topics
from socialrelay.config import Bus
from socialrelay.services import Periodic, StartFailed, Unfinished, within
from socialrelay.words import counted

TO_CLOSE = 1.0
"""Seconds of a stop that are for the end of the sockets, beyond their linger."""

LISTENERS_RETURN = 1.5
"""
Seconds after which those who listened before a restart have connected again, which stock listeners try each second at least
(C{zmq_reconnect_ivl_max}).  What is published before, they do not hear; and publishers are back sooner.
"""

EXPOSED = (
    "Others than this machine can connect to {address} (bus.{key}), where nobody is asked who they are, and {what}. "
    "Say 127.0.0.1 there, unless a firewall lets only those in who may."
)


class Bridge(Service):
    """
    Everything of the bus, as one part of the daemon.

    @ivar announce: tells the bus what the relay does.
    @ivar ingest: the acknowledging way in, for other doors.
    @ivar replay: what was said.
    @ivar periodic: its periodic work.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: BusStore,
        config: Bus,
        now: Callable[[], datetime],
        *,
        essential: bool,
        stop_timeout: float,
        host: str = "",
    ) -> None:
        """
        @param essential: without it the daemon is of no use.
        @param stop_timeout: seconds for the end of it.
        @param host: the relay's name, as it announces itself.
        """
        self._reactor = reactor
        self._store = store
        self._config = config
        self._now = now
        self._essential = essential
        self._about = {"version": __version__, "host": host}
        self._stop_timeout = stop_timeout
        self._extent: Extent | None = None
        self._runs = self._given_up = False
        self.topics = Topics(config.topic_prefix, config.environment)
        self._counts = counts = Counts()
        own = OwnMessages(self.topics, uuid4)
        self._context = context = BusContext(reactor)
        self._outbound = Outbound(
            reactor,
            context,
            config.relay_outbound,
            config.high_water_mark,
            config.linger,
            lambda: self._heartbeat.overflowed("relay_outbound"),
        )
        self._journal = journal = Journal(
            store, self._outbound.publish, reactor, now, config.queue_bytes, config.unacknowledged, counts, config.remembered
        )
        self.replay = Replayer(store, journal, self.topics, reactor, config.waiting_readers)
        self.ingest = Intake(
            journal,
            self.topics,
            counts,
            reactor,
            max_message=config.max_message,
            lenient=config.lenient_inbound,
            store_legacy=config.store_legacy,
            probed=lambda body: self._probe.arrived(body),  # noqa: PLW0108 (it is made below)
        )
        self._inbound = LegacyInbound(
            reactor, context, config.relay_inbound, config.high_water_mark, self.ingest.legacy, config.max_message
        )
        self._socket = IngestSocket(
            reactor, context, config.relay_ingest, self.ingest, self.replay, linger=config.linger, max_message=config.max_message
        )
        self.announce = Announcer(own, journal.keep, reactor, now, most=config.announcements)
        self._heartbeat = Heartbeat(own, self._say, self._beat_figures, reactor, now)
        self._probe = Probe(
            reactor,
            context,
            config.relay_inbound,
            config.relay_outbound,
            self.topics,
            own,
            self._heartbeat.beat,
            now,
            lambda: str(uuid4()),
        )
        self.periodic = (
            Periodic(self._heartbeat.beat, config.heartbeat, reactor, name="heartbeat of the bus", first=config.heartbeat),
            Periodic(self._probe.look, EVERY, reactor, name="probe of the bus", first=EVERY),
            Periodic(self.forget, retention.EVERY, reactor, name="retention of the bus", first=retention.EVERY),
        )

    # Its life

    def startService(self) -> Deferred[None]:
        """
        Listen, publish what a crash left unpublished, and take messages in.

        @return: fires when all that works, and a first message has gone through it or was waited for.
        @raise StartFailed: at one of its addresses nobody can listen.
        @raise Unavailable: the database is away.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """
        Say so, take nothing more in, store and publish what has come, answer who waits.

        @return: fires when that is done.
        @raise Unfinished: it could not be done in time.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._tell_exposure()
        if refused := threads_refused():
            raise StartFailed("message bus", refused)
        try:
            self._outbound.start()
            await self._inbound.start()
            self._socket.start()
        except CannotBind as error:
            raise StartFailed("message bus", str(error)) from None
        self._extent = await self._store.extent()
        if self._extent.last_seq:
            await deferLater(self._reactor, LISTENERS_RETURN)
        await self._journal.start()
        if not self.running:  # it was stopped meanwhile, here or below
            return
        self._runs = True
        self.announce.start()
        self.announce("relay.started", self._about)
        await self._probe.look()
        if self.running:
            for each in self.periodic:
                each.startService()

    async def _stop(self) -> None:
        began, whole = self._reactor.seconds(), self._stop_timeout
        patience = max(whole - self._config.linger - TO_CLOSE, whole / 2)
        for each in self.periodic:
            if each.running:
                each.stopService()
        self._probe.stop()
        self.ingest.accepting = False
        unfinished = ""
        if self._runs:
            self._runs = False
            finished = Deferred.fromCoroutine(self._finish(began + patience))
            if not await within(finished, patience, self._reactor) or self._given_up:
                unfinished = self._left(f" within {patience:g} s")
        elif self._journal.queue.waiting > self._journal.queue.unanswered:  # it had not started yet
            unfinished = self._left("")
        self._heartbeat.stop()
        self.announce.stop()
        self._journal.stop()
        self._socket.close()
        await self._inbound.stop(0.0)
        await self._outbound.stop()
        await within(self._context.close(), max(began + whole - self._reactor.seconds(), 0.1), self._reactor)
        if unfinished:
            raise Unfinished(unfinished)

    async def _finish(self, end: float) -> None:
        """Bring to its end all that was taken on."""
        if not self._journal.away:
            self.announce("relay.stopping", self._about)
        await self.announce.stop()
        answered = self._socket.stop()
        self._given_up = not await self._inbound.stop(max(end - self._reactor.seconds(), 0.0))
        self.replay.stop()
        await self._journal.drain()
        await answered

    def _left(self, when: str) -> str:
        """A sentence on what was not done; empty if nothing is left but to note that all is published."""
        journal, told = self._journal, []
        if journal.queue.waiting:
            told.append(f"{counted(journal.queue.waiting, 'message')} of the bus could not be stored{when}")
        if stored := journal.last_seq - journal.published:
            told.append(f"{counted(stored, 'message')} of the bus {'is' if stored == 1 else 'are'} stored, and published at the next start")
        if self._given_up:
            told.append("some messages that publishers had sent were not taken in")
        return f"{'; '.join(told)}." if told else ""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory, besides what L{figures} tells of."""
        return (
            *self.announce.bounds,
            bound_of("messages-remembered", lambda: self._journal.publication.recent),
            bound_of_answers("topics", [read_topic]),
        )

    def wake(self) -> None:
        """The database is back."""
        self._journal.wake()

    async def forget(self) -> None:
        """Remove what need not be kept any longer, and look how much there is."""
        await retention.forget(self._store, self._config, self._now())
        self._extent = await self._store.extent()

    def adjust(self, config: Bus) -> None:
        """Take over from another configuration how long messages are kept, and how many."""
        self._config = evolve(self._config, keep_days=config.keep_days, keep_bytes=config.keep_bytes)

    # How it is

    def condition(self) -> Condition:
        """What its probe says, unless nothing can be stored."""
        if self._journal.away:
            return Condition("bus", well=False, essential=self._essential, detail="the database takes no messages; the log says why")
        return self._probe.condition(essential=self._essential)

    def figures(self) -> BusFigures:
        """The bus in numbers."""
        config, journal, probe = self._config, self._journal, self._probe
        return BusFigures(
            inbound=config.relay_inbound,
            outbound=config.relay_outbound,
            ingest=config.relay_ingest,
            counts=self._counts,
            own_dropped=self.announce.dropped,
            ingest_events=self._socket.counters,
            waiting=journal.queue.waiting,
            waiting_bytes=journal.queue.waiting_bytes,
            waiting_bytes_limit=journal.queue.bytes_limit,
            unacknowledged=journal.queue.unanswered,
            unacknowledged_limit=journal.queue.unanswered_limit,
            announcements=self.announce.waiting,
            readers=self.replay.waiting,
            readers_limit=self.replay.waiting_readers,
            last_seq=journal.last_seq,
            published_seq=journal.published,
            extent=self._extent,
            bytes_limit=config.keep_bytes,
            keep_days=config.keep_days,
            subscriptions=max(self._outbound.subscriptions - probe.listening, 0),
            overflows=self._outbound.overflows,
            commits=journal.commits,
            commit_seconds=journal.commit_seconds,
            probe_age=probe.age,
            probe_failures=probe.rounds_failed,
        )

    def _beat_figures(self) -> Mapping[str, int]:
        found = self.figures()
        return {
            "last_seq": found.last_seq,
            "dropped": found.own_dropped.total(),
            "backlog": found.waiting,
            "subscribers": found.subscriptions,
        }

    def _say(self, message: BusMessage) -> None:
        """Without keeping it."""
        self._journal.publication.at_once(message.msg_id, message.topic, message.body, message.source)

    def _tell_exposure(self) -> None:
        for key, what in (("relay_inbound", "say whatever they like"), ("relay_outbound", "hear everything")):
            for address in getattr(self._config, key):
                if not is_loopback(address):
                    self._log.warn(EXPOSED, address=address, what=what, key=key)

"""
Whether the bus works: a message goes in where publishers connect, and one comes out where listeners do.

The relay connects to its own addresses as everybody does.  What goes in is on a topic of its own and never kept; what comes out is the
relay's heartbeat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import zmq
from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall

from socialrelay.boundaries import Condition
from socialrelay.bus.context import BusContext
from socialrelay.bus.finding import reachable
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.reader import ZmqReader
from socialrelay.bus.topics import Topics
from socialrelay.services import within

EVERY = 30.0
"""Seconds between two rounds."""
PATIENCE = 5.0
"""Seconds for a message."""
STALE = 3 * EVERY
"""Seconds after which a round that went well says nothing any more."""
LONGEST = 1024
"""Bytes of what is read; what the relay sends has half of that."""
BEAT_AGAIN = 0.1
"""Seconds between two heartbeats while somebody connects: the first ones are over before the relay knows of the listener."""


@define(eq=False)
class Probe:
    """
    Looks, each time it is told to.

    @ivar failures: what did not come in the latest round, as parts of sentences.
    @ivar last_well: C{seconds()} at the end of the latest round that went well; C{None} before the first.
    @ivar rounds_failed: since the start of the process.
    @ivar listening: subscriptions that are the probe's own.
    """

    _reactor: Any
    _context: BusContext
    _inbound: Sequence[str]
    _outbound: Sequence[str]
    _topics: Topics
    _own: OwnMessages
    _beat: Callable[[], object]
    _now: Callable[[], datetime]
    _token: Callable[[], str]
    _patience: float = PATIENCE
    failures: Sequence[str] = ("nothing was sent through it yet",)
    last_well: float | None = None
    rounds_failed: int = 0
    listening: int = 0
    _awaited: dict[str, Deferred[None]] = field(factory=dict)
    _pending: list[Deferred[None]] = field(factory=list)
    _beating: IDelayedCall | None = None
    _readers: list[ZmqReader] = field(factory=list)

    async def look(self) -> None:
        """One round."""
        self.stop()
        ways = [(f"a message to {address} did not arrive", self._goes_in(address)) for address in self._inbound]
        ways += [(f"nothing came out of {address}", self._comes_out(address)) for address in self._outbound]
        self._pending = [done for _, done in ways]
        self._beat_on()
        came = await gatherResults([within(done, self._patience, self._reactor) for _, done in ways])
        if not self._pending:
            return  # it was stopped
        self.stop()
        self.failures = [f"{what} within {self._patience:g} s" for (what, _), in_time in zip(ways, came, strict=True) if not in_time]
        if self.failures:
            self.rounds_failed += 1
        else:
            self.last_well = self._reactor.seconds()

    def arrived(self, body: bytes) -> None:
        """
        A message on the topic of the probe came in, ours or a stranger's.

        @param body: JSON.
        """
        if len(body) > LONGEST:
            return
        try:
            token = json.loads(body)["msg"]["token"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        waiting = self._awaited.pop(token, None) if isinstance(token, str) else None
        if waiting is not None:
            waiting.callback(None)

    def stop(self) -> None:
        """End what is under way."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.stop()
        self._awaited.clear()
        self.listening = 0
        pending, self._pending = self._pending, []
        for done in pending:
            if not done.called:
                done.callback(None)

    @property
    def age(self) -> float | None:
        """Seconds since a round went well; C{None} before the first."""
        return None if self.last_well is None else self._reactor.seconds() - self.last_well

    def condition(self, *, essential: bool) -> Condition:
        """What the rounds say of the bus."""
        age = self.age
        if self.failures or age is None:
            return Condition("bus", well=False, essential=essential, detail="; ".join(self.failures))
        if age > STALE:
            return Condition("bus", well=False, essential=essential, detail=f"for {age:.0f} s it could not be tried")
        return Condition("bus", well=True, essential=essential, detail=f"a message went in and one came out {age:.0f} s ago")

    def _goes_in(self, address: str) -> Deferred[None]:
        """An XPUB is a PUB that hears of subscriptions: what is published before the relay's own has come is lost."""
        done: Deferred[None] = Deferred()
        token = self._token()
        message = self._own.passing("relay.probe", {"token": token}, self._now())
        self._awaited[token] = done
        sent = False

        def subscribed(_: list[bytes]) -> None:
            nonlocal sent
            if not sent:
                sent = reader.send([message.topic.encode(), message.body])

        reader = self._connected(zmq.XPUB, address, subscribed)
        return done

    def _comes_out(self, address: str) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def heard(_: list[bytes]) -> None:
            if not done.called:
                self.listening += 1
                done.callback(None)

        topic = self._topics.own("relay.heartbeat")
        self._connected(zmq.SUB, address, heard, subscribe=topic)
        return done

    def _connected(self, kind: int, address: str, on_message: Callable[[list[bytes]], object], subscribe: str | None = None) -> ZmqReader:
        socket = self._context.socket(kind)
        socket.set(zmq.IPV6, 1)
        if subscribe is not None:
            socket.set(zmq.SUBSCRIBE, subscribe.encode())
        socket.connect(reachable(address))
        reader = ZmqReader(self._reactor, socket, on_message)
        self._readers.append(reader)
        return reader

    def _beat_on(self) -> None:
        self._beat()
        self._beating = self._reactor.callLater(BEAT_AGAIN, self._beat_on)

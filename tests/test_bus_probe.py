"""Tests for L{socialrelay.bus.probe}, over real sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import zmq
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from socialrelay.bus.context import BusContext
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.probe import LONGEST, STALE, Probe
from socialrelay.bus.reader import ZmqReader
from socialrelay.bus.topics import Topics
from tests.bus_wire import free_address

reactor: Any = installed_reactor
TOPICS = Topics("org.example", "dev")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class ProbeTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.context = BusContext(reactor)
        self.addCleanup(self.context.close)
        self.inbound, self.outbound = free_address(), free_address()
        self.own = OwnMessages(TOPICS, uuid4)
        self.came: list[list[bytes]] = []
        self.takes = True
        tokens = count(1)
        self.probe = Probe(
            reactor,
            self.context,
            [self.inbound],
            [self.outbound],
            TOPICS,
            self.own,
            self.beat,
            lambda: NOW,
            lambda: f"token {next(tokens)}",
            patience=0.5,
        )
        self.out: ZmqReader | None = None

    def takes_in(self) -> None:
        """Be where publishers connect."""
        socket = self.context.socket(zmq.SUB)
        socket.set(zmq.SUBSCRIBE, b"")
        socket.bind(self.inbound)
        self.addCleanup(ZmqReader(reactor, socket, self.taken).stop)

    def taken(self, frames: list[bytes]) -> None:
        self.came.append(frames)
        if self.takes:
            self.probe.arrived(frames[1])

    def gives_out(self) -> None:
        """Be where listeners connect."""
        socket = self.context.socket(zmq.XPUB)
        socket.bind(self.outbound)
        self.out = ZmqReader(reactor, socket, lambda frames: None)
        self.addCleanup(self.out.stop)

    def beat(self) -> None:
        message = self.own.passing("relay.heartbeat", {"last_seq": 1}, NOW)
        if self.out is not None:
            self.out.send([message.topic.encode(), message.body])

    async def test_before(self) -> None:
        """Before the first round the bus is not well."""
        condition = self.probe.condition(essential=True)
        self.assertEqual((condition.well, condition.essential, condition.detail), (False, True, "nothing was sent through it yet"))
        self.assertIsNone(self.probe.age)

    async def test_well(self) -> None:
        """A message that goes in and a heartbeat that comes out make it well."""
        self.takes_in()
        self.gives_out()
        await self.probe.look()
        condition = self.probe.condition(essential=False)
        self.assertEqual((condition.name, condition.well, condition.essential), ("bus", True, False))
        self.assertIn("a message went in and one came out", condition.detail)
        self.assertEqual(self.probe.rounds_failed, 0)

    async def test_message(self) -> None:
        """What goes in is a message of the bus, on the topic of the probe."""
        self.takes_in()
        self.gives_out()
        await self.probe.look()
        [[topic, body]] = self.came
        said = json.loads(body)
        self.assertEqual((topic.decode(), said["topic"]), ("org.example.dev.socialrelay.relay.probe",) * 2)
        self.assertEqual(said["msg"], {"token": "token 1"})

    async def test_again(self) -> None:
        """Each round has a token of its own, and what is left of an earlier one proves nothing."""
        self.takes_in()
        self.gives_out()
        await self.probe.look()
        self.takes = False
        self.probe.arrived(self.came[0][1])
        await self.probe.look()
        self.assertEqual([json.loads(body)["msg"]["token"] for _, body in self.came], ["token 1", "token 2"])
        self.assertFalse(self.probe.condition(essential=True).well)

    async def test_deaf(self) -> None:
        """If nothing arrives, it says at which address."""
        self.gives_out()
        await self.probe.look()
        condition = self.probe.condition(essential=True)
        self.assertEqual((condition.well, condition.detail), (False, f"a message to {self.inbound} did not arrive within 0.5 s"))
        self.assertEqual(self.probe.rounds_failed, 1)

    async def test_mute(self) -> None:
        """If nothing comes out, it says of which address; and when something does it is well again."""
        self.takes_in()
        await self.probe.look()
        self.assertEqual(self.probe.condition(essential=True).detail, f"nothing came out of {self.outbound} within 0.5 s")
        self.gives_out()
        await self.probe.look()
        self.assertTrue(self.probe.condition(essential=True).well)

    async def test_stale(self) -> None:
        """A round of long ago proves nothing."""
        self.takes_in()
        self.gives_out()
        await self.probe.look()
        assert self.probe.last_well is not None
        self.probe.last_well -= STALE + 1
        condition = self.probe.condition(essential=True)
        self.assertFalse(condition.well)
        self.assertIn("it could not be tried", condition.detail)

    async def test_stopped(self) -> None:
        """A round that is stopped ends at once, and proves nothing."""
        self.gives_out()
        round = Deferred.fromCoroutine(self.probe.look())
        self.probe.stop()
        await round
        self.assertEqual(self.probe.condition(essential=True).detail, "nothing was sent through it yet")

    async def test_strange(self) -> None:
        """What strangers send on its topic is no token of ours."""
        for body in (
            b"",
            b"[]",
            b"{}",
            b'{"msg": 1}',
            b'{"msg": {"token": ["token 1"]}}',
            b'{"msg": {"token": "token 1"}}',
            b"[" * 100_000,
        ):
            self.probe.arrived(body)
        self.assertFalse(self.probe.condition(essential=True).well)

    async def test_strange_and_long(self) -> None:
        """What nobody counts is not read either, if it is long: a flood of it costs next to nothing."""
        self.takes = False
        self.takes_in()
        self.gives_out()
        round = Deferred.fromCoroutine(self.probe.look())
        self.probe.arrived(json.dumps({"msg": {"token": "token 1"}, "more": "x" * LONGEST}).encode())
        await round
        self.assertIn("did not arrive", self.probe.condition(essential=True).detail)

"""Tests for L{socialrelay.bus.bridge}: the bus put together, over a store in memory and real sockets."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from socialrelay.boundaries import Answer, BusMessage, Unavailable
from socialrelay.boundaries.bus import HTTP, LEGACY
from socialrelay.bus.bridge import Bridge
from socialrelay.config import Bus
from socialrelay.services import StartFailed, Unfinished
from socialrelay.storage.memory import MemoryTables
from tests.bus_stores import ScriptedBus
from tests.bus_wire import Asker, Listener, Publisher, envelope, free_address, until

reactor: Any = installed_reactor
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOPIC = "com.example.dev.git.receive"


class BridgeCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.tables = MemoryTables()
        self.store = ScriptedBus(self.tables)
        self.at = NOW

    def make(self, *, stop_timeout: float = 5.0, **options: Any) -> Bridge:
        addresses = {f"relay_{name}": (free_address(),) for name in ("inbound", "outbound", "ingest")}
        self.config = Bus(enabled=True, **{**addresses, **options})
        return Bridge(reactor, self.store, self.config, lambda: self.at, essential=True, stop_timeout=stop_timeout)

    async def started(self, **options: Any) -> Bridge:
        bridge = self.make(**options)
        await bridge.startService()
        self.addCleanup(lambda: bridge.stopService() if bridge.running else None)
        return bridge

    def topics(self) -> list[str]:
        """Of what is stored."""
        return [message.topic.removeprefix("com.example.dev.") for message in self.tables.bus.values()]

    async def take(self, bridge: Bridge, msg_id: str = "2026-1") -> Answer:
        """Say something by HTTP, as it were."""
        answer: Deferred[Answer] = Deferred()
        bridge.ingest.take(msg_id, TOPIC.encode(), envelope(TOPIC, {"n": 1}, msg_id), HTTP, answer.callback)
        return await answer


class StartTests(BridgeCase):
    async def test_started(self) -> None:
        """When it has started a message has gone through it, and it has said that it is there."""
        bridge = await self.started()
        condition = bridge.condition()
        self.assertEqual((condition.name, condition.well, condition.essential), ("bus", True, True))
        await bridge.stopService()
        self.assertEqual(self.topics(), ["socialrelay.relay.started", "socialrelay.relay.stopping"])

    async def test_ways(self) -> None:
        """What comes in at each of its doors is stored and comes out, and those who wait are answered."""
        bridge = await self.started()
        listener = Listener(self.config.relay_outbound[0])
        self.addCleanup(deferToThread, listener.close)
        publisher = await deferToThread(Publisher, self.config.relay_inbound[0])
        self.addCleanup(deferToThread, publisher.close)
        await deferToThread(until, lambda: bridge.figures().subscriptions == 1)
        publisher.send(TOPIC, envelope(TOPIC, {}, "by-legacy"))
        asker = Asker(self.config.relay_ingest[0])
        self.addCleanup(asker.close)
        said = await deferToThread(asker.tell, "by-ingest", TOPIC, envelope(TOPIC, {}, "by-ingest"))
        self.assertEqual(said[0], "ok")
        self.assertEqual((await self.take(bridge, "by-http")).status, "ok")
        bridge.announce("payload.received", {"node": "pod.example"})
        await deferToThread(until, lambda: {"by-legacy", "by-ingest", "by-http"} <= set(listener.ids(TOPIC)))
        [own] = await deferToThread(until, lambda: listener.messages("com.example.dev.socialrelay.payload"))
        self.assertEqual(own["msg"]["node"], "pod.example")
        self.assertEqual(own["msg"]["seq"], max(self.tables.bus))
        self.assertEqual(listener.faults, [])

    async def test_taken(self) -> None:
        """If one of its addresses is taken it does not start, says which and what to do, and holds on to none of the others."""
        for name in ("inbound", "outbound", "ingest"):
            holder = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(holder.close)
            address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
            bridge = self.make(**{f"relay_{name}": (address,)})
            with self.assertRaises(StartFailed) as raised:
                await bridge.startService()
            self.assertIn(f"The bus cannot listen at {address}: Address already in use. Stop what listens there", str(raised.exception))
            await bridge.stopService()
            for other in (*self.config.relay_inbound, *self.config.relay_outbound, *self.config.relay_ingest):
                if other != address:
                    socket.create_server(("127.0.0.1", int(other.rpartition(":")[2]))).close()
        self.assertEqual(self.topics(), [])

    async def test_after_crash(self) -> None:
        """What was stored and not published before the end of an earlier daemon is published when it starts."""
        await self.store.add([BusMessage("2026-1", TOPIC, envelope(TOPIC, {}, "2026-1"), LEGACY)], NOW, 0)
        self.assertEqual(self.store.noted, 0)
        bridge = await self.started()
        self.assertEqual(bridge.figures().counts.published[LEGACY], 1)
        await bridge.stopService()
        self.assertEqual(self.store.noted, max(self.tables.bus))

    async def test_listeners_return(self) -> None:
        """After a restart those who listened before it are given the time to connect again before they miss something."""
        bridge = self.make()
        listener = Listener(self.config.relay_outbound[0], TOPIC)
        self.addCleanup(deferToThread, listener.close)
        await self.store.add([BusMessage("2026-1", TOPIC, envelope(TOPIC, {}, "2026-1"), LEGACY)], NOW, 0)
        await bridge.startService()
        self.addCleanup(bridge.stopService)
        await deferToThread(until, lambda: len(listener.heard) == 1)

    async def test_announced_before(self) -> None:
        """What the relay does before the bus has started is kept for it, and what it does after its end is said to nobody."""
        bridge = self.make()
        bridge.announce("node.subscribed", {"node": "pod.example"})
        await bridge.startService()
        await bridge.stopService()
        bridge.announce("node.unsubscribed", {"node": "pod.example"})
        self.assertEqual(self.topics(), ["socialrelay.node.subscribed", "socialrelay.relay.started", "socialrelay.relay.stopping"])

    async def test_exposed(self) -> None:
        """Who has it listen to others than this machine is warned, once for each such address."""
        port = free_address().rpartition(":")[2]
        with capturedLogs() as logs:
            await self.started(relay_inbound=(f"tcp://*:{port}",))
        [warned] = [formatEvent(event) for event in logs if event["log_level"] is LogLevel.warn]
        self.assertIn(f"can connect to tcp://*:{port} (bus.relay_inbound), where nobody is asked who they are", warned)


class StopTests(BridgeCase):
    async def test_nothing_more(self) -> None:
        """After its stop nothing is taken in, and whoever asks is told to come again."""
        bridge = await self.started()
        await bridge.stopService()
        self.assertEqual((await self.take(bridge)).status, "busy")

    async def test_finishes(self) -> None:
        """What was taken in before the stop is stored, answered and published before its end."""
        bridge = await self.started()
        answers = [self.take(bridge, f"2026-{number}") for number in range(100)]
        waiting = [Deferred.fromCoroutine(answer) for answer in answers]
        await bridge.stopService()
        self.assertEqual({self.successResultOf(answer).status for answer in waiting}, {"ok"})
        self.assertEqual(self.store.noted, max(self.tables.bus))
        self.assertEqual(bridge.figures().counts.published[HTTP], 100)

    async def test_hanging_store(self) -> None:
        """If the store does not answer, the stop ends in time all the same, and says how much was not stored."""
        bridge = await self.started(stop_timeout=3.0)
        await self.take(bridge, "2026-before")
        self.store.prompt = False
        for number in range(3):
            frames = [TOPIC.encode(), envelope(TOPIC, {}, f"2026-{number}")]
            bridge.ingest.legacy(frames)
        with self.assertRaises(Unfinished) as raised:
            await bridge.stopService()
        self.assertEqual(str(raised.exception), "4 messages of the bus could not be stored within 1.5 s.")

    async def test_idle(self) -> None:
        """If the database is away and nothing waits, the stop waits for nothing."""
        bridge = await self.started()
        await self.take(bridge)
        self.tables.go_away()
        self.assertEqual((await self.take(bridge, "2026-2")).status, "busy")
        await bridge.stopService()
        self.assertEqual(self.topics(), ["socialrelay.relay.started", "git.receive"])

    async def test_away(self) -> None:
        """If the database stays away, the bus is not well, and what came in without acknowledgement is lost; that is said."""
        bridge = await self.started(stop_timeout=3.0)
        self.assertTrue(bridge.condition().well)
        await self.take(bridge)
        self.tables.go_away()
        self.assertEqual((await self.take(bridge, "2026-2")).status, "busy")
        bridge.ingest.legacy([TOPIC.encode(), envelope(TOPIC, {}, "2026-3")])
        self.assertFalse(bridge.condition().well)
        with self.assertRaises(Unfinished) as raised:
            await bridge.stopService()
        self.assertEqual(str(raised.exception), "1 message of the bus could not be stored within 1.5 s.")

    async def test_while_starting(self) -> None:
        """One that is stopped while its first message is on its way has nothing that goes on afterwards."""
        bridge = self.make()
        started = bridge.startService()
        await deferToThread(until, lambda: self.store.asked)
        await bridge.stopService()
        await started
        self.assertFalse(any(each.running for each in bridge.periodic))

    async def test_taken_while_starting(self) -> None:
        """What one had taken in that is stopped before it could store anything is said to be lost."""
        bridge = self.make()
        self.store.prompt = False
        started = bridge.startService()
        await deferToThread(until, lambda: self.store.asked)
        bridge.ingest.legacy([TOPIC.encode(), envelope(TOPIC, {}, "2026-1")])
        with self.assertRaises(Unfinished) as raised:
            await bridge.stopService()
        self.assertEqual(str(raised.exception), "1 message of the bus could not be stored.")
        self.store.away()
        with self.assertRaises(Unavailable):
            await started

    async def test_not_started(self) -> None:
        """One that was never started can be stopped."""
        await self.make().stopService()


class RetentionTests(BridgeCase):
    async def test_age(self) -> None:
        """What is older than bus.keep_days is forgotten, and the figures say what is left."""
        bridge = await self.started(keep_days=2)
        await self.take(bridge)
        self.at += timedelta(days=3)
        await self.take(bridge, "2026-2")
        await bridge.forget()
        self.assertEqual([message.msg_id for message in self.tables.bus.values()], ["2026-2"])
        extent = bridge.figures().extent
        assert extent is not None
        self.assertEqual((extent.oldest_seq, extent.last_seq), (3, 3))

    async def test_adjust(self) -> None:
        """Another configuration holds from the next round on."""
        bridge = await self.started()
        await self.take(bridge)
        await self.take(bridge, "2026-2")
        bridge.adjust(Bus(enabled=True, keep_bytes=200, keep_days=30))
        await bridge.forget()
        found = bridge.figures()
        self.assertEqual((found.bytes_limit, found.keep_days), (200, 30))
        self.assertNotIn("2026-1", [message.msg_id for message in self.tables.bus.values()])


class HeartbeatTests(BridgeCase):
    async def test_figures(self) -> None:
        """A heartbeat carries the last number, so that listeners see what they missed; it is not kept."""
        bridge = await self.started(heartbeat=1.0)
        await self.take(bridge)
        listener = Listener(self.config.relay_outbound[0], "com.example.dev.socialrelay.relay.heartbeat")
        self.addCleanup(deferToThread, listener.close)
        said = await deferToThread(until, lambda: listener.messages("com.example.dev"))
        self.assertEqual(
            {name: said[-1]["msg"][name] for name in ("last_seq", "dropped", "backlog", "subscribers")},
            {"last_seq": 2, "dropped": 0, "backlog": 0, "subscribers": 1},
        )
        self.assertEqual(json.loads(listener.bodies()[0])["username"], "socialrelay")
        self.assertNotIn("socialrelay.relay.heartbeat", self.topics())

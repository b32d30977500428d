"""Tests for L{socialrelay.assembly.adjusting}: what a running relay makes of a changed configuration."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from socialrelay.config import (
    Admin,
    Bus,
    BusToken,
    Dashboard,
    Delivery,
    Discovery,
    Moderation,
    Network,
    Operator,
    Policy,
    Postgres,
    Receive,
    Redis,
    Retention,
    RuleList,
)
from socialrelay.storage.memory import MemoryTables
from tests.assembled import Assembled, assembled

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$canary"


class AdjustingTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.relay: Assembled = assembled(self)

    async def metric(self, name: str) -> float:
        treq: Any = StubTreq(self.relay.assembly.admin.parts[b"metrics"])
        answers: list[bytes] = []
        treq.get("http://relay/metrics").addCallback(treq.content).addCallback(answers.append)
        while not answers:
            await deferLater(reactor, 0.0)
            treq.flush()
        return next(float(line.split()[1]) for line in answers[0].decode().splitlines() if line.startswith(f"socialrelay_{name} "))

    async def page(self, path: str) -> str:
        treq: Any = StubTreq(self.relay.assembly.public.site.resource)
        answers: list[bytes] = []
        asked = treq.get(f"http://relay{path}", headers={"Accept": "text/html"})
        asked.addCallback(treq.content).addCallback(answers.append)
        while not answers:
            await deferLater(reactor, 0.0)
            treq.flush()
        return answers[0].decode()

    async def test_nothing(self) -> None:
        """A file that says the same changes nothing."""
        self.assertEqual(await self.relay.reload(), "The configuration was read again: 0 changes.")

    async def test_intake(self) -> None:
        """Limits of what may come in hold at once."""
        receive = Receive(max_body=4096, deadline=7.0, connections=9, connections_per_address=3, bytes_in_hand=100_000)
        line = await self.relay.reload(receive=evolve(receive, trusted_proxies=("192.0.2.0/24",), waiting_bytes=5000))
        self.assertNotIn("restart", line)
        site = self.relay.assembly.public.site
        self.assertEqual((site.max_body, site.deadline, site.max_connections, site.max_per_address), (4096, 7.0, 9, 3))
        self.assertEqual(site.room.limit, 100_000)
        self.assertEqual(site.client_of("192.0.2.1", ["198.51.100.7"]), "198.51.100.7")
        self.assertEqual(await self.metric("incoming_limit_bytes"), 5000.0)

    async def test_delivery(self) -> None:
        """So do limits of what goes out; the window of hosts that have a wider one is narrowed."""
        delivery = Delivery(window=1, probes=3, bodies_in_flight=2_000_000, body_cache=1000, origin_spread=0.0, log_each=True, timeout=9.0)
        self.assertNotIn("restart", await self.relay.reload(delivery=delivery, bus=Bus(delivery_events=True)))
        self.assertEqual(await self.metric("probes_in_flight_limit"), 3.0)
        self.assertEqual(await self.metric("body_bytes_in_flight_limit"), 2_000_000.0)
        self.assertEqual(await self.metric("body_cache_limit_bytes"), 1000.0)

    async def test_bus(self) -> None:
        """Who has a new token may use the bus at once, and for how long messages are kept changes; the rest wants a restart."""
        self.relay = assembled(self, bus=Bus(enabled=True))

        async def asked() -> int:
            treq: Any = StubTreq(self.relay.assembly.admin.parts[b"bus"])
            codes: list[int] = []
            said = treq.get("http://relay/bus/v1/messages?since=0", headers={"Authorization": "Bearer a-token-of-the-tests"})
            said.addCallback(lambda response: codes.append(response.code))
            while not codes:
                await deferLater(reactor, 0.0)
                treq.flush()
            return codes[0]

        self.assertEqual(await asked(), 403)
        bus = Bus(enabled=True, keep_bytes=1000, delivery_events=True, tokens=(BusToken("tests", "a-token-of-the-tests"),))
        with capturedLogs() as logs:
            line = await self.relay.reload(bus=evolve(bus, high_water_mark=5000))
        self.assertEqual(line, "The configuration was read again: 3 changes, and 1 that need a restart.")
        self.assertEqual(await asked(), 200)
        self.assertEqual(await self.metric("bus_stored_limit_bytes"), 1000.0)
        told = "\n".join(str(formatEvent(event)) for event in logs)
        self.assertIn("bus.tokens: changed", told)
        self.assertNotIn("a-token", told)

    async def test_pages(self) -> None:
        """The pages show what the operator now says."""
        self.assertNotIn("Grace", await self.page("/privacy"))
        line = await self.relay.reload(operator=Operator("Grace", "grace@relay.example"), retention=Retention(rejections=3))
        self.assertEqual(line, "The configuration was read again: 3 changes.")
        shown = await self.page("/privacy")
        self.assertIn("Grace", shown)
        self.assertIn("3 days", shown)

    async def test_names(self) -> None:
        """Names of nodes can be shown, and hidden again."""
        self.assertIn("nothing at this address", await self.page("/nodes"))
        await self.relay.reload(dashboard=Dashboard(node_names=True, streams=7))
        self.assertNotIn("nothing at this address", await self.page("/nodes"))
        self.assertEqual(await self.metric("live_streams_limit"), 7.0)

    async def test_password(self) -> None:
        """Another password holds at once, and is not in the log."""
        with capturedLogs() as events:
            line = await self.relay.reload(admin=Admin(password=HASH))
        self.assertEqual(line, "The configuration was read again: 1 change.")
        self.assertIn("Configuration: admin.password: changed.", map(formatEvent, events))
        self.assertNotIn("canary", "".join(map(formatEvent, events)))

    async def test_moderation(self) -> None:
        """Other lists of rules can be subscribed to, and hourly limits and the allow list hold at once; while storage is away, too."""
        tables = self.relay.storage.health
        assert isinstance(tables, MemoryTables)
        tables.go_away()
        line = await self.relay.reload(
            moderation=Moderation((RuleList("friends", "https://friends.example/"),)),
            policy=Policy(posts_per_author=1, posts_per_host=5, allow_list=True),
        )
        self.assertEqual(line, "The configuration was read again: 4 changes.")

    async def test_restart(self) -> None:
        """What a running relay cannot change is named, secrets without their values, and does not take effect."""
        with capturedLogs() as events:
            await self.relay.reload(
                host="other.example",
                postgres=Postgres(dsn="password=canary", connections=9),
                redis=Redis(url="redis://:canary@localhost"),
                network=Network(ca_file="/etc/ca.pem"),
                delivery=Delivery(in_flight=99, http2=True),
                discovery=Discovery(concurrency=3, ports=(443,)),
                policy=Policy(max_tags=4),
            )
        said = sorted(str(event["change"]) for event in events if "needs a restart" in event["log_format"])
        self.assertEqual([each.partition(":")[0] for each in said], [
            "delivery.http2", "delivery.in_flight", "discovery.concurrency", "host", "network.ca_file", "postgres.connections",
            "postgres.dsn", "redis.url",
        ])  # fmt: skip
        self.assertNotIn("canary", "".join(map(formatEvent, events)))
        self.assertEqual(self.relay.reloader.config.host, "relay.example")
        self.assertEqual(self.relay.reloader.config.policy.max_tags, 4)

    def test_secrets_unseen(self) -> None:
        """The configuration does not show its secrets when it is printed."""
        secret = evolve(
            self.relay.config, admin=Admin(password="canary"), postgres=Postgres(dsn="canary"), redis=Redis(url="redis://:canary@x")
        )
        self.assertNotIn("canary", repr(secret))

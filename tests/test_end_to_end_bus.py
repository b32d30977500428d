"""The message bus of a daemon as operators run it: what crashes, stops and listeners who do not listen cost, and whom it lets in."""

from __future__ import annotations

import atexit
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived

from socialrelay.storage.postgres import open_storage
from tests.bus_wire import Asker, Listener, Publisher, envelope, free_address, met, until
from tests.daemon import Answer, Daemon, DaemonError
from tests.envelopes import Author, new_guid
from tests.servers import database, take_away

T = TypeVar("T")
PREFIX = "org.example.dev"
TOPIC = f"{PREFIX}.git.receive"
TOKEN = "a-token-of-the-tests"


def message(number: int, text: str = "", topic: str = TOPIC) -> tuple[str, str, bytes]:
    """Identifier, topic and body of one that nobody else sends."""
    msg_id = f"2026-{topic}-{number:08}"
    return msg_id, topic, envelope(topic, {"n": number, "log": text}, msg_id)


class BusDaemon(Daemon):
    """
    A relay with a bus.

    @ivar inbound: C{relay_inbound}; and so on.
    @ivar dsn: its database.
    """

    def __init__(self, *, federation: bool = False, **options: Any) -> None:
        """@param options: of C{[bus]}."""
        super().__init__(reactor)
        self.dsn = database()
        bus = {
            "enabled": True,
            "relay_inbound": [free_address()],
            "relay_outbound": [free_address()],
            "relay_ingest": [f"ipc://{self.folder / 'ingest'}"],
            "topic_prefix": "org.example",
            **options,
        }
        self.inbound, self.outbound, self.ingest = (bus[f"relay_{name}"][0] for name in ("inbound", "outbound", "ingest"))
        self.configuration = "\n".join(
            (
                f'admin_listen = ["unix:{self.folder / "admin"}"]',
                "[postgres]",
                f"dsn = {json.dumps(self.dsn)}",
                "[redis]",
                'url = "off"',
                "[polling]",
                "lists = []",
                "[federation]",
                f"enabled = {json.dumps(federation)}",
                "[bus]",
                *(f"{key} = {json.dumps(value)}" for key, value in bus.items()),
                f'tokens = [{{ name = "tests", token = "{TOKEN}" }}]',
            )
        )

    async def ready(self) -> str:
        """What the operators' site says, which there is without federation, too."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise DaemonError(f"The relay ended with {self.process.returncode}.\n{self.log[-3000:]}")
        try:
            answer = await self.ask(self.folder / "admin", "GET", "/health/ready", headers={"Accept": "application/json"})
        except (ConnectError, ResponseNeverReceived):
            return ""
        return str(answer.json["status"])

    async def messages(self, method: str, query: str = "", **options: Any) -> Answer:
        """Ask C{/bus/v1/messages} as somebody with a token."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        return await self.ask(self.folder / "admin", method, f"/bus/v1/messages{query}", headers=headers, **options)


class BusTestCase(TestCase):
    """Has relays with buses; what any listener heard was fit for a stock C{fedmsg-tail}."""

    timeout = 60.0

    async def relay(self, **options: Any) -> BusDaemon:
        """One that is ready."""
        relay = BusDaemon(**options)
        self.addCleanup(relay.remove)
        await relay.start()
        self.addCleanup(lambda: self.assertNotIn("Traceback", relay.log))
        return relay

    async def common_relay(self) -> BusDaemon:
        """One that is ready, for tests that do it no harm; each takes a topic of its own."""
        relay = common()
        if relay.process is None:
            await relay.start()
        self.addCleanup(lambda: self.assertNotIn("Traceback", relay.log))
        return relay

    def thread(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Do what blocks."""
        return deferToThread(work, *arguments)

    async def publisher(self, relay: BusDaemon, *listeners: Listener) -> Publisher:
        """Somebody whom the relay hears, and these."""
        publisher = await self.thread(Publisher, relay.inbound)
        self.addCleanup(self.thread, publisher.close)
        probe = f"{PREFIX}.probe.t{id(publisher)}"
        await self.thread(met, publisher, [partial(topics, each) for each in listeners], probe)
        return publisher

    def listener(self, relay: BusDaemon, topic: str = "", queue: int = 0) -> Listener:
        """Somebody who hears what is published from when a L{publisher} has met them."""
        listener = Listener(relay.outbound, topic, queue)
        self.addCleanup(lambda: self.assertEqual(listener.faults, []))
        self.addCleanup(self.thread, listener.close)
        return listener

    def asker(self, relay: BusDaemon) -> Asker:
        """A client of its C{relay_ingest}."""
        asker = Asker(relay.ingest)
        self.addCleanup(asker.close)
        return asker


def topics(listener: Listener) -> set[str]:
    return {frames[0].decode() for frames in listener.heard}


def kept_ids(messages: list[dict[str, Any]]) -> list[str]:
    return [each["msg_id"] for each in messages]


@cache
def common() -> BusDaemon:
    """The relay of this run for all tests that do it no harm, not started."""
    relay = BusDaemon()

    def end() -> None:
        if relay.process is not None:
            relay.process.terminate()
            relay.process.wait(30)
        take_away(relay.folder, relay.state)

    atexit.register(end)
    return relay


class CrashTests(BusTestCase):
    async def test_killed(self) -> None:
        """
        Of 10 000 messages in the middle of which it was killed each that was acknowledged is kept once, none is kept twice, and nobody heard
        one that is not kept.
        """
        relay = await self.relay()
        listener = self.listener(relay)
        await self.publisher(relay, listener)
        messages = [message(number) for number in range(10_000)]
        answers: dict[str, str] = {}
        over = Event()
        asker = self.asker(relay)
        telling = self.thread(asker.tell_all, messages, answers, over)
        await self.thread(until, lambda: len(answers), lambda count: count > 3000)
        await relay.kill()
        over.set()
        await telling
        asker.close()
        self.assertEqual(set(answers.values()), {"ok"})
        self.assertLess(len(answers), len(messages))
        await relay.start()
        kept = await self.thread(self.asker(relay).said, 0, TOPIC)
        ids = kept_ids(kept)
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(answers) - set(ids), set())
        self.assertEqual(ids, [msg_id for msg_id, _, _ in messages[: len(ids)]])
        self.assertEqual([each["body"].encode() for each in kept], [body for _, _, body in messages[: len(ids)]])
        self.assertEqual(set(listener.ids(TOPIC)) - set(ids), set())

    async def test_lost_answer(self) -> None:
        """Who never saw the answer and says the same again is told that it is kept, and nobody hears it twice."""
        relay = await self.common_relay()
        topic = f"{PREFIX}.git.again"
        listener = self.listener(relay)
        await self.publisher(relay, listener)
        gone = self.asker(relay)
        for number in range(20):
            gone.give(*message(number, topic=topic))
        await self.thread(until, lambda: len(listener.ids(topic)) == 20)
        again = self.asker(relay)
        for number in range(20):
            status, detail = await self.thread(again.tell, *message(number, topic=topic))
            self.assertEqual(status, "dup")
            kept = await self.thread(again.said, int(detail) - 1)
            self.assertEqual(kept[0]["msg_id"], message(number, topic=topic)[0])
        self.assertEqual((await self.thread(again.tell, *message(20, topic=topic)))[0], "ok")
        await self.thread(until, lambda: message(20, topic=topic)[0] in listener.ids(topic))
        self.assertEqual(listener.ids(topic), [message(number, topic=topic)[0] for number in range(21)])


class StopTests(BusTestCase):
    async def test_backlog(self) -> None:
        """
        On SIGTERM what 20 000 messages' sender had got rid of is stored and published, who was told that a message is kept was told the
        truth, and the relay ends well.
        """
        relay = await self.relay()
        listener = self.listener(relay)
        publisher = await self.publisher(relay, listener)
        messages = [message(number) for number in range(20_000)]
        answers: dict[str, str] = {}
        over = Event()
        asker = self.asker(relay)
        asked = f"{PREFIX}.git.asked"
        telling = self.thread(asker.tell_all, [message(number, topic=asked) for number in range(20_000)], answers, over)
        await self.thread(until, lambda: answers)

        def burst() -> None:
            for _, topic, body in messages:
                publisher.send(topic, body)
            publisher.close()

        await self.thread(burst)
        self.assertEqual(await relay.terminate(), 0)
        over.set()
        await telling
        self.assertLess(len(answers), 20_000)
        sent = [msg_id for msg_id, _, _ in messages]
        await self.thread(until, lambda: len(listener.bodies(TOPIC)) >= 20_000)
        self.assertEqual(listener.ids(TOPIC), sent)
        self.assertIn(f"{PREFIX}.socialrelay.relay.stopping", topics(listener))
        kept = await self.kept(relay.dsn)
        self.assertEqual([each for each in kept if TOPIC in each], sent)
        told = {msg_id for msg_id, status in answers.items() if status == "ok"}
        self.assertEqual(told - set(kept), set())
        self.assertLessEqual(set(answers.values()), {"ok", "busy"})
        self.assertEqual(set(listener.ids(asked)), {each for each in kept if asked in each})

    async def kept(self, dsn: str) -> list[str]:
        """Identifiers of all that a relay left behind, all of which is published."""
        storage = await open_storage(reactor, dsn)
        self.addCleanup(storage.close)
        extent = await storage.bus.extent()
        self.assertEqual(extent.published, extent.last_seq)
        found: list[str] = []
        after = 0
        while after < extent.last_seq:
            messages, after = await storage.bus.read(after, "", 1000)
            found += [each.msg_id for each in messages]
        return found

    async def test_second(self) -> None:
        """A second relay at one of its addresses, TCP or UNIX socket, ends with 1 and says where; the first does not notice."""
        first = await self.common_relay()
        listener = self.listener(first)
        publisher = await self.publisher(first, listener)
        taken = {"relay_inbound": first.inbound, "relay_outbound": first.outbound, "relay_ingest": first.ingest}
        await gatherResults([Deferred.fromCoroutine(self.refused(name, address)) for name, address in taken.items()])
        topic = f"{PREFIX}.git.second"
        publisher.send(topic, message(0, topic=topic)[2])
        await self.thread(until, lambda: message(0, topic=topic)[0] in listener.ids(topic))
        self.assertEqual((await self.thread(self.asker(first).tell, *message(1, topic=topic)))[0], "ok")

    async def refused(self, name: str, address: str) -> None:
        """A relay that wants this address does not start."""
        second = BusDaemon(**{name: [address]})
        self.addCleanup(second.remove)
        with self.assertRaises(DaemonError) as raised:
            await second.start()
        said = str(raised.exception)
        self.assertIn("ended with 1.", said)
        self.assertIn(address, said)
        self.assertNotIn("Traceback", said)


class DoorTests(BusTestCase):
    async def test_reserved(self) -> None:
        """At no door is a topic taken that only the relay itself may use, in whatever environment."""
        relay = await self.common_relay()
        listener = self.listener(relay)
        publisher = await self.publisher(relay, listener)
        asker = self.asker(relay)
        forged = [f"{PREFIX}.socialrelay.node.subscribed", "org.example.prod.socialrelay.payload.received", f"{PREFIX}.socialrelay"]
        for topic in forged:
            body = envelope(topic, {"node": "evil.example"}, new_guid())
            publisher.send(topic, body)
            status, reason = await self.thread(asker.tell, json.loads(body)["msg_id"], topic, body)
            self.assertEqual(status, "denied", reason)
            self.assertEqual((await relay.messages("POST", data=body)).code, 403)
            self.assertEqual((await relay.messages("POST", json={"topic": topic, "msg": {}})).code, 403)
        said = await relay.command("--config", str(relay.folder / "relay.toml"), "emit", "--topic", forged[0], "--message", "x")
        self.assertEqual(said.code, 1, said.err)
        after = f"{PREFIX}.git.after"
        publisher.send(after, message(1, topic=after)[2])
        await self.thread(until, lambda: message(1, topic=after)[0] in listener.ids(after))
        self.assertNotIn("evil.example", str(listener.heard))
        self.assertEqual([each["topic"] for each in await self.thread(asker.said, 0, f"{PREFIX}.socialrelay.node")], [])

    async def test_forgotten(self) -> None:
        """Who asks for what was forgotten is told so, and from where on there is something."""
        relay = await self.relay()
        asker = self.asker(relay)
        for number in range(5):
            await self.thread(asker.tell, *message(number))
        self.assertEqual(await relay.terminate(), 0)
        storage = await open_storage(reactor, relay.dsn)
        await storage.bus.prune(datetime.now(UTC), 0, 0)
        oldest = (await storage.bus.extent()).oldest_seq
        await storage.close()
        self.assertGreater(oldest, 5)
        await relay.start()
        await self.thread(asker.tell, *message(5))
        status, told = await self.thread(partial(asker.ask, since=0))
        self.assertEqual((status, told), ("gone", {"oldest_seq": oldest}))
        answer = await relay.messages("GET", "?since=0")
        self.assertEqual((answer.code, answer.json["oldest_seq"]), (410, oldest))
        self.assertEqual(kept_ids(await self.thread(asker.said, oldest - 1, TOPIC)), [message(5)[0]])

    async def test_off(self) -> None:
        """Without bus.enabled nobody listens, and the operator is told so."""
        relay = BusDaemon(federation=True, enabled=False)
        self.addCleanup(relay.remove)
        await relay.start()
        for address in (relay.inbound, relay.outbound):
            with socket.socket() as probe:
                self.assertNotEqual(probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))), 0)
        self.assertFalse(Path(relay.ingest.removeprefix("ipc://")).exists())
        said = await relay.command("bus")
        self.assertEqual(said.code, 1, said.out)
        self.assertIn("bus.enabled", said.err)
        self.assertEqual((await relay.messages("GET")).code, 404)


class ListenerTests(BusTestCase):
    async def test_stopped(self) -> None:
        """A listener that does not read costs the others nothing; they are told, and it finds all that it missed in what is kept."""
        relay = await self.relay(high_water_mark=1000)
        healthy, stopped = self.listener(relay), self.listener(relay, queue=100)
        publisher = await self.publisher(relay, healthy, stopped)
        messages = [message(number, "x" * 2000) for number in range(6000)]
        stopped.paused = True

        def flood() -> None:
            for number, (_, topic, body) in enumerate(messages, 1):
                publisher.send(topic, body)
                if number % 500 == 0:  # fewer than the high-water mark: who reads keeps up, on whatever machine
                    until(lambda number=number: len(healthy.bodies(TOPIC)) >= number)

        await self.thread(flood)
        sent = [msg_id for msg_id, _, _ in messages]
        self.assertEqual(healthy.ids(TOPIC), sent)
        await self.thread(until, lambda: f"{PREFIX}.socialrelay.relay.overflow" in topics(healthy))
        stopped.paused = False
        again = f"{PREFIX}.probe.again"
        await self.thread(met, publisher, [partial(topics, stopped)], again)
        got = stopped.ids(TOPIC)
        self.assertLess(len(got), len(messages))
        self.assertEqual(got, sent[: len(got)])
        asker = self.asker(relay)
        [known] = [each["seq"] for each in await self.thread(asker.said, 0, TOPIC) if each["msg_id"] == got[-1]]
        self.assertEqual(got + kept_ids(await self.thread(asker.said, known, TOPIC)), sent)


class BesideTests(BusTestCase):
    async def test_life(self) -> None:
        """A relay of posts says on its bus that it runs, what came, and that it stops; each kept message of its own has its number."""
        relay = await self.relay(federation=True, heartbeat=1.0)
        listener = self.listener(relay)
        await self.publisher(relay, listener)
        own = f"{PREFIX}.socialrelay"
        body = Author("ada@unknown.example").post("Hello")
        self.assertEqual(await relay.post(body), 202)
        self.assertEqual(await relay.post(b"no envelope"), 400)
        await self.thread(until, lambda: f"{own}.payload.rejected" in topics(listener))
        await self.thread(until, lambda: f"{own}.relay.heartbeat" in topics(listener))
        kept = await self.thread(self.asker(relay).said, 0, own)
        self.assertEqual(kept[0]["topic"], f"{own}.relay.started")
        self.assertIn(f"{own}.payload.rejected", {each["topic"] for each in kept})
        self.assertEqual([json.loads(each["body"])["msg"]["seq"] for each in kept], [each["seq"] for each in kept])
        self.assertNotIn(f"{own}.relay.heartbeat", {each["topic"] for each in kept})
        self.assertEqual(await relay.terminate(), 0)
        await self.thread(until, lambda: f"{own}.relay.stopping" in topics(listener))

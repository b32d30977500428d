"""The bridge of the message bus alone, as operators run it on another machine: what there is of a relay, and what is not."""

from __future__ import annotations

import signal
import socket

from psycopg2.extensions import parse_dsn
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests import servers
from tests.bus_wire import Publisher, envelope
from tests.daemon import Daemon
from tests.test_end_to_end_bus import TOPIC, BusDaemon


class BridgeAloneTests(TestCase):
    timeout = 120

    async def bridge(self) -> BusDaemon:
        bridge = BusDaemon(federation=False)
        self.addCleanup(bridge.remove)
        await bridge.start()
        return bridge

    async def test_seen(self) -> None:
        """Its operators see the bus and its health; whatever is about posts and servers is refused with the reason."""
        bridge = await self.bridge()
        said = await bridge.command("status", "--json")
        self.assertEqual((said.code, said.json["mode"], said.json["ready"]), (0, "bridge", True))
        self.assertEqual([each["name"] for each in said.json["conditions"]], ["daemon", "postgres", "disk", "clock", "bus", "tasks"])
        self.assertIn("the bridge of the bus alone", (await bridge.command("status")).out)
        said = await bridge.command("bus", "--json")
        self.assertEqual((said.json["inbound"], said.json["kept"]), ([bridge.inbound], {"own": 1}))
        self.assertIn(bridge.outbound, (await bridge.command("bus")).out)
        for words in (("nodes",), ("wake", "pod.example"), ("identity",), ("rules",)):
            said = await bridge.command(*words)
            self.assertEqual((said.code, said.out), (1, ""))
            self.assertIn("runs the bridge of the message bus alone (federation.enabled = false)", said.err)

    async def test_left_aside(self) -> None:
        """There is no key, no cache, and nobody listens for posts; the operators' site has metrics and a way in."""
        bridge = await self.bridge()
        self.assertFalse((bridge.state / "identity.pem").exists())
        self.assertFalse((bridge.folder / "web").exists())
        self.assertEqual(bridge.children("valkey-server"), [])
        metrics = await bridge.ask(bridge.folder / "admin", "GET", "/metrics")
        self.assertIn(b"socialrelay_bus_last_seq 1.0", metrics.body)
        self.assertNotIn(b"socialrelay_posts_accepted", metrics.body)
        link = (await bridge.act("login"))["path"]
        page = await bridge.ask(bridge.folder / "admin", "GET", link)
        self.assertIn(b"Log in", page.body)
        self.assertNotIn(b"development mode", page.body)
        self.assertIn("It runs the bridge of the message bus alone", bridge.log)

    async def test_kept_up(self) -> None:
        """A reload, the doctor, migrate, export and the stop do what they do for a relay."""
        bridge = await self.bridge()
        assert bridge.process is not None
        file = bridge.folder / "relay.toml"
        file.write_text(file.read_text().replace("[bus]", "[bus]\nkeep_days = 3\nhigh_water_mark = 5000\n"))
        bridge.process.send_signal(signal.SIGHUP)
        await bridge.logs("The configuration was read again: 1 change, and 1 that need a restart.")
        self.assertIn("bus.keep_days: 7 → 3", bridge.log)
        self.assertIn("bus.high_water_mark: 100000 → 5000 needs a restart", bridge.log)
        self.assertEqual((await bridge.view("bus"))["keep_days"], 3)
        said = await bridge.command("--config", str(file), "doctor", "--json")
        self.assertEqual([each["text"] for each in said.json["checks"] if each["level"] == "failure"], [])
        self.assertIn(
            "Its addresses can be connected to", str([each["text"] for each in said.json["checks"] if each["check"] == "message bus"])
        )
        self.assertEqual((await bridge.command("--config", str(file), "migrate", "--check")).code, 0)
        said = await bridge.command("--config", str(file), "export", str(bridge.folder / "export.zip"), "--json")
        self.assertEqual((said.code, said.json["rows"]["bus_message"]), (0, 1), said.err)
        self.assertEqual(await bridge.terminate(), 0)
        self.assertNotIn("Traceback", bridge.log)

    async def test_taken_by_relay(self) -> None:
        """A relay with a bus at an address that is taken ends with 1 and says which, and what it has brought along ends with it."""
        with socket.create_server(("127.0.0.1", 0)) as holder:
            address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
            relay = Daemon(reactor)
            self.addCleanup(relay.remove)
            others = BusDaemon(federation=True)
            self.addCleanup(others.remove)
            relay.configuration = others.configuration.replace(others.inbound, address)
            process = relay.launch()
            while process.poll() is None:
                await relay.pause()
        self.assertEqual(process.returncode, 1)
        self.assertIn(f"The relay cannot start. message bus: The bus cannot listen at {address}: Address already in use.", relay.log)
        self.assertNotIn("Traceback", relay.log)

    async def test_unfinished(self) -> None:
        """If its database is gone for good when it is stopped, it ends in time, with 1, and says how many messages are lost."""
        bridge = await self.bridge()
        bridge.configuration = "stop_timeout = 3.0\n" + bridge.configuration
        self.assertEqual(await bridge.terminate(), 0)
        await bridge.start()
        publisher = await deferToThread(Publisher, bridge.inbound)
        self.addCleanup(deferToThread, publisher.close)
        name = parse_dsn(bridge.dsn)["dbname"]
        servers.postgres().run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        servers.postgres().run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        publisher.send(TOPIC, envelope(TOPIC, {}, "2026-1"))

        async def waiting() -> int:
            return int((await bridge.view("bus"))["waiting"]["messages"])

        await bridge.eventually(waiting, lambda many: many > 0)
        self.assertEqual(await bridge.terminate(), 1)
        self.assertRegex(bridge.log, r"The relay could not finish\. \d messages? of the bus could not be stored within 1\.05 s\.")
        self.assertNotIn("Traceback", bridge.log)

"""What `socialrelay doctor` finds, and what it says is to be done."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import trustme
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.backup.exporting import public_hash
from socialrelay.config import Bus, Config, Network, NodeList, Operator, Polling, Postgres, Receive, Redis
from socialrelay.doctor import here, outside, running, stores
from socialrelay.doctor.bus import bus
from socialrelay.doctor.examination import examine_relay
from socialrelay.doctor.findings import Check, Finding, Level, each, examine, failure, ok, warning, worst
from socialrelay.doctor.outside import Known
from socialrelay.doctor.wire import Wire
from socialrelay.identity import make_key, write_key
from socialrelay.running.limits import descriptors_wanted
from socialrelay.storage.embedded import Account
from tests import servers
from tests.bus_wire import free_address
from tests.daemon import Daemon, command
from tests.test_takeover import rows
from tests.tlsnode import Behaviour, Exchange, TLSNode, answers, authority, authority_file, hangs

HOST = "relay.example"
GUID = "0123456789abcdef" * 2
WEBFINGER = f'{{"links": [{{"href": "https://{HOST}/hcard/users/{GUID}"}}]}}'.encode()


def levels(found: Any) -> list[Level]:
    return [each.level for each in found]


class FindingsTests(SynchronousTestCase):
    def test_order(self) -> None:
        """
        Findings come in the order of the checks; one that breaks or hangs is a finding of its own, and the others are made all the same.
        """
        forever = threading.Event()
        self.addCleanup(forever.set)

        def hang() -> list[Finding]:
            forever.wait()
            return []

        def crash() -> list[Finding]:
            raise ZeroDivisionError("no")

        found = examine([Check("a", hang), Check("b", crash), Check("c", lambda: [ok("c", "Well.")])], 3.0)
        self.assertEqual([each.check for each in found], ["a", "b", "c"])
        self.assertEqual(levels(found), [Level.WARNING, Level.WARNING, Level.OK])
        self.assertIn("was given up", found[0].text)
        self.assertIn("ZeroDivisionError", found[1].text)

    def test_worst(self) -> None:
        """
        The worst finding decides.
        """
        self.assertEqual(worst([]), Level.OK)
        self.assertEqual(worst([ok("a", ""), warning("b", "", "")]), Level.WARNING)
        self.assertEqual(worst([failure("a", "", ""), warning("b", "", "")]), Level.FAILURE)

    def test_each(self) -> None:
        """
        Results come in the order of what was given.
        """
        self.assertEqual(each([3, 1], lambda number: number * 2, 5.0), [6, 2])


class HereTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir(mode=0o750)
        self.file = self.state.parent / (self.state.name + ".toml")
        self.file.write_text("")
        self.file.chmod(0o644)
        self.config = Config(self.state, host=HOST, operator=Operator(source="https://code.example/", contact="ada@relay.example"))

    def test_configuration(self) -> None:
        """
        What a public relay should not be run with is said.
        """
        trusting = evolve(self.config, receive=Receive(trusted_proxies=("127.0.0.1",)))
        self.assertEqual(levels(here.configuration(trusting, self.file)), [Level.OK])
        for config, words in [
            (self.config, "no proxy is trusted"),
            (evolve(trusting, host=""), "There is no host"),
            (evolve(trusting, operator=Operator()), "source code"),
            (evolve(trusting, network=Network(allow_addresses=("127.0.0.0/8",))), "network.allow_addresses"),
        ]:
            [_, found] = here.configuration(config, None)
            self.assertEqual((found.level, words in found.text), (Level.WARNING, True), found)

    def test_secrets(self) -> None:
        """
        A key or a configuration with passwords that others may read, or may change, is told with the command that mends it.
        """
        self.assertEqual(levels(here.secrets(self.config, self.file)), [Level.OK])
        self.file.write_text('[postgres]\ndsn = "postgresql://me:hunter2@db.example/relay"\n[admin]\npassword = "x"')
        [_, found] = here.secrets(self.config, self.file)
        self.assertEqual((found.level, found.advice), (Level.WARNING, f"chmod o-r {self.file}"))
        self.assertNotIn("hunter2", found.text)
        self.file.chmod(0o640)
        self.assertEqual(levels(here.secrets(self.config, self.file)), [Level.OK])
        self.file.chmod(0o646)
        self.assertIn(Level.FAILURE, levels(here.secrets(self.config, self.file)))
        (self.state / "identity.pem").write_text("key")
        (self.state / "identity.pem").chmod(0o640)
        found = next(iter(here.secrets(self.config, None)))
        self.assertEqual(found.level, Level.FAILURE)
        self.assertIn("chmod 600", found.text)

    def test_state_directory(self) -> None:
        """
        A state directory that others may write to is a failure; that there is none yet is told.
        """
        self.assertEqual(levels(here.state_directory(self.config))[0], Level.OK)
        self.state.chmod(0o777)
        self.assertEqual(levels(here.state_directory(self.config))[0], Level.FAILURE)
        self.assertEqual(levels(here.state_directory(evolve(self.config, state_dir=self.state / "no"))), [Level.WARNING])
        self.assertEqual(levels(here.state_directory(evolve(self.config, state_dir=self.file))), [Level.FAILURE])

    def test_disk(self) -> None:
        """
        A disk with less room than bodies may take is told.
        """
        config = evolve(self.config, retention=evolve(self.config.retention, bodies_max_bytes=2**60))
        self.assertEqual(levels(here.state_directory(config))[1], Level.WARNING)


class StoresTests(SynchronousTestCase):
    def config(self, dsn: str = "", redis: str = "off") -> Config:
        return Config(Path("/nowhere"), postgres=Postgres(dsn), redis=Redis(redis))

    def test_database(self) -> None:
        """
        A database with the relay's schema is well, but for what those of tests do without.
        """
        found = [each for each in stores.database(self.config(servers.database())) if not each.text.startswith("fsync is off")]
        self.assertEqual(levels(found), [Level.OK, Level.OK], found)

    def test_identity(self) -> None:
        """
        A database without the private key that belongs to it, or with another name than the configuration's, is a failure.
        """
        dsn, key, folder = servers.database(), make_key(), Path(self.mktemp()).absolute()
        folder.mkdir()
        statement = "INSERT INTO relay_identity (host, username, guid, key_hash, created_at) VALUES ('{}', 'relay', '', '\\x{}', now())"
        rows(dsn, statement.format(HOST, public_hash(key)))
        config = Config(folder, host=HOST, postgres=Postgres(dsn))

        def told(config: Config) -> list[str]:
            return [each.text for each in stores.database(config) if each.check == "identity" and each.level is Level.FAILURE]

        self.assertEqual(told(config), [f"The private key of relay@{HOST}, {folder}/identity.pem, is missing."])
        write_key(folder / "identity.pem", key)
        self.assertEqual(told(config), [])
        [said] = told(evolve(config, host="other.example"))
        self.assertIn(f"belongs to relay@{HOST}, and the configuration says relay@other.example", said)
        rows(dsn, "UPDATE relay_identity SET key_hash = ''")
        [said] = told(config)
        self.assertIn("is not the private key", said)

    def test_away(self) -> None:
        """
        A database that cannot be reached is a failure.
        """
        [found] = stores.database(self.config("host=/nowhere dbname=x"))
        self.assertEqual((found.level, found.advice), (Level.FAILURE, "Start it, or correct postgres.dsn."))

    def test_uneven(self) -> None:
        """
        An account that does not add up is named, and by how much it is out.
        """
        dsn = servers.database()
        rows(
            dsn,
            "INSERT INTO destination (number, host, protocol, url, cursor, delivered, created_at) "
            "SELECT n, 'node-' || n || '.example', 'diaspora', '', 7, 3, now() FROM generate_series(0, 2) AS n",
        )
        rows(dsn, "INSERT INTO account VALUES (0, 7, 3), (1, 7, 5), (2, 4, 9)")
        *_, found = stores.database(self.config(dsn))
        self.assertEqual((found.check, found.level), ("accounts", Level.WARNING))
        self.assertIn("for node-1.example (-2),", found.text)

    def test_newer(self) -> None:
        """
        A database of a newer version is a failure.
        """
        dsn = servers.database()
        rows(dsn, "INSERT INTO schema_version (version, name, checksum) VALUES (99, 'later', '')")
        *_, found = stores.database(self.config(dsn))
        self.assertEqual((found.level, "schema 99" in found.text), (Level.FAILURE, True))

    def test_unsafe(self) -> None:
        """
        A server that acknowledges before it has written, another encoding, and tables of others are told.
        """
        dsn = servers.empty_database()
        name = dsn.rpartition("=")[2]
        rows(dsn, f"ALTER DATABASE {name} SET synchronous_commit = off")
        found = list(stores.database(self.config(dsn)))
        self.assertEqual([each.advice for each in found if each.advice], ["Set fsync = on.", "Set synchronous_commit = on."])
        self.assertIn("`socialrelay migrate`", found[-1].text)
        rows(dsn, f"CREATE DATABASE {name}_sql ENCODING 'SQL_ASCII' TEMPLATE template0")
        found = list(stores.database(self.config(f"{dsn}_sql")))
        self.assertIn("The database is in SQL_ASCII.", [each.text for each in found if each.level is Level.FAILURE])

    def test_permissions(self) -> None:
        """
        A user who may not make tables, or does not own the relay's, is told.
        """
        dsn = servers.database()
        name = dsn.rpartition("=")[2]
        rows(dsn, f"CREATE ROLE {name} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT SELECT ON schema_version TO {name}")
        found = list(stores.database(self.config(dsn.replace("user=socialrelay", f"user={name}"))))
        texts = [each.text for each in found if each.level is Level.FAILURE]
        self.assertEqual(texts[0], "The relay may not make tables there.")
        self.assertIn("belong to another user", texts[1])

    def test_redis(self) -> None:
        """
        A Redis that answers is well; one that is away costs speed and nothing else.
        """
        self.assertEqual(levels(stores.cache(self.config(redis=servers.valkey()))), [Level.OK])
        self.assertEqual(levels(stores.cache(self.config())), [Level.OK])
        self.assertEqual(levels(stores.cache(self.config(redis="unix:///nowhere/redis.sock"))), [Level.WARNING])

    def test_policy(self) -> None:
        """
        A Redis that refuses to write when it is full is told.
        """

        class Full:
            def config_get(self, pattern: str) -> dict[str, str]:
                return {"maxmemory": "1000", "maxmemory-policy": "noeviction"}

        self.assertEqual(levels(stores._policy(Full())), [Level.WARNING])  # type: ignore[arg-type]

    def test_other_major(self) -> None:
        """
        A data directory of another PostgreSQL is a failure, with the way over.
        """
        state = Path(self.mktemp())
        (state / "postgres").mkdir(parents=True)
        (state / "postgres" / "PG_VERSION").write_text("12\n")
        Account.current("").own(state / "postgres")
        [found] = stores.database(Config(state.resolve()))
        self.assertEqual((found.level, "was made by PostgreSQL 12" in found.text), (Level.FAILURE, True), found)


class RunningTests(SynchronousTestCase):
    def test_status(self) -> None:
        """
        What the daemon says of itself is handed on; one that is older than what is installed should be restarted.
        """
        well = {"name": "postgres", "well": True, "essential": True, "detail": ""}
        status = {"pid": 1, "version": "0.0", "conditions": [well, {**well, "well": False}, {**well, "well": False, "essential": False}]}
        self.assertEqual(levels(running._status(status)), [Level.FAILURE, Level.WARNING, Level.WARNING])

    def test_files(self) -> None:
        """
        A daemon that may open too few files for its configuration is told, with what to set.
        """
        config = Config(Path("/nowhere"))
        much = evolve(config, delivery=evolve(config.delivery, in_flight=10**9))
        [found] = running._files(much, os.getpid())
        self.assertEqual((found.level, f"LimitNOFILE={descriptors_wanted(much)}" in found.advice), (Level.WARNING, True))
        little = evolve(config, delivery=evolve(config.delivery, in_flight=1, kept_connections=1), receive=Receive(connections=1))
        self.assertEqual(levels(running._files(little, os.getpid())), [Level.OK])

    def test_none(self) -> None:
        """
        That no daemon runs is a warning.
        """
        self.assertEqual(levels(running.daemon(Config(Path("/nowhere")), Path("/nowhere/control.sock"))), [Level.WARNING])


class BusTests(SynchronousTestCase):
    """The message bus."""

    def config(self, *, host: str = "127.0.0.1", **more: Any) -> Config:
        ports = [free_address().rpartition(":")[2] for _ in range(3)]
        places = [f"tcp://{host}:{ports[0]}", f"tcp://127.0.0.1:{ports[1]}", f"tcp://127.0.0.1:{ports[2]}"]
        names = ("relay_inbound", "relay_outbound", "relay_ingest")
        addresses: dict[str, Any] = {name: (place,) for name, place in zip(names, places, strict=True)}
        return Config(Path(self.mktemp()), bus=Bus(**{"enabled": True, **addresses, **more}))

    def look(self, config: Config) -> list[Finding]:
        return list(bus(config, Path("/nowhere/control.sock")))

    def test_off(self) -> None:
        """
        Where there is none, nothing is said of it.
        """
        self.assertEqual(self.look(self.config(enabled=False)), [])

    def test_free(self) -> None:
        """
        Addresses that can be listened at are well.
        """
        [found] = self.look(self.config())
        self.assertEqual((found.level, "are free" in found.text), (Level.OK, True))

    def test_taken(self) -> None:
        """
        An address that another program has, and a path whose folder is not there, are failures.
        """
        config = self.config(relay_ingest=("ipc:///nowhere/ingest",))
        port = int(config.bus.relay_outbound[0].rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            taken, missing = self.look(config)
        self.assertEqual((taken.level, missing.level), (Level.FAILURE, Level.FAILURE))
        self.assertIn(f"bus.relay_outbound: tcp://127.0.0.1:{port} cannot be listened at: Address already in use.", taken.text)
        self.assertIn("there is no folder /nowhere", missing.text)

    def test_exposed(self) -> None:
        """
        That others than this machine can connect is told.
        """
        _, found = self.look(self.config(host="*"))
        self.assertEqual((found.level, "nobody is asked who they are, and say what they like" in found.text), (Level.WARNING, True))


class OutsideTests(TestCase):
    """The relay's name leads to a server on loopback that answers as the test says."""

    timeout = 60

    def site(self, behaviour: Behaviour, name: str = HOST, **certificate: Any) -> TLSNode:
        node = TLSNode(behaviour).start(reactor, name, **certificate)
        self.addCleanup(node.stop)
        return node

    def config(self, node: TLSNode, **changes: Any) -> Config:
        network = Network(
            connect_to={f"{HOST}:443": f"127.0.0.1:{node.port}", "*.lists.example:443": f"127.0.0.1:{node.port}"},
            ca_file=str(authority_file()),
        )
        return Config(Path("/nowhere"), host=HOST, network=network, **changes)

    async def found(self, check: Any, node: TLSNode, *more: Any, config: Config | None = None) -> list[Finding]:
        chosen = config or self.config(node)
        found: list[Finding] = await deferToThread(lambda: list(check(chosen, Wire(chosen, 10.0), *more)))
        return found

    async def test_certificate(self) -> None:
        """
        A certificate that is valid for long is well, one that ends soon a warning.
        """
        now = datetime.now(UTC)
        [found] = await self.found(outside.certificate, self.site(answers(200)))
        self.assertEqual(found.level, Level.OK)
        [found] = await self.found(outside.certificate, self.site(answers(200), not_after=now + timedelta(days=5)))
        self.assertEqual((found.level, "for 5 days more" in found.text), (Level.WARNING, True))

    async def test_bad_certificates(self) -> None:
        """
        A certificate that others do not take is a failure, with the reason.
        """
        ended = datetime.now(UTC) - timedelta(days=1)
        for node, words in [
            (self.site(answers(200), not_before=ended - timedelta(days=9), not_after=ended), "expired"),
            (self.site(answers(200), "other.example"), "ostname mismatch"),
            (self.site(answers(200), issuer=trustme.CA()), "unable to get local issuer certificate"),
        ]:
            [found] = await self.found(outside.certificate, node)
            self.assertEqual((found.level, words in found.text), (Level.FAILURE, True), found)

    async def test_chain(self) -> None:
        """
        A certificate without those between it and the authority is a failure, with what is missing.
        """
        from OpenSSL import SSL, crypto

        issued = authority().create_child_ca().issue_cert(HOST)
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, issued.private_key_pem.bytes()))
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, issued.cert_chain_pems[0].bytes()))
        node = TLSNode(answers(200)).listen(reactor, context)
        self.addCleanup(node.stop)
        [found] = await self.found(outside.certificate, node)
        self.assertEqual((found.level, "full chain" in found.advice), (Level.FAILURE, True), found)

    async def test_nobody(self) -> None:
        """
        A name where nobody listens is a failure for the certificate and for each page.
        """
        node = self.site(answers(200))
        await node.stop()
        self.assertEqual(levels(await self.found(outside.certificate, node)), [Level.FAILURE])
        [found] = await self.found(outside.front_page, node)
        self.assertEqual((found.level, found.unreached), (Level.FAILURE, True))

    async def test_silent(self) -> None:
        """
        A server that never answers is a failure after some seconds.
        """
        node = self.site(hangs)
        config = self.config(node)
        [found] = await deferToThread(lambda: list(outside.front_page(config, Wire(config, 0.2))))
        self.assertIn("no answer in time", found.text)

    async def test_front_page(self) -> None:
        """
        The front page must answer, and not with a redirect.
        """
        self.assertEqual(levels(await self.found(outside.front_page, self.site(answers(200)))), [Level.OK])
        [found] = await self.found(outside.front_page, self.site(answers(301, "Location: https://www.relay.example/")))
        self.assertEqual((found.level, "which points to https://www.relay.example/" in found.text), (Level.FAILURE, True))

    async def test_identity(self) -> None:
        """
        Who is found under the relay's handle must be this relay, by guid and by key.
        """
        key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"

        def pages(exchange: Exchange) -> None:
            exchange.answer(200, body=WEBFINGER if "webfinger" in exchange.request.path else key.replace("\n", "\r\n").encode())

        node = self.site(pages)
        for known, expected in [
            (Known(), [Level.OK, Level.OK]),
            (Known(GUID, key), [Level.OK, Level.OK]),
            (Known("f" * 32, key), [Level.OK, Level.FAILURE]),
            (Known(GUID, key.replace("A", "B")), [Level.OK, Level.FAILURE]),
        ]:
            self.assertEqual(levels(await self.found(outside.identity, node, known)), expected)
        self.assertIn(f"/hcard/users/{GUID}", [request.path for request in node.requests])
        self.assertEqual(levels(await self.found(outside.identity, self.site(answers(404)), Known())), [Level.FAILURE])

    async def test_receiving(self) -> None:
        """
        Posts must come to the relay, small and large ones; it refuses what is none.
        """

        def proxy(exchange: Exchange) -> None:
            exchange.answer(413 if len(exchange.request.body) > 1000 else 400)

        self.assertEqual(levels(await self.found(outside.receiving, self.site(answers(400)))), [Level.OK, Level.OK])
        found = await self.found(outside.receiving, self.site(proxy))
        self.assertEqual(levels(found), [Level.OK, Level.FAILURE])
        self.assertIn("client_max_body_size", found[1].advice)
        self.assertEqual(levels(await self.found(outside.receiving, self.site(answers(503)))), [Level.WARNING] * 2)
        self.assertEqual(levels(await self.found(outside.receiving, self.site(answers(404)))), [Level.FAILURE] * 2)

    async def test_private(self) -> None:
        """
        The operators' site must not be found under the public name.
        """
        self.assertEqual(levels(await self.found(outside.private, self.site(answers(404)))), [Level.OK] * 2)
        self.assertEqual(levels(await self.found(outside.private, self.site(answers(200)))), [Level.FAILURE] * 2)

    async def test_clock(self) -> None:
        """
        A clock that differs from that of others is told by how much.
        """
        lists = Polling(lists=(NodeList("one", "https://one.lists.example/x"), NodeList("none", "https://none.example/")))
        for ahead, expected in ((0, Level.OK), (60, Level.WARNING), (3600, Level.FAILURE)):

            def dated(exchange: Exchange, ahead: int = ahead) -> None:
                exchange.answer(404, f"Date: {format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)}")

            node = self.site(dated, "one.lists.example")
            reached, clock = await self.found(outside.outgoing, node, config=self.config(node, polling=lists))
            self.assertEqual((reached.level, "none.example" in reached.text), (Level.OK, True))
            self.assertEqual(clock.level, expected)
        self.assertIn("ahead of", clock.text)

    async def test_cut_off(self) -> None:
        """
        A relay that reaches nobody is told so.
        """
        node = self.site(answers(200))
        lists = Polling(lists=(NodeList("none", "https://none.example/"),))
        [found] = await self.found(outside.outgoing, node, config=self.config(node, polling=lists))
        self.assertEqual(found.level, Level.FAILURE)

    async def test_once(self) -> None:
        """
        When nobody answers at the relay's name, that is said once, and not of each page.
        """
        node = self.site(answers(200))
        await node.stop()
        config = evolve(self.config(node, polling=Polling(lists=())), state_dir=Path("/nowhere"), redis=Redis("off"))
        found = await deferToThread(examine_relay, config, None, Path("/nowhere/control.sock"), 20.0)
        self.assertEqual([each.check for each in found if each.unreached], ["front page"])


class _Passing(Protocol):
    """One side of a connection whose bytes are passed on."""

    other: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.other.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class _Front(_Passing):
    """From outside; the relay is behind a socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        UNIXClientEndpoint(reactor, str(self._socket)).connect(Factory.forProtocol(_Passing)).addCallbacks(self._joined, self._alone)

    def _joined(self, back: Any) -> None:
        self.other, back.other = back, self
        self.transport.resumeProducing()

    def _alone(self, reason: object) -> None:
        self.transport.abortConnection()


class CommandTests(TestCase):
    """The command, with a relay that runs, behind TLS."""

    timeout = 120

    async def test_well(self) -> None:
        """
        Of a relay that is as it should be, nothing is amiss but what makes it a test; stopped, its pages are missed.
        """
        from OpenSSL import SSL

        from tests.tlsnode import Contexts

        context = SSL.Context(SSL.TLS_METHOD)
        authority().issue_cert(HOST).configure_cert(context)
        daemon = Daemon(reactor)
        self.addCleanup(daemon.remove)
        factory = Factory.forProtocol(lambda: _Front(daemon.folder / "web"))
        factory.noisy = False
        port: Any = reactor.listenSSL(0, factory, Contexts(context), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        daemon.configuration = (
            f'host = "{HOST}"\n[operator]\nsource = "https://code.example/"\ncontact = "ada@relay.example"\n[redis]\nurl = "off"\n'
            f'[polling]\nlists = []\n[network]\nca_file = "{authority_file()}"\nconnect_to = {{ "{HOST}:443" = "127.0.0.1:{port.getHost().port}" }}\n'
        )
        await daemon.start()
        words = ("--config", str(daemon.folder / "relay.toml"), "doctor")
        said = await daemon.command(*words, "--json")
        amiss = [(each["check"], each["text"]) for each in said.json["checks"] if each["level"] != "ok"]
        self.assertEqual([check for check, _ in amiss if check != "configuration"], [], amiss)
        self.assertEqual((said.code, said.json["level"]), (1, "warning"))
        self.assertIn("The hCard shows this relay's key.", [each["text"] for each in said.json["checks"]])
        await daemon.terminate()
        said = await daemon.command(*words)
        self.assertEqual(said.code, 2, said.out)
        self.assertIn("No relay is running", said.out)
        self.assertRegex(said.out, r"(?m)^front page +FAILURE")

    async def test_bad_configuration(self) -> None:
        """
        A configuration that cannot be read is a finding, too.
        """
        said = await command("--config", "/nowhere/relay.toml", "doctor", "--json")
        self.assertEqual((said.code, said.json["checks"][0]["level"]), (2, "failure"))

"""
A whole relay in memory, with a canary for each secret, and strangers who put marks of their own into whatever they can say: what it then
tells, in its log, on its pages, in its metrics and on the control socket, holds none of them.
"""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from socialrelay.boundaries import Document
from socialrelay.boundaries.bus import INGEST
from socialrelay.bus.counts import Counts
from socialrelay.bus.intake import Intake
from socialrelay.bus.journal import Journal
from socialrelay.bus.topics import Topics
from socialrelay.config import Admin, Bus, NodeList, Polling, Postgres, Redis
from socialrelay.diaspora.discovery import webfinger_url
from socialrelay.nodes.directory import NodeDirectory
from socialrelay.running.logs import as_json, as_text, for_journal
from socialrelay.storage.memory import MemoryTables
from socialrelay.web.control import ControlService
from tests.admin import HASH, PASSWORD
from tests.assembled import KEY, Assembled, assembled
from tests.bus_stores import ScriptedBus
from tests.envelopes import Author, encrypt, entity, private_key, seal
from tests.fuzzing import counts
from tests.relays import HANDLE, WholeRelay
from tests.storing import NOW
from tests.test_address_matrix import GOOD, Stage, Table, in_thread
from tests.test_control import ToSocket
from tests.test_secrets import CANARY, with_secrets

MARK = "\x1b[2Jm4rk\r\nm4rk: 1\x00\u2028\u202em4rk\x9b"
"""What strangers say: it would clear a terminal, begin lines of its own, turn the direction of text."""
NODES, RULES = "https://lists.example/nodes.json", "https://lists.example/rules.csv"
HCARD = "http://microformats.org/profile/hcard"
SHARP = "<m4rk>\"'&m4rk"
"""Likewise in HTML."""
_UNSEEN = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E)))


class Told:
    """Each event, in each form that the log can have."""

    def __init__(self, case: TestCase | SynchronousTestCase) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        case.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def lines(self) -> list[str]:
        """What is written of an event: a line, and more only below a failure."""
        forms = (as_text, partial(as_text, times=False), as_json, for_journal(as_text), for_journal(as_json))
        return [form(event) for event in self.events if "log_failure" not in event for form in forms]


def held_to(case: TestCase | SynchronousTestCase, told: Told, secrets: dict[str, str]) -> None:
    """No secret is in the log, and no event is more than one line of printable characters."""
    lines = told.lines()
    case.assertTrue(lines)
    for line in lines:
        case.assertEqual((line.count("\n"), line[-1]), (1, "\n"), line)
        case.assertFalse(_UNSEEN & set(line[:-1]), repr(line))
        for name, secret in secrets.items():
            case.assertNotIn(secret, line, name)
    for event in told.events:
        for name, secret in secrets.items():
            case.assertNotIn(secret, repr({key: value for key, value in event.items() if key != "log_logger"}), name)


def of_key() -> dict[str, str]:
    """The relay's private key, as it may be written."""
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    numbers = KEY.private_numbers()
    return {
        "a line of the key": pem.splitlines()[5],
        "the exponent": str(numbers.d),
        "the exponent in hexadecimal": f"{numbers.d:x}",
        "a prime": str(numbers.p),
    }


class JudgedTests(SynchronousTestCase):
    """Posts and messages of strangers, on their whole way."""

    def setUp(self) -> None:
        self.told = Told(self)
        self.relay = WholeRelay().start()
        self.alice = Author("alice@pod-a.example")
        self.relay.keyring.hold(self.alice)
        self.relay.subscribe("pod-b.example")
        self.log = Logger(namespace="told")

    def take(self, *bodies: bytes, private: bool = False) -> None:
        """Let them arrive; what the sender of one that is refused is told goes into the log, too."""
        accept = self.relay.relay.accept_private if private else self.relay.relay.accept
        for body in bodies:
            accept(body, "192.0.2.7").addErrback(lambda failure: self.log.info("Refused: {why}", why=str(failure.value)))
            self.relay.run()

    def test_marks(self) -> None:
        """Whatever field of a post holds control characters, the log has them escaped, on one line for each event."""
        # What XML cannot hold is left out.
        told, author = MARK.replace("\x00", "").replace("\x1b", "\x85"), self.alice.handle
        fields: dict[str, Any] = {"author": author, "guid": "0123456789abcdef", "text": "#cats", "public": "true"}
        fields["created_at"] = "2026-11-22T08:00:00Z"
        for name in fields:
            self.take(self.alice.seal(entity("status_message", **(fields | {name: told}))))
            self.take(self.alice.seal(entity("status_message", **(fields | {name: SHARP}))))
        for sender in (f"{told}@pod-a.example", f"alice@{told}", told, SHARP, f"alice@pod-a.example{told}"):
            self.take(seal(b"<status_message/>", sender, self.alice.private_key))
        for fault in ({"data_type": told}, {"encoding": SHARP}, {"alg": SHARP}):
            self.take(seal(b"<x/>", author, self.alice.private_key, **fault))
        self.take(self.alice.seal(entity("retraction", author=author, target_guid=told, target_type=told)), MARK.encode(), b"\xff")
        for event in self.relay.events:
            self.log.info("{event}", event=event)
        for name, members in self.relay.announced:
            self.log.info("{name} {members}", name=name, members=members)
        self.log.info("{mark} {marks} {table}", mark=MARK, marks=[MARK], table={MARK: [MARK]})
        held_to(self, self.told, {})

    def test_private_message(self) -> None:
        """What an author writes to the relay is in no event, no row, and no announcement."""
        message = f"{CANARY} for the relay's eyes"
        post = self.alice.post(message, public=False)
        hello = self.alice.contact(HANDLE, private_key(HANDLE).public_key())
        key = private_key(HANDLE).public_key()
        self.take(encrypt(post, key), encrypt(message.encode(), key), hello, message.encode(), private=True)
        self.assertEqual(len(self.relay.tables.contacts), 1)
        self.log.info("{announced} {events}", announced=self.relay.announced, events=self.relay.events)
        held_to(self, self.told, {"the message": CANARY})
        self.assertNotIn(CANARY, repr(self.relay.tables))
        self.assertNotIn(CANARY, repr(self.relay.announced))


TOLD = MARK.replace("\x00", "")
PEOPLE = f"a@{GOOD}"
PREFERENCES = f"https://{GOOD}/.well-known/x-social-relay"
ACCOUNT = webfinger_url(PEOPLE)
CARD = f"https://{GOOD}/hcard"
DOCUMENTS: dict[str, tuple[str, bytes]] = {
    **{
        f"preferences, {name} {field}": (
            PREFERENCES,
            json.dumps({"subscribe": True, "scope": "tags", "tags": ["x"]} | {field: value}).encode(),
        )
        for name, said in (("mark", MARK), ("sharp", SHARP))
        for field, value in {
            "subscribe": said,
            "scope": said,
            "tags": [said, f"#{said}", {said: said}],
            "protocols": {"diaspora": {"receive": f"https://{GOOD}/{said}", said: said}, said: said},
            "version": said,
            said: said,
        }.items()
    },
    "preferences, no JSON": (PREFERENCES, MARK.encode()),
    "preferences, a text": (PREFERENCES, json.dumps(MARK).encode()),
    "webfinger, no JSON": (ACCOUNT, MARK.encode()),
    "webfinger, subject": (ACCOUNT, json.dumps({"subject": MARK, "links": []}).encode()),
    "webfinger, links": (ACCOUNT, json.dumps({"subject": f"acct:{PEOPLE}", "links": [{"rel": MARK, "href": MARK}, MARK, SHARP]}).encode()),
    "webfinger, link": (
        ACCOUNT,
        json.dumps({"subject": f"acct:{PEOPLE}", "links": [{"rel": HCARD, "href": f"https://{GOOD}/{MARK}"}]}).encode(),
    ),
    "webfinger, host": (ACCOUNT, json.dumps({"subject": f"acct:{PEOPLE}", "links": [{"rel": HCARD, "href": f"https://{MARK}/"}]}).encode()),
    "hcard, noise": (CARD, MARK.encode()),
    "hcard, key": (CARD, f'<div class="vcard"><pre class="key">{TOLD}</pre><span class="uid">{TOLD}</span></div>'.encode()),
    "node list, no JSON": (NODES, MARK.encode()),
    "node list, hosts": (NODES, json.dumps([MARK, SHARP, f"{MARK}.example", {"host": MARK}, {MARK: SHARP}]).encode()),
    "node list, object": (NODES, json.dumps({"data": {"nodes": [{"domain": MARK}, {"host": SHARP}]}, MARK: MARK}).encode()),
    "node list, lines": (NODES, f"{MARK}\n{SHARP}\n".encode()),
    "list of rules": (RULES, f"#domain,#severity,#public_comment\n{MARK},{MARK},{SHARP}\nx.example,suspend,{MARK}\n".encode()),
}
"""What hosts say that the relay asks: URL and document; one line for each field."""


class AskedTests(SynchronousTestCase):
    """Documents of strangers, by each way by which the relay reads them."""

    def setUp(self) -> None:
        self.told = Told(self)
        self.log = Logger(namespace="told")

    def ask(self, url: str, answer: Document) -> None:
        """Whatever asks for it, asks for it; what came of that is logged."""
        table = Table()
        table.names[GOOD] = ["1.1.1.1"]
        stage = Stage(self, table)
        self.addCleanup(stage.close)
        stage.fetcher.told[url] = answer
        links = [{"rel": HCARD, "href": CARD}]
        stage.fetcher.told.setdefault(
            ACCOUNT, Document(ACCOUNT, 200, {}, json.dumps({"subject": f"acct:{PEOPLE}", "links": links}).encode())
        )
        lists = Polling(lists=(NodeList("nodes", NODES),))
        directory = NodeDirectory(stage.fetcher, stage.nodes, stage.cache, stage.now, lists, "relay.example", lambda: 0.0, in_thread)
        asked = [stage.poller.poll(GOOD, "operator"), stage.keyring.key(PEOPLE), directory.fetch()]
        asked.append(Deferred.fromCoroutine(stage.rules.read(RULES)).addCallback(lambda body: body.decode(errors="replace")))
        for work in asked:
            work.addCallbacks(
                lambda found: self.log.info("{found}", found=found), lambda failure: self.log.info("{why}", why=str(failure.value))
            )
            stage.run()
        for polls in stage.tables.polls.values():
            for poll in polls:
                self.log.info("{poll}", poll=poll)
        for work in asked:
            work.cancel()

    def test_documents(self) -> None:
        """Whatever field of what they answer holds control characters, the log has them escaped, on one line for each event."""
        for url, document in DOCUMENTS.values():
            self.ask(url, Document(url, 200, {"content-type": MARK}, document))
        for url in (PREFERENCES, ACCOUNT, CARD, NODES, RULES):
            self.ask(url, Document(url, 302, {"location": f"https://{GOOD}/{MARK}"}, b""))
            self.ask(url, Document(url, 302, {"location": MARK}, b""))
            self.ask(url, Document(url, 500, {"content-type": SHARP}, MARK.encode()))
        held_to(self, self.told, {})
        counts.note(fields=len(DOCUMENTS))

    def test_bus(self) -> None:
        """So it is with what publishers send: topics and bodies."""
        store, clock, counted = ScriptedBus(MemoryTables()), Clock(), Counts()
        journal = Journal(store, lambda topic, body: None, clock, lambda: NOW, 10_000, 10, counted)
        self.addCleanup(journal.stop)
        self.successResultOf(Deferred.fromCoroutine(journal.start()))
        intake = Intake(journal, Topics("org.example", "dev"), counted, clock, max_message=2000, probed=lambda body: None)
        said = [MARK.encode(), SHARP.encode(), b"\xff\x1b[2J", json.dumps({"topic": MARK, "msg": {MARK: MARK}, "msg_id": MARK}).encode()]
        for topic in (*said, b"org.example.dev.x"):
            for sent in said:
                intake.legacy((topic, sent))
                intake.take(MARK, topic, sent, INGEST, lambda answer: self.log.info("{answer}", answer=answer))
                clock.advance(100.0)
        held_to(self, self.told, {})


class AssembledTests(TestCase):
    """The whole relay, with all its secrets, asked from every side."""

    timeout = 60

    def setUp(self) -> None:
        self.told = Told(self)
        config = with_secrets()
        tables: dict[str, Any] = {"postgres": config.postgres, "redis": config.redis, "bus": Bus(enabled=True, tokens=config.bus.tokens)}
        self.relay: Assembled = assembled(self, admin=Admin(password=HASH), **tables)
        self.public, self.admin = self.relay.assembly.public.site.resource, self.relay.assembly.admin.site.resource
        self.answers: dict[str, str] = {}
        self.cookie = ""
        [self.control] = [part for _, part in self.relay.assembly.parts if isinstance(part, ControlService)]
        self.control.startService()
        self.addCleanup(lambda: self.control.stopService())

    async def ask(self, name: str, resource: Any, path: str, method: str = "GET", **options: Any) -> Any:
        """What is answered, status line and headers and all, goes into C{answers}, which is returned with what was set as a cookie."""
        treq: Any = StubTreq(resource)
        found: list[Any] = []

        async def asked() -> None:
            response = await treq.request(method, f"http://relay.example{path}", allow_redirects=False, **options)
            found.append((response, await treq.content(response)))

        waiting = asked()
        Deferred.fromCoroutine(waiting)
        while not found:
            await deferLater(reactor, 0.0)
            treq.flush()
        response, body = found[0]
        headers = {key.decode(): value for key, value in response.headers.getAllRawHeaders() if key != b"Set-Cookie"}
        self.answers[f"{len(self.answers)} {name} {method} {path}"] = f"{response.code} {headers} {body.decode()}"
        return response

    async def act(self, name: str, method: str, body: bytes | None = None) -> Any:
        """Ask the control socket."""
        agent = Agent.usingEndpointFactory(reactor, ToSocket(self.control.path))
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        response = await agent.request(method.encode(), b"http://localhost/v1/" + name.encode(), Headers({}), producer)
        answer = (await readBody(response)).decode()
        if name != "login":
            self.answers[f"{len(self.answers)} control {method} {name}"] = answer
        return json.loads(answer)

    async def log_in(self) -> dict[str, str]:
        """By the password, and make a link; the secrets that came of it."""
        for given in (f"{CANARY}-guess", PASSWORD):
            response = await self.ask("admin", self.admin, "/admin/login", "POST", data={"password": given})
        [cookie] = response.headers.getRawHeaders("Set-Cookie")
        self.cookie = cookie.partition(";")[0]
        link = (await self.act("login", "POST", b"{}"))["path"].partition("code=")[2]
        return {"the session": self.cookie.partition("=")[2], "the link": link, "the guess": f"{CANARY}-guess"}

    async def test_nothing(self) -> None:
        """Nothing that anybody can ask for holds a secret, and no log line does, after all of it was used, rightly and wrongly."""
        secrets = {"a canary": CANARY, "the password": PASSWORD, "its hash": HASH, **of_key(), **(await self.log_in())}
        public = ["/", "/charts", "/stats.json", "/tags", "/nodes", "/privacy", "/health/live", "/health/ready", "/actor", "/nowhere"]
        public += ["/.well-known/x-social-relay", "/.well-known/nodeinfo", "/nodeinfo/2.0", "/.well-known/host-meta", "/robots.txt"]
        public += ["/.well-known/webfinger?resource=acct:relay@relay.example", f"/check?host={quote(MARK)}", f"/{quote(MARK)}"]
        for path in public:
            await self.ask("public", self.public, path)
        for sent in (MARK.encode(), b"xml=" + quote(SHARP).encode(), b"<" * 100, b"{"):
            for path in ("/receive/public", f"/receive/users/{'f00d' * 8}"):
                await self.ask("public", self.public, path, "POST", data=sent)
        cookie = {"Cookie": self.cookie}
        own = ["/admin/", "/admin/nodes", "/admin/queue", "/admin/rejected", "/admin/rules", "/admin/rules/export", "/admin/bus"]
        own += [
            "/admin/events",
            "/metrics",
            "/health/ready",
            f"/admin/nodes/{quote(MARK)}",
            f"/admin/nodes?text={quote(SHARP)}",
            "/nowhere",
        ]
        for path in own:
            await self.ask("admin", self.admin, path, headers=cookie)
            await self.ask("stranger", self.admin, path, headers={"Cookie": f"session={quote(MARK)}"})
        await self.ask("admin", self.admin, f"/admin/login?code={CANARY}-code")
        await self.ask("admin", self.admin, "/admin/login", "POST", data={"code": f"{CANARY}-code"})
        for token in (f"{CANARY}-token-0123456789", f"{CANARY}-wrong", quote(MARK)):
            bearer = {"Authorization": f"Bearer {token}"}
            await self.ask("bus", self.admin, "/bus/v1/messages", headers=bearer)
            for topic in (MARK, SHARP, "com.example.dev.x"):
                body = json.dumps({"topic": topic, "msg": {"a": 1}, "msg_id": topic}).encode()
                await self.ask("bus", self.admin, "/bus/v1/messages", "POST", headers=bearer, data=body)
        for view in ("status", "identity", "nodes", "queue", "rejected", "rules", "bus", "health", f"node?host={quote(MARK)}", quote(MARK)):
            await self.act(view, "GET")
        for act in ("block", "subscribe", "refresh", "erase", "wake", "limit", "post"):
            for said in ({"host": MARK}, {"subject": MARK, "reason": MARK}, {"what": MARK}, {MARK: SHARP}):
                await self.act(act, "POST", json.dumps(said).encode())
        await self.relay.reload(
            postgres=Postgres(f"{CANARY}-new"), redis=Redis(f"redis://:{CANARY}-new@h"), admin=Admin(f"$argon2id${CANARY}")
        )
        held_to(self, self.told, secrets)
        self.assertGreater(len(self.answers), 80)
        counts.note(answers=len(self.answers))
        for asked, answer in self.answers.items():
            for name, secret in secrets.items():
                if not (secret == CANARY and "code=" in asked):
                    self.assertNotIn(secret, answer, f"{name}: {asked}")
            self.assertNotIn("\x1b", answer, asked)
            if "text/html" in answer:
                self.assertNotIn("<m4rk>", answer, asked)
        for path in ("/admin/ ", "/admin/nodes ", "/admin/rules ", "/admin/bus ", "/admin/events "):
            [code] = [answer[:3] for asked, answer in self.answers.items() if f" admin GET {path}" in f"{asked} "]
            self.assertEqual(code, "200", path)

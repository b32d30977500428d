"""
Addresses that strangers would have the relay connect to, through every way by which they can name one.

The real resolver, fetcher and transport do the work.  Names are looked up in a table, and where nothing is written there they lead to
127.0.0.1, as the system would have it for C{127.1} and its like.  Instead of connecting it is written down where to: for treq by a reactor
in memory, for libcurl in its open-socket hook.  Each way also reaches a public address, so none of it holds because nothing is reached.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pycurl
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionAborted
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document
from socialrelay.config import Discovery, Moderation, NodeList, Polling
from socialrelay.delivery import transport as transport_module
from socialrelay.delivery.transport import CurlTransport
from socialrelay.diaspora.discovery import webfinger_url
from socialrelay.diaspora.envelope import open_envelope
from socialrelay.diaspora.preferences import read_preferences
from socialrelay.discovery.keyring import DiscoveringKeyring
from socialrelay.discovery.lookup import KeyLookup
from socialrelay.federation import DeliveryRequest, Refused
from socialrelay.moderation.lists import RuleLists
from socialrelay.network.addresses import Target
from socialrelay.network.fetch import TreqFetcher
from socialrelay.network.resolver import FRESH, Answer, Endpoints, Resolution, Resolver, SystemLookup
from socialrelay.nodes.directory import NodeDirectory
from socialrelay.nodes.poller import NodePoller
from socialrelay.operators.overview import NodeCheck
from socialrelay.scheduler.outcome import NoAnswer, Reply, Trouble
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.web.check import typed_host
from tests.forging import with_signature
from tests.fuzzing import counts
from tests.test_addresses import words
from tests.test_poller import Members
from tests.tlsnode import trust

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUBLIC = "1.1.1.1"
GOOD = "pod.example"

HOSTS = [
    *words("""
        127.0.0.1 127.1 127.0.1 0x7f.1 0x7f.0x0.0x0.0x1 0x7f000001 0X7F000001 017700000001 0177.0.0.1 2130706433 0 0.0.0.0 127.0.0.1.
        127.255.255.254 localhost LOCALHOST localhost. foo.localhost foo.LocalHost. localhost.localdomain.localhost
        ①②⑦.⓪.⓪.① 127。0。0。1 ⓛocalhost ｌｏｃａｌｈｏｓｔ １２７.0.0.1
        [::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1]
        [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:0:0::1] [fc00::1] [fd00:ec2::254] [fe80::1] [fe80::1%25eth0] [fec0::1] [ff02::1]
        [2001:db8::1] [2606:4700::1111] ::1 169.254.169.254 169.254.43518 0xa9fea9fe 2852039166 [::ffff:169.254.169.254] metadata
        100.64.0.1 100.100.100.200 198.18.0.1 224.0.0.1 255.255.255.255 10.0.0.1 10.1 172.16.0.1 192.168.0.1 192.168.1 1.1.1.1 8.8.8.8
        good.example:80@127.0.0.1 127.0.0.1#@good.example 127.0.0.1?@good.example 127.0.0.1/@good.example user:pass@127.0.0.1
        127.0.0.1\\@good.example good.example\\@127.0.0.1 good.example:5432 good.example:22 good.example:80 good.example:0
        good.example:99999 .pod.example pod..example pod.example.. -pod.example pod-.example pod_x.example pod pod.1 pod.0x7f
        good.example%00.evil.example good.example%2f127.0.0.1 good.example;127.0.0.1 good.example,127.0.0.1
    """),
    "127.0.0.1\t",
    "pod.example\r\nHost: x",
    "pod.example 127.0.0.1",
    "a." * 126 + "ab",
    "a" * 64 + ".example",
    "",
    ".",
]
"""What is no name of a public host, however it is spelled."""

ADDRESSES = words("""
    127.0.0.1 127.8.8.8 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 169.254.0.1 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1 198.18.0.1
    198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1
    100::1 2001::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2620:4f:8000::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1
    fe80::1%eth0 fec0::1 ff02::1 ff0e::1
""")
"""Where a name may not lead, alone or among others."""

URLS = words("""
    http://good.example/ HTTP://good.example/ //good.example/x file:///etc/passwd file://good.example/etc/passwd gopher://good.example/
    ftp://good.example/ dict://good.example:11211/ ldap://good.example/ smb://good.example/ data:text/html,x javascript:x about:blank
    https:good.example https:/good.example https:\\\\good.example https://good.example#x@127.0.0.1 https://user@good.example/
    https://user:pass@good.example/ https://good.example:5432/ https://good.example:80/ https:///x https://?x https://good.example:x/
    https://[::1/ https://[good.example]/ unix:/run/socialrelay/control.sock https+unix://good.example/ jar:https://good.example/!/x
""")
"""Where a host is public, and the rest is not what is asked."""


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(function, *args)


class Table(SystemLookup):
    """
    C{getaddrinfo} as a table, asked at once.

    @ivar names: name -> its addresses, for one look-up after the other; the last stays.
    @ivar asked: which names were looked up.
    """

    def __init__(self, **names: list[str]) -> None:
        super().__init__(MemoryReactorClock(), threads=1, suspect_threads=1, getaddrinfo=self._found)
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    def look_up(self, host: str, proven: bool, done: Callable[[Answer], None]) -> None:
        """See L{Lookup.look_up}."""
        done(self._ask(host))

    def _found(self, host: str, port: int, **hints: int) -> list[Any]:
        self.asked.append(host)
        answers = self.names.get(host, ["127.0.0.1"])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in addresses.split()]


class Lying(Resolver):
    """Gives addresses that it has not vetted."""

    def __init__(self, reactor: Any, *addresses: str) -> None:
        super().__init__(reactor, Table())
        self._lie = Endpoints(tuple(ip_address(address) for address in addresses), 443)

    def at_hand(self, host: str, port: int) -> Resolution:
        return self._lie


class Told(TreqFetcher):
    """
    A fetcher that knows the answers of some hosts, and asks all others.

    @ivar told: URL -> its answer.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.told: dict[str, Document] = {}
        self.asked: list[str] = []

    async def _ask(self, method: str, target: Target, *rest: Any) -> Document:
        self.asked.append(target.url)
        if target.url in self.told:
            return self.told[target.url]
        return await super()._ask(method, target, *rest)


OPEN = transport_module._Handle._open


class Stage:
    """
    All that connects, and where to.

    @ivar connected: addresses and ports: treq's, then libcurl's.
    """

    def __init__(self, case: SynchronousTestCase, table: Table, resolver: Callable[[Any], Resolver] | None = None) -> None:
        self.case, self.table = case, table
        self.reactor: Any = MemoryReactorClock()
        self.resolver = resolver(self.reactor) if resolver else Resolver(self.reactor, table)
        self.fetcher = Told(self.reactor, self.resolver, trust(), user_agent="socialrelay/test", ports=(443, 8443))
        self.transport = CurlTransport(self.reactor, self.resolver, trust(), user_agent="socialrelay/test")
        self.replies: list[Reply] = []
        self._strangers = 0
        self._curl: list[tuple[str, int]] = []

        def instead(handle: Any, purpose: int, address: Any) -> Any:
            where = OPEN(handle, purpose, address)
            if where == pycurl.SOCKET_BAD:
                return where
            where.close()
            self._curl.append((address[3][0] if isinstance(address[3][0], str) else address[3][0].decode(), address[3][1]))
            return pycurl.SOCKET_BAD

        case.patch(transport_module._Handle, "_open", instead)
        self.tables = MemoryTables()
        storage, self.cache = memory_storage(self.tables), MemoryCache(self.reactor)
        self.keyring = DiscoveringKeyring(
            KeyLookup(self.fetcher, 32, in_thread), storage.profiles, self.cache, self.reactor, self.now, Discovery(), lambda host: False
        )
        self.poller = NodePoller(
            self.fetcher, storage.nodes, Members(), self.cache, self.reactor, self.now, Polling(), lambda: 0.0, lambda host: None, in_thread
        )
        self.nodes = storage.nodes
        importer: Any = None
        self.rules = RuleLists(Moderation(), self.fetcher, storage.rules, importer, self.now, in_thread)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.reactor.seconds())

    @property
    def connected(self) -> list[tuple[str, int]]:
        return [client[:2] for client in self.reactor.tcpClients] + self._curl

    def run(self, work: Deferred[Any] | None = None, seconds: float = 0.1) -> None:
        """Let something happen, whatever comes of it."""
        if work is not None:
            work.addBoth(lambda result: None)
        for _ in range(5):
            self.reactor.advance(seconds / 5)

    def deliver(self, url: str) -> None:
        """Send a post there."""
        sending = self.transport.send(DeliveryRequest(url, ("Content-Type: x",), b"x"), 5.0)
        sending.addCallback(self.replies.append)
        self.run(sending)

    def stranger(self) -> str:
        """Another host that answers, and sends the relay elsewhere."""
        self._strangers += 1
        return f"stranger-{self._strangers}.example"

    def close(self) -> None:
        """End everything."""
        self.run(seconds=20.0)
        self.fetcher.close()
        self.transport.close()
        self.table.close()


# By which a stranger names a host


def node_list(stage: Stage, host: str) -> None:
    """A list names it, and the node is polled."""
    url = f"https://{stage.stranger()}/pods.json"
    stage.fetcher.told[url] = Document(url, 200, {}, json.dumps([host]).encode())
    config = Polling(lists=(NodeList(url, url),))
    directory = NodeDirectory(stage.fetcher, stage.nodes, stage.cache, stage.now, config, "relay.example", lambda: 0.0, in_thread)
    stage.run(directory.fetch())
    stage.run(Deferred.fromCoroutine(stage.poller.round()))


def handle(stage: Stage, host: str) -> None:
    """An envelope is by somebody there."""
    try:
        sealed = open_envelope(with_signature(b"<x/>", f"{stage.stranger()}@{host}", bytes(128)))
    except Refused:
        return
    stage.run(stage.keyring.key(sealed.sender))


def check(stage: Stage, host: str) -> None:
    """Somebody has it checked."""
    queue: Any = None
    stage.run(NodeCheck(poller=stage.poller, membership=Members(), queue=queue).check(typed_host(host)))


# By which a stranger names a URL


def webfinger_link(stage: Stage, url: str) -> None:
    """The document about an author leads there."""
    author = f"a@{stage.stranger()}"
    links = [{"rel": "http://microformats.org/profile/hcard", "href": url}]
    body = json.dumps({"subject": f"acct:{author}", "links": links}).encode()
    stage.fetcher.told[webfinger_url(author)] = Document(webfinger_url(author), 200, {}, body)
    stage.run(stage.keyring.key(author))


def redirect(stage: Stage, url: str, status: int = 302) -> None:
    """A host that is asked says that it is found there."""
    asked = f"https://{stage.stranger()}/"
    stage.fetcher.told[asked] = Document(asked, status, {"location": url}, b"")
    stage.run(stage.fetcher.get(asked, accept="*/*", max_body=1000))


def receive_url(stage: Stage, url: str) -> None:
    """A node's preferences ask for posts there."""
    host = GOOD if url.startswith(f"https://{GOOD}/") else stage.stranger()
    document = {"subscribe": True, "scope": "all", "protocols": {"diaspora": {"receive": url}}}
    stage.deliver(read_preferences(json.dumps(document).encode(), host, max_tags=10).preferences.receive_url)


def delivery(stage: Stage, url: str) -> None:
    """A subscription says so, whoever has written it."""
    stage.deliver(url)


def rule_list(stage: Stage, url: str) -> None:
    """It is said to hold a list of rules."""
    stage.run(Deferred.fromCoroutine(stage.rules.read(url)))


Way = Callable[[Stage, str], None]
OF_HOSTS: dict[str, Way] = {"node list": node_list, "handle": handle, "check": check}
OF_URLS: dict[str, Way] = {
    "webfinger link": webfinger_link,
    "redirect": redirect,
    "receive URL": receive_url,
    "delivery": delivery,
    "list of rules": rule_list,
}


def at(way: Way) -> Way:
    """A way by which hosts are named in URLs."""
    return lambda stage, host: way(stage, f"https://{host}/x")


WAYS: dict[str, Way] = OF_HOSTS | {name: at(way) for name, way in OF_URLS.items()}
OTHER_HOST = WAYS["receive URL"]
"""Leads to no host but the one whose preferences they are."""


RELATIVE = {
    ("redirect", "//good.example/x"),
    ("redirect", "https://good.example#x@127.0.0.1"),
    ("webfinger link", "https://good.example#x@127.0.0.1"),
}
"""What leads to a public host by that way, as it should."""

PASTED = {"check": ("127.0.0.1\\@good.example",)}
"""What a way takes a public name out of, because people write it so."""


class StageCase(SynchronousTestCase):
    """
    @ivar tries: to have the relay connect to what it should not.
    """

    tries = 0

    def tearDown(self) -> None:
        counts.note(tries=self.tries)

    def led(self, stage: Stage, *what: str, to: tuple[tuple[str, int], ...] = ()) -> None:
        """This try led nowhere else."""
        self.tries += 1
        self.assertEqual((*what, *stage.connected), (*what, *to))

    def stage(self, table: Table | None = None, resolver: Callable[[Any], Resolver] | None = None) -> Stage:
        table = table or Table()
        table.names.update({GOOD: [PUBLIC], "good.example": [PUBLIC]})
        stage = Stage(self, table, resolver)
        self.addCleanup(stage.close)
        return stage


class MatrixTests(StageCase):
    """No way leads to an address that is not public."""

    def test_spellings(self) -> None:
        """What is not the name of a public host is not connected to, by whatever way it comes; what is, is."""
        self.assertGreaterEqual(len(set(HOSTS)), 90)
        for name, way in WAYS.items():
            stage = self.stage()
            for host in HOSTS:
                if host in PASTED.get(name, ()):
                    continue
                way(stage, host)
                self.led(stage, name, host)
                stage.run(seconds=2.0)
            way(stage, GOOD)
            self.assertEqual((name, stage.connected), (name, [(PUBLIC, 443)]))

    def test_names(self) -> None:
        """A name that leads to an address that is not public is not connected to, whatever else it leads to."""
        for name, way in WAYS.items():
            stage = self.stage()
            for number, address in enumerate(ADDRESSES):
                for among in (address, f"{PUBLIC} {address}", f"{address} {PUBLIC}", f"{PUBLIC} " * 50 + address):
                    host = f"n{number}-{len(stage.table.names)}.example"
                    stage.table.names[host] = [among]
                    way(stage, host)
                    self.led(stage, name, among)
                    self.assertTrue(host in stage.table.asked or way is OTHER_HOST, (name, host))
                    stage.run(seconds=2.0)
            way(stage, GOOD)
            self.assertEqual((name, stage.connected), (name, [(PUBLIC, 443)]))

    def test_rebinding(self) -> None:
        """A name that turns from a public address to another is connected to no more, and what was vetted is not looked up again."""
        for name, way in WAYS.items():
            for then in ("127.0.0.1", "169.254.169.254", f"{PUBLIC} 10.0.0.1", "::1"):
                stage = self.stage()
                stage.table.names[GOOD] = [PUBLIC, then]
                way(stage, GOOD)
                self.assertEqual((name, stage.connected, stage.table.asked), (name, [(PUBLIC, 443)], [GOOD]))
                for _ in range(3):
                    stage.run(seconds=FRESH + 1)
                    way(stage, GOOD)
                    stage.run(stage.poller.poll(GOOD, "operator")) if way is node_list else None
                    self.led(stage, name, then, to=((PUBLIC, 443),))
                self.assertGreaterEqual(len(stage.table.asked), 2)

    def test_urls(self) -> None:
        """What is no https URL of a host alone, at a port that is allowed, is not asked."""
        for name, way in OF_URLS.items():
            stage = self.stage()
            for url in URLS:
                if (name, url) in RELATIVE:
                    continue
                way(stage, url)
                self.led(stage, name, url)
                stage.run(seconds=2.0)
            way(stage, f"https://{GOOD}/x")
            self.assertEqual((name, stage.connected), (name, [(PUBLIC, 443)]))

    def test_redirects(self) -> None:
        """Each step is vetted, whatever its status; there are three of them at most, and none in a circle."""
        for status in (301, 302, 303, 307, 308):
            stage = self.stage()
            for url in ("https://169.254.169.254/", "https://localhost/", "https://secret.example/", "http://good.example/"):
                redirect(stage, url, status)
                self.led(stage, str(status), url)
            redirect(stage, f"https://{GOOD}/", status)
            self.assertEqual(stage.connected, [(PUBLIC, 443)])
        stage = self.stage()
        steps = [f"https://step-{number}.example/" for number in range(22)]
        for step, then in zip(steps, [*steps[1:], steps[0]], strict=True):
            stage.fetcher.told[step] = Document(step, 307, {"location": then}, b"")
        stage.run(stage.fetcher.get(steps[0], accept="*/*", max_body=1000))
        self.assertEqual(stage.fetcher.asked, steps[:4])
        stage.fetcher.told[steps[0]] = Document(steps[0], 307, {"location": steps[0]}, b"")
        stage.run(stage.fetcher.get(steps[0], accept="*/*", max_body=1000))
        self.assertEqual((stage.fetcher.asked[4:], stage.connected), (steps[:1], []))


class Elsewhere(StringTransport):
    """A connection that leads somewhere else."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is all the same."""


class SecondLockTests(StageCase):
    """What the resolver would let through by mistake."""

    def test_second_lock(self) -> None:
        """Who connects vets the address once more, alone or after one that is public and does not answer."""
        for name, way in WAYS.items():
            for address in ADDRESSES:
                stage = self.stage(resolver=lambda reactor, address=address: Lying(reactor, address))
                way(stage, GOOD)
                self.led(stage, name, address)
                stage = self.stage(resolver=lambda reactor, address=address: Lying(reactor, PUBLIC, address))
                way(stage, GOOD)
                for client, connector in zip(stage.reactor.tcpClients, stage.reactor.connectors, strict=True):
                    client[2].clientConnectionFailed(connector, Failure(ConnectError()))
                stage.run()
                self.tries += 1
                self.assertEqual((name, address, set(stage.connected) - {(PUBLIC, 443)}), (name, address, set()))

    def test_told(self) -> None:
        """A delivery that ends so says why."""
        stage = self.stage(resolver=lambda reactor: Lying(reactor, "10.0.0.1"))
        delivery(stage, f"https://{GOOD}/x")
        self.assertEqual(stage.replies, [NoAnswer(Trouble.ADDRESS, "10.0.0.1 is not a public address")])

    def test_other_end(self) -> None:
        """A connection whose other end is not at the address that was wanted is broken off before anything is asked."""
        stage = self.stage()
        got = stage.fetcher.get(f"https://{GOOD}/x", accept="*/*", max_body=1000)
        protocol = stage.reactor.tcpClients[0][2].buildProtocol(None)
        transport = Elsewhere(peerAddress=IPv4Address("TCP", "127.0.0.1", 443))
        protocol.makeConnection(transport)
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(str(self.failureResultOf(got).value), "it was reached at an address that is not allowed")

"""Tests for L{socialrelay.network.resolver}."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.network.addresses import networks
from socialrelay.network.overrides import Overrides
from socialrelay.network.resolver import (
    DOUBT_AFTER,
    FRESH,
    HURRY,
    NEGATIVE,
    RENEWED,
    STALE,
    AddressRefused,
    Answer,
    Endpoints,
    Found,
    NameNotResolved,
    NotFound,
    Resolution,
    Resolver,
    SystemLookup,
)

NO_SUCH_NAME = NotFound("name does not resolve", final=True)
NO_ANSWER = NotFound("DNS gives no answer", final=False)


def found(*addresses: str) -> Found:
    """An answer of DNS."""
    return Found(tuple(ip_address(address) for address in addresses))


def endpoints(*addresses: str, port: int = 443) -> Endpoints:
    """What comes of it."""
    return Endpoints(found(*addresses).addresses, port)


class HeldLookup:
    """A look-up that answers when the test says so; C{asked} are (host, proven)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self._waiting: list[Callable[[Answer], None]] = []

    def look_up(self, host: str, proven: bool, done: Callable[[Answer], None]) -> None:
        """Hold it."""
        self.asked.append((host, proven))
        self._waiting.append(done)

    def answer(self, answer: Answer) -> None:
        """Answer the oldest one."""
        self._waiting.pop(0)(answer)


class ResolverTests(SynchronousTestCase):
    """The cache and its rules."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lookup = HeldLookup()
        self.resolver = Resolver(self.clock, self.lookup)

    def ask(self, host: str = "pod.example", port: int = 443) -> Deferred[Resolution]:
        """Ask the resolver."""
        return self.resolver.resolve(host, port)

    def learn(self, answer: Answer, host: str = "pod.example") -> Resolution:
        """Ask, let DNS answer, and return what the resolver makes of it."""
        asking = self.ask(host)
        self.lookup.answer(answer)
        resolution: Resolution = self.successResultOf(asking)
        return resolution

    def test_resolves(self) -> None:
        """A name becomes its addresses, and is not looked up again while the answer is fresh."""
        self.assertEqual(self.learn(found("1.1.1.1")), endpoints("1.1.1.1"))
        self.clock.advance(FRESH * RENEWED - 1)
        self.assertEqual(self.successResultOf(self.ask(port=8443)), endpoints("1.1.1.1", port=8443))
        self.assertEqual(len(self.lookup.asked), 1)
        self.clock.advance(FRESH)
        self.assertEqual(self.learn(found("1.0.0.1")), endpoints("1.0.0.1"))

    def test_joined(self) -> None:
        """All who ask for a name meanwhile share one look-up."""
        asking = [self.ask() for _ in range(3)]
        self.lookup.answer(found("1.1.1.1"))
        self.assertEqual([self.successResultOf(each) for each in asking], [endpoints("1.1.1.1")] * 3)
        self.assertEqual((self.lookup.asked, self.clock.getDelayedCalls()), ([("pod.example", False)], []))

    def test_at_most_four(self) -> None:
        """Of many addresses the first two of each family are taken."""
        answer = self.learn(found("2a00::1", "1.1.1.1", "2a00::2", "2a00::3", "1.1.1.2", "1.1.1.3"))
        self.assertEqual(answer, endpoints("2a00::1", "1.1.1.1", "2a00::2", "1.1.1.2"))

    def test_one_bad_address(self) -> None:
        """One address that is not allowed refuses the name, wherever it stands."""
        for answer in (found("127.0.0.1"), found(*["1.1.1.1"] * 50, "10.0.0.1"), found("1.1.1.1", "::1"), found("64:ff9b::7f00:1")):
            self.resolver = Resolver(self.clock, self.lookup)
            with self.subTest(answer):
                self.assertIsInstance(self.learn(answer), AddressRefused)

    def test_rebinding(self) -> None:
        """A name that turns from a public to a private address is refused from then on, old addresses included."""
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH + 1)
        self.assertIsInstance(self.learn(found("169.254.169.254")), AddressRefused)
        self.clock.advance(61)
        self.assertIsInstance(self.learn(NO_ANSWER), NameNotResolved)

    def test_not_looked_up(self) -> None:
        """Addresses, local names and other spellings of them are never looked up."""
        for host in (
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "localhost",
            "foo.localhost",
            "::1",
            "[::1]",
            "①②⑦.⓪.⓪.①",
            "8.8.8.8",
            "pod",
        ):
            with self.subTest(host):
                self.assertIsInstance(self.successResultOf(self.ask(host)), NameNotResolved)
        self.assertEqual(self.lookup.asked, [])

    def test_negative(self) -> None:
        """A name that does not exist is asked for again after a minute, then after two, four and so on, at least every hour."""
        waits = []
        for _ in range(9):
            self.assertEqual(self.learn(NO_SUCH_NAME), NameNotResolved("name does not resolve"))
            before = self.clock.seconds()
            while self.resolver.at_hand("pod.example", 443) is not None:
                self.clock.advance(20)
            waits.append(self.clock.seconds() - before)
        self.assertEqual(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])

    def test_deadline(self) -> None:
        """Who waits for five seconds gets an error; the late answer still fills the cache."""
        asking = self.ask()
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(asking), NameNotResolved("DNS does not answer in time"))
        self.assertEqual(self.successResultOf(self.ask()), NameNotResolved("DNS does not answer in time"))
        self.lookup.answer(found("1.1.1.1"))
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
        self.assertEqual(len(self.lookup.asked), 1)

    def test_stale(self) -> None:
        """While DNS does not answer, addresses of the last day are served; then no more."""
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH + 1)
        asking = self.ask()
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(asking), endpoints("1.1.1.1"))
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
        self.lookup.answer(NO_ANSWER)
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
        self.clock.advance(STALE)
        self.assertEqual(self.learn(NO_ANSWER), NameNotResolved("DNS gives no answer"))

    def test_renewed(self) -> None:
        """A name that is in use is looked up again, once, before its answer is too old, and nobody waits for that."""
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH * RENEWED)
        self.assertEqual([self.successResultOf(self.ask()) for _ in range(3)], [endpoints("1.1.1.1")] * 3)
        self.assertEqual(len(self.lookup.asked), 2)
        self.clock.advance(FRESH)
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
        self.lookup.answer(found("1.0.0.1"))
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.0.0.1"))
        self.assertEqual(len(self.lookup.asked), 2)

    def test_renewed_in_vain(self) -> None:
        """While DNS does not answer a name is looked up now and then, and nobody waits; one that has no address is left alone meanwhile."""
        self.learn(found("1.1.1.1"))
        self.learn(NO_SUCH_NAME, "none.example")
        self.clock.advance(FRESH * RENEWED)
        for asked in range(3, 6):
            self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
            self.assertEqual(len(self.lookup.asked), asked)
            self.lookup.answer(NO_ANSWER)
            self.clock.advance(NEGATIVE * 2 ** (asked - 3) * RENEWED)
        self.learn(NO_SUCH_NAME, "none.example")
        asked = len(self.lookup.asked)
        self.clock.advance(NEGATIVE * 2 - 1)
        self.assertEqual(self.successResultOf(self.ask("none.example")), NameNotResolved("name does not resolve"))
        self.assertEqual(len(self.lookup.asked), asked)

    def test_hurry(self) -> None:
        """Who has an older answer to go by waits a second for DNS, and not five."""
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH + 1)
        asking = self.ask()
        self.clock.advance(HURRY / 2)
        self.assertNoResult(asking)
        self.clock.advance(HURRY / 2)
        self.assertEqual(self.successResultOf(asking), endpoints("1.1.1.1"))

    def test_renewals_bounded(self) -> None:
        """Nothing is looked up in advance when as many names are being looked up as may be."""
        self.resolver = Resolver(self.clock, self.lookup, max_names=2)
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH * RENEWED)
        for number in range(2):
            self.ask(f"new-{number}.example")
        self.assertEqual(self.successResultOf(self.ask()), endpoints("1.1.1.1"))
        self.assertEqual(len(self.lookup.asked), 3)
        self.clock.advance(5)

    def test_gone(self) -> None:
        """When DNS says that the name is no more, old addresses are not served."""
        self.learn(found("1.1.1.1"))
        self.clock.advance(FRESH + 1)
        self.assertEqual(self.learn(NO_SUCH_NAME), NameNotResolved("name does not resolve"))

    def test_proven(self) -> None:
        """A name that resolved, now or in an earlier run, does not queue behind those that are new or failed."""
        self.resolver.trust(["old.example"])
        self.learn(found("1.1.1.1"), "old.example")
        self.learn(found("1.1.1.1"), "new.example")
        self.clock.advance(FRESH + 1)
        self.learn(NO_ANSWER, "new.example")
        self.clock.advance(61)
        self.learn(found("1.1.1.1"), "new.example")
        self.assertEqual([proven for _, proven in self.lookup.asked], [True, False, True, False])

    def test_doubt(self) -> None:
        """After a failed connection a name is looked up again, but not within a minute of the last time."""
        self.learn(found("1.1.1.1"))
        self.resolver.doubt("pod.example")
        self.assertIsNotNone(self.resolver.at_hand("pod.example", 443))
        self.clock.advance(DOUBT_AFTER + 1)
        self.resolver.doubt("pod.example")
        self.assertIsNone(self.resolver.at_hand("pod.example", 443))

    def test_cancel(self) -> None:
        """Who gives up waiting leaves the others waiting."""
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.lookup.answer(found("1.1.1.1"))
        self.assertEqual(self.successResultOf(second), endpoints("1.1.1.1"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """Names in memory and look-ups under way are bounded; the least recently used go first."""
        self.resolver = Resolver(self.clock, self.lookup, max_names=3)
        for number in range(5):
            self.learn(found("1.1.1.1"), f"{number}.example")
            self.ask("0.example") if number < 3 else None
        self.assertEqual(len(self.resolver._names), 3)
        self.assertIsNotNone(self.resolver.at_hand("0.example", 443))
        waiting = [self.ask(f"new-{number}.example") for number in range(3)]
        self.assertIsInstance(self.successResultOf(self.ask("new-4.example")), NameNotResolved)
        for asking in waiting:
            asking.cancel()
            self.failureResultOf(asking, CancelledError)

    def test_overrides(self) -> None:
        """C{connect_to} wins over DNS, and its addresses must be allowed too."""
        overrides = Overrides({"pod.example:443": "127.0.0.1:8443"})
        answers = [
            Resolver(self.clock, self.lookup, overrides=overrides, allow=networks(allow)).at_hand("pod.example", 443)
            for allow in (["127.0.0.0/8"], [])
        ]
        self.assertEqual(answers[0], Endpoints((ip_address("127.0.0.1"),), 8443, overridden=True))
        self.assertIsInstance(answers[1], AddressRefused)


class SystemLookupTests(TestCase):
    """C{getaddrinfo} in threads."""

    def lookup(self, getaddrinfo: Callable[..., Any], suspect_threads: int = 2) -> SystemLookup:
        """One that is closed after the test."""
        lookup = SystemLookup(reactor, threads=1, suspect_threads=suspect_threads, getaddrinfo=getaddrinfo)  # type: ignore[arg-type]
        self.addCleanup(lookup.close)
        return lookup

    def ask(self, lookup: SystemLookup, host: str, proven: bool = False) -> Deferred[Answer]:
        """Ask it."""
        answered: Deferred[Answer] = Deferred()
        lookup.look_up(host, proven, answered.callback)
        return answered

    async def test_found(self) -> None:
        """The addresses come once each, in order."""

        def getaddrinfo(host: str, port: int, **hints: int) -> list[Any]:
            return [(2, 1, 6, "", (address, port)) for address in ("1.1.1.1", "1.1.1.1", "2a00::1")]

        self.assertEqual(await self.ask(self.lookup(getaddrinfo), "pod.example"), found("1.1.1.1", "2a00::1"))

    async def test_errors(self) -> None:
        """That there is no such name is told from DNS not answering, and nothing escapes."""
        errors: dict[str, Exception] = {
            "none.example": socket.gaierror(socket.EAI_NONAME, "x"),
            "again.example": socket.gaierror(socket.EAI_AGAIN, "x"),
            "odd.example": UnicodeError("label"),
        }

        def getaddrinfo(host: str, port: int, **hints: int) -> list[Any]:
            raise errors[host]

        lookup = self.lookup(getaddrinfo)
        answers = [await self.ask(lookup, host) for host in errors]
        self.assertEqual([answer.final for answer in answers if isinstance(answer, NotFound)], [True, False, True])

    async def test_threads(self) -> None:
        """Hundreds of names that hang hold only the threads of suspects, and no more of them than there are."""
        hanging = threading.Event()
        self.addCleanup(hanging.set)
        lock, running = threading.Lock(), []

        def getaddrinfo(host: str, port: int, **hints: int) -> list[Any]:
            if host.startswith("hangs"):
                with lock:
                    running.append(host)
                hanging.wait(30)
            return [(2, 1, 6, "", ("1.1.1.1", port))]

        lookup = self.lookup(getaddrinfo)
        suspects = [self.ask(lookup, f"hangs{number}.example") for number in range(300)]
        self.assertEqual(await self.ask(lookup, "pod.example", proven=True), found("1.1.1.1"))
        self.assertTrue(len(running) <= 2)
        hanging.set()
        for suspect in suspects:
            await suspect

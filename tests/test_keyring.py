"""Authors' keys: from memory, from storage, from the author's node."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document, FetchFailed, HeldKey, KeyUnavailable
from socialrelay.config import Discovery
from socialrelay.diaspora.discovery import webfinger_url
from socialrelay.diaspora.keys import pem_of
from socialrelay.discovery.keyring import LOOKUP_BURST, DiscoveringKeyring
from socialrelay.discovery.lookup import KeyLookup
from socialrelay.discovery.provided import ProvidedKeysError, read_author_keys
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.memory_cache import MemoryCache
from tests.fetching import MemoryWeb

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW = (generate_private_key(65537, 1024).public_key() for _ in range(2))
ALICE = "alice@pod.example"
HCARD = "https://cards.example/alice"


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(function, *args)


def jrd(handle: str, hcard: str = HCARD) -> bytes:
    """A webfinger document."""
    link = {"rel": "http://microformats.org/profile/hcard", "href": hcard}
    return json.dumps({"subject": f"acct:{handle}", "links": [link]}).encode()


def hcard(key: RSAPublicKey) -> bytes:
    """A page that shows a key."""
    return f'<html><body><pre class="key">{pem_of(key)}</pre></body></html>'.encode()


class KeyringCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.web = MemoryWeb()
        self.tables = MemoryTables()
        self.profiles = memory_storage(self.tables).profiles
        self.cache = MemoryCache(self.clock)
        self.blocked: set[str] = set()
        self.config = Discovery()
        self.keyring = self.restart()
        self.publish(ALICE, OLD)

    def restart(self) -> DiscoveringKeyring:
        """A keyring that remembers only what storage and cache hold."""
        lookup = KeyLookup(self.web, self.config.concurrency, in_thread)
        self.keyring = DiscoveringKeyring(
            lookup, self.profiles, self.cache, self.clock, self.now, self.config, lambda host: host in self.blocked
        )
        return self.keyring

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def publish(self, handle: str, key: RSAPublicKey, page: str = HCARD) -> None:
        self.web.pages[webfinger_url(handle)] = jrd(handle, page)
        self.web.pages[page] = hcard(key)

    def key(self, handle: str = ALICE) -> HeldKey:
        return self.successResultOf(self.keyring.key(handle))

    def refused(self, asked: Deferred[HeldKey]) -> tuple[str, float]:
        """Why, and in how many seconds to ask again."""
        error = self.failureResultOf(asked, KeyUnavailable).value
        return str(error), (error.retry_at - self.now()).total_seconds()

    def same(self, held: HeldKey | None, key: RSAPublicKey) -> None:
        assert held is not None
        self.assertEqual(held.key.public_numbers(), key.public_numbers())


class DiscoveryTests(KeyringCase):
    def test_three_places(self) -> None:
        """A key comes from the author's node once; afterwards from memory, and after a restart from storage."""
        self.assertIsNone(self.keyring.at_hand(ALICE))
        self.same(self.key(), OLD)
        self.same(self.keyring.at_hand(ALICE), OLD)
        self.restart()
        self.assertIsNone(self.keyring.at_hand(ALICE))
        self.same(self.key(), OLD)
        self.assertEqual(self.web.urls, [webfinger_url(ALICE), HCARD])

    def test_joined(self) -> None:
        """All who ask for one author meanwhile share one look-up."""
        page: Deferred[Document] = Deferred()
        self.web.pages[HCARD] = page
        answers = [self.keyring.key(ALICE) for _ in range(5)]
        page.callback(Document(HCARD, 200, {}, hcard(OLD)))
        for answer in answers:
            self.same(self.successResultOf(answer), OLD)
        self.assertEqual(len(self.web.requests), 2)

    def test_another_subject(self) -> None:
        """A node that answers with another author's document gives no key."""
        self.web.pages[webfinger_url(ALICE)] = jrd("mallory@pod.example")
        self.assertEqual(self.refused(self.keyring.key(ALICE)), ("subject-mismatch", 3600.0))
        self.assertEqual(self.tables.profiles, {})

    def test_unusable_for_an_hour(self) -> None:
        """An author whom the node does not know is not asked for again within the hour, also after a restart."""
        del self.web.pages[webfinger_url(ALICE)]
        self.assertEqual(self.refused(self.keyring.key(ALICE)), ("HTTP 404", 3600.0))
        self.publish(ALICE, OLD)
        self.restart()
        self.clock.advance(3599)
        self.assertEqual(self.refused(self.keyring.key(ALICE)), ("HTTP 404", 1.0))
        self.clock.advance(1)
        self.same(self.key(), OLD)

    def test_hopeless(self) -> None:
        """An author whom the node does not know is told apart from one whose node is silent, also when it is not asked again."""
        del self.web.pages[webfinger_url(ALICE)]
        self.web.pages[webfinger_url("eve@other.example")] = FetchFailed("timed out")
        for _ in range(2):
            for handle, hopeless in ((ALICE, True), ("eve@other.example", False)):
                self.assertIs(self.failureResultOf(self.keyring.key(handle), KeyUnavailable).value.hopeless, hopeless, handle)
            self.restart()

    def test_network_failure(self) -> None:
        """A node that cannot be reached is left alone for 5 minutes, then twice as long each time, 6 hours at most."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("timed out")
        delays = []
        for _ in range(9):
            delays.append(self.refused(self.keyring.key(ALICE))[1] / 60)
            self.clock.advance(delays[-1] * 60)
        self.assertEqual(delays, [5, 10, 20, 40, 80, 160, 320, 360, 360])
        self.assertEqual(len(self.web.requests), 9)

    def test_network_failure_is_the_hosts(self) -> None:
        """When a node cannot be reached, it is not asked for its other authors either."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("timed out")
        self.refused(self.keyring.key(ALICE))
        self.assertEqual(self.refused(self.keyring.key("bob@pod.example")), ("timed out", 300.0))
        self.assertEqual(len(self.web.requests), 1)

    def test_error_for_one_author(self) -> None:
        """A node that fails for one author is asked for others."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("HTTP 500", 500)
        self.publish("bob@pod.example", NEW, "https://cards.example/bob")
        self.refused(self.keyring.key(ALICE))
        self.same(self.key("bob@pod.example"), NEW)

    def test_retry_after(self) -> None:
        """A node that asks for time gets it, up to 6 hours."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("HTTP 503", 503, retry_after=3000)
        self.assertEqual(self.refused(self.keyring.key(ALICE))[1], 3000)

    def test_limit_for_one_host(self) -> None:
        """However many authors of one host are named, it is asked for ten at once and then for one a second."""
        found = [self.keyring.key(f"user{number}@pod.example") for number in range(50)]
        for answer in found:
            self.failureResultOf(answer, KeyUnavailable)
        self.assertEqual(len(self.web.requests), LOOKUP_BURST)
        self.clock.advance(1)
        self.refused(self.keyring.key("one@pod.example"))
        self.assertEqual(self.refused(self.keyring.key("two@pod.example")), ("too many keys are asked of pod.example", 1.0))
        self.publish("x@other.example", NEW, "https://cards.example/x")
        self.same(self.key("x@other.example"), NEW)

    def test_bounded_look_ups(self) -> None:
        """No more look-ups are begun, nor documents fetched at a time, than allowed; the rest is told to come again soon."""
        self.config = Discovery(concurrency=2)
        self.restart()
        handles = [f"a@host{number}.example" for number in range(20)]
        self.web.pages = {webfinger_url(handle): Deferred() for handle in handles}
        answers = [self.keyring.key(handle) for handle in handles]
        self.assertEqual(len(self.web.requests), 2)
        for answer in answers[16:]:
            self.assertEqual(self.refused(answer), ("too many keys are being looked for", 15.0))
        self.successResultOf(Deferred.fromCoroutine(self.keyring.stop()))
        for answer in answers[:16]:
            self.assertEqual(self.refused(answer)[0], "the relay is stopping")

    def test_blocked(self) -> None:
        """Nothing is fetched from a blocked host."""
        self.blocked.add("pod.example")
        self.assertEqual(self.refused(self.keyring.key(ALICE))[0], "pod.example is blocked")
        self.assertEqual(self.web.urls, [])

    def test_ports(self) -> None:
        """A handle's port is used if it is one of those allowed, else nothing is fetched."""
        self.publish("alice@pod.example:8443", NEW)
        self.same(self.key("alice@pod.example:8443"), NEW)
        self.assertIn("port", self.refused(self.keyring.key("alice@pod.example:22"))[0])
        self.assertEqual(len(self.web.requests), 2)

    def test_storage_away(self) -> None:
        """While storage is away no node is asked in its place."""
        self.tables.go_away()
        self.assertEqual(self.refused(self.keyring.key(ALICE))[1], 15.0)
        self.assertEqual(self.web.urls, [])

    def test_memory_is_bounded(self) -> None:
        """No more keys than allowed are in memory."""
        self.config = Discovery(keys_in_memory=1)
        self.restart()
        self.publish("bob@other.example", NEW, "https://cards.example/bob")
        self.key()
        self.key("bob@other.example")
        self.assertIsNone(self.keyring.at_hand(ALICE))


class RefreshTests(KeyringCase):
    def setUp(self) -> None:
        super().setUp()
        self.key()
        self.web.requests.clear()
        self.publish(ALICE, NEW)

    def refresh(self) -> HeldKey:
        return self.successResultOf(self.keyring.refresh(ALICE))

    def test_young_key(self) -> None:
        """A key that was read within the hour is not asked for again."""
        self.clock.advance(3599)
        self.same(self.refresh(), OLD)
        self.assertEqual(self.web.urls, [])

    def test_new_key(self) -> None:
        """An older one is, once; the new key is held from then on."""
        self.clock.advance(3600)
        self.same(self.refresh(), NEW)
        self.same(self.refresh(), NEW)
        self.restart()
        self.same(self.key(), NEW)
        self.assertEqual(len(self.web.requests), 2)

    def test_node_not_reached(self) -> None:
        """If the node cannot be reached nothing is decided before it was asked again, at most once an hour."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("timed out")
        self.clock.advance(3600)
        self.assertEqual(self.refused(self.keyring.refresh(ALICE))[1], 300.0)
        self.clock.advance(300)
        self.assertEqual(self.refused(self.keyring.refresh(ALICE))[1], 3300.0)
        self.assertEqual(len(self.web.requests), 1)
        self.same(self.key(), OLD)
        self.clock.advance(3300)
        self.publish(ALICE, NEW)
        self.same(self.refresh(), NEW)

    def test_node_has_no_key(self) -> None:
        """If the node answers that there is no such author, the held key decides; the node is asked once an hour."""
        del self.web.pages[webfinger_url(ALICE)]
        self.clock.advance(3600)
        self.same(self.refresh(), OLD)
        self.same(self.refresh(), OLD)
        self.assertEqual(len(self.web.requests), 1)

    def test_many_forgeries(self) -> None:
        """However many refreshes are asked for, an author's node is asked once an hour."""
        for _ in range(3 * 60):
            self.clock.advance(60)
            self.refresh()
        self.assertLessEqual(len(self.web.requests), 2 * 3)

    def test_old_key_in_the_background(self) -> None:
        """A key past its lifetime serves on while a new one is read behind the caller's back."""
        self.clock.advance(31 * 86400)
        self.same(self.keyring.at_hand(ALICE), OLD)
        self.same(self.keyring.at_hand(ALICE), NEW)

    def test_old_key_of_a_dead_node(self) -> None:
        """A key past its lifetime whose node is dead serves on, and the node is asked once an hour at most."""
        self.web.pages[webfinger_url(ALICE)] = FetchFailed("timed out")
        self.clock.advance(31 * 86400)
        for _ in range(120):
            self.same(self.keyring.at_hand(ALICE), OLD)
            self.clock.advance(60)
        self.assertEqual(len(self.web.requests), 2)

    def test_clock_that_was_ahead(self) -> None:
        """A key that was stored by a clock years ahead is an old one, and a refusal of such a clock does not hold."""
        pem, fetched_at, used_on = self.tables.profiles[ALICE]
        self.tables.profiles[ALICE] = (pem, fetched_at + timedelta(days=3650), used_on)
        self.restart()
        self.clock.advance(1)
        self.same(self.key(), OLD)
        self.same(self.keyring.at_hand(ALICE), NEW)
        self.refused(self.keyring.key("bob@pod.example"))
        self.clock.rightNow -= 86400
        self.publish("bob@pod.example", NEW)
        self.same(self.key("bob@pod.example"), NEW)

    def test_unknown_author(self) -> None:
        """Refreshing the key of an author who is not known finds it."""
        self.publish("bob@other.example", NEW, "https://cards.example/bob")
        self.same(self.successResultOf(self.keyring.refresh("bob@other.example")), NEW)


class BookkeepingTests(KeyringCase):
    def used_on(self) -> str:
        return str(self.tables.profiles[ALICE][2])

    def test_used(self) -> None:
        """The day on which a key was used is written down once a day, together with others."""
        self.key()
        self.clock.advance(86400)
        for _ in range(3):
            self.keyring.at_hand(ALICE)
        self.assertEqual(self.used_on(), "2026-03-01")
        self.successResultOf(Deferred.fromCoroutine(self.keyring.flush()))
        self.assertEqual(self.used_on(), "2026-03-02")
        self.keyring.at_hand(ALICE)
        self.tables.go_away()
        self.successResultOf(Deferred.fromCoroutine(self.keyring.flush()))

    def test_used_while_storage_is_away(self) -> None:
        """What cannot be written is written with the next round."""
        self.key()
        self.clock.advance(86400)
        self.keyring.at_hand(ALICE)
        self.tables.go_away()
        self.successResultOf(Deferred.fromCoroutine(self.keyring.flush()))
        self.tables.come_back()
        self.successResultOf(Deferred.fromCoroutine(self.keyring.stop()))
        self.assertEqual(self.used_on(), "2026-03-02")

    def test_forget_host(self) -> None:
        """The keys of all authors of a host and its subdomains are forgotten, in memory and in storage; others are kept."""
        handles = (ALICE, ALICE.replace("@", "2@"), ALICE.replace("@", "@a."), ALICE.replace("@", "@not"))
        for handle in handles:
            self.publish(handle, OLD)
            self.key(handle)
        self.assertEqual(self.successResultOf(self.keyring.forget_host(ALICE.partition("@")[2])), 3)
        self.assertEqual([self.keyring.at_hand(handle) is None for handle in handles], [True, True, True, False])
        self.assertEqual(list(self.tables.profiles), [handles[3]])

    def test_forget(self) -> None:
        """A forgotten key is nowhere any more."""
        self.key()
        self.successResultOf(self.keyring.forget(ALICE))
        self.assertIsNone(self.keyring.at_hand(ALICE))
        self.assertEqual(self.tables.profiles, {})

    def test_provided(self) -> None:
        """Keys of the configured folder are at hand, and are never looked for."""
        self.keyring.provide({"bob@pod.example": NEW})
        self.same(self.keyring.at_hand("bob@pod.example"), NEW)
        self.clock.advance(90 * 86400)
        self.same(self.successResultOf(self.keyring.refresh("bob@pod.example")), NEW)
        self.same(self.key("bob@pod.example"), NEW)
        self.assertEqual(self.web.urls, [])


class ReadAuthorKeysTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_folder(self) -> None:
        """Each file is named after the handle whose key it holds; other files are passed over."""
        (self.folder / "bob@pod.example:8443.pem").write_text(pem_of(NEW))
        (self.folder / "README").write_text("keys")
        keys = read_author_keys(self.folder)
        self.assertEqual({handle: key.public_numbers() for handle, key in keys.items()}, {"bob@pod.example:8443": NEW.public_numbers()})

    def test_faults(self) -> None:
        """A missing folder, a wrong name and a wrong key are errors that name the file."""
        self.assertRaises(ProvidedKeysError, read_author_keys, self.folder / "none")
        for name, text in (("Bob.pem", pem_of(NEW)), ("bob@pod.example.pem", "hello")):
            file = self.folder / name
            file.write_text(text)
            error = self.assertRaises(ProvidedKeysError, read_author_keys, self.folder)
            self.assertIn(name, str(error))
            file.unlink()

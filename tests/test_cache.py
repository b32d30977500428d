"""The cache: one contract for memory, Redis, and Redis with memory behind it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.boundaries import Cache, Unavailable
from socialrelay.config import Embedded
from socialrelay.storage.cache import FallbackCache, RedisAddress, RedisCache
from socialrelay.storage.embedded import EmbeddedValkey
from socialrelay.storage.embedded.supervisor import Limits
from socialrelay.storage.memory_cache import MemoryCache


async def until(condition: Callable[[], bool]) -> None:
    """Trial's own time-out bounds it."""
    while not condition():
        await deferLater(reactor, 0.01)


class CacheContract:
    """
    What every cache does.

    @ivar pass_by: lets so many seconds go by for the cache.
    """

    cache: Cache
    pass_by: Any
    assertEqual: Any
    assertIsNone: Any

    async def test_bytes(self) -> None:
        """
        What is kept comes back byte for byte, whatever it looks like.
        """
        for value in (b"", b"0123", b"1e9", b"\xff\x00\r\n", b"x" * 100_000):
            await self.cache.set("key", value, 60)
            self.assertEqual(await self.cache.get("key"), value)

    async def test_unknown(self) -> None:
        """
        A key that was never set, or was deleted, has no value.
        """
        self.assertIsNone(await self.cache.get("key"))
        await self.cache.set("key", b"value", 60)
        await self.cache.delete("key")
        await self.cache.delete("key")
        self.assertIsNone(await self.cache.get("key"))

    async def test_replaced(self) -> None:
        """
        The later value counts, with its own time.
        """
        await self.cache.set("key", b"old", 0.02)
        await self.cache.set("key", b"new", 60)
        await self.pass_by(0.05)
        self.assertEqual(await self.cache.get("key"), b"new")

    async def test_expired(self) -> None:
        """
        A value is forgotten when its time is over, and one that has no time is not kept.
        """
        await self.cache.set("key", b"value", 0.02)
        await self.pass_by(0.05)
        self.assertIsNone(await self.cache.get("key"))
        await self.cache.set("key", b"value", 60)
        await self.cache.set("key", b"value", 0)
        self.assertIsNone(await self.cache.get("key"))

    async def test_window(self) -> None:
        """
        Counting starts at one, and again when the window that began with the first is over.
        """
        counts = [await self.cache.count("key", 60) for _ in range(3)]
        self.assertEqual(counts, [1, 2, 3])
        self.assertEqual(await self.cache.count("other", 0.02), 1)
        await self.pass_by(0.05)
        self.assertEqual(await self.cache.count("other", 60), 1)

    async def test_count_is_a_value(self) -> None:
        """
        A count can be read and deleted.
        """
        await self.cache.count("key", 60)
        self.assertEqual(await self.cache.get("key"), b"1")
        await self.cache.delete("key")
        self.assertEqual(await self.cache.count("key", 60), 1)


class MemoryCacheTests(CacheContract, TestCase):
    """In memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache(self.clock)

    async def pass_by(self, seconds: float) -> None:
        self.clock.advance(seconds)


class MemoryBoundsTests(SynchronousTestCase):
    """Memory has bounds."""

    def test_entries(self) -> None:
        """
        Above the number of entries, what was used least lately goes.
        """
        cache = MemoryCache(Clock(), max_entries=2)
        cache.set("a", b"", 60)
        cache.set("b", b"", 60)
        self.successResultOf(cache.get("a"))
        cache.count("c", 60)
        self.assertEqual([self.successResultOf(cache.get(key)) for key in "abc"], [b"", None, b"1"])

    def test_bytes(self) -> None:
        """
        Above the number of bytes as well, and what alone is too large is not kept.
        """
        cache = MemoryCache(Clock(), max_bytes=1000)
        for number in range(10):
            cache.set(str(number), b"x" * 100, 60)
        self.assertEqual(len(cache), 3)
        self.assertLessEqual(cache.bytes, 1000)
        cache.set("large", b"x" * 1000, 60)
        self.assertEqual((len(cache), cache.bytes), (0, 0))


class WithValkey(TestCase):
    """A Valkey of our own, to be killed."""

    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        state = Path(tempfile.mkdtemp(prefix="socialrelay-test-", dir="/tmp"))
        state.chmod(0o755)
        self.addCleanup(shutil.rmtree, state, True)
        self.valkey = EmbeddedValkey(state, reactor, Embedded(), Limits(shortest_pause=0.01))
        self.addCleanup(self.valkey.stopService)
        await self.valkey.startService()
        self.redis = RedisCache(RedisAddress.parse(self.valkey.url), reactor)

    async def pass_by(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    def signal(self, number: int) -> None:
        process = self.valkey.supervisor.process
        assert process is not None
        os.kill(process.pid, number)


class RedisCacheTests(CacheContract, WithValkey):
    """In a real Valkey."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.cache = self.redis
        self.redis.connect()
        self.addCleanup(self.redis.disconnect)
        await until(lambda: self.redis.connected)

    async def test_no_connection(self) -> None:
        """
        Without a connection a call fails at once.
        """
        await self.valkey.stopService()
        await until(lambda: not self.redis.connected)
        self.failureResultOf(self.redis.get("key"), Unavailable)

    async def test_silence(self) -> None:
        """
        A server that has stopped answering makes a call fail, not wait.
        """
        self.signal(signal.SIGSTOP)
        self.addCleanup(self.signal, signal.SIGCONT)
        with self.assertRaises(Unavailable):
            await self.redis.get("key")

    async def test_prefix(self) -> None:
        """
        Relays that share a Redis do not meet.
        """
        other = RedisCache(self.redis.address, reactor, "other:")
        other.connect()
        self.addCleanup(other.disconnect)
        await until(lambda: other.connected)
        await self.redis.set("key", b"value", 60)
        self.assertIsNone(await other.get("key"))


class FallbackCacheTests(CacheContract, WithValkey):
    """Redis with memory behind it."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.cache = self.fallback = FallbackCache(self.redis, MemoryCache(reactor), reactor, interval=0.05)
        await self.fallback.startService()
        self.addCleanup(self.fallback.stopService)

    def test_well(self) -> None:
        """
        When the start is over, Redis is in use.
        """
        self.assertTrue(self.fallback.healthy)

    async def test_killed(self) -> None:
        """
        When Redis is killed memory serves, when it is back Redis does, and each is said once.
        """
        with capturedLogs() as events:
            self.signal(signal.SIGKILL)
            await until(lambda: not self.fallback.healthy)
            await self.fallback.set("key", b"value", 60)
            self.assertEqual(self.fallback.fallbacks, 1)
            self.assertEqual(await self.fallback.get("key"), b"value")
            self.assertIn("in memory", self.fallback.detail)
            await until(lambda: self.fallback.healthy)
        said = [event["log_format"] for event in events if event.get("log_namespace", "").endswith("FallbackCache")]
        self.assertEqual(len(said), 2)
        self.assertIn("not well", said[0])

    async def test_in_flight(self) -> None:
        """
        A call that is under way when Redis dies is answered from memory.
        """
        self.signal(signal.SIGSTOP)
        answers = [self.fallback.count("key", 60), self.fallback.count("key", 60)]
        self.signal(signal.SIGKILL)
        self.assertEqual([await answer for answer in answers], [1, 2])

    async def test_hangs(self) -> None:
        """
        While Redis hangs, the first call is answered from memory and no later one waits for it.
        """
        self.signal(signal.SIGSTOP)
        self.assertEqual(await self.fallback.count("key", 60), 1)
        self.assertEqual(self.successResultOf(self.fallback.count("key", 60)), 2)
        self.signal(signal.SIGCONT)
        await until(lambda: self.fallback.healthy)

    async def test_nothing_rises_again(self) -> None:
        """
        What was deleted or replaced while Redis was out of reach is not there again when it is back.
        """
        await self.fallback.set("deleted", b"old", 60)
        await self.fallback.set("replaced", b"old", 60)
        self.fallback.healthy = False
        await self.fallback.delete("deleted")
        await self.fallback.set("replaced", b"new", 60)
        await until(lambda: self.fallback.healthy)
        self.assertEqual([await self.fallback.get("deleted"), await self.fallback.get("replaced")], [None, None])


class AbsentTests(TestCase):
    """No Redis at all."""

    timeout = 30

    def make(self, url: str) -> FallbackCache:
        cache = FallbackCache(RedisCache(RedisAddress.parse(url), reactor), MemoryCache(reactor), reactor, interval=0.05)
        self.addCleanup(cache.stopService)
        return cache

    async def test_absent(self) -> None:
        """
        A relay starts without its Redis, and says so.
        """
        cache = self.make("unix:///nowhere/at/all.sock")
        await cache.startService()
        self.assertFalse(cache.healthy)
        self.assertIn("/nowhere/at/all.sock", cache.detail)
        self.assertEqual(self.successResultOf(cache.count("key", 60)), 1)

    async def test_no_redis(self) -> None:
        """
        Something else that listens there is not taken for Redis, and a refused password is not the end.
        """
        connections = []

        class Refuses(Protocol):
            def dataReceived(self, data: bytes) -> None:
                connections.append(data)
                assert self.transport is not None
                self.transport.write(b"-WRONGPASS no\r\n")

        port = reactor.listenTCP(0, ServerFactory.forProtocol(Refuses), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        cache = self.make(f"redis://:secret@127.0.0.1:{port.getHost().port}/2")
        await cache.startService()
        await until(lambda: len(connections) >= 2)
        self.assertFalse(cache.healthy)
        self.assertNotIn("secret", cache.detail)


class AddressTests(SynchronousTestCase):
    """Where Redis is, as configured."""

    def test_tcp(self) -> None:
        """
        Host, port, database, user and password are read, and what is left out has its usual value.
        """
        self.assertNotIn("canary", repr(RedisAddress.parse("redis://:canary@cache.example")))
        self.assertEqual(RedisAddress.parse("redis://cache.example"), RedisAddress(host="cache.example"))
        self.assertEqual(
            RedisAddress.parse("rediss://me:p%40ss@cache.example:7000/3"),
            RedisAddress(host="cache.example", port=7000, database=3, username="me", password="p@ss", tls=True),
        )

    def test_unix(self) -> None:
        """
        A socket's path, with database and password behind it.
        """
        self.assertEqual(RedisAddress.parse("unix:///run/r.sock"), RedisAddress("/run/r.sock"))
        self.assertEqual(RedisAddress.parse("unix:///run/r.sock?db=1&password=x"), RedisAddress("/run/r.sock", database=1, password="x"))

    def test_wrong(self) -> None:
        """
        Anything else is refused, without a word of the password.
        """
        for url in ("", "off", "http://cache.example", "redis://", "unix://run/r.sock", "redis://:secret@h/x", "redis://:secret@h:port"):
            with self.assertRaises(ValueError) as caught:
                RedisAddress.parse(url)
            self.assertNotIn("secret", str(caught.exception))

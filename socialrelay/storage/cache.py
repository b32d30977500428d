"""
The cache in Redis (or Valkey), and what makes it safe to lean on: a twin in memory while Redis is not well.

txredisapi lets a command wait without limit while there is no connection, and its time-out counts from the moment of sending; so no command
is given to it without a connection, and each has a deadline of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import Cache, Unavailable
from socialrelay.bounds import Bound
from socialrelay.config import Memory
from socialrelay.storage.memory_cache import MemoryCache

if TYPE_CHECKING:
    import txredisapi

T = TypeVar("T")

REPLY_TIMEOUT = 0.5
"""Seconds for an answer; the connection is given up after it."""

DEADLINE = 0.8
"""Seconds for a command in all."""

_FIRST_CONNECTION = 0.3

# A window begins with the first; INCR and PEXPIRE must not be torn apart.
_COUNT = b"""
local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return n
"""


@frozen
class RedisAddress:
    """
    Where Redis is.

    @ivar path: of its UNIX socket; empty for TCP.
    @ivar tls: checked against the system's authorities.
    """

    path: str = ""
    host: str = ""
    port: int = 6379
    database: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """
        @param url: C{redis://[user]:password@host:port/database}, C{rediss://…} for TLS, or C{unix:///path?db=1&username=…&password=…}.
        @raise ValueError: it is none of these; the message says what is wrong, without a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # which shows what is before the host, or a part of it
            raise ValueError(_NO_URL) from None
        if parts.scheme == "unix":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if not parts.path.startswith("/") or parts.netloc:
                raise ValueError("unix:// is followed by the absolute path of a socket")
            database = _number(query.get("db"))
            return cls(unquote(parts.path), database=database, username=query.get("username"), password=query.get("password"))
        # With @ further on, what was taken for the host is a part of the password.
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or "@" in parts.path + parts.query + parts.fragment:
            raise ValueError(_NO_URL)
        password = unquote(parts.password) if parts.password else None
        return cls(
            host=parts.hostname,
            port=port or 6379,
            database=_number(parts.path.strip("/")),
            username=unquote(parts.username) if parts.username else None,
            password=password,
            tls=parts.scheme == "rediss",
        )

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


_NO_URL = "it is not redis://host, rediss://host or unix:///path; in a password write @ / ? # % as %40 %2F %3F %23 %25"


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError("the database is a number")
    return int(text)


class RedisCache:
    """
    A L{Cache}, but for this: a call fails with L{Unavailable}, within L{DEADLINE} seconds, while Redis is not well.
    """

    def __init__(self, address: RedisAddress, clock: IReactorTime, prefix: str = "socialrelay:") -> None:
        """
        @param clock: the reactor; txredisapi takes the global one in any case.
        @param prefix: of all keys, as Redis may serve others too.
        """
        self.address = address
        self._clock = clock
        self._prefix = prefix
        self._handler: txredisapi.ConnectionHandler | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection; whether anybody answers is not known by that."""
        return self._handler is not None and bool(self._handler._factory.size)

    def connect(self) -> None:
        """Connect, and go on trying for ever."""
        self._handler = _connect(self.address)

    def disconnect(self) -> Deferred[None]:
        """@return: fires when the connection is closed."""
        handler, self._handler = self._handler, None
        return succeed(None) if handler is None else cast("Deferred[None]", handler.disconnect())

    def ping(self) -> Deferred[None]:
        """
        Whether it is well; a connection that was given up for good (a wrong password ends it) is made anew.

        @raise Unavailable: it is not; the message says why.
        """
        if self._handler is not None and self._handler._factory.stopped:
            self.disconnect()
            self.connect()
        return self._execute("PING").addCallback(lambda _: None)

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._execute("GET", self._prefix + key).addCallback(lambda value: cast("bytes | None", value))

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]:
        if seconds <= 0:
            return self.delete(key)
        return self._execute("SET", self._prefix + key, value, "PX", _milliseconds(seconds)).addCallback(lambda _: None)

    def delete(self, *keys: str) -> Deferred[None]:
        return self._execute("DEL", *(self._prefix + key for key in keys)).addCallback(lambda _: None)

    def count(self, key: str, seconds: float) -> Deferred[int]:
        return self._execute("EVAL", _COUNT, 1, self._prefix + key, _milliseconds(seconds)).addCallback(lambda n: cast(int, n))

    def _execute(self, *command: object) -> Deferred[object]:
        if self._handler is None or not self.connected:
            return fail(Unavailable(f"there is no connection to Redis at {self.address}"))
        answer: Deferred[object] = self._handler.execute_command(*command)
        answer.addTimeout(DEADLINE, self._clock)
        return answer.addErrback(self._translate)

    def _translate(self, failure: Failure) -> Failure:
        reason = " ".join(failure.getErrorMessage().split()) or repr(failure.value)
        return Failure(Unavailable(f"Redis at {self.address}: {reason}"))


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


def _connect(address: RedisAddress) -> txredisapi.ConnectionHandler:
    import txredisapi  # it imports the reactor, which must have been chosen before

    # Without these two, b"0123" comes back as 123, and bytes as text.
    options: dict[str, object] = {"charset": None, "convertNumbers": False, "replyTimeout": REPLY_TIMEOUT, "connectTimeout": 5}
    options |= {"dbid": address.database, "password": address.password, "username": address.username}
    if address.path:
        handler = txredisapi.lazyUnixConnection(address.path, **options)
    else:
        if address.tls:
            from twisted.internet.ssl import optionsForClientTLS

            options["ssl_context_factory"] = optionsForClientTLS(address.host)
        handler = txredisapi.lazyConnection(address.host, address.port, **options)
    handler._factory.initialDelay = 0.2
    handler._factory.maxDelay = 3
    # Nobody waits for the first connection; a wrong password fails it.
    handler._connected.addErrback(lambda _: None)
    return handler


class FallbackCache(Service):
    """
    Redis while it is well, else memory; never fails, never waits longer than a second.

    @ivar healthy: whether Redis is used now.
    @ivar detail: one line for the operator.
    @ivar fallbacks: how often memory was asked in place of Redis.
    @ivar memory: what serves then.
    """

    _log = Logger()

    def __init__(
        self, redis: RedisCache, memory: MemoryCache, clock: IReactorTime, interval: float = 1.0, out_of_date: int = Memory().out_of_date
    ) -> None:
        """
        @param interval: seconds between looks at Redis.
        @param out_of_date: keys that changed while it was away, at most.
        """
        self.healthy = False
        self.detail = f"there is no connection to Redis at {redis.address} yet, the cache is in memory"
        self._redis = redis
        self.memory = memory
        self.fallbacks = 0
        self._clock = clock
        self._interval = interval
        self._stale: set[str] = set()
        self._stale_limit = out_of_date
        self._left_stale = 0
        self._complained = False
        self._look: IDelayedCall | None = None
        self._starting: Deferred[None] = succeed(None)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            *self.memory.bounds,
            Bound("cache-out-of-date", lambda: len(self._stale), lambda: self._stale_limit, lambda: self._left_stale),
        )

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it is known whether Redis is well, within a second; never fails.
        """
        super().startService()
        self._redis.connect()
        began: Deferred[None] = Deferred()
        self._starting = Deferred.fromCoroutine(self._begin()).addBoth(lambda _: began.callback(None))
        return began

    def stopService(self) -> Deferred[None]:
        """@return: fires when the connection is closed, within two seconds."""
        super().stopService()
        if self._look is not None and self._look.active():
            self._look.cancel()
        return Deferred.fromCoroutine(self._finish())

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._either(lambda cache: cache.get(key))

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]:
        return self._either(lambda cache: cache.set(key, value, seconds), key)

    def delete(self, key: str) -> Deferred[None]:
        return self._either(lambda cache: cache.delete(key), key)

    def count(self, key: str, seconds: float) -> Deferred[int]:
        return self._either(lambda cache: cache.count(key, seconds))

    def _either(self, ask: Callable[[Cache], Deferred[T]], changed: str = "") -> Deferred[T]:
        """
        @param changed: the key whose value in Redis is out of date if only memory learns of this.
        """

        def from_memory() -> Deferred[T]:
            self.fallbacks += 1
            if changed and changed not in self._stale:
                if len(self._stale) < self._stale_limit:
                    self._stale.add(changed)
                else:
                    self._left_stale += 1
            return ask(self.memory)

        if not self.healthy:
            return from_memory()

        def failed(failure: Failure) -> Deferred[T]:
            self._is_ill(failure.getErrorMessage())
            return from_memory()

        return ask(cast(Cache, self._redis)).addErrback(failed)

    async def _begin(self) -> None:
        patience = self._clock.seconds() + _FIRST_CONNECTION
        while self.running and not self._redis.connected and self._clock.seconds() < patience:
            await self._delay(0.01)
        await self._examine()
        self._again()

    async def _finish(self) -> None:
        await self._starting
        self.healthy = False
        closed: Deferred[None] = self._redis.disconnect()
        await closed.addTimeout(DEADLINE, self._clock).addErrback(lambda _: None)

    async def _delay(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        self._clock.callLater(seconds, pause.callback, None)
        await pause

    def _again(self) -> None:
        if self.running:
            self._look = self._clock.callLater(self._interval, self._examine_again)

    def _examine_again(self) -> None:
        Deferred.fromCoroutine(self._examine()).addBoth(lambda _: self._again())

    async def _examine(self) -> None:
        try:
            await self._redis.ping()
            while not self.healthy and self._stale:
                stale = sorted(self._stale)
                await self._redis.delete(*stale)
                self._stale.difference_update(stale)
        except Unavailable as error:
            self._is_ill(str(error))
        else:
            self._is_well()

    def _is_ill(self, reason: str) -> None:
        self.detail = f"{reason}; the cache is in memory"
        if self.running and (self.healthy or not self._complained):
            self._log.warn("Redis is not well, the cache is in memory until it is: {reason}", reason=reason)
        self.healthy, self._complained = False, True

    def _is_well(self) -> None:
        if self.running and not self.healthy:
            self.healthy, self._complained = True, False
            self.detail = f"Redis at {self._redis.address}"
            self._log.info("The cache is in Redis at {address}.", address=str(self._redis.address))


_conforms: type[Cache] = FallbackCache

"""
Names to addresses: a cache in front of C{getaddrinfo}, made for many names of which a good part is dead.

Four things keep dead names from living ones.  Look-ups run in threads of our own, those of names that resolved before apart from those of
names that are new or failed.  A caller waits at most five seconds, and one second if there is an older answer; the look-up goes on without
it and its answer still fills the cache.  While DNS does not answer, addresses that worked within the last day are served.  And a name that
is in use is looked up again before its answer is too old, so that nobody has to wait for that.

Every address of a name is vetted, and one that is not allowed refuses the whole name: a name that mixes public and private addresses is
an attack or a mistake.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import inf
from queue import SimpleQueue
from typing import Any, Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from socialrelay.bounds import Bound, bound_of_answers
from socialrelay.config import Memory
from socialrelay.network.addresses import Address, Network, allowed, is_public_name
from socialrelay.network.overrides import Overrides

FRESH = 600.0
"""Seconds for which an answer is believed; C{getaddrinfo} does not tell the TTL."""
RENEWED = 0.8
"""After this part of the time for which something is believed, whoever asks has the name looked up again, and does not wait for it."""
HURRY = 1.0
"""Seconds that a caller waits for DNS when there is an older answer to go by: a delivery to a quick host has only three for everything."""
DOUBT_AFTER = 60.0
"""Seconds after which a failed connection makes us ask again."""
STALE = 86400.0
"""Seconds for which an answer is better than none."""
NEGATIVE = 60.0
NEGATIVE_MAX = 3600.0
PER_FAMILY = 2


@frozen
class Endpoints:
    """
    Where a host can be reached.

    @ivar addresses: vetted; at most two of each family, the system's preference first.
    @ivar port: differs from the URL's only by the configuration's C{connect_to}.
    @ivar overridden: it is from C{connect_to}.
    """

    addresses: tuple[Address, ...]
    port: int
    overridden: bool = False


@frozen
class NameNotResolved:
    """The name has no address, or DNS does not answer."""

    reason: str


@frozen
class AddressRefused:
    """The name has an address that may not be connected to."""

    reason: str


Resolution = Endpoints | NameNotResolved | AddressRefused


@frozen
class Found:
    """All addresses of a name, as the system gave them."""

    addresses: tuple[Address, ...]


@frozen
class NotFound:
    """
    @ivar final: DNS says that there is no such name; else it did not answer.
    """

    reason: str
    final: bool


Answer = Found | NotFound


class Lookup(Protocol):
    """Asks the system for addresses."""

    def look_up(self, host: str, proven: bool, done: Callable[[Answer], None]) -> None:
        """
        Ask, and call C{done} in the reactor's thread, sooner or later.

        @param proven: the name resolved before.
        """


class _Workers:
    """At most so many daemon threads, started when needed: a hanging look-up must not hold up the end of the process."""

    def __init__(self, threads: int, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = threads
        self._started = 0
        self._outstanding = 0
        self._name = name

    def run(self, job: Callable[[], None]) -> None:
        self._outstanding += 1
        if self._started < min(self._threads, self._outstanding):
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put(job)

    def finished(self) -> None:
        self._outstanding -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def stop(self) -> None:
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = self._threads


class SystemLookup:
    """C{getaddrinfo} in threads."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        *,
        threads: int,
        suspect_threads: int,
        getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        # Read by glibc when it first resolves: its own default of 5 s, twice per server, holds a thread for too long.
        os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
        self._reactor = reactor
        self._proven = _Workers(threads, "dns")
        self._suspect = _Workers(suspect_threads, "dns-suspect")
        self._getaddrinfo = getaddrinfo

    def look_up(self, host: str, proven: bool, done: Callable[[Answer], None]) -> None:
        """Ask in a thread of the pool that the name belongs to."""
        workers = self._proven if proven else self._suspect

        def finish(answer: Answer) -> None:
            workers.finished()
            done(answer)

        workers.run(lambda: self._reactor.callFromThread(finish, self._ask(host)))

    def close(self) -> None:
        """Let the threads end, each after the look-up that it is in."""
        self._proven.stop()
        self._suspect.stop()

    def _ask(self, host: str) -> Answer:
        try:
            found = self._getaddrinfo(host, 443, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            addresses = tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
        except socket.gaierror as error:
            no_such_name = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            return NotFound("name does not resolve" if no_such_name else "DNS gives no answer", final=no_such_name)
        except (OSError, ValueError) as error:  # also UnicodeError, for a label that idna refuses
            return NotFound(f"the name cannot be looked up ({type(error).__name__})", final=True)
        return Found(addresses) if addresses else NotFound("the name has no address", final=True)


@define
class _Name:
    """
    What is known of a name.

    @ivar resolved_at: when C{addresses} were learned; meaningless without them.
    @ivar look_again: when what is known is no longer believed.
    @ivar renew: when it is time to look the name up before that.
    @ivar failures: look-ups in a row that gave no usable address.
    @ivar proven: the last look-up, or one in an earlier run, found addresses.
    @ivar endpoints: C{addresses}, with the port that was asked for last: the same value as long as they are the same.
    """

    addresses: tuple[Address, ...] = ()
    resolved_at: float = 0.0
    look_again: float = 0.0
    renew: float = inf
    failure: NameNotResolved | AddressRefused | None = None
    failures: int = 0
    proven: bool = False
    endpoints: Endpoints | None = None


class Resolver:
    """
    The one resolver of the relay.

    @ivar results: what look-ups came to, and how often: C{found}, C{refused}, C{no-such-name} or C{no-answer}.
    @ivar limit: how many names are kept in memory, and how many may be looked up at a time.
    @ivar forgotten: how many were forgotten for want of room.
    @ivar turned_away: how many were not looked up, since too many were.
    @ivar _names: the last used come last.
    @ivar _pending: names that are looked up now -> who waits; nobody any more when all ran out of time.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        lookup: Lookup,
        *,
        timeout: float = 5.0,
        overrides: Overrides | None = None,
        allow: tuple[Network, ...] = (),
        max_names: int = Memory().names,
    ) -> None:
        """
        @param timeout: seconds that a caller waits for an answer.
        @param allow: networks that may be connected to although they are not public.
        """
        self._clock = clock
        self._lookup = lookup
        self._timeout = timeout
        self._overrides = overrides or Overrides({})
        self._allow = allow
        self.limit = max_names
        self.forgotten = self.turned_away = 0
        self.results: Counter[str] = Counter()
        self._overridden = lru_cache(4096)(self._override)
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._pending: dict[str, list[Deferred[None]]] = {}

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            Bound("names", lambda: len(self._names), lambda: self.limit, lambda: self.forgotten),
            Bound("names-looked-up", lambda: len(self._pending), lambda: self.limit, lambda: self.turned_away),
            bound_of_answers("overrides", [self._overridden]),
        )

    def trust(self, hosts: Iterable[str]) -> None:
        """These names resolved in an earlier run: they do not queue behind unknown ones."""
        for host in hosts:
            if host not in self._names and len(self._names) < self.limit:
                self._names[host] = _Name(proven=True)

    def doubt(self, host: str) -> None:
        """A connection to the host failed: ask again if its addresses are more than a minute old."""
        known = self._names.get(host)
        if known is not None and known.failure is None and self._clock.seconds() - known.resolved_at > DOUBT_AFTER:
            known.look_again = 0.0

    def at_hand(self, host: str, port: int) -> Resolution | None:
        """What is known and still believed; C{None} if it must be looked up."""
        overridden = self._overridden(host, port)
        if overridden is not None:
            return overridden
        known = self._names.get(host)
        if known is None:
            return None if is_public_name(host) else NameNotResolved("that is no name of a host")
        self._names.move_to_end(host)
        now = self._clock.seconds()
        if now >= known.look_again:
            return None
        if now >= known.renew and host not in self._pending and len(self._pending) < self.limit:
            self._begin(host, known)
        return self._stands(known, port)

    def _override(self, host: str, port: int) -> Resolution | None:
        override = self._overrides.find(host, port)
        if override is None:
            return None
        if allowed(override.address, self._allow):
            return Endpoints((override.address,), override.port, overridden=True)
        return AddressRefused(f"{override.address} is not in network.allow_addresses")

    def resolve(self, host: str, port: int) -> Deferred[Resolution]:
        """
        Where to connect for a host. Never fails; cancelling it gives up the wait, not the look-up.

        @param host: a name in lower case; an address is refused.
        """
        known = self.at_hand(host, port)
        if known is not None:
            return succeed(known)
        waiting = self._pending.get(host)
        if waiting is None:
            if len(self._pending) >= self.limit:
                self.turned_away += 1
                return succeed(NameNotResolved("too many names are being looked up"))
            waiting = self._begin(host, self._names.get(host))
            if host not in self._pending:
                return succeed(self._judged(host, port))
        elif not waiting:
            return succeed(self._judged(host, port))
        turn: Deferred[None] = Deferred(lambda turn: self._forget_wait(host, turn))
        waiting.append(turn)
        patience = self._timeout if isinstance(self._judged(host, port), NameNotResolved) else min(HURRY, self._timeout)
        deadline = self._clock.callLater(patience, self._ran_out, host, turn)

        def over(_: None) -> Resolution:
            return self._judged(host, port)

        def disarm(result: Any) -> Any:
            if deadline.active():
                deadline.cancel()
            return result

        return turn.addBoth(disarm).addCallback(over)

    def _begin(self, host: str, known: _Name | None) -> list[Deferred[None]]:
        """Have it looked up; who waits for that."""
        waiting = self._pending[host] = []
        self._lookup.look_up(host, known is not None and known.proven, lambda answer: self._answered(host, answer))
        return waiting

    def _forget_wait(self, host: str, turn: Deferred[None]) -> None:
        waiting = self._pending.get(host, [])
        if turn in waiting:
            waiting.remove(turn)

    def _ran_out(self, host: str, turn: Deferred[None]) -> None:
        self._forget_wait(host, turn)
        turn.callback(None)

    def _judged(self, host: str, port: int) -> Resolution:
        """What to tell somebody who cannot wait any longer."""
        known = self._names.get(host)
        resolution = None if known is None else self._stands(known, port)
        return resolution or NameNotResolved("DNS does not answer in time")

    def _stands(self, known: _Name, port: int) -> Resolution | None:
        if known.failure is not None:
            return known.failure
        if known.addresses and self._clock.seconds() - known.resolved_at < STALE:
            endpoints = known.endpoints
            if endpoints is None or endpoints.port != port or endpoints.addresses is not known.addresses:
                endpoints = known.endpoints = Endpoints(known.addresses, port)
            return endpoints
        return None

    def _answered(self, host: str, answer: Answer) -> None:
        known = self._names.setdefault(host, _Name())
        self._names.move_to_end(host)
        self._learn(host, known, answer)
        while len(self._names) > self.limit:
            self._names.popitem(last=False)
            self.forgotten += 1
        for turn in self._pending.pop(host, []):
            turn.callback(None)

    def _learn(self, host: str, known: _Name, answer: Answer) -> None:
        now = self._clock.seconds()
        if isinstance(answer, Found):
            bad = next((address for address in answer.addresses if not allowed(address, self._allow)), None)
            self.results["found" if bad is None else "refused"] += 1
            if bad is None:
                known.addresses, known.resolved_at = _chosen(answer.addresses), now
                known.look_again, known.failure, known.failures, known.proven = now + FRESH, None, 0, True
                known.renew = now + FRESH * RENEWED
                return
            # The address itself is for the log: this reason is shown to whoever asks, also for names that only our own network knows.
            known.failure = AddressRefused("it resolves to what is not a public address")
            known.addresses = ()
            self._log.warn("{host} resolves to {address}, which is not a public address.", host=host, address=str(bad))
        else:
            self.results["no-such-name" if answer.final else "no-answer"] += 1
            if answer.final or not (known.addresses and now - known.resolved_at < STALE):
                known.failure = NameNotResolved(answer.reason)
        known.failures += 1
        known.proven = False
        believed = min(NEGATIVE * 2 ** min(known.failures - 1, 10), NEGATIVE_MAX)
        known.look_again = now + believed
        # Where there is nothing to be served meanwhile nobody gains by it.
        known.renew = now + believed * RENEWED if known.failure is None else inf


def _chosen(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """The first two of each family, in the order given."""
    six = [address for address in addresses if isinstance(address, IPv6Address)][:PER_FAMILY]
    four = [address for address in addresses if not isinstance(address, IPv6Address)][:PER_FAMILY]
    return tuple(address for address in addresses if address in six or address in four)


_conforms: type[Lookup] = SystemLookup

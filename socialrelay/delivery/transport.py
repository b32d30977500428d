"""
The transport of deliveries: one POST over libcurl, one reply, whatever the other side does.

Every bound is set here.  The whole may take as long as the caller says, name resolution included.  The connection goes only to addresses
that the resolver vetted, and the function that opens the socket vets once more what libcurl is about to connect to.  Headers, interim
answers and body together may have so many bytes; nothing of them is kept but the status, C{Retry-After} and C{Location}.  A connection at
which something else keeps coming is cut off (L{socialrelay.delivery.floods}).  Redirects are not followed, proxies from the environment are
not used, only https is spoken.  A connection that was closed while it lay idle costs no failure: libcurl sends the request once more over a
new one.

HTTP/1.1 is spoken unless HTTP/2 is asked for: with the few deliveries that are in flight to one host at a time there is little to
multiplex, and a delivery costs more CPU.  With HTTP/2 the deliveries to a host that speaks it are streams of one connection; the
others are served as before.

Only curves are offered for the exchange of keys, and not what withstands quantum computers as well: what is sent is public, and the latter
takes a tenth of the CPU of a handshake.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

import pycurl
from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from socialrelay.boundaries import Transport
from socialrelay.bounds import Bound, bound_of
from socialrelay.config import Memory
from socialrelay.delivery.curl import IReactorForCurl, Outcome, Transfers
from socialrelay.delivery.floods import Floods
from socialrelay.delivery.kept import OFTEN, Places
from socialrelay.delivery.sessions import Sessions
from socialrelay.federation import DeliveryRequest
from socialrelay.network.addresses import Network, Target, UrlRefused, allowed, vet_url
from socialrelay.network.resolver import AddressRefused, Endpoints, NameNotResolved, Resolution, Resolver
from socialrelay.network.texts import one_line, retry_after
from socialrelay.network.trust import Trust
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble

_STREAM_RESET = 92
"""CURLE_HTTP2_STREAM."""

TROUBLES = {
    pycurl.E_UNSUPPORTED_PROTOCOL: Trouble.PROTOCOL,
    pycurl.E_URL_MALFORMAT: Trouble.PROTOCOL,
    pycurl.E_COULDNT_RESOLVE_HOST: Trouble.DNS,
    pycurl.E_COULDNT_CONNECT: Trouble.CONNECT,
    8: Trouble.PROTOCOL,  # CURLE_WEIRD_SERVER_REPLY
    16: Trouble.PROTOCOL,  # CURLE_HTTP2: the whole connection went wrong
    pycurl.E_PARTIAL_FILE: Trouble.CLOSED,
    pycurl.E_WRITE_ERROR: Trouble.TOO_LARGE,
    pycurl.E_OPERATION_TIMEDOUT: Trouble.TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Trouble.TLS,
    pycurl.E_GOT_NOTHING: Trouble.CLOSED,
    pycurl.E_SEND_ERROR: Trouble.CLOSED,
    pycurl.E_RECV_ERROR: Trouble.CLOSED,
    pycurl.E_SSL_CIPHER: Trouble.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Trouble.CERTIFICATE,
    pycurl.E_FILESIZE_EXCEEDED: Trouble.TOO_LARGE,
    pycurl.E_SEND_FAIL_REWIND: Trouble.CLOSED,
    83: Trouble.CERTIFICATE,  # CURLE_SSL_ISSUER_ERROR
    _STREAM_RESET: Trouble.CLOSED,
    91: Trouble.CERTIFICATE,  # CURLE_SSL_INVALIDCERTSTATUS
    100: Trouble.TOO_LARGE,  # CURLE_TOO_LARGE
}
"""libcurl's codes; what is not here is L{Trouble.BROKEN}."""

_IDLE_HANDLES = 64
"""Handles that are kept for the next delivery, though no connection may be."""

_CURVES = "X25519:P-256:P-384:P-521:X448"


@define
class Counts:
    """
    What there was since the start.

    @ivar transfers: begun.
    @ivar opened: connections; the other transfers used one that was there, or share one.
    @ivar not_kept: transfers whose connection was to be closed afterwards: there was no place left for it.
    """

    transfers: int = 0
    opened: int = 0
    not_kept: int = 0


@frozen
class _Settings:
    """What is the same for all handles."""

    bundle: str
    allow: tuple[Network, ...]
    connect_timeout: float
    user_agent: str
    http2: bool
    counts: Counts


class _Handle:
    """
    An easy handle with what its callbacks must know.

    @ivar slot: for which URL it is used, and as the how manieth at a time.
    @ivar refused: the address that the second lock refused.
    @ivar room: bytes of the answer that may still come.
    @ivar lines: header lines of the last answer that matter to us.
    """

    def __init__(self, settings: _Settings) -> None:
        self.curl = curl = pycurl.Curl()
        self.slot = ("", 0)
        self.host = ""
        self._url = ""
        self._headers: tuple[str, ...] | None = None
        self._endpoints: Endpoints | None = None
        self._resolved: list[str] = []
        self._keep: bool | None = None
        self._timeout = 0
        self._sessions: pycurl.CurlShare | None = None
        self.refused = ""
        self.room = 0
        self.overflowed = False
        self.lines: list[bytes] = []
        self._settings = settings
        for option, value in (
            (pycurl.POST, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTPS),
            (pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.NOSIGNAL, 1),
            # As much as TLS sends at a time, and the least there may be: each handle keeps such a buffer as long as it lives.
            (pycurl.UPLOAD_BUFFERSIZE, 16384),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            # OpenSSL's own list without what no server of the public has. Each connection holds the list: this is 10 kB less, and quicker.
            (pycurl.SSL_CIPHER_LIST, "DEFAULT:!PSK:!SRP"),
            (pycurl.CAINFO, settings.bundle),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS if settings.http2 else pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PIPEWAIT, 1 if settings.http2 else 0),
            (pycurl.HTTP09_ALLOWED, 0),
            (pycurl.DNS_CACHE_TIMEOUT, 60),
            (pycurl.MAXAGE_CONN, 300),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.USERAGENT, settings.user_agent),
            (pycurl.HEADERFUNCTION, self._header),
            (pycurl.WRITEFUNCTION, self._body),
            (pycurl.OPENSOCKETFUNCTION, self._open),
        ):
            curl.setopt(option, value)
        if hasattr(pycurl, "SSL_EC_CURVES"):  # since 7.48
            curl.setopt(pycurl.SSL_EC_CURVES, _CURVES)
        # With a folder of certificates besides, libcurl would load the store anew for each connection.
        curl.unsetopt(pycurl.CAPATH)

    def prepare(
        self,
        target: Target,
        endpoints: Endpoints,
        request: DeliveryRequest,
        timeout: float,
        room: int,
        keep: bool,
        sessions: pycurl.CurlShare | None,
    ) -> None:
        """Set everything that differs from one transfer to the next; each option costs, so only what is not as it was."""
        self.refused, self.room, self.overflowed = "", room, False
        self.lines.clear()
        setopt = self.curl.setopt
        setopt(pycurl.POSTFIELDS, request.body)
        milliseconds = max(1, int(timeout * 1000))
        if milliseconds != self._timeout:
            self._timeout = milliseconds
            setopt(pycurl.TIMEOUT_MS, milliseconds)
            setopt(pycurl.CONNECTTIMEOUT_MS, max(1, min(milliseconds, int(self._settings.connect_timeout * 1000))))
        if request.headers != self._headers:
            self._headers = request.headers
            # A name without a value takes away a header that libcurl sends by itself.
            setopt(pycurl.HTTPHEADER, ["Expect:", *request.headers])
        if keep != self._keep:
            self._keep = keep
            setopt(pycurl.FORBID_REUSE, 0 if keep else 1)
        if sessions is not self._sessions:
            if self._sessions is not None:
                self.curl.unsetopt(pycurl.SHARE)
            self._sessions = sessions
            if sessions is not None:
                setopt(pycurl.SHARE, sessions)
        if target.url != self._url:
            self._url, self.host = target.url, target.host
            self._endpoints = None
            setopt(pycurl.URL, target.url)
        if endpoints is not self._endpoints and endpoints != self._endpoints:
            self._endpoints = endpoints
            self._pin(target, endpoints)
        if self._resolved:
            # Set each time: libcurl puts it into its cache once, where it grows old like an answer of DNS.
            setopt(pycurl.RESOLVE, self._resolved)

    def _pin(self, target: Target, endpoints: Endpoints) -> None:
        """Say where to connect to: a single address needs no entry in libcurl's cache of names."""
        where = [f"[{address}]" if isinstance(address, IPv6Address) else str(address) for address in endpoints.addresses]
        if len(where) == 1:
            self._resolved = []
            self.curl.setopt(pycurl.CONNECT_TO, [f"::{where[0]}:{endpoints.port}"])
        else:
            self._resolved = [f"+{target.host}:{target.port}:{','.join(where)}"]
            self.curl.unsetopt(pycurl.CONNECT_TO)

    def release(self) -> None:
        """Let go of the body."""
        self.curl.setopt(pycurl.POSTFIELDS, b"")

    def close(self) -> None:
        """Free it."""
        self.curl.close()

    # Called by libcurl; -1 ends the transfer

    def _header(self, line: bytes) -> int | None:
        self.room -= len(line)
        if self.room < 0:
            self.overflowed = True
            return -1
        first = line[:1]
        if first in b"LlRr":
            self.lines.append(line)
        elif line.startswith(b"HTTP/"):
            self.lines.clear()
        return None

    def _body(self, data: bytes) -> int | None:
        self.room -= len(data)
        if self.room < 0:
            self.overflowed = True
            return -1
        return None

    def _open(self, purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        text = where[0] if isinstance(where[0], str) else where[0].decode("ascii")
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_permitted(text, self._settings.allow):
            self.refused = one_line(text)
            return pycurl.SOCKET_BAD
        self._settings.counts.opened += 1
        return _Opened(family, kind, protocol)


@lru_cache(4096)
def is_permitted(address: str, allow: tuple[Network, ...]) -> bool:
    """Whether libcurl may connect to an address."""
    return allowed(ip_address(address), allow)


class _Opened(socket.socket):
    """A socket for libcurl, which works with a duplicate of it."""

    def __del__(self) -> None:
        self.close()


class CurlTransport:
    """
    L{Transport} over libcurl.

    @ivar counts: what there was.
    @ivar floods: which connections were cut off.
    @ivar _to_host: transfers under way per host.
    @ivar _failed: those of them that failed over HTTP/2, until they are heard of, which all are together.
    @ivar _multiplexed: hosts that spoke HTTP/2 last.
    @ivar _idle: handles to be used again, by slot: one that is used for its URL again needs few settings.
    @ivar _looked_up: deliveries whose host had to be looked up first.
    @ivar _looking_up: how many of them still wait for that.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorForCurl,
        resolver: Resolver,
        trust: Trust,
        *,
        user_agent: str,
        max_connections: int = 1024,
        kept_connections: int = 256,
        max_answer: int = 65536,
        connect_timeout: float = 5.0,
        http2: bool = False,
        allow: tuple[Network, ...] = (),
        ports: tuple[int, ...] = (443,),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        memory: Memory = Memory(),
    ) -> None:
        """
        @param max_connections: open at a time, kept ones included.
        @param max_answer: bytes of an answer, headers and interim answers included.
        @param connect_timeout: seconds for TCP and TLS together.
        @param http2: speak it with hosts that do.
        @param allow: networks that may be connected to although they are not public.
        @param ports: that a URL may name.
        """
        self._reactor = reactor
        self._resolver = resolver
        self.counts = Counts()
        self._settings = _Settings(str(trust.bundle), allow, connect_timeout, user_agent, http2, self.counts)
        self._max_answer = max_answer
        self._freed = 0
        self._idle_handles = max(kept_connections, _IDLE_HANDLES)
        self._ports = ports
        self._now = now
        self._places = Places(kept_connections, often=1 if http2 else OFTEN)  # of HTTP/2 it may be the first, which is not known yet
        self._sessions = Sessions(memory.tls_sessions)
        self.floods = Floods()
        self._transfers = Transfers(
            reactor,
            max_connections=max_connections,
            arrived=self.floods.arrived,
            forgotten=self.floods.forget,
            severs=self._severs,
        )
        self._idle: dict[tuple[str, int], _Handle] = {}
        self._to_host: dict[str, int] = {}
        self._failed: Counter[str] = Counter()
        self._multiplexed: set[str] = set()
        self._multiplexed_limit = memory.http2_hosts
        self._unlearned = 0
        self._looked_up: set[Deferred[Reply]] = set()
        self._looking_up = 0
        self._closed = False

    @property
    def under_way(self) -> int:
        """Deliveries under way."""
        return self._transfers.under_way + self._looking_up

    @property
    def behind(self) -> bool:
        """Answers come faster than they are taken in."""
        return self._transfers.behind

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            bound_of("tls-sessions", lambda: self._sessions),
            Bound("http2-hosts", lambda: len(self._multiplexed), lambda: self._multiplexed_limit, lambda: self._unlearned),
            Bound("handles", lambda: len(self._idle), lambda: self._idle_handles, lambda: self._freed),
            *self._places.bounds,
        )

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        """
        See L{Transport.send}.

        @param timeout: seconds, name resolution included.
        """
        if self._closed:
            return succeed(NoAnswer(Trouble.BROKEN, "the relay is stopping"))
        try:
            target = vet_url(request.url, self._ports)
        except UrlRefused as refusal:
            return succeed(NoAnswer(Trouble.ADDRESS, str(refusal)))
        found = self._resolver.at_hand(target.host, target.port)
        if isinstance(found, Endpoints):
            return self._transfer(request, target, found, timeout)
        if found is not None:
            return succeed(_unresolved(found))
        sending: Deferred[Reply] = Deferred.fromCoroutine(self._look_up_first(request, target, timeout))
        self._looked_up.add(sending)
        return sending.addBoth(self._over, sending)

    def close(self) -> Deferred[None]:
        """End what is under way, whose Deferreds fail with CancelledError, and free everything."""
        self._closed = True
        for sending in list(self._looked_up):
            sending.cancel()
        self._transfers.close()
        for handle in self._idle.values():
            handle.close()
        self._idle.clear()
        self._sessions.close()
        return succeed(None)

    def _over(self, result: Any, sending: Deferred[Reply]) -> Any:
        self._looked_up.discard(sending)
        return result

    async def _look_up_first(self, request: DeliveryRequest, target: Target, timeout: float) -> Reply:
        started = self._reactor.seconds()
        limited = self._resolver.resolve(target.host, target.port)
        alarm = self._reactor.callLater(timeout, limited.cancel)
        self._looking_up += 1
        try:
            found = await limited
        except CancelledError:
            if alarm.active():
                raise
            return NoAnswer(Trouble.DNS, "DNS does not answer in time")
        finally:
            self._looking_up -= 1
            if alarm.active():
                alarm.cancel()
        left = started + timeout - self._reactor.seconds()
        if not isinstance(found, Endpoints):
            return _unresolved(found)
        return await self._transfer(request, target, found, left)

    def _transfer(self, request: DeliveryRequest, target: Target, endpoints: Endpoints, timeout: float) -> Deferred[Reply]:
        host = target.host
        others = self._to_host.get(host, 0)
        handle = self._handle((target.url, others))
        # Streams of one connection take one place.
        keep = self._places.keep(host, 0 if host in self._multiplexed else others, self._reactor.seconds())
        handle.prepare(target, endpoints, request, timeout, self._max_answer, keep, self._sessions.of(host))
        transfer = self._transfers.start(handle.curl)
        self._to_host[host] = others + 1
        self.counts.transfers += 1
        if not keep:
            self.counts.not_kept += 1
        return transfer.addBoth(self._ended, handle)

    def _ended(self, result: Any, handle: _Handle) -> Any:
        self._leave(handle.host)
        reply = self._reply(handle, result) if isinstance(result, Outcome) else result
        if self._settings.http2:
            self._learn(handle)
        self._put_back(handle)
        return reply

    def _severs(self, curl: pycurl.Curl, outcome: Outcome) -> bool:
        """Over HTTP/2, where others use the connection: the last that fails takes it along. That a stream was reset is no fault of it."""
        if not self._settings.http2 or outcome.code == _STREAM_RESET:
            return False
        host = vet_url(curl.getinfo(pycurl.EFFECTIVE_URL), self._ports).host
        self._failed[host] += 1
        return self._failed[host] == self._to_host[host]

    def _learn(self, handle: _Handle) -> None:
        if handle.curl.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2_0:
            if len(self._multiplexed) >= self._multiplexed_limit:
                self._unlearned += len(self._multiplexed)
                self._multiplexed.clear()  # what is lost is learned again
            self._multiplexed.add(handle.host)
        else:
            self._multiplexed.discard(handle.host)

    def _handle(self, slot: tuple[str, int]) -> _Handle:
        handle = self._idle.pop(slot, None)
        if handle is None and len(self._idle) >= self._idle_handles:
            # The one that has lain idle longest.
            handle = self._idle.pop(next(iter(self._idle)))
        handle = handle or _Handle(self._settings)
        handle.slot = slot
        return handle

    def _leave(self, host: str) -> None:
        left = self._to_host[host] - 1
        if left:
            self._to_host[host] = left
        else:
            del self._to_host[host]
        self._failed.pop(host, None)

    def _put_back(self, handle: _Handle) -> None:
        if self._closed or len(self._idle) >= self._idle_handles or handle.slot in self._idle:
            handle.close()
            self._freed += 1
        else:
            handle.release()
            self._idle[handle.slot] = handle

    def _reply(self, handle: _Handle, outcome: Outcome) -> Reply:
        if outcome.code == 0:
            status = handle.curl.getinfo(pycurl.RESPONSE_CODE)
            if not handle.lines or 200 <= status < 300:
                return Answer(status)
            return self._told(status, handle.lines)
        if handle.overflowed:
            return NoAnswer(Trouble.TOO_LARGE, f"more than {self._max_answer} bytes")
        trouble = TROUBLES.get(outcome.code, Trouble.BROKEN)
        if trouble is Trouble.CONNECT or trouble is Trouble.TIMEOUT:
            self._resolver.doubt(handle.host)
        if handle.refused and trouble is Trouble.CONNECT:
            self._log.warn("{host} was about to be reached at {address}, which is not allowed.", host=handle.host, address=handle.refused)
            return NoAnswer(Trouble.ADDRESS, f"{handle.refused} is not a public address")
        return NoAnswer(trouble, one_line(outcome.message))

    def _told(self, status: int, lines: list[bytes]) -> Answer:
        wait, location = None, None
        for line in lines:
            name, _, raw = line.partition(b":")
            value = raw.strip().decode("utf-8", "replace")
            match name.lower():
                case b"retry-after" if wait is None:
                    wait = retry_after(value, self._now())
                case b"location" if location is None and 300 <= status < 400:
                    location = one_line(value)
        return Answer(status, wait, location)


def _unresolved(found: Resolution) -> NoAnswer:
    if isinstance(found, AddressRefused):
        return NoAnswer(Trouble.ADDRESS, found.reason)
    assert isinstance(found, NameNotResolved)
    # That the name does not resolve need not be said twice.
    return NoAnswer(Trouble.DNS, "" if found.reason == Trouble.DNS.value else found.reason)


_conforms: type[Transport] = CurlTransport

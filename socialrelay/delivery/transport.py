"""
The transport of deliveries: one POST over libcurl, one reply, whatever the other side does.

Every bound is set here.  The whole may take as long as the caller says, name resolution included.  The connection goes only to addresses
that the resolver vetted, and the function that opens the socket vets once more what libcurl is about to connect to.  Headers, interim
answers and body together may have so many bytes; nothing of them is kept but the status, C{Retry-After} and C{Location}.  Redirects are not
followed, proxies from the environment are not used, only https is spoken.  A connection that was closed while it lay idle costs no failure:
libcurl sends the request once more over a new one.

HTTP/1.1 is spoken and not HTTP/2: with the few deliveries that are in flight per host at a time there is nothing to multiplex, and a
delivery costs 40 % more CPU.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

import pycurl
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from socialrelay.boundaries import Transport
from socialrelay.delivery.curl import IReactorForCurl, Outcome, Transfers
from socialrelay.delivery.kept import Places
from socialrelay.federation import DeliveryRequest
from socialrelay.network.addresses import Network, Target, UrlRefused, allowed, vet_url
from socialrelay.network.resolver import AddressRefused, Endpoints, NameNotResolved, Resolution, Resolver
from socialrelay.network.texts import one_line, retry_after
from socialrelay.network.trust import Trust
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble

TROUBLES = {
    pycurl.E_UNSUPPORTED_PROTOCOL: Trouble.PROTOCOL,
    pycurl.E_URL_MALFORMAT: Trouble.PROTOCOL,
    pycurl.E_COULDNT_RESOLVE_HOST: Trouble.DNS,
    pycurl.E_COULDNT_CONNECT: Trouble.CONNECT,
    8: Trouble.PROTOCOL,  # CURLE_WEIRD_SERVER_REPLY
    16: Trouble.PROTOCOL,  # CURLE_HTTP2
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
    91: Trouble.CERTIFICATE,  # CURLE_SSL_INVALIDCERTSTATUS
    100: Trouble.TOO_LARGE,  # CURLE_TOO_LARGE
}
"""libcurl's codes; what is not here is L{Trouble.BROKEN}."""

_IDLE_HANDLES = 64
"""Handles that are kept for the next delivery, though no connection may be."""


class _Handle:
    """
    An easy handle with what its callbacks must know.

    @ivar slot: for which URL it is used, and as the how manieth at a time.
    @ivar refused: the address that the second lock refused.
    @ivar room: bytes of the answer that may still come.
    @ivar lines: header lines of the last answer that matter to us.
    """

    def __init__(self, trust: Trust, allow: tuple[Network, ...], connect_timeout: float, user_agent: str) -> None:
        self.curl = curl = pycurl.Curl()
        self.slot = ("", 0)
        self._url = ""
        self._headers: tuple[str, ...] | None = None
        self._endpoints: Endpoints | None = None
        self._resolved: list[str] = []
        self._keep: bool | None = None
        self.refused = ""
        self.room = 0
        self.overflowed = False
        self.lines: list[bytes] = []
        self._allow = allow
        self._connect_timeout = connect_timeout
        for option, value in (
            (pycurl.POST, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTPS),
            (pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.NOSIGNAL, 1),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            (pycurl.CAINFO, str(trust.bundle)),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.HTTP09_ALLOWED, 0),
            (pycurl.DNS_CACHE_TIMEOUT, 60),
            (pycurl.MAXAGE_CONN, 300),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.USERAGENT, user_agent),
            (pycurl.HEADERFUNCTION, self._header),
            (pycurl.WRITEFUNCTION, self._body),
            (pycurl.OPENSOCKETFUNCTION, self._open),
        ):
            curl.setopt(option, value)
        # With a folder of certificates besides, libcurl would load the store anew for each connection.
        curl.unsetopt(pycurl.CAPATH)

    def prepare(self, target: Target, endpoints: Endpoints, request: DeliveryRequest, timeout: float, room: int, keep: bool) -> None:
        """Set everything that differs from one transfer to the next."""
        self.refused, self.room, self.overflowed = "", room, False
        self.lines.clear()
        curl = self.curl
        curl.setopt(pycurl.POSTFIELDS, request.body)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout * 1000)))
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(min(timeout, self._connect_timeout) * 1000)))
        if request.headers != self._headers:
            self._headers = request.headers
            # A name without a value takes away a header that libcurl sends by itself.
            curl.setopt(pycurl.HTTPHEADER, ["Expect:", *request.headers])
        if keep != self._keep:
            self._keep = keep
            curl.setopt(pycurl.FORBID_REUSE, 0 if keep else 1)
        if target.url != self._url:
            self._url = target.url
            self._endpoints = None
            curl.setopt(pycurl.URL, target.url)
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            self._pin(target, endpoints)
        if not endpoints.overridden:
            # Set each time: libcurl puts it into its cache once, where it grows old like an answer of DNS.
            curl.setopt(pycurl.RESOLVE, self._resolved)

    def _pin(self, target: Target, endpoints: Endpoints) -> None:
        """Say where to connect to."""
        where = [f"[{address}]" if isinstance(address, IPv6Address) else str(address) for address in endpoints.addresses]
        if endpoints.overridden:
            self.curl.setopt(pycurl.CONNECT_TO, [f"::{where[0]}:{endpoints.port}"])
        else:
            self.curl.unsetopt(pycurl.CONNECT_TO)
            self._resolved = [f"+{target.host}:{target.port}:{','.join(where)}"]

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
        if family not in (socket.AF_INET, socket.AF_INET6) or not _permitted(text, self._allow):
            self.refused = one_line(text)
            return pycurl.SOCKET_BAD
        return _Opened(family, kind, protocol)


@lru_cache(4096)
def _permitted(address: str, allow: tuple[Network, ...]) -> bool:
    return allowed(ip_address(address), allow)


class _Opened(socket.socket):
    """A socket for libcurl, which works with a duplicate of it."""

    def __del__(self) -> None:
        self.close()


class CurlTransport:
    """
    L{Transport} over libcurl.

    @ivar _to_host: transfers under way per host.
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
        allow: tuple[Network, ...] = (),
        ports: tuple[int, ...] = (443,),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        @param max_connections: open at a time, kept ones included.
        @param max_answer: bytes of an answer, headers and interim answers included.
        @param connect_timeout: seconds for TCP and TLS together.
        @param allow: networks that may be connected to although they are not public.
        @param ports: that a URL may name.
        """
        self._reactor = reactor
        self._resolver = resolver
        self._trust = trust
        self._user_agent = user_agent
        self._max_answer = max_answer
        self._connect_timeout = connect_timeout
        self._idle_handles = max(kept_connections, _IDLE_HANDLES)
        self._allow = allow
        self._ports = ports
        self._now = now
        self._places = Places(kept_connections)
        self._transfers = Transfers(reactor, max_connections=max_connections)
        self._idle: dict[tuple[str, int], _Handle] = {}
        self._to_host: dict[str, int] = {}
        self._looked_up: set[Deferred[Reply]] = set()
        self._looking_up = 0
        self._closed = False

    @property
    def under_way(self) -> int:
        """Deliveries under way."""
        return self._transfers.under_way + self._looking_up

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
        others = self._to_host.get(target.host, 0)
        handle = self._handle((target.url, others))
        self._to_host[target.host] = others + 1
        keep = self._places.keep(target.host, others, self._reactor.seconds())
        handle.prepare(target, endpoints, request, timeout, self._max_answer, keep)

        def ended(result: Any) -> Any:
            self._leave(target.host)
            reply = self._reply(handle, result, target.host) if isinstance(result, Outcome) else result
            self._put_back(handle)
            return reply

        return self._transfers.start(handle.curl).addBoth(ended)

    def _handle(self, slot: tuple[str, int]) -> _Handle:
        handle = self._idle.pop(slot, None)
        if handle is None and len(self._idle) >= self._idle_handles:
            # The one that has lain idle longest.
            handle = self._idle.pop(next(iter(self._idle)))
        handle = handle or _Handle(self._trust, self._allow, self._connect_timeout, self._user_agent)
        handle.slot = slot
        return handle

    def _leave(self, host: str) -> None:
        left = self._to_host[host] - 1
        if left:
            self._to_host[host] = left
        else:
            del self._to_host[host]

    def _put_back(self, handle: _Handle) -> None:
        if self._closed or len(self._idle) >= self._idle_handles or handle.slot in self._idle:
            handle.close()
        else:
            handle.release()
            self._idle[handle.slot] = handle

    def _reply(self, handle: _Handle, outcome: Outcome, host: str) -> Reply:
        if outcome.code == 0:
            status = handle.curl.getinfo(pycurl.RESPONSE_CODE)
            if not handle.lines or 200 <= status < 300:
                return Answer(status)
            return self._told(status, handle.lines)
        if handle.overflowed:
            return NoAnswer(Trouble.TOO_LARGE, f"more than {self._max_answer} bytes")
        trouble = TROUBLES.get(outcome.code, Trouble.BROKEN)
        if trouble is Trouble.CONNECT or trouble is Trouble.TIMEOUT:
            self._resolver.doubt(host)
        if handle.refused and trouble is Trouble.CONNECT:
            self._log.warn("{host} was about to be reached at {address}, which is not allowed.", host=host, address=handle.refused)
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

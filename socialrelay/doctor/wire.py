"""Requests over TLS as others make them: a strict look at certificates, no redirects, and an end after some seconds."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from attrs import frozen

from socialrelay import __version__
from socialrelay.config import Config
from socialrelay.network.overrides import Overrides
from socialrelay.network.trust import system_bundle

SECONDS = 4.0
MOST = 1024 * 1024


@frozen
class Answer:
    """
    @ivar headers: names in lower case.
    @ivar body: the first mebibyte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date(self) -> float | None:
        """Seconds since the epoch by the clock of who answered."""
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None


class Wire:
    """
    Connections to hosts by name, or to where C{network.connect_to} says they are.

    @ivar seconds: for each step of a connection.
    """

    def __init__(self, config: Config, seconds: float = SECONDS) -> None:
        """
        @raise socialrelay.network.trust.NoTrustRoot: the system has no trusted certificates.
        @raise OSError: C{network.ca_file} cannot be read.
        """
        self._overrides = Overrides(config.network.connect_to)
        self.seconds = seconds
        self.context = ssl.create_default_context(cafile=str(system_bundle()))
        if config.network.ca_file:
            self.context.load_verify_locations(config.network.ca_file)

    def addresses(self, host: str) -> list[tuple[str, int]]:
        """
        Where a host is reached: addresses and ports, each once.

        @raise OSError: its name does not resolve.
        """
        override = self._overrides.find(host, 443)
        if override is not None:
            return [(str(override.address), override.port)]
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
        return list(dict.fromkeys((str(address[0]), 443) for *_, address in found))

    def overridden(self, host: str) -> bool:
        """Whether the configuration says where it is."""
        return self._overrides.find(host, 443) is not None

    def tls(self, host: str, address: tuple[str, int]) -> ssl.SSLSocket:
        """
        A connection to a host at one of its addresses.

        @raise OSError: there is none; L{ssl.SSLError} if it is TLS that fails.
        """
        plain = socket.create_connection(address, timeout=self.seconds)
        try:
            return self.context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def ask(self, host: str, path: str, method: str = "GET", body: bytes | None = None, content_type: str = "") -> Answer:
        """
        Ask a host.

        @raise OSError: there was no answer.
        @raise http.client.HTTPException: there was one that is not HTTP.
        """
        connection = _Connection(self, host)
        try:
            headers = {"User-Agent": f"socialrelay-doctor/{__version__}", "Accept": "*/*", "Connection": "close"}
            connection.request(method, path, body, {**headers, **({"Content-Type": content_type} if content_type else {})})
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read(MOST))
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over L{Wire.tls}, at the first address that can be reached."""

    def __init__(self, wire: Wire, host: str) -> None:
        super().__init__(host)
        self._wire = wire

    def connect(self) -> None:
        """As L{http.client.HTTPConnection.connect}."""
        error: OSError = ConnectionError(f"{self.host} has no address")
        for address in self._wire.addresses(self.host):
            try:
                self.sock = self._wire.tls(self.host, address)
                return
            except OSError as failed:
                error = failed
        raise error


def why(error: BaseException) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def is_public(address: str) -> bool:
    """Whether others can connect to it over the internet."""
    return ip_address(address.partition("%")[0]).is_global

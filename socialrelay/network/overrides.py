"""
The C{connect_to} table of the configuration: where to connect instead of asking DNS.  Pure.

Only the TCP connection goes elsewhere; the Host header, the server name in TLS and the certificate's check keep the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from attrs import frozen

from socialrelay.network.addresses import Address


@frozen
class Override:
    """Where to connect to."""

    address: Address
    port: int


def _split(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


class Overrides:
    """
    The table, ready for look-ups.

    @ivar _exact: (host, port) -> where to.
    @ivar _below: (domain, port) -> where to, for all names below the domain, not for itself.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        """
        @param table: C{"host:443" -> "127.0.0.1:8443"}, C{"*.domain:443" -> "[::1]:8443"}.
        @raise ValueError: naming the entry that cannot be read.
        """
        self._exact: dict[tuple[str, int], Override] = {}
        self._below: dict[tuple[str, int], Override] = {}
        for name, where in table.items():
            host, port = _split(name.lower())
            address, to_port = _split(where)
            override = Override(ip_address(address.removeprefix("[").removesuffix("]")), to_port)
            if host.startswith("*."):
                self._below[host[2:], port] = override
            else:
                self._exact[host, port] = override

    def find(self, host: str, port: int) -> Override | None:
        """The exact entry, else that of the longest domain above the host."""
        if not self._exact and not self._below:
            return None
        found = self._exact.get((host, port))
        domain = host
        while found is None and self._below and "." in domain:
            domain = domain.partition(".")[2]
            found = self._below.get((domain, port))
        return found

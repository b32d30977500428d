"""Whom a request comes from, when a proxy may stand in between."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

UNIX = "unix"

LONGEST = 100
"""Characters of an address with all that may stand beside it; a zone is a name of some letters."""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """
    Read an address as sockets and C{X-Forwarded-For} write it: bare, with a port, with brackets or a zone.

    @return: an IPv4 address also where it is written as a mapped IPv6 one; C{None} if it is no address.
    """
    return read_address(text.strip()) if len(text) <= LONGEST else None


@lru_cache(maxsize=1024)
def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """The same of a text that is not too long; remembered, since few clients send most requests."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def limited_as(client: str) -> str:
    """
    What counts as one client where clients are limited: an IPv4 address, an IPv6 /64 (its owner has all of it), or the text as it is.
    """
    address = parse_address(client)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address or client)


@frozen
class TrustedProxies:
    """
    The proxies whose C{X-Forwarded-For} is believed. Peers on a UNIX socket always are: only a proxy connects there.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> TrustedProxies:
        """
        @param entries: addresses and networks in CIDR notation.
        @raise ValueError: naming the entry that is none of these.
        """
        try:
            return cls(tuple(ip_network(entry, strict=False) for entry in entries))
        except ValueError as error:
            raise ValueError(f"a trusted proxy is an address or a network such as 10.0.0.0/8: {error}") from error

    def trusts(self, peer: str) -> bool:
        """Whether this peer is one of them; the peer of a UNIX socket is C{"unix"}."""
        if peer == UNIX:
            return True
        address = parse_address(peer)
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """
        The client behind C{peer}: the last address that none of our proxies has.

        @param forwarded: the values of C{X-Forwarded-For} in the order of the header lines. Whatever stands left of an address that is not
            a proxy's was written by the client and is not read.
        """
        client = peer
        if not self.trusts(peer):
            return client
        for entry in reversed(",".join(forwarded).split(",")):
            address = parse_address(entry)
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

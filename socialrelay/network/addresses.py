"""
Which addresses and URLs the relay may connect to. Pure.

Hosts come from strangers (node lists, handles, links, redirects), so a name is never judged by how it looks: its form is checked here, and
every address it resolves to is checked before a connection is made.  The list of special addresses follows the IANA registries for special
purposes (RFC 6890 and its successors); C{ipaddress.is_global} is not used, because Python 3.11 calls multicast, NAT64 and 6to4 global.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from attrs import frozen

from socialrelay.routing.hosts import is_host, within

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)

MAX_URL = 2048
_URL = re.compile(r"https://([a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?(/[!-\"$->@-~]*)?(\?[!-\"$-~]*)?", re.IGNORECASE)
_NOT_IN_URLS = frozenset('"<>\\^`{|}')


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """
    Read CIDRs.

    @raise ValueError: naming the one that is none.
    """
    return tuple(ip_network(cidr) for cidr in cidrs)


def allowed(address: Address, extra: Collection[Network] = ()) -> bool:
    """
    Whether the relay may connect to an address: a public unicast one, or one of C{extra}.

    An IPv4 address mapped into IPv6 is judged as the IPv4 address.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in extra):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address.scope_id is None and address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def is_public_name(host: str) -> bool:
    """Whether this can be the name of a host on the public internet. It says nothing of where the name leads."""
    return is_host(host) and not within(host, "localhost")


class UrlRefused(ValueError):
    """The relay does not ask this URL; the message says why in one line, and repeats nothing of it."""


@frozen
class Target:
    """
    A URL that may be asked.

    @ivar url: the URL with scheme and host in lower case, without its default port and with a path.
    """

    url: str
    host: str
    port: int


@lru_cache(4096)
def vet_url(url: str, ports: tuple[int, ...] = (443,)) -> Target:
    """
    Check the form of a URL.

    @raise UrlRefused: it is no https URL of a node host and one of the ports, or is spelled in a way that two parsers could read
        differently: only characters of RFC 3986 are taken, no user information, no fragment.
    """
    if len(url) > MAX_URL:
        raise UrlRefused(f"the URL is longer than {MAX_URL} characters")
    if url[:8].lower() != "https://":
        raise UrlRefused("the URL does not begin with https://")
    match = _URL.fullmatch(url)
    if match is None or not _NOT_IN_URLS.isdisjoint(url):
        raise UrlRefused("the URL is malformed")
    host, port_text, path, query = match[1].lower(), match[2], match[3] or "/", match[4] or ""
    if not is_public_name(host):
        raise UrlRefused("the URL does not name a host of the public internet")
    port = int(port_text or 443)
    if port not in ports:
        raise UrlRefused(f"port {port} is not allowed")
    return Target(f"https://{host}{'' if port == 443 else f':{port}'}{path}{query}", host, port)

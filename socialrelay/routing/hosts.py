"""Host names as the relay compares them."""

from __future__ import annotations


def host_of(handle: str) -> str:
    """The host of a handle, without its port."""
    return handle.rpartition("@")[2].partition(":")[0]


def within(host: str, domain: str) -> bool:
    """Whether C{host} is C{domain} or below it."""
    return host == domain or host.endswith("." + domain)

"""
diaspora* IDs: C{user@host} or C{user@host:port}, here called handles.

The pattern is that of diaspora_federation:/docs/federation/types.md, in ASCII: pods decode the key id of an envelope as bytes and compare
it with the author, so other letters never match.
"""

from __future__ import annotations

import re

from socialrelay.routing.hosts import is_host

_HANDLE = re.compile(r"[a-z0-9._-]+@([a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?")

HTTPS = 443


def is_handle(text: str) -> bool:
    """Whether a text is a handle: lower-case ASCII, at most 255 characters. The port is part of it."""
    match = _HANDLE.fullmatch(text) if len(text) <= 255 else None
    return match is not None and is_host(match[1]) and int(match[2] or HTTPS) < 65536


def port_of(handle: str) -> int:
    """The port at which the node of a handle answers."""
    match = _HANDLE.fullmatch(handle)
    return int(match[2]) if match and match[2] else HTTPS


def authority_of(handle: str) -> str:
    """The host of a handle with its port, if it names one, as it stands in a URL."""
    return handle.rpartition("@")[2]

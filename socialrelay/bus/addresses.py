"""Where the bus listens: C{tcp://address:port} and C{ipc:///path}, as ZeroMQ writes them."""

from __future__ import annotations

import re
from ipaddress import ip_address

_TCP = re.compile(r"tcp://(\*|[0-9.]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
_IPC = "ipc://"
_LONGEST_PATH = 107
"""Bytes of a UNIX socket's path (unix(7))."""


def is_loopback(address: str) -> bool:
    """
    Whether only this machine can connect there.

    @raise ValueError: that is no address to listen at; the message is a part of a sentence.
    """
    if address.startswith(_IPC):
        path = address.removeprefix(_IPC)
        if not path.startswith("/") or len(path.encode()) > _LONGEST_PATH:
            raise ValueError(f"must be ipc:// and an absolute path of at most {_LONGEST_PATH} bytes, not {address!r}")
        return True
    found = _TCP.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError(f"must be tcp://address:port, such as tcp://127.0.0.1:2003, or ipc:///path, not {address!r}")
    if found[1] == "*":
        return False
    try:
        return ip_address(found[1].strip("[]")).is_loopback
    except ValueError:
        raise ValueError(f"must name an IP address, not {found[1]!r}") from None

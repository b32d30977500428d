"""
TLS sessions of many hosts, so that a new connection to a known host needs neither a certificate nor its verification.

libcurl keeps the sessions of 25 hosts in each cache (of 8 hosts before 8.12), and a multi handle has one.  A relay that sends a post to
hundreds of hosts in turn would find each session gone just before it is needed.  So hosts are put together in groups, each with a cache of
its own.  libcurl gives a session only to the host, port and settings of verification that it is from.
"""

from __future__ import annotations

from collections import OrderedDict

import pycurl

GROUP = 20
"""Hosts that share a cache: somewhat fewer than it has places for, since those of hosts that left stay a while."""


class Sessions:
    """
    Which cache a host uses.

    @ivar limit: whose sessions are kept, at most.
    @ivar forgotten: how many gave way.
    @ivar _groups: host -> its cache; the host used longest ago is the first.
    """

    def __init__(self, hosts: int) -> None:
        """
        @param hosts: whose sessions are kept, at most; beyond that the one used longest ago gives way. libcurl keeps two sessions a host.
        """
        self.limit = hosts
        self.forgotten = 0
        self._groups: OrderedDict[str, pycurl.CurlShare] = OrderedDict()
        self._newest: pycurl.CurlShare | None = None
        self._in_newest = 0

    def __len__(self) -> int:
        return len(self._groups)

    def of(self, host: str) -> pycurl.CurlShare | None:
        """The cache of a host, for C{SHARE}; C{None} where none is kept."""
        group = self._groups.get(host)
        if group is not None:
            self._groups.move_to_end(host)
            return group
        if self.limit == 0:
            return None
        full = len(self._groups) >= self.limit
        self.forgotten += full
        self._groups[host] = group = self._groups.popitem(last=False)[1] if full else self._with_room()
        return group

    def close(self) -> None:
        """Forget all; the handles that use them must be closed before."""
        self._groups.clear()
        self._newest = None

    def _with_room(self) -> pycurl.CurlShare:
        if self._newest is None or self._in_newest >= GROUP:
            self._newest, self._in_newest = pycurl.CurlShare(), 0
            self._newest.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
        self._in_newest += 1
        return self._newest

"""
From a handle to its author's public key, over the network.

WebFinger on the handle's own host and port names the hcard, which holds the key; https only, the subject must be the handle
(C{diaspora_federation:lib/diaspora_federation/discovery/discovery.rb}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred, DeferredSemaphore

from socialrelay.boundaries import Document, Fetcher
from socialrelay.diaspora.discovery import HCARD_ACCEPT, JRD_ACCEPT, DiscoveryFault, hcard_key, hcard_url, webfinger_url

MAX_JRD = 64 * 1024
MAX_HCARD = 256 * 1024


class NoKey(Exception):
    """The author's node answered, and there is no usable key in what it said; the message says why in one line."""


class KeyLookup:
    """Fetches keys, a bounded number of documents at a time."""

    def __init__(self, fetcher: Fetcher, concurrency: int, in_thread: Callable[..., Deferred[Any]]) -> None:
        """@param in_thread: runs a function outside the reactor's thread: a hostile hcard takes a quarter of a second to read."""
        self._fetcher = fetcher
        self._in_thread = in_thread
        self._slots = DeferredSemaphore(concurrency)
        self._fetches: set[Deferred[Document]] = set()

    async def find(self, handle: str) -> RSAPublicKey:
        """
        Ask the author's node for the author's key.

        @raise NoKey: it has none that can be used.
        @raise FetchFailed: it could not be asked.
        """
        jrd = await self._get(webfinger_url(handle), JRD_ACCEPT, MAX_JRD)
        try:
            hcard = await self._get(hcard_url(jrd.body, handle), HCARD_ACCEPT, MAX_HCARD)
            key: RSAPublicKey = await self._in_thread(hcard_key, hcard.body)
            return key
        except DiscoveryFault as fault:
            raise NoKey(fault.reason) from fault

    def cancel(self) -> None:
        """Give up all fetches; those who wait get C{CancelledError}."""
        for fetch in list(self._fetches):
            fetch.cancel()

    async def _get(self, url: str, accept: str, limit: int) -> Document:
        fetch = self._slots.run(self._fetcher.get, url, accept=accept, max_body=limit)
        self._fetches.add(fetch)
        try:
            return await fetch
        finally:
            self._fetches.discard(fetch)

"""What makes the relay quick and may vanish, and the rest of the web."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.federation import DeliveryRequest
from socialrelay.scheduler.outcome import Reply


class Cache(Protocol):
    """
    Redis, or its twin in memory. May forget anything at any moment, never fails and never waits longer than a second.
    """

    def get(self, key: str) -> Deferred[bytes | None]: ...

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]: ...

    def delete(self, key: str) -> Deferred[None]: ...

    def count(self, key: str, seconds: float) -> Deferred[int]:
        """One more; how many in the window that began with the first, which lasts C{seconds}."""


# HTTP


class Transport(Protocol):
    """Sends deliveries."""

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        """
        POST it; never fails, whatever the other side does.  Cancelling it ends the transfer; the Deferred then fails with CancelledError.

        @param timeout: seconds for the whole.
        """

    def close(self) -> Deferred[None]:
        """End what is left and free everything."""


@frozen
class Document:
    """
    A fetched document.

    @ivar url: where it was found in the end.
    @ivar headers: names in lower case, the first value of each.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher(Protocol):
    """Gets documents: https only, vetted at every hop, bounded in size and time."""

    def get(
        self,
        url: str,
        *,
        accept: str,
        max_body: int,
        headers: Mapping[str, str] = MappingProxyType({}),
        same_host: bool = False,
        ok: Collection[int] = (200,),
    ) -> Deferred[Document]:
        """
        @param same_host: follow redirects only to the same host or C{www.} of it.
        @param ok: statuses that are an answer.
        @raise FetchFailed: for anything else.
        """

    def post_json(self, url: str, document: object, *, max_body: int) -> Deferred[Document]:
        """@raise FetchFailed: for any answer but 200. Redirects are not followed."""

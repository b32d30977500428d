"""A web in memory, for what fetches documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from socialrelay.boundaries import Document, Fetcher, FetchFailed


@frozen
class Request:
    """What was asked for; C{document} is what was posted."""

    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    document: object = None
    same_host: bool = False


@define
class MemoryWeb:
    """
    L{Fetcher} of pages that a test puts there; what is not there answers 404.

    @ivar pages: a page is a body, a document, an error, or a Deferred of a document.
    """

    pages: dict[str, bytes | Document | FetchFailed | Deferred[Document]] = field(factory=dict)
    requests: list[Request] = field(factory=list)

    @property
    def urls(self) -> list[str]:
        """What was asked for, in order."""
        return [request.url for request in self.requests]

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
        """See L{Fetcher.get}."""
        self.requests.append(Request(url, headers, same_host=same_host))
        return self._answer(url, max_body, ok)

    def post_json(self, url: str, document: object, *, max_body: int) -> Deferred[Document]:
        """See L{Fetcher.post_json}."""
        self.requests.append(Request(url, document=document))
        return self._answer(url, max_body, (200,))

    def _answer(self, url: str, max_body: int, ok: Collection[int]) -> Deferred[Document]:
        page = self.pages.get(url, FetchFailed("HTTP 404", 404))
        if isinstance(page, Deferred):
            return page
        if isinstance(page, FetchFailed):
            return fail(page)
        if isinstance(page, bytes):
            page = Document(url, 200, {}, page)
        if page.status not in ok:
            return fail(FetchFailed(f"HTTP {page.status}", page.status))
        if len(page.body) > max_body:
            return fail(FetchFailed("the document is too large"))
        return succeed(page)


_conforms: type[Fetcher] = MemoryWeb

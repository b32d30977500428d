"""C{/metrics}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request


class MetricsPage(Resource):
    """
    All metrics, in OpenMetrics for those who accept it, else in Prometheus' text format. Not for the public.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, registry: CollectorRegistry, prepare: Callable[[], Deferred[Any]] = lambda: succeed(None)) -> None:
        """@param prepare: brings up to date what takes several turns of the reactor to count."""
        super().__init__()
        self._registry = registry
        self._prepare = prepare

    def render_GET(self, request: Request) -> int:
        """As L{Resource.render}."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        ready = self._prepare()
        ready.addCallback(lambda _: None if gone else self._answer(request))
        ready.addErrback(lambda failure: self._failed(failure, request, bool(gone)))
        return NOT_DONE_YET

    def _answer(self, request: Request) -> None:
        try:
            encode, content_type = choose_encoder(request.getHeader("accept") or "")
        except (ValueError, TypeError):  # a version that is none
            encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        body = encode(self._registry)
        request.setHeader(b"Content-Type", content_type.encode())
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.setHeader(b"Cache-Control", b"no-store")
        request.write(body)
        request.finish()

    def _failed(self, failure: Failure, request: Request, gone: bool) -> None:
        self._log.failure("The metrics could not be collected.", failure)
        if not gone and not request.startedWriting:
            request.setResponseCode(500)
            request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            request.write(b"The metrics could not be collected; the log says why.\n")
            request.finish()

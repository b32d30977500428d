"""How the public site's resources answer: complete, with a length, and in sentences where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"

_log = Logger()


def answer(
    request: Request, body: bytes = b"", content_type: str = TEXT, *, code: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """
    Prepare an answer for Klein to write.

    @return: the body.
    """
    request.setResponseCode(code)
    out = request.responseHeaders
    if body:
        out.setRawHeaders(b"Content-Type", [content_type.encode()])
    out.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    for name, value in headers.items():
        out.setRawHeaders(name.encode(), [value.encode()])
    return body


def sentence(request: Request, code: int, text: str, *, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Answer with one line of plain text."""
    return answer(request, text.encode() + b"\n", code=code, headers=headers)


def as_json(request: Request, document: object, *, code: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Answer with a JSON document, readable by people too."""
    return answer(request, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n", JSON, code=code, headers=headers)


def application(errors: Mapping[type[Exception], Any] = MappingProxyType({})) -> Klein:
    """
    A Klein whose routes mean exactly what they say (no redirects to tidier paths: senders follow none) and whose errors are sentences.

    @param errors: what is answered instead to errors of some kinds.
    """
    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    for kind, handler in errors.items():
        app.handle_errors(kind)(handler)
    app.handle_errors(HTTPException)(_refused)  # type: ignore[arg-type]  # Klein names the parameters otherwise
    app.handle_errors(Exception)(_broken)  # type: ignore[arg-type]
    return app


def _refused(_instance: object, request: Request, failure: Failure) -> bytes:
    error = failure.value
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return sentence(request, 405, f"This address takes {allowed} only.", headers={"Allow": allowed})
    if isinstance(error, HTTPException) and error.code == 404:
        return sentence(request, 404, "There is nothing at this address.")
    return sentence(request, 400, "This request cannot be understood.")


def _broken(_instance: object, request: Request, failure: Failure) -> bytes:
    _log.failure("Answering {path} failed.", failure, path=request.path)
    return sentence(request, 500, "Something went wrong here; it has been logged.")

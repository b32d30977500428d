"""Requests that two HTTP parsers could read differently, and that are therefore not read at all (RFC 9112, sections 3.2, 6 and 11.2)."""

from __future__ import annotations

import re

from twisted.web.http_headers import Headers

_LINES = rb"(?:(?!content-length|transfer-encoding|connection|expect)[a-z-]{1,50}: [ -~]{1,300}\r\n){0,20}"
_PLAIN_POST = re.compile(
    rb"(?-i:POST) (/[!-~]{0,200}) (?-i:HTTP/1\.1)\r\n" + _LINES + rb"content-length: ([0-9]{1,7})\r\n" + _LINES + rb"\r\n", re.IGNORECASE
)
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]{1,300}")


def fault(version: bytes, target: bytes, headers: Headers) -> str | None:
    """
    What is wrong with a request's head, beyond what Twisted's parser refuses itself.

    HTTP/1.0 knows no C{Host}, and some proxies and monitors speak it without; there, and only there, it may be missing.

    @return: the name of the fault, for a counter and for the answer; C{None} for none.
    """
    hosts = headers.getRawHeaders(b"Host", [])
    if len(hosts) > 1:
        return "two-hosts"
    if not hosts and version != b"HTTP/1.0":
        return "no-host"
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "bad-host"
    encodings = headers.getRawHeaders(b"Transfer-Encoding", [])
    if encodings and (version == b"HTTP/1.0" or len(encodings) > 1 or encodings[0].lower() != b"chunked"):
        return "bad-transfer-encoding"
    if not target.startswith(b"/"):
        return "bad-target"
    return None


def plain_post(data: bytes) -> bytes | None:
    """
    Where something is posted by bytes that are one whole request, about whose extent no two parsers could disagree.

    It costs a tenth of what reading the request does; for those who do not want to know more of it.

    @return: the target; C{None} for anything else.
    """
    found = _PLAIN_POST.match(data)
    return found[1] if found is not None and len(data) - found.end() == int(found[2]) else None

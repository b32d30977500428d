"""
Node lists: what shapes they come in, and which hosts they name.

A list yields candidates for polling and nothing else, so its entries are judged one by one and strange ones are merely counted.

@see: C{docs/protocol.md}, "Node lists"; shapes in C{tests/vectors/node-lists/}
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from socialrelay.jsontext import NotJSON, read_json
from socialrelay.routing.hosts import BadHost, node_host

PLATFORMS = frozenset({"diaspora", "friendica", "hubzilla"})
"""Software that publishes preferences or takes posts of this protocol, as the-federation.info names it."""


class BadList(ValueError):
    """The document is no node list, or an empty one: the source's last good list stays. The message says why in one line."""


@frozen
class NodeListing:
    """
    What a list names.

    @ivar hosts: as the relay compares them, each once, in the list's order.
    @ivar dropped: entries that name no host of a node, and such as were beyond the limit.
    """

    hosts: tuple[str, ...]
    dropped: int = 0


def read_list(body: bytes, *, most: int) -> NodeListing:
    """
    Read a node list of any of the known shapes.

    JSON: an array of host names, or of objects with C{host} or C{domain}; or an object that holds such an array as C{pods}, C{nodes} or,
    below C{data}, under any name (GraphQL).  Else text: one host per line, C{#} begins a comment.

    @param most: how many hosts to take.
    @raise BadList: it names no host.
    """
    names = _rows(body) if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{") else _lines(body)
    hosts: dict[str, None] = {}
    dropped = 0
    for name in names:
        try:
            host = node_host(name)
        except BadHost:
            dropped += 1
            continue
        if len(hosts) < most:
            hosts[host] = None
        elif host not in hosts:
            dropped += 1
    if not hosts:
        raise BadList("it names no host")
    return NodeListing(tuple(hosts), dropped)


def _lines(body: bytes) -> Iterable[str]:
    if body.lstrip()[:1] == b"<":
        raise BadList("it is a web page")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadList("it is not UTF-8") from None
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return (line for line in lines if line)


def _rows(body: bytes) -> Iterable[str]:
    try:
        document = read_json(body)
    except NotJSON as error:
        raise BadList(f"it is {error}") from error
    if isinstance(document, list):
        return (row if isinstance(row, str) else _host(row) for row in document if _relevant(row))
    assert isinstance(document, dict)
    return (_host(row) for row in _array(document) if _relevant(row))


def _array(document: dict[str, object]) -> list[object]:
    data = document.get("data")
    found = [document.get("pods"), document.get("nodes"), *(data.values() if isinstance(data, dict) else ())]
    for candidate in found:
        if isinstance(candidate, list):
            return candidate
    raise BadList("it reports errors and no nodes" if document.get("errors") else "it has no array of nodes where one is known to be")


def _host(row: object) -> str:
    host = row.get("host") or row.get("domain") if isinstance(row, dict) else None
    return host if isinstance(host, str) else ""


def _relevant(row: object) -> bool:
    """Whether it is of a platform that may subscribe, if it names its platform."""
    platform = row.get("thefederation_platform") if isinstance(row, dict) else None
    name = platform.get("name") if isinstance(platform, dict) else None
    return not isinstance(name, str) or name.lower() in PLATFORMS

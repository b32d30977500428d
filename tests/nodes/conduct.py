"""
How a node may treat whoever delivers to it.  Each conduct is called with a L{Visit}, once for each post that is brought.

That nobody listens at all, or with a certificate of another authority, is the node's own doing (L{tests.nodes.node.Node.start}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.nodes.node import Visit

Conduct = Callable[["Visit"], None]


def welcoming(visit: Visit) -> None:
    """Take it: 202, as diaspora* says."""
    visit.answer(202)


def silent(visit: Visit) -> None:
    """Accept the connection, read the post, and never answer."""


def holding(visit: Visit) -> None:
    """Answer when the node is told to (L{Node.release})."""
    visit.node.held.append(visit)


def abrupt(visit: Visit) -> None:
    """Break the connection off."""
    visit.reset()


def dripping(visit: Visit) -> None:
    """Begin an answer, and never come to its end."""
    visit.raw(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n.")


def says(status: int, *headers: str) -> Conduct:
    """Always this answer: C{says(503, "Retry-After: 60")}, C{says(301, "Location: https://elsewhere.example/")}."""
    return lambda visit: visit.answer(status, *headers)


def slow(reactor: Any, seconds: float) -> Conduct:
    """Take it, after a while."""
    return lambda visit: reactor.callLater(seconds, visit.answer, 202)


def flapping(up: int, down: int, bad: Conduct = abrupt) -> Conduct:
    """Take so many, then refuse so many, and again."""
    seen = 0

    def treat(visit: Visit) -> None:
        nonlocal seen
        well = seen % (up + down) < up
        seen += 1
        (welcoming if well else bad)(visit)

    return treat

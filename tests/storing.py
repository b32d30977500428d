"""What tests of storage share: where the stores come from, and things to store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from socialrelay.boundaries import Arrival, Publication
from socialrelay.storage.memory import memory_storage
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.stores import Storage
from tests import servers

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
_numbers = count(1)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def publication(**changes: Any) -> Publication:
    """A post that nobody has published before."""
    guid = changes.setdefault("guid", f"guid-of-post-{next(_numbers):08}")
    usual: dict[str, Any] = {
        "received_at": NOW,
        "published_at": NOW,
        "protocol": "diaspora",
        "kind": "status_message",
        "author": "ada@pod.example",
        "author_host": "pod.example",
        "tags": frozenset({"cats", "dögs"}),
        "recipients": frozenset({0, 3}),
        "identities": (sha256(guid.encode()).digest(),),
        "body": b"<me:env>" + guid.encode() + b"\x00\xff</me:env>",
    }
    return Publication(**{**usual, **changes})


def arrival(**changes: Any) -> Arrival:
    """A body that has not come before."""
    usual: dict[str, Any] = {
        "received_at": NOW,
        "protocol": "diaspora",
        "private": False,
        "sender": "ada@pod.example",
        "sender_host": "pod.example",
        "body": b"body \x00\xff %d" % next(_numbers),
    }
    return Arrival(**{**usual, **changes})


class InMemory(TestCase):
    """Stores in memory."""

    async def storage(self, **configuration: Any) -> Storage:
        return memory_storage(**configuration)


class InPostgres(TestCase):
    """Stores in a database of their own."""

    timeout = 60

    async def storage(self, **configuration: Any) -> Storage:
        storage = await open_storage(reactor, servers.database(), **configuration)
        self.addCleanup(storage.close)
        return storage

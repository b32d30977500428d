"""
The old relay's Redis: which pods it knew, and what each wanted.

Its queue holds pickles, which are never loaded: whoever writes into that Redis could run anything by them.
"""

from __future__ import annotations

from collections.abc import Mapping

import redis
from attrs import Factory, frozen

from socialrelay.storage.cache import RedisAddress
from socialrelay.takeover.old_config import TakeoverError

MOST = 100_000
"""Entries of a hash that are looked at."""
LONGEST = 1024 * 1024
"""Of a preferences document."""
_SECONDS = 10.0


@frozen
class OldRedis:
    """
    @ivar pods: hosts of the node list.
    @ivar preferences: host -> its x-social-relay document.
    @ivar waiting: posts in its queue that were not processed yet.
    """

    pods: tuple[str, ...] = ()
    preferences: Mapping[str, bytes] = Factory(dict)
    waiting: int = 0


def read_old_redis(url: str) -> OldRedis:
    """
    Read it; nothing is changed in it.

    @raise TakeoverError: it cannot be reached or read.
    """
    try:
        RedisAddress.parse(url)  # whose refusal shows no password
        with redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as old:
            pods = [_text(name) for name, _ in _entries(old, "pods")]
            preferences = {_text(name): bytes(body) for name, body in _entries(old, "pod_preferences") if len(body) <= LONGEST}
            return OldRedis(tuple(pods), preferences, int(old.llen("rq:queue:receive")))
    except (redis.RedisError, ValueError, OSError) as error:
        raise TakeoverError(f"the old Redis cannot be read: {error}") from None


def _entries(old: redis.Redis, key: str) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    for entry in old.hscan_iter(key, count=200):
        if len(found) == MOST:
            break
        found.append(entry)
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")

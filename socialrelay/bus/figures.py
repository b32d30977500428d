"""The bus in numbers, for operators and for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import frozen

from socialrelay.boundaries import Extent
from socialrelay.bus.counts import Counts


@frozen(kw_only=True, eq=False)
class BusFigures:
    """
    As they are at a moment.

    @ivar inbound: where publishers connect; C{outbound}: where listeners do; C{ingest}: where messages are acknowledged.
    @ivar counts: what became of messages.
    @ivar own_dropped: what the relay itself had to say and could not, by event.
    @ivar ingest_events: what else happened where messages are acknowledged, by name.
    @ivar waiting: messages that are not committed yet, C{waiting_bytes} of them.
    @ivar unacknowledged: messages whose senders wait for an answer.
    @ivar announcements: of the relay itself, that are no messages yet.
    @ivar readers: who wait for what comes next.
    @ivar published_seq: up to here all is published.
    @ivar extent: what the store held when it was last asked; C{None} before that.
    @ivar overflows: times that a listener was too slow and lost messages.
    @ivar commits: batches that were committed, which took C{commit_seconds} in all.
    @ivar probe_age: seconds since a message went through it; C{None} before the first.
    """

    inbound: tuple[str, ...]
    outbound: tuple[str, ...]
    ingest: tuple[str, ...]
    counts: Counts
    own_dropped: Counter[str]
    ingest_events: Mapping[str, int]
    waiting: int
    waiting_bytes: int
    waiting_bytes_limit: int
    unacknowledged: int
    unacknowledged_limit: int
    announcements: int
    readers: int
    readers_limit: int
    last_seq: int
    published_seq: int
    extent: Extent | None
    bytes_limit: int
    keep_days: float
    subscriptions: int
    overflows: int
    commits: int
    commit_seconds: float
    probe_age: float | None
    probe_failures: int

"""Where proofs are made: what L{benchmarks.bed} has, to be broken."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from attrs import frozen

from benchmarks.bed import AT_ONCE, Bed, Database, Relay, answers_ready
from benchmarks.ledger import Account, ledger

__all__ = ["AT_ONCE", "Account", "Database", "Relay", "Stage", "Sum", "account", "answers_ready"]


class Stage(Bed):
    """
    A PostgreSQL, a Valkey, nodes, and posts, for one proof.

    The nodes are L{benchmarks.sinks}; what else a proof wants around a relay it brings along.
    """

    def __init__(self) -> None:
        super().__init__(bits=2048)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


@frozen
class Sum:
    """
    The accounts of all destinations together.

    @ivar difference: pairs of post and destination that have no outcome and do not wait either, or have one too many.
    """

    matching: int
    delivered: int
    failed: int
    pending: int
    difference: int


def account(database: Database) -> Sum:
    """What became of everything, once the relay has stopped: what it is to be held to."""
    accounts = ledger(database)
    return Sum(
        sum(each.matching for each in accounts),
        sum(each.delivered for each in accounts),
        sum(each.failed for each in accounts),
        sum(each.pending for each in accounts),
        sum(each.difference for each in accounts),
    )

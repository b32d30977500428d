"""What the stores need of a database, and what it raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Unavailable

Rows = list[tuple[Any, ...]]
Parameters = Mapping[str, object]


class StorageError(Exception):
    """The database refused a statement for what it says: a bug, or a database that is not as it should be."""


class OutcomeUnknown(Unavailable):
    """The connection was lost after the statement had been sent: it may have taken effect."""


class Queries(Protocol):
    """What the stores need of a database."""

    @property
    def healthy(self) -> bool: ...
    @property
    def answering(self) -> bool: ...

    def query(self, statement: str, parameters: Parameters | None = None, *, idempotent: bool = False) -> Deferred[Rows]: ...

    def watch(self, changed: Callable[[bool], None]) -> None: ...
    def on_silence(self, told: Callable[[], None]) -> None: ...

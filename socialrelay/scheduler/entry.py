"""A post as the scheduler sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Entry(Protocol):
    """See L{socialrelay.boundaries.LogEntry}."""

    @property
    def position(self) -> int: ...
    @property
    def author(self) -> str: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def published_at(self) -> datetime: ...
    @property
    def size(self) -> int: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def digest(self) -> str: ...

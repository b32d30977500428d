"""Waiting for something that comes by itself, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0


def until(true: Callable[[], object], seconds: float = PATIENCE, every: float = 0.02) -> bool:
    """
    Wait until it is so, or for so many seconds; whether it is.

    @param every: seconds between two looks.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def surely(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """
    Wait until it is so: without it, nothing can be proved.

    @param what: it is.
    @raise TimeoutError: it is not, in time.
    """
    if not until(true, seconds):
        raise TimeoutError(f"not within {seconds:g} s: {what}")

"""What a check comes to, and how all checks are made within a bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TypeVar

from attrs import frozen

T = TypeVar("T")
R = TypeVar("R")


class Level(Enum):
    """How bad it is; the value orders them, and is the exit code."""

    OK = 0
    WARNING = 1
    """The relay works, but less well than it could, or not for long."""
    FAILURE = 2
    """It does not do its work."""


@frozen
class Finding:
    """
    @ivar check: what was looked at, in a word or two.
    @ivar text: what is so: a sentence.
    @ivar advice: what to do; empty if nothing.
    @ivar unreached: nothing was found out but that nobody answers.
    """

    check: str
    level: Level
    text: str
    advice: str = ""
    unreached: bool = False


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, advice: str) -> Finding:
    """It could be better."""
    return Finding(check, Level.WARNING, text, advice)


def failure(check: str, text: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.FAILURE, text, advice)


@frozen
class Check:
    """
    @ivar name: for when it does not end by itself.
    @ivar run: may block; raises nothing that it knows of.
    """

    name: str
    run: Callable[[], Iterable[Finding]]


def examine(checks: Sequence[Check], seconds: float) -> list[Finding]:
    """
    Make all checks at the same time.

    @param seconds: after which a check is given up.  Its thread is left behind, and does not keep the process alive.
    @return: the findings in the order of the checks.
    """
    outcomes = each(checks, _made, seconds)
    late = "It took longer than {:.0f} s, and was given up."
    found: list[Finding] = []
    for check, outcome in zip(checks, outcomes, strict=True):
        found += [warning(check.name, late.format(seconds), "Look whether that is slow or hangs.")] if outcome is None else outcome
    return found


def worst(findings: Iterable[Finding]) -> Level:
    """The worst of them."""
    return max((finding.level for finding in findings), key=lambda level: level.value, default=Level.OK)


def each(items: Iterable[T], work: Callable[[T], R], seconds: float) -> list[R | None]:
    """What C{work} gives for each item, all at the same time; C{None} for what has not ended after so many seconds, or raised."""
    given = list(items)
    results: list[R | None] = [None] * len(given)

    def run(index: int) -> None:
        results[index] = work(given[index])

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(given))]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)


def _made(check: Check) -> list[Finding]:
    try:
        return list(check.run())
    except Exception as error:  # a check that breaks is a finding of its own, not the end of the others
        return [warning(check.name, f"This could not be checked: {type(error).__name__}: {error}", "Please report it: that is a bug.")]

"""What is known of work that is done again and again: when it was last done, when it last went well, and whether it is overdue."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from socialrelay.boundaries import Condition

PERIODS = 3
"""Work is overdue, or fails for too long, after so many of its periods…"""
PATIENCE = 600.0
"""… and so many seconds: a round may have much to do, and what it needs may be away for a while."""


class Rounds:
    """
    The rounds of one kind of work.

    @ivar title: what it is called in the log and for operators.
    @ivar interval: seconds from the beginning of a round to the next.
    @ivar since: when it was started; C{None} before, and when it was stopped.
    @ivar last_run: when the latest round ended; C{None} before the first. All times are of the given clock.
    @ivar last_success: when the latest round that went well ended.
    @ivar last_error: one line about the latest round; empty if it went well.
    @ivar failures: rounds that failed, since the process was started.
    """

    def __init__(self, title: str, interval: float, seconds: Callable[[], float]) -> None:
        """@param seconds: a time that does not step."""
        self.title = title
        self.interval = interval
        self.since: float | None = None
        self.last_run: float | None = None
        self.last_success: float | None = None
        self.last_error = ""
        self.failures = 0
        self._seconds = seconds

    def begun(self) -> None:
        """From now on rounds are expected."""
        self.since = self._seconds()

    def stopped(self) -> None:
        """No more are expected."""
        self.since = None

    def went_well(self) -> None:
        """A round ended well."""
        self.last_run = self.last_success = self._seconds()
        self.last_error = ""

    def went_wrong(self, error: str) -> None:
        """A round failed."""
        self.last_run = self._seconds()
        self.last_error = error
        self.failures += 1

    @property
    def age(self) -> float | None:
        """Seconds since a round last ended, or since the start; C{None} if none is expected."""
        return self._since(self.last_run)

    @property
    def success_age(self) -> float | None:
        """Seconds since a round last ended well, or since the start; C{None} if none is expected."""
        return self._since(self.last_success)

    @property
    def trouble(self) -> str:
        """What an operator should know of it; empty if nothing."""
        longest = PERIODS * self.interval + PATIENCE
        if (self.age or 0.0) > longest:
            return f"{self.title}: not done for {self.age:.0f} s, which should be every {self.interval:g} s"
        if (self.success_age or 0.0) > longest:
            return f"{self.title}: failing for {self.success_age:.0f} s: {self.last_error}"
        return ""

    def _since(self, then: float | None) -> float | None:
        return None if self.since is None else self._seconds() - max(self.since, self.since if then is None else then)


def tasks_condition(tasks: Iterable[Rounds]) -> Condition:
    """Whether all periodic work is done when it is due."""
    expected = [task for task in tasks if task.since is not None]
    troubles = [task.trouble for task in expected if task.trouble]
    detail = "; ".join(troubles) or f"{len(expected)} of them, each done when it was due"
    return Condition("tasks", well=not troubles, essential=False, detail=detail)

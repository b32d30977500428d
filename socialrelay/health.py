"""Whether the relay is alive, ready, or merely getting by."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import define, evolve, field

from socialrelay.boundaries import Condition


class Phase(Enum):
    """Where the daemon is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Readiness(Enum):
    """All conditions in one word."""

    READY = "ready"
    DEGRADED = "degraded"
    """It does its work; something that it can do without is not well."""
    NOT_READY = "not ready"


@define(eq=False)
class Health:
    """
    The conditions that the relay's parts report about themselves.

    @ivar phase: set by whoever starts and stops the parts; the relay is ready only while it is C{RUNNING}.
    """

    phase: Phase = Phase.STARTING
    _checks: dict[str, Callable[[], Condition]] = field(factory=dict)

    def watch(self, name: str, check: Callable[[], Condition]) -> None:
        """
        Ask C{check} from now on; it answers at once, from what it knows.

        @param name: under which the condition is shown, whatever name the check gives it.
        """
        self._checks[name] = check

    def conditions(self) -> tuple[Condition, ...]:
        """All of them as they are now, the daemon's own first."""
        running = self.phase is Phase.RUNNING
        own = Condition("daemon", well=running, essential=True, detail=f"the daemon is {self.phase.value}")
        return (own, *(self._ask(name) for name in self._checks))

    def _ask(self, name: str) -> Condition:
        try:
            return evolve(self._checks[name](), name=name)
        except Exception as error:  # a broken check is a condition of its own, not the end of the page
            return Condition(name, well=False, essential=True, detail=f"this could not be checked: {error!r}")

    def readiness(self) -> Readiness:
        """The conditions in one word."""
        return readiness(self.conditions())


def in_one_line(health: Health) -> str:
    """The word, and what is not well."""
    conditions = health.conditions()
    unwell = [f"{each.name}: {each.detail}" for each in conditions if not each.well]
    return f"{readiness(conditions).value.capitalize()}: {'; '.join(unwell) or 'all is well'}."


def readiness(conditions: tuple[Condition, ...]) -> Readiness:
    """What follows from these conditions."""
    unwell = [condition for condition in conditions if not condition.well]
    if any(condition.essential for condition in unwell):
        return Readiness.NOT_READY
    return Readiness.DEGRADED if unwell else Readiness.READY

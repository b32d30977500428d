"""The process, what it stands on, and what it does again and again, as metrics."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import twisted
from attrs import define, field, frozen
from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from socialrelay import __version__
from socialrelay.boundaries import Condition
from socialrelay.health import Health, Readiness, readiness
from socialrelay.metrics.families import PREFIX, counter, counters, gauge, gauges, histogram
from socialrelay.rounds import Rounds
from socialrelay.running.calendar import Calendar
from socialrelay.running.disk import DiskSpace
from socialrelay.running.lag import LoopLag
from socialrelay.storage.embedded.supervisor import Supervisor
from socialrelay.web.live import LiveStreams

LEVELS = ("debug", "info", "warn", "error", "critical")


@implementer(ILogObserver)
@define(eq=False)
class LogCounts:
    """
    Counts what is logged.

    @ivar failures: events with a traceback: errors that nobody expected.
    @ivar levels: events by level, shown or not.
    """

    failures: int = 0
    levels: Counter[str] = field(factory=Counter)

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None:
            self.levels[level.name] += 1
        if event.get("log_failure") is not None:
            self.failures += 1


@frozen(eq=False)
class ProcessMetrics:
    """
    The process as a whole.

    @ivar tasks: asked for the periodic work there is.
    @ivar embedded: the servers that the daemon brought along, by name.
    """

    health: Health
    lag: LoopLag
    disk: DiskSpace
    logged: LogCounts
    embedded: Mapping[str, Supervisor]
    streams: LiveStreams
    tasks: Callable[[], Iterable[Rounds]]
    calendar: Calendar

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        what = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        yield InfoMetricFamily(PREFIX + "build", "What runs.", value=what)
        conditions = self.health.conditions()
        yield gauge("ready", "Whether posts are taken.", float(readiness(conditions) is not Readiness.NOT_READY))
        yield from self._conditions(conditions)
        yield from self._tasks()
        lag = self.lag.histogram
        yield histogram("loop_lag_seconds", "By how much the event loop was late.", lag.bounds, lag.counts, lag.total)
        yield gauge("loop_lag_max_seconds", "The greatest lateness in the last minute.", self.lag.longest)
        yield counter("unhandled_errors", "Errors with a traceback in the log.", self.logged.failures)
        yield counters("log_events", "Events for the log, shown or not, by level.", "level", self.logged.levels, LEVELS)
        yield from self._embedded()
        yield gauge(
            "clock_off_seconds", "By how much the system's clock is ahead of the relay's time; 0 while it is followed.", self.calendar.off
        )
        yield counter("clock_steps", "How often the system's clock stepped too far to be followed at once.", self.calendar.steps)
        yield gauge("live_streams", "Pages that are kept up to date live.", len(self.streams))
        yield gauge("live_streams_limit", "How many there may be (dashboard.streams).", self.streams.most)
        seen = self.disk.free >= 0
        yield gauges(
            "state_dir_free_bytes", "Bytes that are free where the state directory is.", [], [((), self.disk.free)] if seen else []
        )
        yield gauges("state_dir_size_bytes", "Bytes there are.", [], [((), self.disk.size)] if seen else [])

    def _conditions(self, conditions: Iterable[Condition]) -> Iterator[Metric]:
        values = (((each.name, "yes" if each.essential else "no"), float(each.well)) for each in conditions)
        yield gauges("condition", "Whether a part of the relay is well.", ["condition", "essential"], values)

    def _tasks(self) -> Iterator[Metric]:
        tasks = {task.title: task for task in self.tasks()}
        ages = (((name,), task.age) for name, task in tasks.items() if task.age is not None)
        yield gauges("task_age_seconds", "Since work that is done again and again last came to its end.", ["task"], ages)
        ages = (((name,), task.success_age) for name, task in tasks.items() if task.success_age is not None)
        yield gauges("task_success_age_seconds", "Since it last went well.", ["task"], ages)
        intervals = (((name,), task.interval) for name, task in tasks.items())
        yield gauges("task_interval_seconds", "How often it is begun.", ["task"], intervals)
        failing = (((name,), float(bool(task.last_error))) for name, task in tasks.items())
        yield gauges("task_failing", "Whether it failed the last time.", ["task"], failing)
        yield counters("task_failures", "How often it failed.", "task", {name: task.failures for name, task in tasks.items()})

    def _embedded(self) -> Iterator[Metric]:
        restarts = {name: each.restarts for name, each in self.embedded.items()}
        yield counters("embedded_restarts", "How often an embedded server was started again.", "server", restarts)
        up = (((name,), float(each.process is not None)) for name, each in self.embedded.items())
        yield gauges("embedded_up", "Whether an embedded server runs.", ["server"], up)
        over = (((name,), float(each.taken_over)) for name, each in self.embedded.items())
        yield gauges("embedded_taken_over", "Whether it was started by an earlier daemon.", ["server"], over)

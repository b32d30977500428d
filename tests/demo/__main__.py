"""C{python -m tests.demo}"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react
from twisted.python.failure import Failure

from tests.demo.screen import INTRODUCTION, WIDE, Screen
from tests.demo.story import Story

REFRESH = 0.2
LOOK = 1.0
INTERRUPTED = 130


class Show:
    """A story, and the screen on which it is seen."""

    def __init__(self, seconds: float, rate: float) -> None:
        self.seconds = seconds
        self.rate = rate
        console = Console()
        self.screen = Screen(console if console.is_terminal else Console(width=WIDE))
        self.code = INTERRUPTED
        self._calls: list[LoopingCall] = []
        self._closing = False
        self._running: Deferred[None]

    def __call__(self, reactor: Any) -> Deferred[None]:
        self.story = Story(reactor, self.seconds, self.rate, self.screen.tell)
        reactor.addSystemEventTrigger("before", "shutdown", self._close)
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._unless_closing)
        return self._running

    async def _run(self) -> None:
        console, story = self.screen.console, self.story
        if not console.is_terminal:
            console.print(INTRODUCTION, highlight=False, soft_wrap=True)
        self.screen.tell("Starting a relay, with a PostgreSQL and a Valkey of its own …")
        await story.prepare()
        self.screen.open(story)
        self._repeat(REFRESH, lambda: self.screen.refresh(story))
        self._repeat(LOOK, lambda: Deferred.fromCoroutine(story.look()))
        await story.play()
        await story.finish()
        self._end_calls()
        self.screen.close()
        self.screen.summary(story)
        self.code = 1 if story.verdict() else 0

    def _repeat(self, interval: float, work: Callable[[], object]) -> None:
        call = LoopingCall(work)
        self._calls.append(call)
        call.start(interval).addErrback(self._unless_closing)

    def _end_calls(self) -> None:
        for call in self._calls:
            if call.running:
                call.stop()

    def _unless_closing(self, failure: Failure) -> Failure | None:
        """Whatever fails because everything is being stopped is no news."""
        return None if self._closing else failure

    def _close(self) -> Deferred[None]:
        self._closing = self.story.closing = True
        self._end_calls()
        self._running.cancel()
        self.screen.close()
        if self.code == INTERRUPTED:
            self.screen.console.print("Stopping …")
        return Deferred.fromCoroutine(self.story.close())


@click.command()
@click.option("--seconds", default=20.0, show_default=True, help="How long to post.")
@click.option("--rate", default=4.0, show_default=True, help="Posts a second.")
def main(seconds: float, rate: float) -> None:
    """Show a relay at work, among small servers on this machine."""
    show = Show(seconds, rate)
    try:
        react(show)
    except SystemExit as ended:
        if ended.code not in (0, None) and show.code == 0:
            show.code = 1
    sys.exit(show.code)


if __name__ == "__main__":
    main()

"""What commands share that do without the daemon: refusals in words, and progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from socialrelay.cli.context import FAILED, end
from socialrelay.services import reason_of

Tell = Callable[[str, float], None]


@contextmanager
def refusals(as_json: bool) -> Iterator[None]:
    """What the relay's own modules refuse is told in a sentence, and ends the process."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("socialrelay."):
            raise
        end(as_json, FAILED, re.sub("(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower(), sentence(reason_of(error)))


def sentence(reason: str) -> str:
    """With a capital at its beginning, unless that is a path or a name, and a full stop at its end."""
    first = reason.partition(" ")[0]
    begun = reason[:1].upper() + reason[1:] if first.isalpha() else reason
    return begun if begun.endswith((".", "?", "!")) else begun + "."


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """
    A bar on standard error, if that is a terminal.

    @return: to be called with what is being done and the part of all that is done, from 0 to 1.
    """
    if not sys.stderr.isatty():
        yield lambda what, part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda now, part: bar.update(task, completed=part, description=f"{what}: {now}" if now else what)

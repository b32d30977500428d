"""
The relay's answers as an operator reads them.

Every function takes an answer of L{socialrelay.operators.views} or L{socialrelay.operators.operations} and the time, and gives text.  On a
terminal it fits the terminal's width; in a pipe each row is one line.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

# Rich is imported where it draws: the daemon, which a command starts, would else carry two megabytes of it for its whole life.
if TYPE_CHECKING:
    from rich.table import Table

Answer = dict[str, Any]
Show = Callable[[Answer, datetime], str]

UNLIMITED = 5000
TAGS_SHOWN = 8


def clean(value: object) -> str:
    """Text without what could steer a terminal: most of it was written by strangers."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


def width() -> int:
    """Columns to fill at most."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return UNLIMITED


def rendered(table: Table) -> str:
    """A table as text, without blanks at the ends of its lines."""
    from rich.console import Console

    file = StringIO()
    console = Console(file=file, width=width(), force_terminal=sys.stdout.isatty(), no_color=True, highlight=False, emoji=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headings; a heading that begins with C{>} has numbers below it, one with C{.} is never wrapped."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        built.add_column(column.lstrip(">."), justify="right" if column[0] == ">" else "left", no_wrap=column[0] in ">.", overflow="fold")
    for row in rows:
        built.add_row(*(Text(clean(cell)) for cell in row))
    return rendered(built)


def details(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one below the other; what is C{None} or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    built.add_column(no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            built.add_row(Text(name), Text(clean(value)))
    return rendered(built)


def duration(seconds: float) -> str:
    """About how long, in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def when(text: str | None, now: datetime, *, zone: str = " UTC") -> str:
    """C{2026-11-21 21:30 UTC (3 min ago)}; C{never} for no time."""
    if text is None:
        return "never"
    moment = datetime.fromisoformat(text).astimezone(UTC)
    past = (now - moment).total_seconds()
    distance = f"{duration(past)} ago" if past >= 0 else f"in {duration(-past)}"
    return f"{moment:%Y-%m-%d %H:%M}{zone} ({distance})"


def size(count: int) -> str:
    """Bytes, in a unit that suits."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def tags(names: Sequence[str], shown: int = TAGS_SHOWN) -> str:
    """The first of them, and how many more."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def scope(subscription: Answer | None, shown: int = TAGS_SHOWN) -> str:
    """What somebody is subscribed to, or wants."""
    if subscription is None:
        return "unknown"
    if subscription["scope"] == "tags":
        return f"tags: {tags(subscription['tags'], shown)}" if subscription["tags"] else "tags: none"
    return {"all": "all posts", "none": "nothing"}[subscription["scope"]]


def prose(text: str) -> str:
    """Sentences, broken where the lines end; host names and commands stay whole."""
    return textwrap.fill(clean(text), width(), break_long_words=False, break_on_hyphens=False)


def paragraphs(*parts: str) -> str:
    """Parts with an empty line between them; empty ones left out."""
    return "\n\n".join(part for part in parts if part)


def until(rule: Answer, now: datetime) -> str:
    """When a rule ends, or that it has."""
    if rule["ends_at"] is None:
        return ""
    at = when(rule["ends_at"], now, zone="")
    return f"ended {at}" if rule["ended"] else at


def rejected(answer: Answer, now: datetime) -> str:
    """What was refused lately."""
    if not answer["rejected"]:
        return "Nothing was rejected in the last days."
    listing = table(
        ["when (UTC)", ".reason", "author", "kind", "guid"],
        [
            (when(each["rejected_at"], now, zone=""), each["reason"], each["author"], each["kind"], each["guid"])
            for each in answer["rejected"]
        ],
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in answer["reasons"].items())
    return paragraphs(listing, prose(f"Of these: {reasons}."))


def identity(answer: Answer, now: datetime) -> str:
    """Who the relay is to others."""
    rows = details(
        [
            ("handle", answer["handle"]),
            ("host", answer["host"]),
            ("guid", answer["guid"]),
            ("key (SHA-256)", answer["key_fingerprint"]),
            ("authors", "only those on the allow list" if answer["allow_list"] else "all who are not blocked"),
        ]
    )
    if answer["provisional"]:
        return paragraphs(rows, prose("This identity is provisional: it is bound for good when the relay is first started with a host."))
    return paragraphs(rows, prose("This identity is bound: nodes remember it, so host, guid and key must never change."))


def act(answer: Answer, now: datetime) -> str:
    """What is so now."""
    return prose(answer["message"])


def erased(answer: Answer, now: datetime) -> str:
    """What was erased, and what was not."""
    return paragraphs(act(answer, now), "\n".join(prose(f"- {note}") for note in answer["notes"]))


def poll(answer: Answer, now: datetime) -> str:
    """What was read, and each fault."""
    report = answer["report"]
    untold = report["faults"] if report["preferences"] else report["faults"][1:]
    faults = "\n".join(prose(f"- {fault}") for fault in untold)
    return paragraphs(act(answer, now), details([("read at", report["url"])]), faults)


def lists(answer: Answer, now: datetime) -> str:
    """What came of each node list."""
    return paragraphs(act(answer, now), details(answer["lists"].items()) if answer["lists"] else "")

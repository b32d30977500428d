"""How it looks: a table that lives, in a terminal; lines, in a pipe."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tests.demo.cast import ALL, Member

if TYPE_CHECKING:
    from tests.demo.story import Story

NEWS = 8
FOOT = 6
NUMBERS = 34
WIDE = 104
"""Columns from which on there is room for what was posted."""
INTRODUCTION = (
    "Small servers of the federated web see few posts. A relay helps: authors' servers send it public posts, it checks each signature, and "
    "passes the very same bytes on to every server that asked: for everything, or for some hashtags."
)


class Screen:
    """
    Shows a story.

    @ivar news: the last lines that were told.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.news: deque[str] = deque(maxlen=NEWS)
        self._live: Live | None = None

    def tell(self, line: str) -> None:
        """Something happens."""
        self.news.append(line)
        if self._live is None:
            self.console.print(line, highlight=False, soft_wrap=True)

    def open(self, story: Story) -> None:
        """Begin to show it."""
        if self.console.is_terminal:
            self.news.clear()
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
            self.refresh(story)

    def refresh(self, story: Story) -> None:
        """Show it as it is now."""
        if self._live is not None:
            self._live.update(self.picture(story), refresh=True)

    def close(self) -> None:
        """End the show; the terminal is as before."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def picture(self, story: Story) -> RenderableType:
        """All of it."""
        foot = Table.grid(expand=True, padding=(0, 1, 0, 0))
        foot.add_column(width=NUMBERS)
        foot.add_column(ratio=1)
        foot.add_row(numbers(story), self._happenings())
        return Group(_title(story), Text(INTRODUCTION, style="dim"), nodes(story, self.console.width >= WIDE), foot)

    def summary(self, story: Story) -> None:
        """What came of it."""
        verdict = story.verdict()
        self.console.print(nodes(story, self.console.width >= WIDE), numbers(story))
        for who, complaints in verdict.items():
            self.console.print(Text(f"✗ {who}: {'; '.join(complaints)}.", style="bold red"))
        if not verdict:
            live = [member for member in story.members if not member.away and not member.wants_nothing]
            lost = sum(member.waiting for member in story.members)
            self.console.print(
                Text(
                    f"✓ {story.accepted} posts, {len(live)} nodes that can be reached: each got exactly what it asked for, once, unchanged.",
                    style="bold green",
                )
            )
            self.console.print(
                Text(f"  {lost} posts wait for ruin.example: the relay would try for a week, ever more seldom.", style="dim")
            )

    def _happenings(self) -> Panel:
        width = max(self.console.width - NUMBERS - 5, 20)
        rows: list[Text] = []
        for line in reversed(self.news):
            lines = Text(line, style="dim" if rows else "").wrap(self.console, width)
            if len(rows) + len(lines) > FOOT - 2:
                break
            rows[:0] = lines
        return _panel("What happens", Group(*rows))


def _panel(title: str, content: RenderableType, width: int | None = None) -> Panel:
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="blue", height=FOOT, width=width)


def _title(story: Story) -> Table:
    row = Table.grid(expand=True)
    row.add_column()
    row.add_column(justify="right")
    full = round(story.played * 20)
    over = min(story.played * story.seconds, story.seconds)
    bar = Text.assemble(("━" * full, "green"), ("━" * (20 - full), "grey30"), f" {over:.0f} of {story.seconds:.0f} s")
    row.add_row(Text("socialrelay: one relay, nine nodes, some authors", style="bold"), bar)
    return row


def numbers(story: Story) -> Panel:
    """The relay in four numbers."""
    waiting = sum(member.waiting for member in story.members)
    rejected = sum(story.rejected.values())
    rows = (
        (story.accepted, "posts accepted", ""),
        (story.delivered, "deliveries made", "green"),
        (waiting, "deliveries wait", "yellow" if waiting else ""),
        (rejected, f"rejected: {', '.join(story.rejected)}" if rejected else "rejected", "red" if rejected else ""),
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", min_width=6)
    grid.add_column(no_wrap=True)
    for number, what, style in rows:
        grid.add_row(Text(str(number), style=f"bold {style}"), what)
    return _panel("The relay", grid, NUMBERS)


def nodes(story: Story, wide: bool) -> Table:
    """
    The nodes, one a row.

    @param wide: with what they got last.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold blue", expand=wide)
    for name, width, justify in COLUMNS:
        table.add_column(name, min_width=width, justify=justify, no_wrap=True)
    if wide:
        table.add_column("last post", no_wrap=True, overflow="ellipsis", ratio=1)
    for member in story.members:
        usual, longest = ("", "") if member.delays is None else map(_duration, member.delays)
        waiting = Text(str(member.waiting or ""), style="yellow")
        last = Text(member.node.taken[-1].post.text if wide and member.node.taken else "", style="dim")
        last.highlight_regex(r"#\w+", "cyan")
        cells = (_name(member), _asked_for(member), _state(member), str(member.got or ""), waiting, usual, longest)
        table.add_row(*cells, *([last] if wide else []))
    return table


COLUMNS: tuple[tuple[str, int, JustifyMethod], ...] = (
    ("node, author", 15, "left"),
    ("asked for", 20, "left"),
    ("is", 16, "left"),
    ("got", 3, "right"),
    ("wait", 4, "right"),
    ("delay", 6, "right"),
    ("longest", 7, "right"),
)


def _name(member: Member) -> Text:
    return Text.assemble(("● ", _colour(member)), member.host.removesuffix(".example"), (f" {member.home}", "magenta"))


def _asked_for(member: Member) -> Text:
    if member.wants_nothing:
        return Text("nothing", style="dim")
    return Text("everything") if member.tags is ALL else Text(" ".join(f"#{tag}" for tag in sorted(member.tags)), style="cyan")


def _colour(member: Member) -> str:
    if member.wants_nothing:
        return "dim"
    if not member.reachable:
        return "red"
    return "yellow" if member.remark else "green"


def _state(member: Member) -> Text:
    if not member.reachable:
        return Text("does not answer", style="red")
    return Text(member.remark or "well", style="dim" if member.wants_nothing else "")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"

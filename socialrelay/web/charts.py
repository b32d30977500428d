"""
Counts over time as bars: where each is drawn, and what it says.

A chart is as wide as the page lets it be and of a fixed height, so that its labels stay as large as other text: along the time the unit is
one span, heights are pixels.  What went well stands on the base line; what failed hangs below it, on a scale of its own, since it is rarely
as much.  All bars of a kind are one path: a week has 168 of them, and a page is made while everybody else waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from attrs import frozen

from socialrelay.web.templating import number

PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
"""What a chart may show, and how people say it."""

_FILLED = 0.78
"""How much of its time's width a bar takes."""

_GAP = 2
"""Pixels between the base line and what hangs below it."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Point = Mapping[str, object]
"""One span of time: C{at}, its start in ISO 8601, and counts by name."""


@frozen
class Frame:
    """
    Pixels from the top.

    @ivar top: the line of the greatest number.
    @ivar base: the line on which the bars stand.
    @ivar bottom: where those below it end.
    @ivar height: all, with the times below.
    """

    top: int = 8
    base: int = 128
    bottom: int = 166
    height: int = 188


FRAME = Frame()


@frozen
class Kind:
    """
    What a chart is about.

    @ivar went: the count that stands on the base line, and what it is called.
    @ivar failures: the counts that are summed below it.
    @ivar failed: what they are called, together.
    @ivar columns: (count, heading) of the table behind the chart.
    """

    name: str
    title: str
    went: tuple[str, str]
    failures: tuple[str, ...]
    failed: str
    columns: tuple[tuple[str, str], ...]


POSTS = Kind(
    "posts",
    "Posts",
    ("posts", "relayed"),
    ("rejected",),
    "rejected",
    (("received", "Taken in"), ("posts", "Relayed"), ("rejected", "Rejected"), ("ignored", "Not relayed by policy")),
)
DELIVERIES = Kind(
    "deliveries",
    "Deliveries",
    ("deliveries", "delivered"),
    ("failed", "bounced", "expired"),
    "failed",
    (("deliveries", "Delivered"), ("failed", "Times a node failed"), ("bounced", "Posts refused"), ("expired", "Posts given up")),
)


class Bar(NamedTuple):
    """
    One span of time.

    @ivar text: what it says when it is pointed at.
    @ivar went: how high it stands on the base line.
    @ivar failed: how far it hangs below it.
    """

    text: str
    went: float
    failed: float


@frozen
class Label:
    """
    A time below the bars.

    @ivar x: a share of the width, as SVG writes it.
    @ivar minor: left out where there is little room.
    """

    x: str
    text: str
    minor: bool


class Row(NamedTuple):
    """
    Of the table.

    @ivar at: ISO 8601.
    @ivar name: the same for people.
    @ivar counts: in the order of the columns.
    """

    at: str
    name: str
    counts: list[int]


@frozen
class Chart:
    """
    @ivar unit: what a span is: an hour or a day.
    @ivar went: path of the bars on the base line, but for the last one, whose time is not over.
    @ivar failed: path of those below.
    @ivar last: likewise, both, of the last one.
    @ivar most: (label, y) of the lines above the base line.
    @ivar worst: the number at the lower end, empty if nothing failed.
    @ivar sums: of what went well, and of what failed.
    @ivar rows: the latest first.
    """

    kind: Kind
    unit: str
    description: str
    bars: tuple[Bar, ...]
    went: str
    failed: str
    last: tuple[str, str]
    labels: tuple[Label, ...]
    most: tuple[tuple[str, float], ...]
    worst: str
    sums: tuple[int, int]
    rows: tuple[Row, ...]


def charts(points: Sequence[Point], period: str) -> tuple[Chart, Chart]:
    """
    The charts of the first page.

    @param points: spans of equal length, the oldest first, as L{socialrelay.boundaries.Overview.series} gives them.
    @param period: one of L{PERIODS}.
    """
    return chart(POSTS, points, period), chart(DELIVERIES, points, period)


def chart(kind: Kind, points: Sequence[Point], period: str) -> Chart:
    """One chart."""
    unit = "day" if period == "30d" else "hour"
    times = [datetime.fromisoformat(str(point["at"])) for point in points]
    names = [f"{at.day} {_MONTHS[at.month - 1]}" + ("" if unit == "day" else f", {at.hour:02}:{at.minute:02}") for at in times]
    went = [count(point, kind.went[0]) for point in points]
    failed = [sum(count(point, name) for name in kind.failures) for point in points]
    top, low = ceiling(max(went, default=0)), max(failed, default=0)
    bars = tuple(
        Bar(
            f"{name}: {number(well)} {kind.went[1]}, {number(badly)} {kind.failed}",
            _pixels(well, top, FRAME.base - FRAME.top),
            _pixels(badly, low, FRAME.bottom - FRAME.base - _GAP),
        )
        for name, well, badly in zip(names, went, failed, strict=True)
    )
    up = [_bar(place, FRAME.base, -bar.went) for place, bar in enumerate(bars)]
    down = [_bar(place, FRAME.base + _GAP, bar.failed) for place, bar in enumerate(bars)]
    return Chart(
        kind=kind,
        unit=unit,
        description=_description(kind, unit, PERIODS[period], names, went, failed),
        bars=bars,
        went="".join(up[:-1]),
        failed="".join(down[:-1]),
        last=("".join(up[-1:]), "".join(down[-1:])),
        labels=tuple(_labels(times, period)),
        most=((short(top), FRAME.top), *([(short(top // 2), (FRAME.top + FRAME.base) / 2)] if top % 2 == 0 else ())),
        worst=short(low) if low else "",
        sums=(sum(went), sum(failed)),
        rows=tuple(
            Row(str(point["at"]), name, [count(point, column) for column, _ in kind.columns])
            for name, point in zip(reversed(names), reversed(points), strict=True)
        ),
    )


def count(point: Point, name: str) -> int:
    """A count of one span."""
    value = point[name]
    return value if isinstance(value, int) else 0


def ceiling(greatest: int) -> int:
    """The number at the upper line: round, even where it can be, and not below the greatest."""
    power = 1
    while True:
        for first in (1, 2, 4, 6, 8):
            if first * power >= greatest:
                return first * power
        power *= 10


def short(value: int) -> str:
    """A number for a narrow place."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if value >= 10 * size or (value >= size and value % size == 0 and size > 1000):
            return f"{value / size:.3g}{unit}"
    return number(value)


def _pixels(value: int, greatest: int, room: int) -> float:
    """A height: nothing for nothing, and a line that can be seen for whatever there is."""
    return round(max(value * room / greatest, 1.5), 1) if value else 0


def _bar(place: int, base: int, height: float) -> str:
    """A piece of a path: the bar of one span; nothing for nothing."""
    return f"M{place + (1 - _FILLED) / 2:g} {base}v{height:g}h{_FILLED}v{-height:g}z" if height else ""


def _labels(times: Sequence[datetime], period: str) -> list[Label]:
    found: list[tuple[int, str, bool]] = []
    for place, at in enumerate(times):
        day = f"{at.day} {_MONTHS[at.month - 1]}"
        if period == "24h" and at.hour % 3 == 0:
            found.append((place, day if at.hour == 0 else f"{at:%H:%M}", at.hour % 6 != 0))
        elif period == "7d" and at.hour == 0:
            found.append((place, f"{_DAYS[at.weekday()]} {at.day}", len(found) % 2 == 1))
        elif period == "30d" and (len(times) - 1 - place) % 5 == 0:
            found.append((place, day, len(found) % 2 == 1))
    return [Label(f"{(place + 0.5) * 100 / len(times):.2f}%", text, minor) for place, text, minor in found]


def _description(kind: Kind, unit: str, period: str, names: Sequence[str], went: Sequence[int], failed: Sequence[int]) -> str:
    text = f"{kind.title} per {unit} in the last {period}, in UTC: {number(sum(went))} {kind.went[1]}"
    if any(went):
        greatest = max(went)
        text += f", at most {number(greatest)} in one {unit} ({names[went.index(greatest)]})"
    return f"{text}; {number(sum(failed))} {kind.failed}. The last {unit} is not over."

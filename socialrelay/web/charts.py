"""
Counts over time as bars: where each is drawn, and what it says.

A chart is as wide as the page lets it be and of a fixed height, so that its labels stay as large as other text: places along the time are
shares of the width, heights are pixels.  What went well stands on the base line; what failed hangs below it, on a scale of its own, since
it is rarely as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import frozen

from socialrelay.web.templating import number

PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
"""What a chart may show, and how people say it."""

_FILLED = 0.78
"""How much of its time's width a bar takes."""

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


@frozen
class Bar:
    """
    One span of time.

    @ivar x: where it begins, and C{left}, C{width}: its bars in it; shares of the width, as SVG writes them.
    @ivar went: (y, height) of what went well; no height: no bar.
    @ivar failed: likewise, of what failed.
    @ivar text: what it says when it is pointed at.
    """

    x: str
    left: str
    width: str
    went: tuple[float, float]
    failed: tuple[float, float]
    text: str


@frozen
class Label:
    """
    A time below the bars.

    @ivar minor: left out where there is little room.
    """

    x: str
    text: str
    minor: bool


@frozen
class Chart:
    """
    @ivar step: how wide one span is.
    @ivar most: (label, y) of the lines above the base line.
    @ivar worst: the number at the lower end, empty if nothing failed.
    @ivar rows: of the table, the latest first: (ISO 8601, time for people, counts).
    """

    kind: Kind
    unit: str
    description: str
    step: str
    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    most: tuple[tuple[str, float], ...]
    worst: str
    went: int
    failed: int
    rows: tuple[tuple[str, str, tuple[int, ...]], ...]


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
    went = [count(point, kind.went[0]) for point in points]
    failed = [sum(count(point, name) for name in kind.failures) for point in points]
    top, low = ceiling(max(went, default=0)), max(failed, default=0)
    step = 100 / max(len(points), 1)
    names = [f"{at:%-d %b}" if unit == "day" else f"{at:%-d %b, %H:%M}" for at in times]
    return Chart(
        kind=kind,
        unit=unit,
        description=_description(kind, unit, PERIODS[period], names, went, failed),
        step=_share(step),
        bars=tuple(
            Bar(
                x=_share(index * step),
                left=_share((index + (1 - _FILLED) / 2) * step),
                width=_share(_FILLED * step),
                went=_above(well, top),
                failed=_below(badly, low),
                text=f"{name}: {number(well)} {kind.went[1]}, {number(badly)} {kind.failed}",
            )
            for index, (name, well, badly) in enumerate(zip(names, went, failed, strict=True))
        ),
        labels=tuple(_labels(times, period, step)),
        most=((short(top), FRAME.top), *([(short(top // 2), (FRAME.top + FRAME.base) / 2)] if top % 2 == 0 else ())),
        worst=short(low) if low else "",
        went=sum(went),
        failed=sum(failed),
        rows=tuple(
            (at.isoformat(timespec="seconds"), name, tuple(count(point, column) for column, _ in kind.columns))
            for at, name, point in reversed(list(zip(times, names, points, strict=True)))
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


def _above(value: int, top: int) -> tuple[float, float]:
    height = _pixels(value, top, FRAME.base - FRAME.top)
    return FRAME.base - height, height


def _below(value: int, low: int) -> tuple[float, float]:
    return FRAME.base + 2, _pixels(value, low, FRAME.bottom - FRAME.base - 2)


def _pixels(value: int, greatest: int, room: int) -> float:
    """A height: nothing for nothing, and a line that can be seen for whatever there is."""
    return round(max(value * room / greatest, 1.5), 1) if value else 0


def _share(percent: float) -> str:
    return f"{percent:.3f}".rstrip("0").rstrip(".") + "%"


def _labels(times: Sequence[datetime], period: str, step: float) -> list[Label]:
    found: list[tuple[int, str]] = []
    for index, at in enumerate(times):
        if period == "24h" and at.hour % 3 == 0:
            found.append((index, f"{at:%-d %b}" if at.hour == 0 else f"{at:%H:%M}"))
        elif period == "7d" and at.hour == 0:
            found.append((index, f"{at:%a %-d}"))
        elif period == "30d" and (len(times) - 1 - index) % 5 == 0:
            found.append((index, f"{at:%-d %b}"))
    main = [at.hour % 6 == 0 if period == "24h" else place % 2 == 0 for place, at in enumerate(times[index] for index, _ in found)]
    return [Label(_share((index + 0.5) * step), text, minor=not important) for (index, text), important in zip(found, main, strict=True)]


def _description(kind: Kind, unit: str, period: str, names: Sequence[str], went: Sequence[int], failed: Sequence[int]) -> str:
    text = f"{kind.title} per {unit} in the last {period}, in UTC: {number(sum(went))} {kind.went[1]}"
    if any(went):
        greatest = max(went)
        text += f", at most {number(greatest)} in one {unit} ({names[went.index(greatest)]})"
    return f"{text}; {number(sum(failed))} {kind.failed}. The last {unit} is not over."

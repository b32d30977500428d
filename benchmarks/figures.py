"""From runs to figures: medians, percentiles, and how they are written. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from statistics import median

from attrs import frozen

Figures = dict[str, float]


def percentile(values: Iterable[float], share: float) -> float:
    """
    The least value that is not exceeded by this share of them.

    @param share: between 0 and 1.
    @raise ValueError: there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def medians(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """The median of each figure, over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: median(figures[name] for figures in rounds if name in figures) for name in names}


def interleaved(
    rounds: int, runs: Mapping[str, Callable[[], Figures]], told: Callable[[str, Figures], None] = lambda name, figures: None
) -> Rounds:
    """
    Run each once, then each once more, and so on: what else goes on at the machine meets them all.

    @param told: hears of each run when it is over.
    """
    results: dict[str, list[Figures]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            figures = run()
            told(name, figures)
            results[name].append(figures)
    return Rounds(results)


@frozen
class Rounds:
    """
    @ivar results: name of the run -> its figures, round by round.
    """

    results: dict[str, list[Figures]]

    def medians(self) -> dict[str, Figures]:
        """Of each figure of each run."""
        return {name: medians(figures) for name, figures in self.results.items()}

    def ratio(self, figure: str, over: str, under: str) -> float:
        """
        How one run compares with another: the median of what it was in each round, so that what disturbs a whole round does not count.
        """
        pairs = zip(self.results[over], self.results[under], strict=True)
        return median(one[figure] / other[figure] for one, other in pairs)


def prefixed(prefix: str, figures: Mapping[str, float]) -> Figures:
    """The same under longer names."""
    return {f"{prefix}.{name}": value for name, value in figures.items()}


def rounded(value: float, digits: int = 3) -> float:
    """So many significant digits; all of those before the point."""
    if value == 0 or not isfinite(value):
        return value
    places = digits - 1 - floor(log10(abs(value)))
    result = round(value, max(places, 0))
    return int(result) if places <= 0 else result


def written(figures: Mapping[str, float]) -> str:
    """Flat JSON, sorted, so that two runs can be laid side by side."""
    return json.dumps({name: rounded(figures[name]) for name in sorted(figures)}, indent=2) + "\n"


def merged(before: Mapping[str, float], now: Mapping[str, float], cases: Iterable[str]) -> Figures:
    """
    The figures of before, with all those of some cases replaced.

    @param cases: first words of names.
    """
    again = set(cases)
    return {**{name: value for name, value in before.items() if name.partition(".")[0] not in again}, **now}


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """
    Rows of figures as text, a column for each name that occurs.

    @param rows: name of the row -> name of the column -> value.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [["", *columns]]
    cells += [[name, *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns) + 1)]
    return "\n".join(_line(line, widths) for line in cells)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *others = cells
    first, *rest = widths
    return "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(others, rest, strict=True))]).rstrip()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{rounded(value):,}"

"""
Makes C{docs/performance.md} of C{benchmarks/performance.in.md} and what was measured, so that no figure in it is another than was measured.

In the text stand, in braces::

    {delivery.tls_kept.rate}              the figure
    {delivery.tls_kept.sink_busy %}       the same in percent
    {delivery.tls_kept.cpu_ms <= 0.12}    "met" or "missed"
    {soak.csv}                            the record of the long run, minute by minute
    {runs.json}                           when each case was last measured
    {machine.txt}                         on what

What was not measured is a dash.  C{python -m benchmarks} ends with this; C{python -m benchmarks.report} is for changes of the text alone.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import ge, gt, le, lt
from pathlib import Path
from statistics import median

from benchmarks.figures import rounded

HERE = Path(__file__).parent
TEXT = HERE / "performance.in.md"
RESULTS = HERE / "results.json"
RECORD = HERE / "soak.csv"
RUNS = HERE / "runs.json"
MACHINE = HERE / "machine.txt"
PAGE = HERE.parent / "docs" / "performance.md"

UNKNOWN = "–"
NO_BREAK = "\u00a0"
PLACE = re.compile(r"\{(?P<name>[a-z0-9_]+(?:\.[a-z0-9_]+)+)(?:(?P<percent> %)| (?P<sign><=|>=|<|>) (?P<bar>[0-9.]+))?\}")
SIGNS = {"<=": le, ">=": ge, "<": lt, ">": gt}
FILES = {RECORD.name, RUNS.name, MACHINE.name}
COLUMNS = ("run", "minute", "deliveries/s", "p50 ms", "p99 ms", "MB", "CPU", "descriptors", "connections", "PostgreSQL's CPU")


def rendered(text: str, figures: Mapping[str, float], files: Mapping[str, str]) -> str:
    """
    The page.

    @param files: what stands for those of L{FILES}.
    """

    def place(found: re.Match[str]) -> str:
        name = found["name"]
        if name in FILES:
            return files.get(name, UNKNOWN)
        if name not in figures:
            return UNKNOWN
        if found["sign"]:
            return "met" if SIGNS[found["sign"]](figures[name], float(found["bar"])) else "**missed**"
        return shown(figures[name] * 100) if found["percent"] else shown(figures[name])

    return PLACE.sub(place, text)


def named(text: str) -> set[str]:
    """Which figures a text wants."""
    return {found["name"] for found in PLACE.finditer(text)} - FILES


def shown(value: float) -> str:
    """A figure for readers: three digits that count, thousands apart."""
    short = rounded(value)
    return f"{int(short) if short == int(short) else short:,}".replace(",", NO_BREAK)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows))


def minutes(record: str) -> str:
    """
    The record as a table: medians of each minute; of the p99, memory, descriptors and connections the greatest.

    @param record: as L{benchmarks.cases.soak} writes it.
    """
    rows = csv.DictReader(record.splitlines())
    groups = groupby(rows, lambda row: (row["run"], int((float(row["seconds"]) - 0.1) // 60) + 1))
    return table(COLUMNS, [(run, str(minute), *_minute(list(group))) for (run, minute), group in groups])


def _minute(rows: Sequence[Mapping[str, str]]) -> list[str]:
    columns = (
        ("deliveries_per_s", median),
        ("p50_ms", median),
        ("p99_ms", max),
        ("mb", max),
        ("cpu_share", median),
        ("descriptors", max),
        ("connections", max),
        ("postgres_share", median),
    )
    cells = []
    for name, of in columns:
        values = [float(row[name]) for row in rows if row[name]]
        cells.append(shown(of(values)) if values else UNKNOWN)
    return cells


def runs(text: str) -> str:
    """
    The cases as a table.

    @param text: JSON: case -> C{when}, C{commit}, C{seconds}, C{load} (of all processes, when it was over).
    """
    found = json.loads(text)
    return table(("case", "when", "commit", "seconds", "load"), [(name, *map(str, row.values())) for name, row in found.items()])


def page() -> str:
    """What C{docs/performance.md} has to be."""
    forms = {RECORD: minutes, RUNS: runs, MACHINE: str.strip}
    files = {path.name: form(path.read_text()) for path, form in forms.items() if path.exists()}
    return rendered(TEXT.read_text(), json.loads(RESULTS.read_text()), files)


def main() -> None:
    """Write the page, and name what it wants that was not measured."""
    PAGE.write_text(page())
    missing = named(TEXT.read_text()) - json.loads(RESULTS.read_text()).keys()
    if missing:
        print(f"Not measured: {', '.join(sorted(missing))}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""
What was found, for programs (C{tests/chaos/results.json}) and for readers (C{docs/reliability.md}).

The page is made of C{tests/chaos/reliability.in.md}, in which stand, in braces::

    {table}       the promises: what was done, what was measured, whether that is what was promised
    {remarks}     where a target is held in kind only, and what was not shown
    {when}        the days of the proofs
    {machine}     on what

C{python -m tests.chaos.report} makes the page anew after a change of the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict

from benchmarks.report import table
from tests.chaos.contract import CONTRACT
from tests.chaos.finding import Finding

HERE = Path(__file__).parent
TEXT = HERE / "reliability.in.md"
RESULTS = HERE / "results.json"
MACHINE = HERE / "machine.txt"
PAGE = HERE.parent.parent / "docs" / "reliability.md"
COLUMNS = ("", "promise", "what was done", "what was measured", "target", "held")
OPTIONAL = ("figures", "remark", "scope")

Row = Mapping[str, Any]


def row(name: str, found: Finding, *, full: bool, when: str, commit: str, seconds: float) -> dict[str, Any]:
    """A finding as it stands in C{results.json}."""
    said = asdict(found)
    said = {key: value for key, value in said.items() if value or key not in OPTIONAL}
    run = {"when": when, "commit": commit, "seconds": round(seconds)}
    return {"held": said.pop("held"), "target": CONTRACT[name].target, "form": "full" if full else "short", **said, **run}


def read() -> dict[str, Row]:
    """What is written down, in the order of the contract."""
    rows: dict[str, Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: rows[name] for name in CONTRACT if name in rows}


def write(rows: Mapping[str, Row]) -> None:
    """Write down what was found, and make the page of it; what was not proved this time stays."""
    known = read() | rows
    ordered = {name: known[name] for name in CONTRACT if name in known}
    RESULTS.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")
    PAGE.write_text(page())


def verdict(found: Row) -> str:
    """Held or not, and how far."""
    word = "yes" if found["held"] else "**no**"
    return f"{word}, {found['scope']}" if found.get("scope") else word


def page() -> str:
    """What C{docs/reliability.md} has to be."""
    rows = read()
    lines = [
        (name, CONTRACT[name].says, found["done"], found["figure"], found["target"], verdict(found))
        if found
        else (name, CONTRACT[name].says, "–", "not measured yet", CONTRACT[name].target, "–")
        for name in CONTRACT
        for found in (rows.get(name),)
    ]
    places = {
        "{table}": table(COLUMNS, [[cell.replace("|", r"\|") for cell in line] for line in lines]),
        "{remarks}": "\n".join(f"* **{name}**: {found['remark']}" for name, found in rows.items() if found.get("remark")) or "None.",
        "{when}": ", ".join(sorted({found["when"][:10] for found in rows.values()})) or "–",
        "{commits}": ", ".join(sorted({found["commit"] for found in rows.values()})) or "–",
        "{machine}": MACHINE.read_text().strip() if MACHINE.exists() else "–",
    }
    text = TEXT.read_text()
    for place, what in places.items():
        text = text.replace(place, what)
    return text


if __name__ == "__main__":
    PAGE.write_text(page())

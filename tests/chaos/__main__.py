"""
Prove, print, and write down: C{python -m tests.chaos [--short] [--only P1 P5 ...]}.

The proofs in full want a quiet machine.  Only what they find is written down; the short form, which C{make test} runs as well, is printed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import commit, surroundings
from tests.chaos import report
from tests.chaos.contract import CONTRACT, run
from tests.chaos.finding import Finding

WIDTH = 180


def main() -> int:
    """See the module; 1 if a promise was not held."""
    proved = [name for name, promise in CONTRACT.items() if promise.proof is not None]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Prove what the relay promises.")
    parser.add_argument("--only", nargs="+", choices=proved, default=proved, metavar="PROMISE", help="P1 to P21")
    parser.add_argument("--short", action="store_true", help="a tenth of each; nothing is written down")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    full = not arguments.short
    rows: dict[str, report.Row] = {}
    for name in arguments.only:
        print(f"\n== {name}: {CONTRACT[name].says}.", flush=True)
        began, when = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        found = attempt(name, full=full)
        rows[name] = report.row(name, found, full=full, when=when, commit=commit(), seconds=time.monotonic() - began)
        print(f"   {found.done}: {found.figure}\n   {'held' if found.held else 'NOT HELD'}, {rows[name]['seconds']} s", flush=True)
        if full:
            report.MACHINE.write_text(surroundings())
            report.write({name: rows[name]})
    tell(rows)
    return 0 if all(found["held"] for found in rows.values()) else 1


def attempt(name: str, *, full: bool) -> Finding:
    """A proof that breaks has found that its promise is not held."""
    try:
        return run(name, full=full)
    except Exception as error:
        traceback.print_exc()
        return Finding(done="the proof broke", figure=f"{type(error).__name__}: {error}", held=False)


def tell(rows: Mapping[str, report.Row]) -> None:
    """The table."""
    console = Console(width=max(WIDTH, Console().width))
    shown = Table(*report.COLUMNS, show_lines=True)
    for name, promise in CONTRACT.items():
        found = rows.get(name)
        cells = (
            (found["done"], found["figure"], promise.target, report.verdict(found).replace("*", ""))
            if found
            else ("–", "–", promise.target, "–")
        )
        shown.add_row(name, *(Text(cell) for cell in (promise.says, *cells)))
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())

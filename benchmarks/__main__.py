"""
Measure, print, and write down: C{python -m benchmarks [--quick] [--only CASE ...] [--minutes N]}.

A whole run takes forty-five minutes, half of them the recorded run; a quick one five.  Quick sizes show that everything works, and
little else, so their figures are not kept unless a file is named.  Beside the figures are kept the record of that run and the plans of
the hot queries.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.bed import Bed
from benchmarks.cases.bus import bus
from benchmarks.cases.catchup import catchup
from benchmarks.cases.delivery import delivery
from benchmarks.cases.growth import growth, memory
from benchmarks.cases.hanging import hanging
from benchmarks.cases.intake import intake
from benchmarks.cases.pages import pages
from benchmarks.cases.rates import route, verify
from benchmarks.cases.rules import rules
from benchmarks.cases.soak import soak
from benchmarks.cases.starting import start
from benchmarks.figures import Figures, merged, rounded, written
from benchmarks.machine import commit, surroundings
from benchmarks.report import RESULTS

MINUTES = 10.0
Case = Callable[[Bed, Callable[[str, Figures], None]], Figures]
CASES: dict[str, Case] = {
    "route": route,
    "verify": verify,
    "delivery": delivery,
    "hanging": hanging,
    "receive": intake,
    "catchup": catchup,
    "memory": memory,
    "growth": growth,
    "rules": rules,
    "start": start,
    "pages": pages,
    "bus": bus,
    "soak": soak,
}
"""By the first word of their figures."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the relay costs, beside what else one could take.")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="small sizes: five minutes in all; the figures mean little")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long each of soak's two runs with dead nodes lasts")
    parser.add_argument(
        "--output", type=Path, help=f"flat JSON; what else is in it stays. {RESULTS.name} beside this, unless --quick or --minutes"
    )
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick or arguments.minutes != MINUTES else RESULTS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(surroundings())
    if output is not None:
        output.with_name(report.MACHINE.name).write_text(surroundings())
    bed = Bed(quick=arguments.quick, minutes=arguments.minutes, beside=output.parent if output is not None else None)
    try:
        for name in arguments.only:
            print(f"\n== {name}: {' '.join((CASES[name].__doc__ or '').split())}", flush=True)
            started = time.monotonic()
            figures = CASES[name](bed, _tell)
            if name == "delivery":
                print(limit(figures))
            print(f"   {time.monotonic() - started:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
            if output is not None:
                before = json.loads(output.read_text()) if output.exists() else {}
                output.write_text(written(merged(before, figures, [name])))
                note_run(output.with_name(report.RUNS.name), name, time.monotonic() - started)
    finally:
        bed.close()
    if output is not None:
        print(f"\nFigures are in {output}.")
    if output == RESULTS:
        report.main()
        print(f"{report.PAGE} says what they mean; its text is in {report.TEXT}.")


def limit(figures: Figures) -> str:
    """How one knows that the nodes are not what is measured."""
    alone, ours, busy = (figures[f"delivery.{name}"] for name in ("tls_kept_libcurl.rate", "tls_kept.rate", "tls_kept.sink_busy"))
    return (
        f"How near the sinks are to being the limit: the relay's {ours:.0f} deliveries a second keep their process busy for {busy:.0%} "
        f"of the time; from libcurl alone they took {alone:.0f}."
    )


def note_run(path: Path, case: str, seconds: float) -> None:
    """Add to a file of JSON when a case was measured, on what commit, and how busy the machine was."""
    before = json.loads(path.read_text()) if path.exists() else {}
    row = {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "seconds": round(seconds),
        "load": round(os.getloadavg()[0], 1),
    }
    known = {**before, case: row}
    path.write_text(json.dumps({name: known[name] for name in CASES if name in known}, indent=2) + "\n")


def _tell(name: str, figures: Figures) -> None:
    shown = ", ".join(f"{key} {rounded(value):,}" for key, value in list(figures.items())[:6])
    print(f"   {name}: {shown}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Nodes that hang, refuse or come and go: what the others notice of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.bed import Bed
from benchmarks.cases.running import KEPT, fan_out
from benchmarks.figures import Figures, interleaved, table
from benchmarks.sinks import names

LIVE = 40
ROUNDS = 9
"""One differs from the next by a tenth, which is more than what is looked for."""
TROUBLE = {
    "alone": (),
    "hanging": (("hang", 5), ("mute", 5)),
    "refusing": (("refuse", 10),),
    "flapping": (("flap", 2),),
}


def hanging(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Rate and delay of 40 nodes that are well, alone and with such company, against those alone."""
    seconds, rounds = float(bed.size(3, 1)), bed.size(ROUNDS, 1)
    runs: dict[str, Callable[[], Figures]] = {name: partial(_run, bed, company, seconds) for name, company in TROUBLE.items()}
    results = interleaved(rounds, runs, told)
    found = results.medians()
    figures = {f"hanging.{name}.{key}": value for name, row in found.items() for key, value in row.items()}
    ratios = {
        name: {
            f"{short}_ratio": results.ratio(figure, name, "alone")
            for short, figure in (("rate", "rate"), ("cpu", "cpu_ms"), ("p99", "delay_p99_ms"))
        }
        for name in TROUBLE
    }
    print(table(found))
    print(table(ratios))
    for name, row in ratios.items():
        if name != "alone":
            figures |= {f"hanging.{key}" if name == "hanging" else f"hanging.{key}_{name}": value for key, value in row.items()}
    return figures


def _run(bed: Bed, company: tuple[tuple[str, int], ...], seconds: float) -> Figures:
    with bed.database() as database:
        # In between, so that nobody is served first.
        troubled = [host for kind, count in company for host in names(kind, count)]
        live = names("n", LIVE)
        database.subscribe([host for n in range(LIVE) for host in (live[n], *troubled[n : n + 1])])
        with bed.relay(database, KEPT) as relay:
            figures = fan_out(bed, relay, LIVE, seconds)
    return figures

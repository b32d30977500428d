"""Nodes that hang, refuse or come and go: what the others notice of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.bed import Bed
from benchmarks.cases.running import KEPT, fan_out
from benchmarks.figures import Figures, interleaved, table
from benchmarks.sinks import names

LIVE = 40
TROUBLE = {
    "alone": (),
    "hanging": (("hang", 5), ("mute", 5)),
    "refusing": (("refuse", 10),),
    "flapping": (("flap", 2),),
}


def hanging(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """The rate of 40 nodes that are well, alone and with such company, against their rate alone."""
    seconds, rounds = float(bed.size(3, 1)), bed.size(5, 1)
    runs: dict[str, Callable[[], Figures]] = {name: partial(_run, bed, company, seconds) for name, company in TROUBLE.items()}
    results = interleaved(rounds, runs, told)
    found = results.medians()
    figures = {f"hanging.{name}.{key}": value for name, row in found.items() for key, value in row.items()}
    ratios = {
        name: {"rate_ratio": results.ratio("rate", name, "alone"), "cpu_ratio": results.ratio("cpu_ms", name, "alone")} for name in TROUBLE
    }
    print(table(found))
    print(table(ratios))
    figures["hanging.rate_ratio"] = ratios["hanging"]["rate_ratio"]
    figures["hanging.cpu_ratio"] = ratios["hanging"]["cpu_ratio"]
    figures["hanging.rate_ratio_refusing"] = ratios["refusing"]["rate_ratio"]
    figures["hanging.rate_ratio_flapping"] = ratios["flapping"]["rate_ratio"]
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

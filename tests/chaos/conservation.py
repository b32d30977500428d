"""Of each post at each node it is known what became of it: whatever happens to the queue, and while the daemon runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.sinks import names
from tests.chaos import trials
from tests.chaos.finding import Finding
from tests.chaos.pulse import metrics
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Database, Relay, Stage, account

WELL, FLAWED = 12, {"refuse": 4, "busy": 2, "wrong": 2}
PATIENCE = 40.0


def prove(full: bool) -> Finding:
    tried = trials.run("tests.test_conservation" if full else "tests.test_conservation.MemoryTests", full=full)
    counts = tried.counts
    looks, worst, noticed, difference = live(8 if full else 1, 1500 if full else 300)
    return Finding(
        done=f"{counts['examples']} examples of {counts['steps']} steps with {counts['crashes']} crashes, and {counts['lives']} lives of "
        f"{counts['moments']} steps in PostgreSQL; the daemon under load with {sum(FLAWED.values())} of {WELL + sum(FLAWED.values())} nodes "
        f"failing, killed now and then, its metric read {looks} times",
        figure=f"{tried.others} of {tried.passed + tried.others} tests failed; imbalance at most {worst:.0f}, {difference} when it had stopped; "
        + (f"rows that were tampered with were seen after {noticed:.0f} s" if noticed else "rows that were tampered with were not seen"),
        held=tried.held and counts["examples"] >= (10_000 if full else 1) and worst == 0 and difference == 0 and noticed is not None,
        figures={"examples": counts["examples"], "imbalance": worst, "imbalance_stopped": difference, "noticed_s": noticed or -1.0},
        remark=tried.trouble,
    )


def live(rounds: int, posts: int) -> tuple[int, float, float | None, int]:
    """How often the metric was read, the greatest value, seconds until tampering was seen, and what the books say after a stop."""
    looks, worst = 0, 0.0
    with Stage() as stage, stage.database() as database:
        database.subscribe(names("n", WELL))
        for kind, count in FLAWED.items():
            database.subscribe(names(kind, count))
        bodies = stage.posts.first(rounds * posts)
        with stage.relay(database, AT_ONCE) as relay:
            for number in range(rounds):
                sender = Sender(relay.port, bodies[number * posts : (number + 1) * posts]).start()
                if not number % 2:
                    relay.kill()
                    relay.start()
                whole = _looked(relay)
                sender.join()
                until(relay, lambda found, whole=whole: found.get("ledger_whole_timestamp_seconds", 0.0) > whole)  # type: ignore[misc]
                worst = max(worst, metrics(relay)["ledger_imbalance"])
                looks += 1
            relay.terminate()
            difference = account(database).difference
            noticed = _tampered(relay, database)
    return looks, worst, noticed, difference


def _looked(relay: Relay) -> float:
    return metrics(relay).get("ledger_whole_timestamp_seconds", 0.0)


def _tampered(relay: Relay, database: Database) -> float | None:
    """Seconds until the relay sees that a row has one delivery more than there were."""
    database.run("UPDATE destination SET delivered = delivered + 1 WHERE number = 0")
    relay.start()
    began = time.monotonic()
    return time.monotonic() - began if until(relay, lambda found: found.get("ledger_imbalance", 0.0) > 0) else None


def until(relay: Relay, wanted: Callable[[dict[str, float]], bool]) -> bool:
    """Wait for a state of the metrics."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(metrics(relay)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True

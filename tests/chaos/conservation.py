"""Of each post at each node it is known what became of it: whatever happens to the queue, and while the daemon runs."""

from __future__ import annotations

import time

from benchmarks.sinks import names
from tests.chaos import trials
from tests.chaos.finding import Finding
from tests.chaos.pulse import metrics
from tests.chaos.sending import Sender
from tests.chaos.stage import AT_ONCE, Database, Relay, Stage, account
from tests.chaos.waiting import surely, until

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
                worst = max(worst, _round(relay, bodies[number * posts : (number + 1) * posts], killed=not number % 2))
                looks += 1
            relay.terminate()
            difference = account(database).difference
            noticed = _tampered(relay, database)
    return looks, worst, noticed, difference


def _round(relay: Relay, bodies: list[bytes], *, killed: bool) -> float:
    """Bring posts, some of them before it dies; the imbalance when the relay has gone through its books after the last."""
    sender = Sender(relay.port, bodies).start()
    if killed:
        surely(lambda: len(sender.accepted) >= len(bodies) // 4, "a quarter of the posts is accepted")
        relay.kill()
        relay.start()
    sender.join()
    before = _looked(relay)
    surely(lambda: _looked(relay) > before, "the relay goes through its books")
    return metrics(relay)["ledger_imbalance"]


def _looked(relay: Relay) -> float:
    return metrics(relay).get("ledger_whole_timestamp_seconds", 0.0)


def _tampered(relay: Relay, database: Database) -> float | None:
    """Seconds until the relay sees that a row has one delivery more than there were."""
    database.run("UPDATE destination SET delivered = delivered + 1 WHERE number = 0")
    relay.start()
    began = time.monotonic()
    seen = until(lambda: metrics(relay).get("ledger_imbalance", 0.0) > 0, PATIENCE, every=0.2)
    return time.monotonic() - began if seen else None

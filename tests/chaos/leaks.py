"""Secrets, and control characters of strangers, in whatever the relay says."""

from __future__ import annotations

from tests.chaos import trials
from tests.chaos.finding import Finding


def prove(full: bool) -> Finding:
    done = trials.run("tests.test_secrets", "tests.test_secrets_told", *(("tests.test_end_to_end_secrets",) if full else ()), full=full)
    counts = done.counts
    return Finding(
        done=f"{counts['configurations']} wrong configurations, {counts['answers']} answers of both sites, the bus and the control socket, "
        f"{counts['fields']} fields that strangers fill with control characters"
        + (f", the real daemon and {counts['commands']} of its commands" if full else ""),
        figure=f"{done.others} of {done.passed + done.others} tests failed: "
        + ("no secret and no control character in log, metrics, errors and repr" if done.held else "see the remark"),
        held=done.held and min(counts["configurations"], counts["answers"], counts["fields"], counts["commands"] if full else 1) > 0,
        figures={name: counts[name] for name in ("configurations", "answers", "fields", "commands")} | {"failed": done.others},
        remark=done.trouble,
    )

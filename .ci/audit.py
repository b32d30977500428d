"""
Looks for known vulnerabilities of the exact versions in C{requirements/run.txt}, with pip-audit, which asks PyPI.

Ends with 0 if none is known, 1 if there is one, and 3 if the database could not be asked about every package: that is neither good news nor
bad. pip-audit itself ends with 0 when the index knows none of the packages, as a mirror does that has files and no advisories.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIST = Path(__file__).parent.parent / "requirements" / "run.txt"
VULNERABLE, NOT_DONE = 1, 3
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not concern the relay: their names (C{PYSEC-2026-1}), each with the reason."""


def main() -> int:
    """Ask, and say what came of it."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", LIST, "--no-deps", "--disable-pip", "--format=json"]
    asked = subprocess.run([*command, "--progress-spinner=off", "--timeout=15"], capture_output=True, text=True, check=False)
    status, said = verdict(asked.stdout, asked.stderr)
    print(said)
    return status


def verdict(report: str, errors: str) -> tuple[int, str]:
    """
    What a run of pip-audit means.

    @param report: what it printed, as JSON; anything else if it broke off.
    @return: the status to end with, and what to tell.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (errors.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_DONE, f"NOT DONE: the database of vulnerabilities could not be asked: {reason}"
    found = [
        f"{each['name']} {each['version']}: {bug['id']}, mended in {', '.join(bug['fix_versions']) or 'no version yet'}"
        for each in packages
        for bug in each.get("vulns", ())
        if not {bug["id"], *bug.get("aliases", ())} & ACCEPTED.keys()
    ]
    if found:
        told = "These came to be known; the change at hand need not have brought them. Take a mended version (make lock), or name them and"
        return VULNERABLE, "\n".join([*found, f"{told} the reason in ACCEPTED of .ci/audit.py."])
    unknown = [each["name"] for each in packages if "vulns" not in each]
    if unknown or not packages:
        why = f"{len(unknown)} of {len(packages)} packages are not known there, {unknown[0]} for one" if unknown else "it was asked nothing"
        return NOT_DONE, f"NOT DONE: the database of vulnerabilities could not be asked: {why}."
    return 0, f"No vulnerability is known of {len(packages)} packages."


if __name__ == "__main__":
    sys.exit(main())

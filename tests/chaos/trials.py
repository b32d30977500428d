"""Proofs that are tests already: run by trial in a process of its own, all of it or the short form."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent


@frozen
class Trial:
    """
    What came of it.

    @ivar passed, others: tests; those that are skipped are among the others.
    @ivar counts: what the tests noted (L{tests.fuzzing.counts}), added up.
    @ivar trouble: the end of what was said, if not all passed.
    """

    passed: int
    others: int
    counts: Counter[str]
    trouble: str

    @property
    def held(self) -> bool:
        """All passed, and there were some."""
        return self.passed > 0 and not self.others


def run(*tests: str, full: bool) -> Trial:
    """Run test modules, classes or tests."""
    with tempfile.TemporaryDirectory(prefix="socialrelay-trials-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        environment = {**os.environ, "FUZZING": "full" if full else "", "COUNTS": str(folder / "counts"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-b", "-m", "twisted.trial", "--temp-directory", str(folder / "trial"), *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        counts: Counter[str] = Counter()
        noted = folder / "counts"
        for line in noted.read_text().splitlines() if noted.exists() else ():
            counts.update(json.loads(line))
    said = done.stdout + done.stderr
    totals = re.findall(r"^Ran (\d+) tests", said, re.MULTILINE)
    ended = re.findall(r"successes=(\d+)", said)
    ran, passed = int(totals[-1]) if totals else 0, int(ended[-1]) if ended else 0
    others = max(ran - passed, int(done.returncode != 0))
    return Trial(passed, others, counts, said[-2000:] if others else "")

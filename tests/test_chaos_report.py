"""What proofs found, written down."""

from __future__ import annotations

import json
from pathlib import Path
from time import sleep

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos import report
from tests.chaos.contract import CONTRACT, patience
from tests.chaos.finding import Finding

FOUND = Finding(done="10 kills", figure="0 of 100 lost", held=True, figures={"lost": 0})


class ReportTests(SynchronousTestCase):
    def test_row(self) -> None:
        """A row has what was found, what was to be found, and when and how it was done; what there is nothing to say of is left out."""
        self.assertEqual(
            report.row("P1", FOUND, full=True, when="2026-01-02 03:04", commit="abc", seconds=12.4),
            {
                "held": True,
                "target": CONTRACT["P1"].target,
                "form": "full",
                "done": "10 kills",
                "figure": "0 of 100 lost",
                "figures": {"lost": 0},
                "when": "2026-01-02 03:04",
                "commit": "abc",
                "seconds": 12,
            },
        )

    def test_verdict(self) -> None:
        """A promise that is not held stands out, and one that is shown in part says in which."""
        self.assertEqual(
            [report.verdict(found) for found in ({"held": True}, {"held": False}, {"held": True, "scope": "one process"})],
            ["yes", "**no**", "yes, one process"],
        )

    def test_written(self) -> None:
        """What was found is kept with what was found before, in the order of the contract, and the page says it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(report, "RESULTS", folder / "results.json")
        self.patch(report, "PAGE", folder / "reliability.md")
        for name in ("P2", "P1"):
            report.write({name: report.row(name, FOUND, full=True, when="2026-01-02 03:04", commit="abc", seconds=1)})
        self.assertEqual(list(json.loads((folder / "results.json").read_text())), ["P1", "P2"])
        page = (folder / "reliability.md").read_text()
        self.assertEqual(page.count("| 10 kills | 0 of 100 lost |"), 2)
        self.assertIn("made on 2026-01-02 (commits abc)", page)
        self.assertEqual(page.count("| not measured yet |"), len(CONTRACT) - 2)

    def test_page(self) -> None:
        """The page in docs/ says what was found last."""
        self.assertEqual(report.PAGE.read_text(), report.page())

    def test_endless(self) -> None:
        """A proof that does not end is ended."""

        def wait() -> None:
            with patience(1):
                sleep(60)

        self.assertIn("not at an end after 1 s", str(self.assertRaises(TimeoutError, wait)))

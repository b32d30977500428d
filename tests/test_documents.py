"""The documents: what they refer to is there, and alerts and runbook belong together."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("etc/**/*.md")))
RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS = ROOT / "etc" / "alerts.yml"


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What can be linked to in a document: its headings, as those who show Markdown name them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        while slug in found:
            slug = re.sub(r"(?:-(\d+))?$", lambda last: f"-{int(last[1] or 0) + 1}", slug, count=1)
        found.add(slug)
    return found


def links(path: Path) -> list[str]:
    """Where its links and pictures lead, within this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", prose(path))
    return [target for pair in targets for target in pair if target and not re.match(r"[a-z]+:", target)]


class LinkTests(SynchronousTestCase):
    def test_links(self) -> None:
        """
        Each link in a document leads to a file that is there, and to a heading that this file has.
        """
        astray = []
        for document in DOCUMENTS:
            for target in links(document):
                name, _, anchor = target.partition("#")
                file = (document.parent / name).resolve() if name else document
                if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                    astray.append(f"{document.relative_to(ROOT)}: {target}")
        self.assertEqual(astray, [])


class AlertTests(SynchronousTestCase):
    def setUp(self) -> None:
        text = ALERTS.read_text("utf-8")
        self.alerts = re.findall(r"^ *- alert: (\w+)$", text, re.MULTILINE)
        self.severities = re.findall(r"^ *severity: (\w+)$", text, re.MULTILINE)
        self.urls = re.findall(r'^ *runbook_url: "([^"]+)"$', text, re.MULTILINE)

    def test_sections(self) -> None:
        """
        The runbook has a section for each alert, in the same order, and for nothing else that is called like one.
        """
        self.assertGreater(len(self.alerts), 0)
        self.assertEqual(re.findall(r"^### (Socialrelay\w+)$", prose(RUNBOOK), re.MULTILINE), self.alerts)

    def test_urls(self) -> None:
        """
        Each alert says where its section is.
        """
        self.assertEqual(self.urls, [f"docs/runbook.md#{name.lower()}" for name in self.alerts])
        self.assertEqual({url.partition("#")[2] for url in self.urls} - anchors(RUNBOOK), set())

    def test_severities(self) -> None:
        """
        A section begins with how urgent its alert is.
        """
        sections = dict(re.findall(r"^### (Socialrelay\w+)\n\n\*(\w+)\.\*", prose(RUNBOOK), re.MULTILINE))
        self.assertEqual(sections, {name: severity.capitalize() for name, severity in zip(self.alerts, self.severities, strict=True)})

"""Tests of what the package says about itself: C{setup.py} and the lists of exact versions."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import setuptools
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
LOCKS = ("run.txt", "dev.txt")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name.strip(), maxsplit=1)[0]).lower()


def imported(folder: Path) -> set[str]:
    """Top-level names that a folder's modules import."""
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"socialrelay", "tests", "twisted"}


class SetupTests(SynchronousTestCase):
    def setUp(self) -> None:
        said: list[dict[str, Any]] = []
        self.patch(setuptools, "setup", lambda **arguments: said.append(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
        [self.said] = said

    def test_requirements(self) -> None:
        """Every package that a module imports is required by name, not by another's grace."""
        required = {normal(each) for each in self.said["install_requires"]} | {
            normal(each) for each in self.said["extras_require"]["embedded"]
        }
        distributions = packages_distributions()
        for name in imported(ROOT / "socialrelay"):
            self.assertTrue(
                required & {normal(each) for each in distributions.get(name, [name])}, f"{name} is imported and not in setup.py"
            )

    def test_locked(self) -> None:
        """Every requirement is in the list that `make run` installs, and all that is there is in the developers' with the same version."""
        run, dev = (self.versions(name) for name in LOCKS)
        for each in (*self.said["install_requires"], *self.said["extras_require"]["embedded"]):
            self.assertIn(normal(each), run)
        self.assertEqual({name: dev.get(name) for name in run}, run)

    def versions(self, name: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {normal(found[1]): found[2] for line in lines if (found := re.match(r"([\w.-]+)==(\S+)", line))}

    def test_locks_hold_everywhere(self) -> None:
        """The lists name no package index and no path of the machine that made them."""
        for name in LOCKS:
            for line in (ROOT / "requirements" / name).read_text().splitlines():
                self.assertRegex(line, r"^\s*($|#|[\w.-]+==[\w.]+\s*(#|$))")

    def test_data(self) -> None:
        """Whatever lies in the package and is no module, the wheel takes along."""
        patterns = self.said["package_data"]["socialrelay"]
        kept = {file for pattern in patterns for file in (ROOT / "socialrelay").glob(pattern)}
        for file in (ROOT / "socialrelay").rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc") and "cache" not in str(file.relative_to(ROOT)):
                self.assertIn(file, kept)

    def test_packages(self) -> None:
        """Every folder with modules is a package that is installed."""
        folders = {file.parent for file in (ROOT / "socialrelay").rglob("*.py")}
        self.assertEqual({".".join(folder.relative_to(ROOT).parts) for folder in folders} - set(self.said["packages"]), set())

    def test_plugin(self) -> None:
        """The plugin's folders are no packages of their own: that would hide Twisted."""
        self.assertIn("twisted.plugins", self.said["packages"])
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])


class ChangesTests(SynchronousTestCase):
    def test_newsfragments(self) -> None:
        """Each change is told in a sentence, under the issue's number and the kind of change."""
        for file in (ROOT / "newsfragments").iterdir():
            self.assertRegex(file.name, r"^\d+\.(feature|bugfix|doc|removal|misc)(\.\d+)?\.md$")
            self.assertTrue(file.read_text("utf-8").rstrip().endswith("."))

"""
Run the suite: C{python -m tests.browser [--pictures FOLDER] [-k PATTERN] [-v]}.

Its last line is that of trial, C{PASSED (successes=…)} or C{FAILED (…)}.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from unittest import TestCase, TestLoader, TestSuite, TextTestResult, TextTestRunner

import click
from playwright.sync_api import sync_playwright

from tests.browser import acts, admin, afterwards, every, moderation, pictures, public
from tests.browser.case import BrowserCase
from tests.browser.stage import Stage, chromium
from tests.closing import closing

MODULES = (public, admin, acts, moderation, every, afterwards)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--font-render-hinting=none",
]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description="The relay's pages in a real browser.")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="take the pictures of the documents instead of testing")
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only tests whose names match")
    parser.add_argument("-v", action="store_true", help="name each test")
    arguments = parser.parse_args()
    stage = Stage()
    code = 1
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            started = time.monotonic()
            stage.open()
            click.echo(f"Two relays are ready after {time.monotonic() - started:.1f} s; Chromium {browser.version}.", err=True)
            BrowserCase.stage, BrowserCase.browser = stage, browser
            if arguments.pictures:
                pictures.take(stage, browser, arguments.pictures)
                code = 0
            else:
                code = _test(arguments)
            browser.close()
    finally:
        stage.close()
    sys.exit(code)


class Timed(TextTestResult):
    """Says with C{-v} how long each test took."""

    def startTest(self, test: TestCase) -> None:
        self._started = time.monotonic()
        super().startTest(test)

    def stopTest(self, test: TestCase) -> None:
        super().stopTest(test)
        if self.showAll:
            self.stream.writeln(f"    {time.monotonic() - self._started:.1f} s")


def _test(arguments: argparse.Namespace) -> int:
    loader = TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in arguments.k] if arguments.k else None
    suite = TestSuite(loader.loadTestsFromModule(module) for module in MODULES)
    result = TextTestRunner(verbosity=2 if arguments.v else 1, descriptions=False, resultclass=Timed).run(suite)
    click.echo(closing(result))
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    main()

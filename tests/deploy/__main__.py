"""
Try it: C{python -m tests.deploy [PART …] [-v]}; C{--packages} prints the packages of the system that it wants.

Its last line is that of trial, C{PASSED (successes=…)} or C{FAILED (…)}.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from unittest import TestLoader, TestSuite, TextTestRunner

import click

from tests.closing import closing
from tests.deploy.tools import HOW, PACKAGES, missing

PARTS = ("units", "proxies", "containers", "ansible", "alerts", "install")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description="What is needed to deploy the relay, tried.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--packages", action="store_true", help="print what has to be installed, and nothing else")
    parser.add_argument("-v", action="store_true", help="name each test")
    arguments = parser.parse_args()
    if arguments.packages:
        click.echo(" ".join(PACKAGES))
        return 0
    if absent := missing():
        click.echo(f"Missing: {', '.join(absent)}. Install them: {HOW}", err=True)
        return 1
    modules = [import_module(f"tests.deploy.check_{part}") for part in arguments.parts or PARTS]
    suite = TestSuite(TestLoader().loadTestsFromModule(module) for module in modules)
    result = TextTestRunner(verbosity=2 if arguments.v else 1, descriptions=False).run(suite)
    click.echo(closing(result))
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())

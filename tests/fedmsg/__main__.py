"""
Run it: C{python -m tests.fedmsg [-k PATTERN] [-v]}.

Its last line is that of trial, C{PASSED (successes=…)} or C{FAILED (…)}.
"""

from __future__ import annotations

import argparse
import sys
from unittest import TestLoader, TestSuite, TextTestRunner

import click

from tests.closing import closing
from tests.fedmsg import compatible
from tests.fedmsg.stock import absent


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.fedmsg", description="Stock fedmsg at both ends of the relay's bus.")
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only tests whose names match")
    parser.add_argument("-v", action="store_true", help="name each test")
    arguments = parser.parse_args()
    if reason := absent():
        click.echo(reason, err=True)
        return 1
    loader = TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in arguments.k] if arguments.k else None
    suite = TestSuite([loader.loadTestsFromModule(compatible)])
    result = TextTestRunner(verbosity=2 if arguments.v else 1, descriptions=False).run(suite)
    click.echo(closing(result))
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())

"""
What strangers may send, made by the thousand: hostile documents, genuine envelopes that were tampered with, and noise for each parser.

Everything here is made from numbers, so that hypothesis can look for the smallest case and a plain loop can go through all of them.
C{python -m tests.fuzzing} reads the whole collection in a process of its own, to be watched by strace.
"""

from __future__ import annotations

import os

FULL = os.environ.get("FUZZING") == "full"


def examples(few: int, many: int) -> int:
    """How many to try: few with each change, many where C{FUZZING=full} is set."""
    return many if FULL else few

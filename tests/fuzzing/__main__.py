"""
Read the whole collection, so that somebody can watch.

C{python -m tests.fuzzing} reads hostile documents, envelopes that were tampered with, and large ones with every parser, and prints as JSON
how many there were, how many of the hostile ones were taken, and by how many bytes the process grew.  It tries to open C{BEGINS} and C{ENDS}
before and after, and thereafter a file and a connection, to be seen: between the first two there must be nothing.  The kernel ends it if it
needs more than C{CPU} seconds.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from itertools import product
from random import Random

from tests.fuzzing import examples
from tests.fuzzing.genuine import CONTACT, ENVELOPES, GENUINE, heard, private, signed, taken
from tests.fuzzing.hostile import ENTRANCES, KINDS, hostile_entity, hostile_envelope, hostile_message
from tests.fuzzing.large import large
from tests.fuzzing.parsers import PARSERS
from tests.fuzzing.tampered import KINDS as TAMPERINGS
from tests.fuzzing.tampered import tampered

BEGINS, ENDS = "/nowhere/the-reading-begins", "/nowhere/the-reading-ends"
FILE = "/nowhere/a-file"
PORT = 9
CPU = examples(60, 600)


def mark(path: str) -> None:
    """Something to see in a trace."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        pass


def peak() -> int:
    """Bytes that the process had in memory at most, until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def warm_up() -> None:
    """What is read once and kept, tables and modules, is read now; codecs are only for making what is hostile."""
    for kind, number in product(KINDS, (0, 1)):
        hostile_envelope(kind, number)
    for parser in PARSERS.values():
        for body in (*parser.seeds, "Straße.example #é".encode(), b"\xff", b"{}"):
            parser.answer(body)
    heard(private(signed(CONTACT)))
    for body in ENVELOPES:
        taken(body)


def read_all(random: Random) -> dict[str, int]:
    """Read everything; how much that was, and what of it was taken that should not."""
    read = wrong = 0
    hostile = (
        entrance(body)
        for kind, number in product(KINDS, range(examples(2, 60)))
        for body in (hostile_envelope(kind, number, number), hostile_entity(kind, number, number))
        for entrance in ENTRANCES.values()
    )
    for body in hostile:
        read += 1
        wrong += taken(body) is not None
        for name, parser in PARSERS.items():
            if not name.startswith(("envelope", "private")):
                parser.answer(body)
    for kind, inside in product(KINDS, (False, True)):
        read += 1
        heard(hostile_message(kind, read, inside=inside))
    for _ in range(examples(300, 10_000)):
        steps = tuple((random.choice(sorted(TAMPERINGS)), random.randrange(100_000)) for _ in range(random.randint(1, 4)))
        read += 1
        wrong += taken(tampered(random.choice(ENVELOPES), steps)) not in (None, *GENUINE)
    for parser in PARSERS.values():
        for body in large(parser, examples(2**16, 2**20)):
            read += 1
            parser.answer(body)
    return {"read": read, "wrong": wrong}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    warm_up()
    before = peak()
    mark(BEGINS)
    figures = read_all(Random(0))
    mark(ENDS)
    figures["grown"] = peak() - before
    mark(FILE)
    with socket.socket() as watched:
        watched.connect_ex(("127.0.0.1", PORT))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()

"""Documents that are large for what they say, and what it costs to read them: counted, not timed."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from tests.fuzzing.parsers import Parser


class Cost(NamedTuple):
    """
    @ivar steps: calls of functions, those of Python's and of C's.
    @ivar memory: bytes that Python had at most beyond what it had before.
    """

    steps: int
    memory: int


def large(parser: Parser, size: int) -> Iterator[bytes]:
    """Each of its pieces again and again, by itself and in the middle of a document."""
    seed = parser.seeds[0]
    middle = len(seed) // 2
    for piece in parser.pieces:
        many = piece * (size // len(piece))
        yield many
        yield seed[:middle] + many + seed[middle:]


def cost(read: Callable[[bytes], object], body: bytes) -> Cost:
    """What it takes to read a document."""
    steps = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    tracemalloc.start()
    try:
        sys.setprofile(count)
        try:
            read(body)
        finally:
            sys.setprofile(before)
        return Cost(steps, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()

"""
Sets of destination numbers as bytes.

Bit C{n} is bit C{n % 8} of byte C{n // 8}, the least significant first: the numbering of PostgreSQL's C{get_bit} for C{bytea}
(https://www.postgresql.org/docs/current/functions-binarystring.html).
"""

from __future__ import annotations

from collections.abc import Iterable

from socialrelay.routing.recipients import Recipients


def pack(numbers: Iterable[int]) -> bytes:
    """
    The shortest bitmap that holds these numbers.

    @param numbers: none of them negative. For L{Recipients} it takes no time.
    """
    return (numbers if isinstance(numbers, Recipients) else Recipients.of(numbers)).packed()


def unpack(bitmap: bytes) -> Recipients:
    """The numbers that a bitmap holds."""
    return Recipients.unpacked(bitmap)


def contains(bitmap: bytes, number: int) -> bool:
    """Whether it holds the number."""
    return 0 <= number < 8 * len(bitmap) and bool(bitmap[number >> 3] & (1 << (number & 7)))

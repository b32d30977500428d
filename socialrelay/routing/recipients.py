"""Sets of destinations as whole numbers: bit C{n} stands for destination C{n}."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import compress
from typing import Any

_VALUES = bytes(code == ord("1") for code in range(256))


def bits_of(numbers: Iterable[int]) -> int:
    """
    The number in which these bits are set.

    @raise ValueError: one of them is negative.
    """
    bitmap = bytearray()
    for number in numbers:
        if number < 0:
            raise ValueError("no destination has a negative number")
        place = number >> 3
        if place >= len(bitmap):
            bitmap.extend(bytes(place + 1 - len(bitmap)))
        bitmap[place] |= 1 << (number & 7)
    return int.from_bytes(bitmap, "little")


def numbers_of(bits: int) -> Iterator[int]:
    """The places of the bits that are set, ascending."""
    # The binary digits, lowest first, choose from the places: the loop is in C.
    return compress(range(bits.bit_length()), f"{bits:b}".encode().translate(_VALUES)[::-1])


class Recipients(AbstractSet[int]):
    """
    Those whom a post is for.

    As a set of integers they would be thousands of objects, made for each post, to be packed and walked through once.  This is one
    object, and is packed, counted and asked without a walk.

    @ivar bits: bit C{n} says whether destination C{n} is among them.
    """

    __slots__ = ("bits",)

    def __init__(self, bits: int = 0) -> None:
        """@param bits: not negative."""
        self.bits = bits

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Recipients:
        """@raise ValueError: one of them is negative."""
        return cls(bits_of(numbers))

    @classmethod
    def unpacked(cls, bitmap: bytes | memoryview) -> Recipients:
        """What L{packed} made a bitmap of."""
        return cls(int.from_bytes(bitmap, "little"))

    def packed(self) -> bytes:
        """The shortest bitmap that holds them, as L{socialrelay.routing.bitmap} explains it."""
        return self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and number >= 0 and bool(self.bits >> number & 1)

    def __iter__(self) -> Iterator[int]:
        return numbers_of(self.bits)

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __hash__(self) -> int:
        return self._hash()  # that of the frozenset which it equals

    def __repr__(self) -> str:
        return f"Recipients.of({list(self)})"

    # With others of its kind, without a walk; all other operators are those of L{collections.abc.Set}

    def __and__(self, other: AbstractSet[Any]) -> Recipients:
        return Recipients(self.bits & _bits(other))

    def __or__(self, other: AbstractSet[Any]) -> Recipients:
        return Recipients(self.bits | _bits(other))

    def __sub__(self, other: AbstractSet[Any]) -> Recipients:
        return Recipients(self.bits & ~_bits(other))

    @classmethod
    def _from_iterable(cls, numbers: Iterable[int]) -> Recipients:  # type: ignore[override]
        """For the operators of sets."""
        return cls.of(numbers)


def _bits(numbers: AbstractSet[int]) -> int:
    return numbers.bits if isinstance(numbers, Recipients) else bits_of(numbers)

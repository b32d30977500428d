"""Sets of destinations as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.bitmap import contains, pack, unpack

NUMBERS = st.frozensets(st.integers(0, 3000))


class BitmapTests(SynchronousTestCase):
    def test_numbering(self):
        """
        The least significant bit of the first byte is destination 0.
        """
        self.assertEqual(pack({0}), b"\x01")
        self.assertEqual(pack({7, 8}), b"\x80\x01")
        self.assertEqual(pack(()), b"")

    def test_negative(self):
        """
        There is no destination below 0.
        """
        self.assertFalse(contains(b"\xff", -1))

    @given(NUMBERS, st.integers(-9, 3100))
    def test_round_trip(self, numbers: frozenset[int], other: int) -> None:
        """
        What was packed is what is unpacked, and contained.
        """
        bitmap = pack(numbers)
        self.assertEqual(unpack(bitmap), numbers)
        self.assertEqual(contains(bitmap, other), other in numbers)

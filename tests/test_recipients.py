"""Tests for L{socialrelay.routing.recipients}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.bitmap import pack, unpack
from socialrelay.routing.recipients import Recipients

_NUMBERS = st.frozensets(st.integers(0, 3000))


class RecipientsTests(SynchronousTestCase):
    """Those whom a post is for."""

    @given(_NUMBERS, st.integers(-9, 3100))
    def test_like_a_set(self, numbers: frozenset[int], other: int) -> None:
        """They are counted, asked, walked through, compared and hashed like the frozen set of the same numbers."""
        recipients = Recipients.of(numbers)
        self.assertEqual(recipients, numbers)
        self.assertEqual(hash(recipients), hash(numbers))
        self.assertEqual((len(recipients), bool(recipients), list(recipients)), (len(numbers), bool(numbers), sorted(numbers)))
        self.assertEqual(other in recipients, other in numbers)

    @given(_NUMBERS, _NUMBERS)
    def test_operators(self, ours: frozenset[int], theirs: frozenset[int]) -> None:
        """Their intersection, union and difference with any set are recipients again."""
        recipients, others = Recipients.of(ours), Recipients.of(theirs)
        for found, wanted in (
            (recipients & theirs, ours & theirs),
            (recipients | theirs, ours | theirs),
            (recipients - theirs, ours - theirs),
            (recipients & others, ours & theirs),
            (recipients | others, ours | theirs),
            (recipients - others, ours - theirs),
            (ours - others, ours - theirs),
        ):
            self.assertIsInstance(found, Recipients)
            self.assertEqual(found, wanted)

    @given(_NUMBERS)
    def test_packed(self, numbers: frozenset[int]) -> None:
        """Their bitmap is that of any other set of the same numbers, and from it come the same recipients."""
        recipients = Recipients.of(numbers)
        self.assertEqual(recipients.packed(), pack(numbers))
        self.assertEqual(pack(recipients), pack(numbers))
        self.assertEqual(unpack(recipients.packed()), numbers)
        self.assertEqual(Recipients.unpacked(memoryview(recipients.packed())), recipients)

    def test_no_number(self) -> None:
        """What is no number of a destination is not among them."""
        self.assertNotIn("1", Recipients.of([1]))
        self.assertNotIn(-1, Recipients.of([1]))
        self.assertRaises(ValueError, Recipients.of, [1, -1])

    def test_shown(self) -> None:
        """Who looks at them sees the numbers."""
        self.assertEqual(repr(Recipients.of([3, 1])), "Recipients.of([1, 3])")

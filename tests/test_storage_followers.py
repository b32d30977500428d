"""What destinations that follow were delivered is counted for all of them at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.bitmap import pack
from socialrelay.storage.followers import Follower, FollowersTally

POSITIONS = st.integers(1, 40)
FOLLOWERS = st.dictionaries(st.integers(0, 40), st.tuples(st.integers(0, 40), st.frozensets(POSITIONS)))
POSTS = st.dictionaries(POSITIONS, st.frozensets(st.integers(0, 45)))


class FollowersTallyTests(SynchronousTestCase):
    @given(FOLLOWERS, POSTS, POSITIONS)
    def test_counts(self, found: dict[int, tuple[int, frozenset[int]]], posts: dict[int, frozenset[int]], upto: int) -> None:
        """
        Each is counted what names it after its cursor and was not settled ahead, as if it were the only one.
        """
        tally = FollowersTally(Follower(number, cursor, sorted(ahead)) for number, (cursor, ahead) in found.items())
        span = [position for position in sorted(posts) if tally.after < position <= upto]
        for position in span:
            tally.add(position, pack(posts[position]))
        expected = {
            number: (
                sum(1 for position in span if position > cursor and position not in ahead and number in posts[position]),
                sorted(position for position in ahead if position > upto),
            )
            for number, (cursor, ahead) in found.items()
        }
        self.assertEqual({row["number"]: (row["delivered"], row["ahead"]) for row in tally.settled(upto)}, expected)

    @given(FOLLOWERS, POSTS, POSITIONS)
    def test_above_the_position(self, found: dict[int, tuple[int, frozenset[int]]], posts: dict[int, frozenset[int]], upto: int) -> None:
        """
        Of a post above the shared position each is counted that is said to have taken it, once, and has it ahead.
        """
        above = {
            number: (max(cursor, upto), sorted(position for position in ahead if position > max(cursor, upto)))
            for number, (cursor, ahead) in found.items()
        }
        tally = FollowersTally(Follower(number, cursor, ahead) for number, (cursor, ahead) in above.items())
        taken = {position: takers for position, takers in sorted(posts.items()) if position > upto}
        for position, takers in taken.items():
            tally.add_taken(position, pack(takers))
        expected = {}
        for number, (cursor, ahead) in above.items():
            new = {position for position, takers in taken.items() if number in takers and position > cursor and position not in ahead}
            expected[number] = len(new), sorted(new.union(ahead))
        self.assertEqual({row["number"]: (row["delivered"], row["ahead"]) for row in tally.settled(upto)}, expected)

    def test_nobody_follows(self):
        """
        Where nobody follows nothing is counted.
        """
        self.assertEqual(FollowersTally([]).settled(7), [])

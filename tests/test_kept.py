"""Tests for L{socialrelay.delivery.kept}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.delivery.kept import Places


class PlacesTests(SynchronousTestCase):
    """Who keeps a connection."""

    def test_cycle(self) -> None:
        """When all hosts are used in turn and there are too many of them, the same ones keep their places."""
        places = Places(3)
        rounds = [[places.keep(f"{host}.example", 0, now) for host in range(9)] for now in range(50)]
        self.assertEqual(rounds, [[True] * 3 + [False] * 6] * 50)

    def test_busier(self) -> None:
        """A host that is used clearly more than the least used holder takes its place."""
        places = Places(1)
        places.keep("quiet.example", 0, 0.0)
        self.assertTrue([places.keep("busy.example", 0, 10.0 + n) for n in range(4)][-1])
        self.assertFalse(places.keep("quiet.example", 0, 20.0))

    def test_forgets(self) -> None:
        """A holder that is used no more loses its place to one that is used a little."""
        places = Places(1)
        for now in range(100):
            places.keep("former.example", 0, now)
        self.assertTrue([places.keep("now.example", 0, 20000.0 + n) for n in range(4)][-1])

    def test_second_connection(self) -> None:
        """A second connection to a host takes a place of its own."""
        places = Places(1)
        self.assertEqual([places.keep("pod.example", nth, 0.0) for nth in (0, 1)], [True, False])

    def test_in_a_rush(self) -> None:
        """A second connection is kept when it has been wanted a few times, though there are places."""
        places = Places(9)
        self.assertEqual([places.keep("pod.example", 1, float(now)) for now in range(5)], [False, False, False, True, True])

    def test_bounded(self) -> None:
        """What is remembered is bounded, whoever comes."""
        places = Places(2)
        for number in range(1000):
            places.keep(f"{number}.example", 0, float(number))
        self.assertEqual((len(places._holders), len(places._candidates)), (2, 8))

    def test_none(self) -> None:
        """Without places nothing is kept."""
        self.assertFalse(Places(0).keep("pod.example", 0, 0.0))

"""How much of what strangers send may wait."""

from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full, KeyUnavailable
from socialrelay.config import Receive
from socialrelay.quota import PLACES, place_of
from socialrelay.routing.hosts import is_host
from tests.envelopes import Author, private_key
from tests.relays import HANDLE, WholeRelay


class PlaceTests(SynchronousTestCase):
    """Messages whose sender is not to be seen yet."""

    def test_spread(self) -> None:
        """Clients are spread over the places, which are no hosts, and otherwise with another salt."""
        clients = [f"192.0.2.{number}" for number in range(200)]
        places = [place_of(client) for client in clients]
        self.assertEqual(len(set(places)), PLACES)
        self.assertEqual(places, [place_of(client) for client in clients])
        self.assertNotEqual(places, [place_of(client, b"another") for client in clients])
        self.assertFalse(any(map(is_host, places)))

    def test_one_client_keeps_nobody_out(self) -> None:
        """A client whose messages cannot be judged fills its own place, and authors elsewhere still reach the relay."""
        relay = WholeRelay(receive=Receive(waiting_rows_per_host=3)).start()
        unreached = KeyUnavailable("timed out", relay.now() + timedelta(hours=1))
        relay.keyring.key = lambda handle: fail(unreached)  # type: ignore[method-assign]
        key = private_key(HANDLE).public_key()

        def send(name: str, client: str) -> None:
            self.successResultOf(relay.relay.accept_private(Author(f"{name}@{name}.example").contact(HANDLE, key), client))

        for number in range(3):
            send(f"stranger-{number}", "192.0.2.1")
        self.failureResultOf(relay.relay.accept_private(b"{}", "192.0.2.1"), Full)
        other = next(client for client in (f"198.51.100.{number}" for number in range(255)) if place_of(client) != place_of("192.0.2.1"))
        send("alice", other)

"""What is heard at this moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import zmq
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.listening import listen
from tests.bus_wire import PATIENCE, free_address


class ListeningTests(SynchronousTestCase):
    def publisher(self, address: str) -> Any:
        context = zmq.Context()
        made = context.socket(zmq.XPUB)
        made.set(zmq.LINGER, 0)
        made.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        made.bind(address)
        self.addCleanup(context.term)
        self.addCleanup(made.close)
        return made

    def test_heard(self) -> None:
        """
        Messages on the topic are heard at all addresses; what is no message of two frames is passed over.
        """
        addresses = [free_address(), free_address()]
        publishers = [self.publisher(address) for address in addresses]
        heard = listen(addresses, "a.")
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(next, heard)
            for publisher in publishers:
                self.assertEqual(publisher.recv(), b"\x01a.")
            for frames in ([b"b.c", b"no"], [b"a.b"], [b"a.b", b"x", b"y"], [b"a.b", b"yes"]):
                publishers[0].send_multipart(frames)
            self.assertEqual(first.result(PATIENCE), ("a.b", b"yes"))
            publishers[1].send_multipart([b"a.c", b"too"])
            self.assertEqual(threads.submit(next, heard).result(PATIENCE), ("a.c", b"too"))
        heard.close()

    def test_presence(self) -> None:
        """
        That nobody publishes is told, and that somebody does again, before what he says.
        """
        address = free_address()

        class Told(Exception):
            pass

        def tell() -> None:
            raise Told

        self.assertRaises(Told, next, listen([address], on_away=tell))
        told: list[str] = []
        publishers: Queue[Any] = Queue()

        def away() -> None:
            told.append("away")
            publishers.put(self.publisher(address))

        heard = listen([address], "a", on_away=away, on_back=lambda: told.append("back"))
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(next, heard)
            publisher = publishers.get(timeout=PATIENCE)
            self.assertEqual(publisher.recv(), b"\x01a")
            publisher.send_multipart([b"a", b"first"])
            self.assertEqual(first.result(PATIENCE), ("a", b"first"))
        self.assertEqual(told, ["away", "back"])
        heard.close()

    def test_no_address(self) -> None:
        """
        What is no address is refused, naming it.
        """
        with self.assertRaisesRegex(ValueError, "nonsense is no address that can be connected to"):
            next(listen(["nonsense"]))

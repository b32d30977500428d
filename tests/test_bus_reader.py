"""A ZeroMQ socket in the reactor, with real sockets on loopback."""

from __future__ import annotations

from typing import Any

import zmq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from socialrelay.bus.reader import MOST_FRAMES, ZmqReader
from tests.zmq_peers import Arrivals, ZmqCase


class ReaderCase(ZmqCase):
    def reader(self, kind: int, **settings: Any) -> tuple[ZmqReader, str]:
        socket = self.context.socket(kind)
        socket.rcvhwm = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        reader = ZmqReader(reactor, socket, self.arrived, **settings)
        self.addCleanup(reader.stop)
        return reader, f"tcp://127.0.0.1:{port}"

    def link(self, *messages: bytes, **settings: Any) -> ZmqReader:
        """What these messages wait for in this process."""
        socket = self.context.socket(zmq.PULL)
        socket.bind("inproc://link")
        sender = self.context.socket(zmq.PUSH)
        sender.linger = -1
        sender.connect("inproc://link")
        for each in messages:
            sender.send(each)
        sender.close()
        reader = ZmqReader(reactor, socket, self.arrived, **settings)
        self.addCleanup(reader.stop)
        return reader


class ReaderTests(ReaderCase):
    async def test_edges(self) -> None:
        """
        A burst of a thousand, silence, and ten single messages all arrive.
        """
        reader, address = self.reader(zmq.PULL)
        sender = self.peer(zmq.PUSH, address)
        for each in range(1000):
            sender.send_multipart([b"%d" % each])
        await self.arrived.wait(1000)
        for each in range(1000, 1010):
            sender.send_multipart([b"%d" % each])
            await self.arrived.wait(each + 1)
        self.assertEqual(self.arrived.messages, [[b"%d" % each] for each in range(1010)])
        self.assertEqual(reader.received, 1010)

    async def test_late_answers(self) -> None:
        """
        A ROUTER that answers later than it reads gets, and answers, all: a burst and the single ones after it.
        """
        reader, address = self.reader(zmq.ROUTER)
        self.arrived.react = lambda frames: reactor.callLater(0.001, reader.send, frames)
        answers = Arrivals()
        client = ZmqReader(reactor, self.peer(zmq.DEALER, address), answers)
        self.addCleanup(client.stop)
        for each in range(1000):
            self.assertTrue(client.send([b"%d" % each]))
        await answers.wait(1000)
        for each in range(1000, 1010):
            client.send([b"%d" % each])
            await answers.wait(each + 1)
        self.assertEqual(answers.messages, [[b"%d" % each] for each in range(1010)])

    async def test_there_before(self) -> None:
        """
        What came before the socket was given to the reactor is read.
        """
        self.link(b"early")
        await self.arrived.wait(1)
        self.assertEqual(self.arrived.messages, [[b"early"]])

    async def test_batches(self) -> None:
        """
        Others have their turn after each batch.
        """
        turns: list[int] = []

        def other() -> None:
            turns.append(len(self.arrived.messages))
            if turns[-1] < 100:
                reactor.callLater(0, other)

        self.link(*[b"x"] * 100, batch=10)
        reactor.callLater(0, other)
        await self.arrived.wait(100)
        self.assertLessEqual(max(after - before for before, after in zip([0, *turns], turns, strict=False)), 10)

    async def test_time(self) -> None:
        """
        Others have their turn when the time of a turn is over, however few messages were read.
        """
        self.link(*[b"x"] * 3, turn=1e-9)
        counts: list[int] = []
        self.arrived.react = lambda frames: reactor.callLater(0, lambda: counts.append(len(self.arrived.messages)))
        await self.arrived.wait(3)
        await deferLater(reactor, 0)
        self.assertEqual(counts[0], 1)

    async def test_handler_fails(self) -> None:
        """
        A handler that raises costs its message alone, and a flood of failures one traceback.
        """
        reader, address = self.reader(zmq.PULL)

        def fail(frames: list[bytes]) -> None:
            raise ZeroDivisionError

        self.arrived.react = fail
        sender = self.peer(zmq.PUSH, address)
        for _ in range(300):
            sender.send(b"x")
        await self.arrived.wait(300)
        self.assertEqual((reader.received, reader.failed), (300, 300))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_many_frames(self) -> None:
        """
        Of a message with very many frames the first are kept, and the next message is whole.
        """
        _, address = self.reader(zmq.PULL)
        sender = self.peer(zmq.PUSH, address)
        for frames in ([b"1"], [b"%d" % each for each in range(1000)], [b"a", b"b", b"c"]):
            sender.send_multipart(frames)
        await self.arrived.wait(3)
        self.assertEqual(self.arrived.messages, [[b"1"], [b"%d" % each for each in range(MOST_FRAMES)], [b"a", b"b", b"c"]])

    async def test_finish(self) -> None:
        """
        Finishing hands over what is there, and then it is over.
        """
        reader = self.link(*[b"x"] * 500)
        await reader.finish()
        self.assertEqual(len(self.arrived.messages), 500)
        self.assertFalse(reader.running)
        await reader.finish()

    async def test_stopped_by_handler(self) -> None:
        """
        A handler may stop the reader; nothing is read or sent after that.
        """
        reader, address = self.reader(zmq.PULL)
        self.arrived.react = lambda frames: reader.stop()
        sender = self.peer(zmq.PUSH, address)
        for _ in range(10):
            sender.send(b"x")
        await self.arrived.wait(1)
        self.assertEqual((reader.received, reader.send([b"late"]), reader.fileno()), (1, False, -1))

    async def test_context_ends(self) -> None:
        """
        A reader whose context ends stops, and says so, and does not hold up that end.
        """
        reader, _ = self.reader(zmq.PULL)
        with capturedLogs() as logs:
            await self.context.close()
        self.assertFalse(reader.running)
        self.assertEqual([each["reason"] for each in logs if "reason" in each], ["Context was terminated"])

    async def test_full(self) -> None:
        """
        What a socket cannot take is told to whoever sends it.
        """
        reader = ZmqReader(reactor, self.context.socket(zmq.DEALER), self.arrived)  # with nobody at the other end
        self.addCleanup(reader.stop)
        self.assertFalse(reader.send([b"x"]))

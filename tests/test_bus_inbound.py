"""Where publishers of fedmsg connect, with real sockets on loopback."""

from __future__ import annotations

import os
import socket as sockets
from threading import Event, Thread
from typing import Any

import zmq
from twisted.internet import reactor

from socialrelay.bus.context import CannotBind
from socialrelay.bus.inbound import LegacyInbound, max_frame
from tests.zmq_peers import PATIENCE, ZmqCase, free_port, garbage, until

ANY = "tcp://127.0.0.1:*"


def has_ipv6() -> bool:
    """Whether this machine can talk to itself by IPv6."""
    try:
        with sockets.socket(sockets.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def publish(address: str, messages: int, sent: Event | None = None, body: bytes = b"{}") -> None:
    """A publisher from its beginning to its end, which comes when the kernel has everything."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = int(PATIENCE * 1000)
        socket.sndhwm = 0
        socket.connect(address)
        if socket.poll(int(PATIENCE * 1000)):
            for _ in range(messages):
                socket.send_multipart([b"org.example.dev.git.testing", body])
        if sent is not None:
            sent.set()


class InboundCase(ZmqCase):
    def inbound(self, *addresses: str, **settings: Any) -> LegacyInbound:
        inbound = LegacyInbound(
            reactor, self.context, addresses or (ANY,), settings.pop("high_water_mark", 100_000), self.arrived, **settings
        )
        self.addCleanup(inbound.stop, 0.0)
        return inbound

    async def started(self, *addresses: str, **settings: Any) -> LegacyInbound:
        inbound = self.inbound(*addresses, **settings)
        await inbound.start()
        return inbound

    def publishing(self, *arguments: Any) -> Thread:
        thread = Thread(target=publish, args=arguments)
        thread.start()
        self.addCleanup(thread.join)
        return thread


class InboundTests(InboundCase):
    async def test_frames(self) -> None:
        """
        Messages of one frame, of two and of three come as the frames they are.
        """
        inbound = await self.started()
        publisher = self.publisher(inbound.addresses[0])
        messages = [[b"alone"], [b"org.example.dev.git.testing", b'{"n": 1.10}'], [b"a", b"b", b""], [b"", b"\xff"]]
        for frames in messages:
            publisher.send_multipart(frames)
        await self.arrived.wait(4)
        self.assertEqual(self.arrived.messages, messages)
        self.assertEqual(inbound.received, 4)

    async def test_addresses(self) -> None:
        """
        Publishers may use any of several addresses, UNIX sockets among them.
        """
        folder = self.folder()
        inbound = await self.started(ANY, f"ipc://{folder}/inbound", ANY)
        for address in inbound.addresses:
            self.publisher(address).send_multipart([b"t", address.encode()])
        await self.arrived.wait(3)
        self.assertEqual({each[1].decode() for each in self.arrived.messages}, set(inbound.addresses))

    async def test_ipv6(self) -> None:
        """
        An address of IPv6 is as good as another, where the machine has it.
        """
        inbound = self.inbound("tcp://[::1]:*", ANY)
        if not has_ipv6():
            await self.assertFailure(inbound.start(), CannotBind)
            return
        await inbound.start()
        for address in inbound.addresses:
            socket = self.others.socket(zmq.XPUB)
            socket.ipv6 = True
            socket.connect(address)
            self.addCleanup(socket.close, 0)
            self.assertTrue(socket.poll(int(PATIENCE * 1000)))
            socket.send(b"x")
        await self.arrived.wait(2)
        self.assertEqual(self.arrived.messages, [[b"x"], [b"x"]])

    async def test_blocked_reactor(self) -> None:
        """
        Twenty publishers that come and go while the reactor is blocked are all heard.
        """
        inbound = await self.started()
        publishers = [self.publishing(inbound.addresses[0], 1) for _ in range(20)]
        for each in publishers:
            each.join()  # here, in the reactor's thread
        await self.arrived.wait(20)
        self.assertEqual(len(self.arrived.messages), 20)

    async def test_garbage(self) -> None:
        """
        Somebody who does not speak ZMTP harms nobody; what ZeroMQ takes for messages of its first version comes as messages.
        """
        inbound = await self.started()
        for _ in range(3):
            self.addCleanup(garbage(inbound.addresses[0]).close)
        self.publisher(inbound.addresses[0]).send_multipart([b"t", b"{}"])
        await until(lambda: [b"t", b"{}"] in self.arrived.messages)
        self.assertTrue(await inbound.stop())

    async def test_too_large(self) -> None:
        """
        What is a little too large comes, to be counted; what is far too large does not, and costs its own sender the connection.
        """
        inbound = await self.started(max_message=1024)
        publisher, other = self.publisher(inbound.addresses[0]), self.publisher(inbound.addresses[0])
        publisher.send_multipart([b"large", bytes(max_frame(1024))])
        lost = publisher.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.addCleanup(publisher.disable_monitor)
        publisher.send_multipart([b"huge", bytes(max_frame(1024) + 1)])
        self.assertTrue(lost.poll(int(PATIENCE * 1000)))
        other.send_multipart([b"t", b"{}"])
        await self.arrived.wait(2)
        self.assertEqual([each[0] for each in self.arrived.messages], [b"large", b"t"])


class StoppingTests(InboundCase):
    async def test_queued(self) -> None:
        """
        Twenty thousand messages that wait when it is stopped are all handed over.
        """
        inbound = await self.started()
        self.publishing(inbound.addresses[0], 20_000).join()
        self.assertTrue(await inbound.stop())
        self.assertEqual((len(self.arrived.messages), inbound.received), (20_000, 20_000))

    async def test_on_the_way(self) -> None:
        """
        What has not come further than the publisher or the kernel when it is stopped is handed over, too.
        """
        inbound = await self.started(high_water_mark=1)
        sent = Event()
        self.publishing(inbound.addresses[0], 40_000, sent, bytes(512))
        sent.wait(PATIENCE)
        self.assertTrue(await inbound.stop())
        self.assertEqual(len(self.arrived.messages), 40_000)

    async def test_endless(self) -> None:
        """
        A publisher that never ends does not hold up the end.
        """
        inbound = await self.started()
        publisher = self.publisher(inbound.addresses[0])
        self.arrived.react = lambda frames: publisher.send_multipart(frames)
        publisher.send(b"again and again")
        self.assertTrue(await inbound.stop(1.0))
        self.assertGreater(len(self.arrived.messages), 1)

    async def test_deadline(self) -> None:
        """
        When the time is over what is left is given up, and that is told.
        """
        inbound = await self.started()
        self.publishing(inbound.addresses[0], 20_000).join()
        self.assertFalse(await inbound.stop(0.0))
        self.assertLess(len(self.arrived.messages), 20_000)

    async def test_context_ends(self) -> None:
        """
        When the context ends without it, so does it, and does not hold that up.
        """
        inbound = await self.started()
        await self.context.close()
        self.assertTrue(await inbound.stop())

    async def test_again(self) -> None:
        """
        Stopping twice, or what was never started, is over at once.
        """
        inbound = self.inbound()
        self.assertTrue(await inbound.stop())
        await inbound.start()
        self.assertTrue(await inbound.stop())
        self.assertTrue(await inbound.stop())


class BindingTests(InboundCase):
    async def refused(self, *addresses: str) -> CannotBind:
        return await self.assertFailure(self.inbound(*addresses).start(), CannotBind)  # type: ignore[return-value]

    async def test_second_instance(self) -> None:
        """
        A second one on the same addresses, TCP or UNIX, is refused, and the first goes on undisturbed.
        """
        folder = self.folder()
        first = await self.started(ANY, f"ipc://{folder}/inbound")
        for address in first.addresses:
            refusal = await self.refused(address)
            self.assertEqual(refusal.address, address)
            self.assertIn("Stop what listens there", str(refusal))
            self.publisher(address).send(b"still")
        await self.arrived.wait(2)
        self.assertEqual(self.arrived.messages, [[b"still"]] * 2)

    async def test_one_of_two(self) -> None:
        """
        If one address cannot be bound, none is.
        """
        port = free_port()
        await self.refused(f"tcp://127.0.0.1:{port}", "tcp://192.0.2.1:2003")
        await self.context.close()
        with sockets.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)

    async def test_not_here(self) -> None:
        """
        An address that the machine does not have is named, and what can be done.
        """
        refusal = await self.refused("tcp://192.0.2.1:2003")
        self.assertIn("tcp://192.0.2.1:2003", str(refusal))
        self.assertIn("Name an address of this machine", str(refusal))

    async def test_no_folder(self) -> None:
        """
        A UNIX socket in a folder that is not there is refused, and the folder named.
        """
        folder = os.path.join(self.folder(), "missing")
        refusal = await self.refused(f"ipc://{folder}/inbound")
        self.assertIn(f"Make the folder {folder}", str(refusal))

    async def test_once_more(self) -> None:
        """
        After a refusal, and after an end, it can be started anew.
        """
        folder = self.folder()
        address = f"ipc://{folder}/inbound"
        first = await self.started(address)
        await self.refused(address)
        await first.stop()
        await self.context.close()
        second = await self.started(address)
        self.publisher(second.addresses[0]).send(b"x")
        await self.arrived.wait(1)
        self.assertEqual(self.arrived.messages, [[b"x"]])

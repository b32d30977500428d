"""Where listeners connect, with real sockets on loopback."""

from __future__ import annotations

from typing import Any

import zmq
from twisted.internet import reactor

from socialrelay.bus.context import CannotBind
from socialrelay.bus.outbound import MAX_SUBSCRIPTION, Outbound
from tests.zmq_peers import PATIENCE, ZmqCase, garbage, until

ANY = "tcp://127.0.0.1:*"


class OutboundCase(ZmqCase):
    def setUp(self) -> None:
        super().setUp()
        self.told = 0

    def outbound(self, *addresses: str, high_water_mark: int = 100_000, linger: float = 1.0) -> Outbound:
        outbound = Outbound(reactor, self.context, addresses or (ANY,), high_water_mark, linger, self.tell)
        self.addCleanup(outbound.stop)
        return outbound

    def started(self, *addresses: str, **settings: Any) -> Outbound:
        outbound = self.outbound(*addresses, **settings)
        outbound.start()
        return outbound

    def tell(self) -> None:
        self.told += 1


class OutboundTests(OutboundCase):
    async def test_topics(self) -> None:
        """
        A listener gets topic and body, two frames, of what it asked for.
        """
        outbound = self.started()
        heard, all_ = self.listener(outbound.addresses[0], b"org.example.dev.git"), self.listener(outbound.addresses[0])
        await until(lambda: outbound.subscriptions == 2)
        outbound.publish("org.example.dev.cron.run", b'{"n": 1}')
        outbound.publish("org.example.dev.git.ünicode", b'{"n":  1.10}')
        await all_.wait(2)
        await heard.wait(1)
        self.assertEqual(heard.messages, [["org.example.dev.git.ünicode".encode(), b'{"n":  1.10}']])
        self.assertEqual(outbound.published, 2)

    async def test_addresses(self) -> None:
        """
        Listeners may use any of several addresses, UNIX sockets among them.
        """
        outbound = self.started(ANY, f"ipc://{self.folder()}/outbound", ANY)
        heard = [self.listener(each) for each in outbound.addresses]
        await until(lambda: outbound.subscriptions == 3)
        outbound.publish("t", b"{}")
        for each in heard:
            await each.wait(1)
            self.assertEqual(each.messages, [[b"t", b"{}"]])

    async def test_subscriptions(self) -> None:
        """
        Subscriptions are counted, also several to the same topic, until they end or their listener goes.
        """
        outbound = self.started()
        one, two = (self.peer(zmq.SUB, outbound.addresses[0]) for _ in range(2))
        one.subscribe(b"a")
        two.subscribe(b"a")
        two.subscribe(b"b")
        await until(lambda: outbound.subscriptions == 3)
        one.unsubscribe(b"a")
        await until(lambda: outbound.subscriptions == 2)
        two.close()
        await until(lambda: outbound.subscriptions == 0)

    async def test_upstream(self) -> None:
        """
        What a listener sends that is no subscription does nothing, however much it is; and the listener is still served.
        """
        outbound = self.started()
        talker = self.peer(zmq.XSUB, outbound.addresses[0])
        for each in ([b""], [b"hello"], [b"\x02"], [b"\x00never"], [b"\x05", b"\x01a", b"\x00b"]):
            talker.send_multipart(each)
        for _ in range(5000):
            talker.send(b"hello")
        talker.send(b"\x01t")
        await until(lambda: outbound.subscriptions == 1)
        outbound.publish("t", b"{}")
        self.assertTrue(talker.poll(int(PATIENCE * 1000)))
        self.assertEqual(talker.recv_multipart(), [b"t", b"{}"])

    async def test_too_large(self) -> None:
        """
        Who asks for more than can be a topic loses the connection; others do not.
        """
        outbound = self.started()
        heard = self.listener(outbound.addresses[0])
        talker = self.peer(zmq.XSUB, outbound.addresses[0])
        lost = talker.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.addCleanup(talker.disable_monitor)
        talker.send(b"\x01" + bytes(MAX_SUBSCRIPTION))
        self.assertTrue(lost.poll(int(PATIENCE * 1000)))
        await until(lambda: outbound.subscriptions)
        outbound.publish("t", b"{}")
        await heard.wait(1)
        self.assertEqual(heard.messages, [[b"t", b"{}"]])

    async def test_garbage(self) -> None:
        """
        Somebody who does not speak ZMTP harms nobody.
        """
        outbound = self.started()
        for _ in range(3):
            self.addCleanup(garbage(outbound.addresses[0]).close)
        heard = self.listener(outbound.addresses[0])
        await until(lambda: outbound.subscriptions)
        outbound.publish("t", b"{}")
        await heard.wait(1)
        self.assertEqual(heard.messages, [[b"t", b"{}"]])


class SlowListenerTests(OutboundCase):
    async def test_stopped_listener(self) -> None:
        """
        One who does not read costs the others nothing, and the relay says once that somebody does not.
        """
        outbound = self.started(high_water_mark=1000)
        stopped = self.others.socket(zmq.SUB)
        self.addCleanup(stopped.close, 0)
        stopped.rcvhwm = 1
        stopped.subscribe(b"")
        stopped.connect(outbound.addresses[0])
        heard = self.listener(outbound.addresses[0])
        await until(lambda: outbound.subscriptions == 2)
        for count in range(500, 10_500, 500):
            for _ in range(500):
                outbound.publish("t", bytes(4096))
            await heard.wait(count)
        self.assertEqual(len(heard.messages), 10_000)
        self.assertEqual((outbound.overflows, self.told), (1, 1))
        for frames in heard.messages:
            self.assertEqual(frames, [b"t", bytes(4096)])

    async def test_again(self) -> None:
        """
        A listener that reads again hears again, from whole messages on; if it stops once more, that is another overflow.
        """
        outbound = self.started(high_water_mark=10)
        slow = self.others.socket(zmq.SUB)
        self.addCleanup(slow.close, 0)
        slow.rcvhwm = 1
        slow.subscribe(b"")
        slow.connect(outbound.addresses[0])
        await until(lambda: outbound.subscriptions == 1)
        for overflows in (1, 2):
            while outbound.overflows < overflows:
                outbound.publish("t", bytes(100_000))
            while slow.poll(200):
                self.assertEqual([len(each) for each in slow.recv_multipart()], [1, 100_000])
            await until(lambda expected=overflows: self.told == expected)
        outbound.publish("u", b"{}")
        self.assertTrue(slow.poll(int(PATIENCE * 1000)))
        self.assertEqual(slow.recv_multipart(), [b"u", b"{}"])

    async def test_listener_does_not_end(self) -> None:
        """
        One who does not read holds up the end for as long as the linger says, and no longer.
        """
        outbound = self.started(linger=0.05)
        stopped = self.peer(zmq.SUB, outbound.addresses[0])
        stopped.subscribe(b"")
        await until(lambda: outbound.subscriptions == 1)
        for _ in range(1000):
            outbound.publish("t", bytes(100_000))
        await outbound.stop()
        await self.context.close()
        self.assertEqual(self.flushLoggedErrors(), [])


class LifeTests(OutboundCase):
    async def test_linger(self) -> None:
        """
        What was published before the end is heard after it.
        """
        outbound = self.started()
        heard = self.listener(outbound.addresses[0])
        await until(lambda: outbound.subscriptions == 1)
        for each in range(1000):
            outbound.publish("t", b"%d" % each)
        await outbound.stop()
        await self.context.close()
        await heard.wait(1000)
        self.assertEqual(heard.messages, [[b"t", b"%d" % each] for each in range(1000)])

    async def test_not_running(self) -> None:
        """
        Publishing before the start and after the end does nothing, nor does stopping twice.
        """
        outbound = self.outbound()
        outbound.publish("t", b"{}")
        await outbound.stop()
        outbound.start()
        await outbound.stop()
        outbound.publish("t", b"{}")
        await outbound.stop()
        self.assertEqual(outbound.published, 0)

    async def test_second_instance(self) -> None:
        """
        A second one on the same addresses, TCP or UNIX, is refused, and the first goes on undisturbed.
        """
        first = self.started(ANY, f"ipc://{self.folder()}/outbound")
        for address in first.addresses:
            refusal = self.assertRaises(CannotBind, self.outbound(ANY, address).start)
            self.assertEqual(refusal.address, address)
            self.assertIn("Stop what listens there", str(refusal))
        heard = [self.listener(each) for each in first.addresses]
        await until(lambda: first.subscriptions == 2)
        first.publish("t", b"{}")
        for each in heard:
            await each.wait(1)
            self.assertEqual(each.messages, [[b"t", b"{}"]])

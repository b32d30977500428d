"""The client of scripts, against a relay that does as it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.client import Bus, Malformed, NoAnswer, NotKept, Place, Refused, TooOld, read_envelope
from tests.bus_relay import ScriptedRelay
from tests.bus_wire import PATIENCE, envelope, free_address, until
from tests.daemon import environment

PLACE = Place(topic_prefix="org.example", environment="test")


class BusCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = ScriptedRelay()
        self.relay.start()
        self.addCleanup(self.relay.stop)
        self.bus = self.connect()

    def connect(self, timeout: float = PATIENCE, address: str = "", **given: Any) -> Bus:
        bus = Bus(address or self.relay.address, place=PLACE, timeout=timeout, username="git", **given)
        self.addCleanup(bus.close)
        return bus

    def ids(self) -> list[str]:
        return [msg_id for msg_id, _, _ in self.relay.kept]

    def numbers(self) -> list[int]:
        return [json.loads(body)["msg"]["n"] for _, _, body in self.relay.kept]


class PublishingTests(BusCase):
    def test_kept(self) -> None:
        """
        A message comes in an envelope as fedmsg's, and its number is returned once it is kept.
        """
        self.assertEqual(self.bus.publish("git.receive", {"repo": "x"}), 1)
        self.assertEqual(self.bus.publish("org.example.prod.git.receive", {}, msg_id="mine"), 2)
        (msg_id, topic, body), (other, whole, _) = self.relay.kept
        said = json.loads(body)
        self.assertEqual(topic, "org.example.test.git.receive")
        self.assertEqual((other, whole), ("mine", "org.example.prod.git.receive"))
        self.assertEqual((said["topic"], said["msg"], said["msg_id"]), (topic, {"repo": "x"}, msg_id))
        self.assertEqual((said["i"], said["username"], type(said["timestamp"])), (1, "git", int))
        self.assertEqual(body, json.dumps(said, sort_keys=True, separators=(",", ":")).encode())

    def test_again(self) -> None:
        """
        What is not answered, because the answer or the message was lost, the connection broke or the relay is busy, is sent again, and kept
        once.
        """
        bus = self.connect(timeout=3)
        for number, script in enumerate((["lose"], ["drop"], ["break"], ["busy", "busy", "busy"]), 1):
            self.relay.script.extend(script)
            self.relay.seen.clear()
            self.assertEqual(bus.publish("git.receive", {}), number, script)
            self.assertGreater(len(self.relay.seen), 1)
            self.assertEqual(len(set(self.relay.seen)), 1)
        self.assertEqual(len(self.relay.kept), 4)

    def test_same_id(self) -> None:
        """
        What has the same id is kept once, and has the number of then, also if one is under way while the other is given.
        """
        self.assertEqual([self.bus.publish("a.b", {}, msg_id="mine") for _ in range(2)], [1, 1])
        twice = [self.bus.prepare("a.b", {}, "other"), self.bus.prepare("a.b", {}, "other")]
        self.assertEqual([(each.status, each.seq) for each in self.bus.outcomes(twice)], [("ok", 2), ("dup", 2)])

    def test_many(self) -> None:
        """
        Many are under way at a time; each is kept once and in order, although the connection breaks meanwhile.
        """
        self.relay.script.extend(["", ""] * 200 + ["break"] + ["", ""] * 200 + ["break"])
        self.assertEqual(len(self.bus.publish_many((("a.b", {"n": number}) for number in range(2000)), window=300)), 2000)
        self.assertEqual(self.numbers(), list(range(2000)))

    def test_busy_meanwhile(self) -> None:
        """
        A relay that is busy with some of many gets them again; nothing is lost or kept twice.
        """
        self.relay.script.extend(["", "busy", "", "busy", "busy"] * 20)
        seqs = self.bus.publish_many((("a.b", {"n": number}) for number in range(200)), window=50)
        self.assertEqual(sorted(seqs), list(range(1, 201)))
        self.assertEqual([self.numbers()[seq - 1] for seq in seqs], list(range(200)))

    def test_order(self) -> None:
        """
        What became of each is told in the order in which they were given, in whatever order the answers come.
        """
        self.relay.script.extend(["swap", "swap", "swap", ""])
        prepared = [self.bus.prepare("a.b", {}, f"m{number}") for number in range(4)]
        self.assertEqual([each.msg_id for each in self.bus.outcomes(prepared)], ["m0", "m1", "m2", "m3"])

    def test_refused(self) -> None:
        """
        What the relay refuses is told with the reason, is not sent again, and keeps nothing else from being kept.
        """
        self.relay.refused = {"org.example.test.bad": ("bad", "it is too large"), "org.example.test.no": ("denied", "it is not yours")}
        for topic, reason in (("bad", "too large"), ("no", "not yours")):
            with self.assertRaisesRegex(NotKept, reason):
                self.bus.publish(topic, {})
        with self.assertRaisesRegex(NotKept, "and 1 more are not: it is too large") as raised:
            self.bus.publish_many([("bad", {}), ("good", {}), ("no", {}), ("good", {})])
        self.assertEqual([each.status for each in raised.exception.outcomes], ["bad", "denied"])
        self.assertEqual((len(self.relay.kept), len(self.relay.seen)), (2, 6))

    def test_restart(self) -> None:
        """
        A relay that is away for a moment is waited for, whether it was met before or not.
        """
        self.bus.publish("a.b", {})
        self.relay.stop()
        with ThreadPoolExecutor(2) as threads:
            publishing = [threads.submit(bus.publish, "a.b", {"n": 1}) for bus in (self.bus, self.connect())]
            self.relay.start()
            self.assertEqual(sorted(each.result(PATIENCE) for each in publishing), [2, 3])

    def test_no_answer(self) -> None:
        """
        Who waits in vain is told whether anybody answered at all, and which messages are in doubt; later the same relay takes others.
        """
        with self.assertRaisesRegex(NoAnswer, "no relay answers at tcp://") as raised:
            self.connect(timeout=0.2, address=free_address()).publish("a.b", {}, msg_id="mine")
        self.assertEqual((raised.exception.answered, raised.exception.msg_ids), (False, ("mine",)))
        bus = self.connect(timeout=0.5)
        self.relay.script.extend(["drop"] * 100)
        with self.assertRaisesRegex(NoAnswer, "did not answer in time$") as raised:
            bus.publish("a.b", {}, msg_id="silent")
        self.assertTrue(raised.exception.answered)
        self.relay.script.clear()
        bus.publish("a.b", {})
        self.relay.script.extend(["busy"] * 100)
        with self.assertRaisesRegex(NoAnswer, "did not answer in time: too much to do") as raised:
            bus.publish("a.b", {}, msg_id="other")
        self.assertEqual((raised.exception.answered, raised.exception.msg_ids), (True, ("other",)))
        self.relay.script.clear()
        self.assertEqual(bus.publish("a.b", {}), 2)
        self.assertNotIn("other", self.ids())

    def test_envelope(self) -> None:
        """
        A complete message passes byte for byte, under its own id, so that it is kept once.
        """
        odd = b'{"topic" : "org.other.prod.x",  "msg":{"a":1e3,"a":1.10}, "msg_id":"odd", "signature":"\\u00e9"}'
        own = envelope("org.other.prod.x", {}, "theirs")
        self.assertEqual([self.bus.publish_envelope(body) for body in (odd, own, odd)], [1, 2, 1])
        self.assertEqual([body for _, _, body in self.relay.kept], [odd, own])
        self.assertEqual(self.ids()[1], "theirs")

    def test_malformed(self) -> None:
        """
        What is no message is refused before anything is sent.
        """
        attempts: list[Callable[[], object]] = [
            lambda: self.bus.publish("", {}),
            lambda: self.bus.publish("a\nb", {}),
            lambda: self.bus.publish("a\udcff", {}),
            lambda: self.bus.publish("a", {}, msg_id="with a space"),
            lambda: self.bus.publish("x" * 300, {}),
            *(
                lambda body=body: read_envelope(body)
                for body in (b"", b"[]", b"{}", b'{"topic": 1}', b'{"topic": "a"}', b'{"topic": "a", "msg": 1}', b"\xff")
            ),
        ]
        for attempt in attempts:
            self.assertRaises(Malformed, attempt)
        self.assertRaises(TypeError, self.bus.publish, "a", {"n": object()})
        self.assertEqual(self.relay.seen, [])

    def test_no_address(self) -> None:
        """
        What is no address is refused, naming it.
        """
        for address in ("127.0.0.1:2004", "tcp://127.0.0.1", "udp://"):
            with self.assertRaisesRegex(ValueError, "no address that can be connected to"):
                self.connect(address=address).publish("a", {})

    def test_threads(self) -> None:
        """
        Threads may share it.
        """
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: self.bus.publish("a.b", {"n": number}), range(200)))
        self.assertEqual(sorted(self.numbers()), list(range(200)))

    def test_reopened(self) -> None:
        """
        After it was closed it may be used again.
        """
        with self.bus:
            self.bus.publish("a", {})
        self.assertEqual(self.bus.publish("a", {}), 2)


class SendTests(BusCase):
    def test_sent(self) -> None:
        """
        What is sent without waiting is on its way when it is closed.
        """
        with self.connect(linger=PATIENCE) as bus:
            self.assertTrue(all(bus.send("a.b", {"n": number}) for number in range(100)))
        until(lambda: len(self.relay.kept), lambda many: many == 100)

    def test_lost(self) -> None:
        """
        While the relay is away a bounded number of messages wait; what is lost at once is told, and nobody waits.
        """
        with self.connect(address=free_address(), linger=0) as bus:
            taken = [bus.send("a.b", {}) for _ in range(1200)]
        self.assertTrue(all(taken[:900]))
        self.assertFalse(taken[-1])


class ListeningTests(BusCase):
    def keep(self, many: int, topic: str = "org.example.test.a") -> None:
        for _ in range(many):
            self.relay.keep(f"k{len(self.relay.kept)}", topic, {"n": len(self.relay.kept)})

    def test_page(self) -> None:
        """
        A page has messages after a number, of a topic, so many at most, and says where to go on.
        """
        self.keep(3)
        self.keep(2, "org.example.test.b")
        page = self.bus.page(1, limit=2)
        self.assertEqual([each.seq for each in page.messages], [2, 3])
        self.assertEqual((page.next, page.last_seq, page.oldest_seq), (3, 5, 1))
        self.assertEqual([each.msg for each in self.bus.page(0, self.bus.topic("b")).messages], [{"n": 3}, {"n": 4}])
        self.assertEqual(self.bus.page().next, 5)
        self.assertEqual((self.bus.topic("b"), self.bus.topic("")), ("org.example.test.b", ""))

    def test_wait(self) -> None:
        """
        A page is waited for if there is nothing.
        """
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(self.bus.page, 0, wait=PATIENCE)
            until(lambda: self.relay.queries)
            self.keep(1)
            self.assertEqual([each.seq for each in waiting.result(PATIENCE).messages], [1])

    def test_page_in_vain(self) -> None:
        """
        Forgotten messages, numbers that there are not, and a relay that is away are told apart.
        """
        self.keep(10)
        self.relay.oldest = 5
        with self.assertRaisesRegex(TooOld, "after number 3 have been forgotten; the oldest that is kept has number 5") as raised:
            self.bus.page(3)
        self.assertEqual((raised.exception.since, raised.exception.oldest_seq), (3, 5))
        self.assertRaises(Refused, self.bus.page, 11)
        with self.assertRaises(NoAnswer) as away:
            self.connect(timeout=0.2, address=free_address()).page()
        self.assertFalse(away.exception.answered)

    def test_follow(self) -> None:
        """
        Who follows gets each message once and in order, although the relay goes away meanwhile, and is told when.
        """
        self.keep(3)
        told: list[str] = []

        def away() -> None:
            told.append("away")
            self.keep(2)
            self.relay.start()

        heard = self.bus.follow(1, on_away=away, on_back=lambda: told.append("back"))
        self.assertEqual([next(heard).seq for _ in range(2)], [2, 3])
        self.relay.stop()
        self.assertEqual([next(heard).seq for _ in range(2)], [4, 5])
        self.keep(1)
        self.assertEqual((next(heard).seq, told), (6, ["away", "back"]))
        heard.close()

    def test_from_now(self) -> None:
        """
        Without a number it begins now, and misses nothing from then on.
        """
        self.keep(3)
        heard = self.bus.follow(on_idle=lambda: None)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(next, heard)
            until(lambda: [query for query in self.relay.queries if query["since"] == 3 and query["limit"] > 1])
            self.keep(1)
            self.assertEqual(first.result(PATIENCE).seq, 4)
        heard.close()

    def test_gap(self) -> None:
        """
        Forgotten messages are an error; or they are told, and it goes on from the oldest that is kept.
        """
        self.keep(10)
        self.relay.oldest = 6
        self.assertRaises(TooOld, next, self.bus.follow(2))
        gaps: list[TooOld] = []
        heard = self.bus.follow(2, on_gap=gaps.append)
        self.assertEqual([next(heard).seq for _ in range(2)], [6, 7])
        self.assertEqual([(gap.since, gap.oldest_seq) for gap in gaps], [(2, 6)])
        heard.close()

    def test_other_relay(self) -> None:
        """
        A number that is beyond the last one is another relay's: nothing is heard, and that is an error.
        """
        self.assertRaises(Refused, next, self.bus.follow(100))

    def test_idle(self) -> None:
        """
        While nothing comes it asks now and again whether to go on.
        """

        class Enough(Exception):
            pass

        def enough() -> None:
            raise Enough

        self.assertRaises(Enough, next, self.bus.follow(0, on_idle=enough))

    def test_busy(self) -> None:
        """
        A relay whose pages cannot be had now is asked again.
        """
        self.keep(1)
        self.relay.busy_queries = 3
        self.assertEqual(len(self.bus.page(0).messages), 1)
        self.assertEqual(len(self.relay.queries), 4)


class ProcessTests(BusCase):
    def run_program(self, program: str) -> str:
        said = subprocess.run(
            [sys.executable, "-c", program, self.relay.address],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        return said.stdout

    def test_imports(self) -> None:
        """
        It imports neither Twisted nor click, nor the configuration, nor what speaks to databases and the web.
        """
        modules = set(self.run_program("import sys, socialrelay.bus.client; print(*sys.modules)").split())
        heavy = {"twisted", "click", "zope", "asyncio", "ssl", "socialrelay.config", "socialrelay.boundaries", "http.client"}
        self.assertEqual(heavy & modules, set())

    def test_fork(self) -> None:
        """
        After a fork parent and child go on with the same one, each with connections of its own.
        """
        program = """
import os, sys
from socialrelay.bus.client import Bus
bus = Bus(sys.argv[1])
bus.publish("a", {"n": 0})
child = os.fork()
for _ in range(20):
    bus.publish("a", {"n": 1 if child else 2})
bus.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
        self.run_program(program)
        self.assertEqual([sorted(self.numbers()).count(n) for n in (0, 1, 2)], [1, 20, 20])

    def test_left_open(self) -> None:
        """
        A script that forgets to close it ends nevertheless.
        """
        self.run_program("import sys; from socialrelay.bus.client import Bus; bus = Bus(sys.argv[1]); bus.publish('a', {}); bus.page()")
        self.assertEqual(len(self.relay.kept), 1)

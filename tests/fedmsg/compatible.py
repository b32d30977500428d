"""Stock fedmsg, as it comes, through a relay: what is true of its own relay has to be true of ours."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.bus_wire import canonical, envelope, until
from tests.fedmsg.case import BusCase
from tests.fedmsg.relays import OurRelay, Relay, StockRelay
from tests.fedmsg.stock import Stock, topic

CONSUMER = """
import json
from fedmsg.consumers import FedmsgConsumer

class Printer(FedmsgConsumer):
    topic = "org.example.dev.git.*"
    config_key = "printer.enabled"
    validate_signatures = False

    def consume(self, message):
        print("Consumed " + json.dumps(message["body"]), flush=True)
"""

PUBLISHING = """
import fedmsg
fedmsg.init(name="relay_inbound", active=True)
for number in range(3):
    fedmsg.publish(topic="%s", modname="git", msg={"n": number})
fedmsg.destroy()
"""

SHAPES: dict[str, Any] = {
    "nothing": {},
    "unicode": {"log": "Grüße, 世界 🦉 \u2028 \x7f"},
    "deep": {"a": [{"b": [[], {}, None, True, False, ""]}]},
    "numbers": {"ints": [0, -1, 2**53 + 1, 10**40], "floats": [1.1, 1e-7, 1e300, -0.5]},
    "keys": {"": 1, "topic": "another", "msg": {"msg_id": "x"}, "crypto": "not really"},
    "large": {"log": "x" * 500_000},
    "text": "a text instead of an object",
    "list": [1, 2, 3],
}


class Anyone:
    """What holds of every relay.  Mixed into a L{BusCase}."""

    def test_text(self: Any) -> None:
        """Each line that fedmsg-logger reads is a message."""
        name = self.new_topic()
        self.log(name, said="hello\nGrüße 🦉\n")
        self.assertEqual(self.tail.has(topic(name), 2), [{"log": "hello"}, {"log": "Grüße 🦉"}])

    def test_message(self: Any) -> None:
        """So is what it is given as an argument, by its default topic."""
        mark = uuid4().hex
        self.stock.run("fedmsg-logger", f"--message={mark}")
        until(lambda: self.tail.about(topic("logger.log")), lambda said: {"log": mark} in said)

    def test_json(self: Any) -> None:
        """So is the JSON that it reads."""
        name = self.new_topic()
        self.log(name, "--json-input", said='{"a": 1,\n "b": [1.5, null, "ü"]}')
        self.assertEqual(self.tail.has(topic(name)), [{"a": 1, "b": [1.5, None, "ü"]}])

    def test_python(self: Any) -> None:
        """What a Python program publishes to relay_inbound arrives in its order."""
        name = self.new_topic()
        self.stock.python(PUBLISHING % name.partition(".")[2])
        self.assertEqual(self.tail.has(topic(name), 3), [{"n": 0}, {"n": 1}, {"n": 2}])

    def test_shapes(self: Any) -> None:
        """Whatever 'msg' is, fedmsg-tail prints what was meant."""
        for shape, msg in SHAPES.items():
            with self.subTest(shape):
                name = topic(self.new_topic())
                self.publisher.send(name, envelope(name, msg, uuid4().hex))
                self.assertEqual(self.tail.has(name), [msg])

    def test_signed(self: Any) -> None:
        """A message that fedmsg-logger signed is valid for a fedmsg-tail that looks at signatures, and one that was changed is not."""
        name, other = self.new_topic(), self.new_topic()
        self.signed.run("fedmsg-logger", "--modname=git", f"--topic={name.partition('.')[2]}", said="It is me\n")
        self.assertEqual(self.strict.has(topic(name)), [{"log": "It is me"}])
        [signed] = self.listener.messages(topic(name))
        self.assertEqual(signed["crypto"], "x509")
        forged = {**signed, "msg": {"log": "It is not"}, "msg_id": uuid4().hex}
        self.publisher.send(topic(name), canonical(forged))
        self.signed.run("fedmsg-logger", "--modname=git", f"--topic={other.partition('.')[2]}", said="It is me again\n")
        self.strict.has(topic(other))
        self.assertEqual(self.strict.about(topic(name)), [{"log": "It is me"}])
        self.assertIn({"log": "It is not"}, self.tail.about(topic(name)))

    def test_hub(self: Any) -> None:
        """A consumer in a fedmsg-hub gets what it wants, and no more."""
        (self.stock.folder / "consumer.py").write_text(CONSUMER)
        (self.stock.folder / "fedmsg.d" / "printer.py").write_text('config = {"printer.enabled": True}\n')
        hub = self.stock.start("fedmsg-hub", "--with-consumers=consumer:Printer")
        self.addCleanup(hub.end)
        name, unwanted = topic(self.new_topic()), topic("other.thing")

        def consumed() -> list[dict[str, Any]]:
            for each in (unwanted, name):
                self.publisher.send(each, envelope(each, {"to": "the hub"}, uuid4().hex))
            return [json.loads(line.partition(" ")[2]) for line in hub.log.read_text().splitlines() if line.startswith("Consumed {")]

        until(consumed)
        self.assertEqual({message["topic"] for message in consumed()}, {name})

    def log(self: Any, name: str, *options: str, said: str = "") -> None:
        """Have fedmsg-logger say it."""
        modname, _, event = name.partition(".")
        self.stock.run("fedmsg-logger", f"--modname={modname}", f"--topic={event}", *options, said=said)


class StockTests(Anyone, BusCase):
    """fedmsg's own relay: what fails here is wrong with the tests, or with this installation of fedmsg."""

    @classmethod
    def bring(cls, stock: Stock) -> Relay:
        return StockRelay(stock)


class Ours(Anyone):
    """What holds of our relay besides.  Mixed into a L{BusCase}."""

    TWENTY = 20

    def tearDown(self: Any) -> None:
        super().tearDown()
        self.assertEqual(self.listener.faults, [])

    def test_bytes(self: Any) -> None:
        """Nothing is written anew: spaces, the order and number of keys, and the spelling of numbers and letters stay as they came."""
        for msg in (
            '{ "b" : 1.10,\t"a" : 1e3 , "zero": -0.0, "e": 1E+2 }',
            '{"twice": 1, "twice": 2}',
            '{"letters": "\\u00fc\\/ü", "owl": "\\ud83e\\udd89🦉"}',
            '{"big": 123456789012345678901234567890.000}',
        ):
            name = topic(self.new_topic())
            for body in (
                f'{{"topic":"{name}","msg":{msg},"msg_id":"{uuid4()}","i":1,"timestamp":1793707200.50}}',
                f'\n {{ "username" : "git" ,\r\n"msg" : {msg}, "msg_id":"{uuid4()}", "topic" : "{name}" }}\n ',
            ):
                with self.subTest(body):
                    self.publisher.send(name, body.encode())
                    until(lambda name=name: self.listener.bodies(name), lambda heard, body=body: body.encode() in heard)
            self.tail.has(name, 2)

    def test_bad(self: Any) -> None:
        """What would end a fedmsg-tail, or is no message, goes no further, and what comes after it does."""
        name = topic(self.new_topic())
        good = envelope(name, {"log": "bad"}, uuid4().hex)
        for frames in (
            [name.encode()],
            [name.encode() + b"\0" + good],
            [name.encode(), good, b"and more"],
            [name.encode(), b""],
            [name.encode(), b"not JSON"],
            [name.encode(), b'"text"'],
            [name.encode(), b"[1, 2]"],
            [name.encode(), b'{"msg": {}}'],
            [name.encode(), canonical({"topic": name})],
            [name.encode(), envelope("org.example.dev.other", {}, "x")],
            [name.encode(), good[:-1]],
            [name.encode(), good + b"}"],
            [name.encode(), b"\xff" + good],
            [name.encode(), good.replace(b'"bad"', b"NaN")],
            [name.encode(), good.replace(b'"bad"', b'"\xff"')],
            [name.encode(), good.replace(b'"bad"', b'"' + b"x" * 1_100_000 + b'"')],
            [b"", envelope("", {}, "x")],
            [b"\xff", good],
            [b"new\nline", envelope("new\nline", {}, "x")],
            [b"x" * 300, envelope("x" * 300, {}, "x")],
            [topic("socialrelay.node.subscribed").encode(), envelope(topic("socialrelay.node.subscribed"), {}, "x")],
            [b"org.example.prod.socialrelay.x", envelope("org.example.prod.socialrelay.x", {}, "x")],
        ):
            self.publisher.send_frames(frames)
        after = topic(self.new_topic())
        self.publisher.send(after, envelope(after, {"log": "good"}, uuid4().hex))
        self.assertEqual(self.tail.has(after), [{"log": "good"}])
        self.assertEqual(self.tail.about(name), [])
        heard = {bytes(frames[0]) for frames in self.listener.heard}
        self.assertEqual(heard & {b"", name.encode(), b"\xff", b"new\nline", b"x" * 300, b"org.example.prod.socialrelay.x"}, set())
        self.assertNotIn(topic("socialrelay.node.subscribed"), self.tail.topics)

    def test_life(self: Any) -> None:
        """What the relay says of itself is as readable as everything else."""
        [first, *_] = self.tail.has(topic("socialrelay.relay.heartbeat"))
        self.assertGreaterEqual(first["last_seq"], 0)

    def test_together(self: Any) -> None:
        """Of twenty fedmsg-loggers at a time none is lost."""
        self.assertEqual(self.together(self.new_topic()), set(range(self.TWENTY)))

    def together(self: Any, name: str) -> set[int]:
        """Which of so many messages of so many programs, each with a life of half a second, arrived."""
        modname, _, event = name.partition(".")
        words = ("fedmsg-logger", f"--modname={modname}", f"--topic={event}", "--json-input")
        started = [self.stock.begin(*words, f'--message={{"n": {number}}}') for number in range(self.TWENTY)]
        for process in started:
            self.stock.finished(process)
        self.tail.has(topic(name), self.TWENTY)
        return {msg["n"] for msg in self.tail.about(topic(name))}


class BesideTests(Ours, BusCase):
    """The bridge in a relay that also relays posts."""

    @classmethod
    def bring(cls, stock: Stock) -> Relay:
        return OurRelay(stock, federation=True)


class AloneTests(Ours, BusCase):
    """The bridge and nothing else; its reactor is also kept from its work."""

    @classmethod
    def bring(cls, stock: Stock) -> Relay:
        return OurRelay(stock, federation=False)

    def test_busy(self) -> None:
        """Nor is one of twenty lost while the relay's reactor stands still for one and a half of every two seconds."""
        with self.relay.busy():
            self.assertEqual(self.together(self.new_topic()), set(range(self.TWENTY)))

"""Messages of the bus as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.message import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ID,
    MAX_VALUES,
    REASONS,
    Malformed,
    Message,
    canonical,
    check_id,
    envelope,
    new_id,
    read_frames,
    read_message,
)
from tests.bus_messages import body

T = "org.example.dev.git.testing"
TOPIC = T.encode()
MOST = 2000


class ReadingTests(SynchronousTestCase):
    def refused(self, reason: str, frames: Sequence[bytes], *, lenient: bool = False) -> None:
        error = self.assertRaises(Malformed, read_frames, frames, MOST, lenient=lenient)
        self.assertEqual(error.reason, reason, frames)
        self.assertIn(error.reason, REASONS)

    def wrapped(self, sent: bytes, topic: str = T) -> object:
        """What it is within its envelope."""
        found = read_frames([topic.encode(), sent], MOST, lenient=True)
        said = json.loads(found.body)
        self.assertEqual((found.topic, said["topic"], set(said)), (topic, topic, {"topic", "msg"}))
        return said["msg"]


class StrictTests(ReadingTests):
    def test_taken(self) -> None:
        """
        A message of fedmsg is taken as it is, under the C{msg_id} that it gives itself.
        """
        sent = body(T, msg_id="2026-2f1c7b1e")
        self.assertEqual(read_frames([TOPIC, sent], MOST), Message("2026-2f1c7b1e", T, sent))

    def test_bytes_stay(self) -> None:
        """
        Spaces, the order of members, spellings of numbers and texts, members that are there twice: all stays as it was written.
        """
        for pattern in (
            b' {"topic" : "%b",\n\t"msg": {"a": 1.10, "b": 1e3, "a": -0}} \r\n',
            b'{"topic":"%b","msg":"\\ud83d\\ude00 \\/ \\u0041 \xc3\xa9"}',
            b'{"topic":"%b","msg":1,"msg":2,"topic":"%b"}',
            b'{"msg":null,"\\u0074opic":"%b","msg_id":"a","msg_id":"a"}',
            b'{"topic":"%b","msg":"\\ud800","extra":{"topic":"other"}}',
        ):
            sent = pattern.replace(b"%b", TOPIC)
            self.assertEqual(read_message(TOPIC, sent, MOST).body, sent)

    def test_frames(self) -> None:
        """
        A message has two frames, no more and no fewer; a topic and a body in one frame are none.
        """
        for frames in ([], [body(T)], [TOPIC + b"\0" + body(T)], [TOPIC, body(T), b""]):
            self.refused("frames", frames)

    def test_topic(self) -> None:
        """
        A topic is UTF-8, not empty, not long, and has no control characters.
        """
        for topic in (b"", b"\xff", b"\xed\xa0\x80", b"x" * 256, b"a\nb", b"a\0"):
            self.refused("topic", [topic, body(T)])

    def test_size(self) -> None:
        """
        A body may be as long as is allowed, and no byte longer.
        """
        sent = body(T, msg="x")
        sent = body(T, msg="x" * (MOST - len(sent) + 1), i=1, msg_id="2026-1")
        longest = sent + b" " * (MOST - len(sent))
        self.assertEqual(read_frames([TOPIC, longest], MOST).body, longest)
        self.refused("too-large", [TOPIC, longest + b" "])

    def test_not_json(self) -> None:
        """
        A body is JSON as the standard has it, in UTF-8 without a mark, and with nothing after it.
        """
        for sent in (
            b"",
            b" ",
            b"hello",
            b"{",
            b"\xff",
            b"\xef\xbb\xbf" + body(T),
            body(T).decode().encode("utf-16"),
            body(T) + b"x",
            body(T) + body(T),
            b'{"topic":"x","msg":NaN}',
            b'{"topic":"x","msg":-Infinity}',
            b'{"topic":"x","msg":"\x1f"}',
            b'{"topic":"x","msg":\x1f}',
            b'{"topic":"x","msg":"a\0"}',
            b'{"topic":"x","msg":"\xed\xa0\x80"}',
            b"{'topic':'x','msg':1}",
            b'{"topic":"x","msg":01}',
            b'{"topic":"x","msg":1,}',
        ):
            self.refused("not-json", [TOPIC, sent])

    def test_too_deep_and_too_many_digits(self) -> None:
        """
        What is nested without end, or a number of thousands of digits, is not read.
        """
        for odd in (b"[" * 40_000, b"9" * 20_000, b'{"a":' * 40_000):
            error = self.assertRaises(Malformed, read_message, TOPIC, b'{"topic":"x","msg":' + odd, 1 << 20)
            self.assertEqual(error.reason, "not-json")

    def test_too_deep(self) -> None:
        """
        What is nested deeper than a stock fedmsg-tail survives is not taken, also not wrapped; how many there are beside one another does
        not matter.
        """
        for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"a":1,"a":', "}]")):
            width = opening.count("[") + opening.count("{")
            for depth, taken in ((MAX_DEPTH - 1, True), (MAX_DEPTH + 1, False), (130, False)):
                nested = opening * (depth // width) + "1" + closing * (depth // width)
                sent = b'{"topic":"%b","msg":%b}' % (TOPIC, nested.encode())
                if taken:
                    self.assertEqual(read_frames([TOPIC, sent], MOST).body, sent)
                else:
                    self.refused("too-deep", [TOPIC, sent])
                    self.refused("too-deep", [TOPIC, sent], lenient=True)
        self.refused("too-deep", [TOPIC, b"[" * 200 + b"]" * 200], lenient=True)
        flat = body(T, msg=[[], {}] * 100 + ["[" * 200, '"{\\"' * 60, "]"])
        self.assertEqual(read_frames([TOPIC, flat], MOST).body, flat)

    def test_too_dense(self) -> None:
        """
        What holds so many values that reading it would hold up all the rest is not taken, and not wrapped, whatever they are.
        """
        values = [b"1", b"[]", b"{}", b'""', b'{"a":0}', b'"\\",\\""', b"[" * 50 + b"]" * 50]
        for each in values:
            sent = b'{"topic":"%b","msg":[%b]}' % (TOPIC, b",".join([each] * MAX_VALUES))
            for lenient in (False, True):
                error = self.assertRaises(Malformed, read_message, TOPIC, sent, len(sent), lenient=lenient)
                self.assertEqual(error.reason, "too-dense", each)

    def test_many_values(self) -> None:
        """
        As many as may be are taken; and commas and brackets in texts are none, whatever else is in these.
        """
        many = b'{"topic":"%b","msg":[%b]}' % (TOPIC, b",".join([b"1"] * (MAX_VALUES - 2)))
        text = b'{"topic":"%b","msg":["%b","%b\\\\",1]}' % (TOPIC, b'\\",[{' * MAX_VALUES, b"1,2\\n" * MAX_VALUES)
        for sent in (many, text):
            self.assertEqual(read_message(TOPIC, sent, len(sent)).body, sent)

    def test_digits(self) -> None:
        """
        An integer has as many digits as listeners on today's Pythons can read.
        """
        for digits, taken in ((MAX_DIGITS, True), (MAX_DIGITS + 1, False)):
            sent = b'{"topic":"%b","msg":%b}' % (TOPIC, b"9" * digits)
            if taken:
                self.assertEqual(read_message(TOPIC, sent, 10_000).body, sent)
            else:
                self.assertRaises(Malformed, read_message, TOPIC, sent, 10_000)

    def test_not_object(self) -> None:
        """
        JSON that is no object is none.
        """
        for sent in (b"[]", b"1", b"null", b'"{}"', b'[["topic","%b"],["msg",1]]' % TOPIC):
            self.refused("not-object", [TOPIC, sent])

    def test_members(self) -> None:
        """
        A body has C{msg}, and the topic of its message: the same text, and no other value.
        """
        self.refused("no-msg", [TOPIC, body(T, msg=None)])
        for topic in (None, "other", "", 1, [T], {T: T}, T + ".", T.upper(), "\ud800"):
            self.refused("other-topic", [TOPIC, body(T, topic=topic)])

    def test_ambiguous(self) -> None:
        """
        A body that says twice, and differently, what its topic or its C{msg_id} is, is refused: others would read the other one.
        """
        for sent in (
            b'{"topic":"org.example.dev.socialrelay.node.subscribed","msg":1,"topic":"%b"}',
            b'{"\\u0074opic":"other","msg":1,"topic":"%b"}',
            b'{"topic":"%b","msg":1,"msg_id":"a","msg_id":"b"}',
            b'{"topic":["%b"],"msg":1,"topic":"%b"}',
            b'{"topic":' + b"[" * 50 + b"]" * 50 + b',"msg":1,"topic":' + b"[" * 50 + b"]" * 50 + b"}",
        ):
            for lenient in (False, True):
                self.refused("ambiguous", [TOPIC, sent.replace(b"%b", TOPIC)], lenient=lenient)


class IdTests(ReadingTests):
    def test_made(self) -> None:
        """
        A message that gives itself no C{msg_id}, or one that can be none, is known by its contents.
        """
        for given_id in (None, "", "a b", "é", "\ud800", "x" * (MAX_ID + 1), 17, ["a"]):
            sent = body(T, msg_id=given_id)
            self.assertEqual(read_message(TOPIC, sent, MOST).msg_id, sha256(TOPIC + b"\0" + sent).hexdigest())

    def test_said_twice(self) -> None:
        """
        What the sender calls a message and what the message calls itself are the same.
        """
        sent = body(T, msg_id="2026-1")
        self.assertEqual(read_message(TOPIC, sent, MOST, msg_id="2026-1").msg_id, "2026-1")
        for msg_id, reason in (("2026-2", "other-id"), ("", "bad-id"), ("a b", "bad-id")):
            error = self.assertRaises(Malformed, read_message, TOPIC, sent, MOST, msg_id=msg_id)
            self.assertEqual(error.reason, reason)

    def test_not_in_body(self) -> None:
        """
        A body without C{msg_id} has not the one that its contents would make.
        """
        sent = body(T, msg_id=None)
        error = self.assertRaises(Malformed, read_message, TOPIC, sent, MOST, msg_id=read_message(TOPIC, sent, MOST).msg_id)
        self.assertEqual(error.reason, "other-id")

    def test_check(self) -> None:
        """
        A C{msg_id} has visible ASCII characters, 255 at most.
        """
        for good in ("a", "2026-2f1c7b1e-5b1a-4c3e-9d0a-6d1f0c9a7e55", "!~" * 127):
            check_id(good)
        for bad in ("", "a b", "a\n", "é", "x" * 256):
            self.assertEqual(self.assertRaises(Malformed, check_id, bad).reason, "bad-id")


class LenientTests(ReadingTests):
    """What fedmsg-relay does with what is no envelope."""

    def test_wrapped(self) -> None:
        """
        What is no JSON is wrapped as text, what is no object or has no topic as what it is.
        """
        self.assertEqual(self.wrapped(b"hello"), "hello")
        self.assertEqual(self.wrapped(b""), "")
        self.assertEqual(self.wrapped(b'["a", 1]'), ["a", 1])
        self.assertEqual(self.wrapped(b'{"msg": {"a": 1}}'), {"msg": {"a": 1}})
        self.assertEqual(self.wrapped(b'{"a":1,"a":2}'), {"a": 2})
        self.assertEqual(self.wrapped("süß\x1f\0".encode()), "süß\x1f\0")

    def test_no_number(self) -> None:
        """
        What Python takes for a number and JSON does not is wrapped as text.
        """
        for text in ("NaN", "[1e400]", "9" * 1500 + "e9", '{"a": -Infinity}'):
            self.assertEqual(self.wrapped(text.encode()), text)

    def test_envelope_stays(self) -> None:
        """
        An envelope is passed on as it came.
        """
        sent = b' {"topic": "%b", "msg": 1.10}' % TOPIC
        self.assertEqual(read_frames([TOPIC, sent], MOST, lenient=True).body, sent)

    def test_one_frame(self) -> None:
        """
        Topic and body in one frame, with a null byte between, are a message.
        """
        sent = body(T)
        self.assertEqual(read_frames([TOPIC + b"\0" + sent], MOST, lenient=True), read_message(TOPIC, sent, MOST))

    def test_refused(self) -> None:
        """
        One frame, three frames, what is not UTF-8, no topic and another topic are refused as ever.
        """
        for reason, frames in (
            ("frames", [body(T)]),
            ("frames", [TOPIC, body(T), b""]),
            ("topic", [b"\xff", body(T)]),
            ("topic", [b"", body("")]),
            ("not-json", [TOPIC, b"\xff"]),
            ("other-topic", [TOPIC, body("other")]),
            ("no-msg", [TOPIC, body(T, msg=None)]),
            ("too-large", [TOPIC, b"x" * (MOST + 1)]),
        ):
            self.refused(reason, frames, lenient=True)

    def test_grown(self) -> None:
        """
        What gets too long by being wrapped is refused.
        """
        self.refused("too-large", [TOPIC, b"\0" * (MOST // 2)], lenient=True)


class AnythingTests(SynchronousTestCase):
    VALUES = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    SAID = st.fixed_dictionaries(
        {}, optional={"topic": st.sampled_from(["a", "b"]) | VALUES, "msg": VALUES, "msg_id": st.text(max_size=5), "x": VALUES}
    )
    BODIES = (
        st.binary(max_size=80) | SAID.map(lambda said: json.dumps(said).encode()) | VALUES.map(lambda value: json.dumps(value).encode())
    )

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from([b"a", b"b"]) | st.binary(max_size=10), BODIES, st.booleans())
    def test_whatever_comes(self, topic: bytes, sent: bytes, lenient: bool) -> None:
        """
        Whatever bytes come, they are refused, or they are a message: JSON as everybody reads it, an object with C{msg} and with the topic
        that the first frame has; and unless it was wrapped it is what came.
        """
        try:
            found = read_message(topic, sent, MOST, lenient=lenient)
        except Malformed as malformed:
            self.assertIn(malformed.reason, REASONS)
            return

        def no_constant(name: str) -> object:
            raise AssertionError(name)

        said = json.loads(found.body.decode("utf-8"), parse_constant=no_constant)
        self.assertEqual((said["topic"], found.topic.encode()), (found.topic, topic))
        self.assertIn("msg", said)
        if not lenient:
            self.assertEqual(found.body, sent)
        check_id(found.msg_id)


class WritingTests(SynchronousTestCase):
    def test_canonical(self) -> None:
        """
        JSON is written in ASCII, sorted, without spaces; what JSON cannot say is not written.
        """
        self.assertEqual(canonical({"b": [1, None], "a": "é"}), b'{"a":"\\u00e9","b":[1,null]}')
        for number in (float("nan"), float("inf")):
            self.assertRaises(ValueError, canonical, {"a": number})

    def test_envelope(self) -> None:
        """
        An envelope that the relay makes is a message that it takes.
        """
        at = datetime(2026, 11, 3, 12, tzinfo=UTC)
        msg_id = new_id(at, UUID(int=7))
        self.assertEqual(msg_id, "2026-00000000-0000-0000-0000-000000000007")
        sent = canonical(envelope(T, {"a": 1}, msg_id=msg_id, at=at, username="git", i=3))
        self.assertEqual(read_message(TOPIC, sent, MOST, msg_id=msg_id), Message(msg_id, T, sent))
        self.assertEqual(json.loads(sent)["timestamp"], int(at.timestamp()))

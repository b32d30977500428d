"""
A message of the bus as it comes and as it goes: a topic and a JSON object that repeats it.

What others wrote is passed on as the bytes that came, so that their signatures stay valid; it is only looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import frozen

from socialrelay.bus.topics import MAX_TOPIC, is_topic

MAX_ID = 255
"""Characters."""

MAX_DEPTH = 100
"""Arrays and objects within one another.  From 985 on a C{fedmsg-tail} on Python 3.11 ends; newer Pythons read thousands."""

MAX_VALUES = 50_000
"""Values, roughly: reading as many takes 50 ms at most, in which the reactor does nothing else; without a bound it would be a second."""

MAX_DIGITS = 4300
"""Of an integer.  Pythons from 3.11 on read no more, and a C{fedmsg-tail} would end of it."""

REASONS = (
    "frames",
    "topic",
    "too-large",
    "not-json",
    "not-object",
    "no-msg",
    "other-topic",
    "ambiguous",
    "too-deep",
    "too-dense",
    "bad-id",
    "other-id",
    "reserved",
    "not-allowed",
    "not-stored",
)
"""Why a message is not taken."""

_ID = re.compile(r"[!-~]{1,255}")
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_WHITESPACE = " \t\n\r"
_TOPICS_AT_HAND = 4096


class Malformed(ValueError):
    """
    It is no message of the bus.

    @ivar reason: one of L{REASONS}.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@frozen
class Message:
    """
    @ivar msg_id: by which it is known from others; made of its contents if it says none.
    @ivar body: a JSON object in UTF-8, as it came.
    """

    msg_id: str
    topic: str
    body: bytes


def read_frames(frames: Sequence[bytes], max_size: int, *, lenient: bool = False) -> Message:
    """
    A message as publishers of fedmsg send it.

    @param lenient: wrap what is no envelope as fedmsg-relay does: C{{"msg": …, "topic": …}}.
    @raise Malformed: it is none.
    """
    if lenient and len(frames) == 1 and b"\0" in frames[0]:
        frames = frames[0].split(b"\0", 1)
    if len(frames) != 2:
        raise Malformed("frames", f"a message has two frames, topic and body, not {len(frames)}")
    return read_message(frames[0], frames[1], max_size, lenient=lenient)


def read_message(topic: bytes, body: bytes, max_size: int, *, lenient: bool = False, msg_id: str | None = None) -> Message:
    """
    The same, of a topic and a body.

    @param max_size: bytes of a body.
    @param msg_id: what its sender calls it: then the body has to call it the same.
    @raise Malformed: it is none.
    """
    if not 0 < len(topic) <= MAX_TOPIC:
        raise Malformed("topic", f"a topic has 1 to {MAX_TOPIC} bytes, not {len(topic)}")
    name = read_topic(topic)
    if len(body) > max_size:
        raise Malformed("too-large", f"a message may have {max_size} bytes, and this one has {len(body)}")
    try:
        said = _read_members(body)
        if lenient and "topic" not in said:
            raise Malformed("other-topic", "the body has no 'topic'")
    except Malformed as malformed:
        if not lenient or malformed.reason in ("ambiguous", "too-deep", "too-dense"):
            raise
        body = _wrap(name, body, max_size)
        said = {"topic": name, "msg": None}
    if "msg" not in said:
        raise Malformed("no-msg", "the body has no 'msg'")
    if said.get("topic") != name:
        raise Malformed("other-topic", "the body's 'topic' is not the topic of the message")
    given = said.get("msg_id")
    if msg_id is not None:
        check_id(msg_id)
        if given != msg_id:
            raise Malformed("other-id", "the body's 'msg_id' is not the one that it was sent with")
        return Message(msg_id, name, body)
    if isinstance(given, str) and _ID.fullmatch(given):
        return Message(given, name, body)
    return Message(sha256(topic + b"\0" + body).hexdigest(), name, body)


def check_id(msg_id: str) -> None:
    """@raise Malformed: that can be no C{msg_id}."""
    if not _ID.fullmatch(msg_id):
        raise Malformed("bad-id", "a msg_id has 1 to 255 visible ASCII characters and no spaces")


def check_density(body: bytes) -> None:
    """
    To be asked before it is read: how long that takes depends on how many values there are, more than on how many bytes.

    @raise Malformed: there are too many.
    """
    if len(body) <= MAX_VALUES or _values(body) <= MAX_VALUES:
        return
    # Or are those commas and brackets in texts?  There are not too many of these, either.
    if body.count(b'"') - body.count(b'\\"') > 2 * MAX_VALUES or _values(_TEXT.sub(b"", body)) > MAX_VALUES:
        raise Malformed("too-dense", f"the body has more than {MAX_VALUES} values")


def canonical(envelope: Mapping[str, object]) -> bytes:
    """
    JSON as fedmsg writes and signs it: sorted keys, no spaces (fedora-infra/fedmsg:fedmsg/encoding/__init__.py).

    @raise ValueError: there is a number in it that JSON has not: NaN, or an infinite one.
    """
    return _ENCODER.encode(envelope).encode("ascii")


def envelope(topic: str, msg: object, *, msg_id: str, at: datetime, username: str, i: int = 1) -> dict[str, object]:
    """The envelope of fedmsg around what somebody has to say (fedora-infra/fedmsg:fedmsg/core.py)."""
    return {"i": i, "msg": msg, "msg_id": msg_id, "timestamp": int(at.timestamp()), "topic": topic, "username": username}


def new_id(at: datetime, uuid: UUID) -> str:
    """A C{msg_id} as fedmsg makes them: the year, and a random number."""
    return f"{at.year}-{uuid}"


@lru_cache(_TOPICS_AT_HAND)
def read_topic(topic: bytes) -> str:
    """@raise Malformed: it is none."""
    try:
        name = topic.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("topic", "the topic is not UTF-8") from None
    if not is_topic(name):
        raise Malformed("topic", "a topic has no control characters")
    return name


def _read_members(body: bytes) -> dict[str, Any]:
    """
    The members of the object that a body is; objects in them are tuples of pairs.

    @raise Malformed: it is none, or says twice, and differently, what it is about: which of the two counts is up to who reads it.
    """
    check_density(body)
    try:
        text = body.decode("utf-8").strip(_WHITESPACE)
        document, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):  # ValueError: syntax, UTF-8, and integers of thousands of digits
        raise Malformed("not-json", "the body is not JSON in UTF-8") from None
    if end != len(text):
        raise Malformed("not-json", "the body goes on after the end of its JSON")
    if text.count("{") + text.count("[") > MAX_DEPTH and type(document) in (list, tuple) and _is_deep(document):
        raise Malformed("too-deep", f"the body has more than {MAX_DEPTH} arrays and objects within one another")
    if type(document) is not tuple:
        raise Malformed("not-object", "the body is JSON, but not an object")
    members = dict(document)
    if len(members) != len(document):
        for name in ("topic", "msg_id"):
            if any(key == name and not (type(value) is str and value == members[name]) for key, value in document):
                raise Malformed("ambiguous", f"the body has two different {name!r}")
    return members


def _values(body: bytes) -> int:
    """About how many there are: each but the first of an array or object follows a comma."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _is_deep(document: Any) -> bool:
    """@param document: lists, and objects as tuples of pairs."""
    level = [document]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if type(each) is list:
                inner += each
            else:
                inner += [value for _, value in each]
        level = [each for each in inner if type(each) in (list, tuple)]
        if not level:
            return False
    return True


def _wrap(topic: str, body: bytes, max_size: int) -> bytes:
    """What is no envelope within one: as JSON if it is that, else as text."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not-json", "the body is not UTF-8") from None
    try:
        wrapped = canonical({"topic": topic, "msg": json.loads(text)})
    except (ValueError, RecursionError):  # no JSON, or numbers that are none in JSON: NaN, or what Python takes for infinite
        wrapped = canonical({"topic": topic, "msg": text})
    if len(wrapped) > max_size:
        raise Malformed("too-large", f"a message may have {max_size} bytes, and this one, wrapped, has {len(wrapped)}")
    return wrapped


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    """Nobody asks what it is, and to work it out takes long: the time grows with the square of the digits."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return 0


_scan: Callable[[str, int], tuple[Any, int]] = vars(
    json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant, object_pairs_hook=tuple)
)["scan_once"]
"""Objects become tuples of pairs, so that a name that is there twice is seen; the scanner in C makes them without a call into Python."""

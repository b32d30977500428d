"""
A message of the bus as it comes and as it goes: a topic and a JSON object that repeats it.

What others wrote is passed on as the bytes that came, so that their signatures stay valid; it is only looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import frozen

from socialrelay.bus.topics import is_topic

MAX_ID = 255
"""Characters."""

REASONS = ("frames", "topic", "too-large", "not-json", "not-object", "no-msg", "other-topic", "bad-id", "other-id", "reserved")
"""Why a message is not taken."""

_ID = re.compile(r"[!-~]{1,255}")


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


def read_message(topic: bytes, body: bytes, max_size: int, *, lenient: bool = False) -> Message:
    """
    The same, of a topic and a body.

    @raise Malformed: it is none.
    """
    try:
        name = topic.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("topic", "the topic is not UTF-8") from None
    if not is_topic(name):
        raise Malformed("topic", "a topic has 1 to 255 bytes and no control characters")
    if len(body) > max_size:
        raise Malformed("too-large", f"a message may have {max_size} bytes, and this one has {len(body)}")
    try:
        envelope = _parse(body)
    except Malformed as malformed:
        if not lenient:
            raise
        try:
            body = canonical({"topic": name, "msg": body.decode("utf-8")})
        except UnicodeDecodeError:
            raise malformed from None
        envelope = {"topic": name, "msg": ""}
    if lenient and not (isinstance(envelope, dict) and "topic" in envelope):
        body, envelope = canonical({"topic": name, "msg": envelope}), {"topic": name, "msg": envelope}
    if not isinstance(envelope, dict):
        raise Malformed("not-object", "the body is JSON, but not an object")
    if "msg" not in envelope:
        raise Malformed("no-msg", "the body has no 'msg'")
    if envelope.get("topic") != name:
        raise Malformed("other-topic", "the body's 'topic' is not the topic of the message")
    given = envelope.get("msg_id")
    if isinstance(given, str) and _ID.fullmatch(given):
        return Message(given, name, body)
    return Message(sha256(topic + b"\0" + body).hexdigest(), name, body)


def check_id(msg_id: str) -> None:
    """@raise Malformed: that can be no C{msg_id}."""
    if not _ID.fullmatch(msg_id):
        raise Malformed("bad-id", "a msg_id has 1 to 255 visible ASCII characters and no spaces")


def canonical(envelope: Mapping[str, object]) -> bytes:
    """JSON as fedmsg writes and signs it: sorted keys, no spaces (fedora-infra/fedmsg:fedmsg/encoding/__init__.py)."""
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode("ascii")


def envelope(topic: str, msg: object, *, msg_id: str, at: datetime, username: str, i: int = 1) -> dict[str, object]:
    """The envelope of fedmsg around what somebody has to say (fedora-infra/fedmsg:fedmsg/core.py)."""
    return {"i": i, "msg": msg, "msg_id": msg_id, "timestamp": int(at.timestamp()), "topic": topic, "username": username}


def new_id(at: datetime, uuid: UUID) -> str:
    """A C{msg_id} as fedmsg makes them: the year, and a random number."""
    return f"{at.year}-{uuid}"


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):  # ValueError: syntax, UTF-8, and integers of thousands of digits
        raise Malformed("not-json", "the body is not JSON in UTF-8") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")

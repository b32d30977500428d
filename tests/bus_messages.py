"""What tests of the bus share: messages as publishers of fedmsg write them."""

from __future__ import annotations

from itertools import count
from typing import Any

from socialrelay.boundaries import BusMessage
from socialrelay.boundaries.bus import LEGACY
from socialrelay.bus.message import canonical

TOPIC = "org.example.dev.git.receive"
_numbers = count(1)


def body(topic: str = TOPIC, /, **changes: Any) -> bytes:
    """An envelope that nobody has sent before; a member that is C{None} is left out."""
    number = next(_numbers)
    members = {
        "i": number,
        "msg": {"n": number},
        "msg_id": f"2026-{number}",
        "timestamp": 1793707200,
        "topic": topic,
        "username": "git",
        **changes,
    }
    return canonical({name: value for name, value in members.items() if value is not None})


def message(msg_id: str | None = None, topic: str = TOPIC, source: str = LEGACY, **changes: Any) -> BusMessage:
    """The same, looked at."""
    msg_id = msg_id or f"2026-{next(_numbers)}"
    return BusMessage(msg_id, topic, body(topic, msg_id=msg_id, **changes), source)

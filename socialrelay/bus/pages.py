"""A page of messages as JSON, made a few milliseconds at a time: it may have megabytes."""

from __future__ import annotations

import json

from attrs import evolve

from socialrelay.boundaries import BusPage
from socialrelay.bus.replay import plain_message, plain_page
from socialrelay.unhurried import Unhurried


async def page_text(page: BusPage, unhurried: Unhurried) -> bytes:
    """
    What L{plain_page} makes of it, as text.

    @return: JSON, a line.
    """
    parts = [b'{"messages": [']
    async for message in unhurried.over(page.messages):
        parts += json.dumps(plain_message(message)).encode("ascii"), b", "
    if page.messages:
        parts.pop()
    rest = {name: value for name, value in plain_page(evolve(page, messages=())).items() if name != "messages"}
    parts += b"], ", json.dumps(rest)[1:].encode("ascii"), b"\n"
    return b"".join(parts)  # the one copy of all

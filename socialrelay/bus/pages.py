"""A page of messages as JSON, made a few milliseconds at a time: it may have megabytes."""

from __future__ import annotations

import json
from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock

from socialrelay.boundaries import BusPage
from socialrelay.bus.replay import plain_message, plain_page
from socialrelay.unhurried import Unhurried


class PageTexts:
    """What L{plain_page} makes of pages, as text; one after the other, since a few milliseconds of each of a hundred are long."""

    def __init__(self, seconds: Callable[[], float], pause: Callable[[], Deferred[None]]) -> None:
        """
        @param seconds: a clock for durations.
        @param pause: fires when the reactor has done what else there was to do.
        """
        self._unhurried = Unhurried(seconds, pause)
        self._pause = pause
        self._turns = DeferredLock()

    async def of(self, page: BusPage, wanted: Callable[[], bool] = lambda: True) -> bytes:
        """
        @param wanted: asked when it is this one's turn.
        @return: JSON, a line; empty if it is not wanted any more.
        """
        turn = self._turns.acquire()
        waits = not turn.called
        await turn
        try:
            if waits:
                await self._pause()  # else each would begin within the end of the one before, and a hundred are too deep
            return await _text(page, self._unhurried) if wanted() else b""
        finally:
            self._turns.release()


async def _text(page: BusPage, unhurried: Unhurried) -> bytes:
    parts = [b'{"messages": [']
    async for message in unhurried.over(page.messages):
        parts += json.dumps(plain_message(message)).encode("ascii"), b", "
    if page.messages:
        parts.pop()
    rest = {name: value for name, value in plain_page(evolve(page, messages=())).items() if name != "messages"}
    parts += b"], ", json.dumps(rest)[1:].encode("ascii"), b"\n"
    return b"".join(parts)  # the one copy of all

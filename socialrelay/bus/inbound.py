"""
Where publishers of fedmsg connect, say what they have to say, and go, half a second later.

A socket learns that somebody has connected only while its own thread attends to it; and a publisher that nobody listens to drops what it
has, without a word.  So a busy reactor must not hold that socket.  It lives in a thread that does nothing else and needs no Python while it
works::

    publishers --> XSUB == zmq.proxy_steerable == PUSH --inproc--> PULL, in the reactor
                        |------- thread ---------|

Where the reactor falls behind, messages wait in the inproc link (twice L{proxy.LINK}), then before the XSUB (the high-water mark, for each
publisher), then with the publishers.

Who ends it first waits until what the publishers have sent has come: a socket that is unbound drops what the kernel still holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import count
from threading import Thread
from typing import Any

import zmq
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.bus import proxy
from socialrelay.bus.context import BusContext
from socialrelay.bus.reader import ZmqReader

GRACE = 2.0
"""Seconds for which the end waits for publishers that go on, at most."""
MIB = 1024 * 1024

_names = count(1)


def max_frame(max_message: int) -> int:
    """
    Bytes beyond which ZeroMQ closes a connection, for a bound on messages: well above it, so that what is a little too large is counted and
    refused like anything else, and its sender's other messages are spared.
    """
    return 2 * max_message + 64 * 1024


class LegacyInbound:
    """
    The compatible way in: everything that publishers send to it, unread.

    @ivar addresses: where it listens, in ZeroMQ's words, once it has started.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        context: BusContext,
        addresses: Sequence[str],
        high_water_mark: int,
        on_message: Callable[[list[bytes]], object],
        max_message: int = MIB,
    ) -> None:
        """
        @param addresses: all of them are bound.
        @param high_water_mark: messages that wait for each publisher before the proxy; at least 1.
        @param on_message: called in the reactor with the frames of each message, whatever they are.
        @param max_message: bytes; see L{max_frame}.
        """
        self.addresses: list[str] = []
        self._reactor = reactor
        self._context = context
        self._wanted = tuple(addresses)
        self._high_water_mark = max(1, high_water_mark)
        self._on_message = on_message
        self._max_frame = max_frame(max_message)
        self._reader: ZmqReader | None = None
        self._control: ZmqReader | None = None
        self._passed: int | None = None
        self._started: Deferred[None] = Deferred()
        self._thread_ended: Deferred[None] = Deferred()

    @property
    def received(self) -> int:
        """Messages handed over."""
        return self._reader.received if self._reader is not None else 0

    def start(self) -> Deferred[None]:
        """
        Bind all addresses.

        @return: fires when publishers may connect.  Fails with L{CannotBind<socialrelay.bus.context.CannotBind>}; nothing is left then.
        """
        link, steering = (f"inproc://{what}-{next(_names)}" for what in ("legacy", "steering"))
        pull = self._context.socket(zmq.PULL)
        pull.set(zmq.RCVHWM, proxy.LINK)
        pull.bind(link)
        control = self._context.socket(zmq.PAIR)
        control.bind(steering)
        self._reader = ZmqReader(self._reactor, pull, self._on_message)
        self._control = ZmqReader(self._reactor, control, self._statistics)
        plan = proxy.Plan(self._wanted, self._high_water_mark, self._max_frame, link, steering)
        # A daemon: if it is stuck, so is nobody else.
        Thread(target=self._run, args=(plan,), name="bus-inbound", daemon=True).start()
        return self._started

    def stop(self, deadline: float = 10.0) -> Deferred[bool]:
        """
        Take nothing more, and hand over all that has come.

        @param deadline: seconds, after which what is not handed over is given up.
        @return: fires when it is over: whether everything was handed over.
        """
        return Deferred.fromCoroutine(self._stop(deadline))

    async def _stop(self, deadline: float) -> bool:
        reader, control = self._reader, self._control
        if reader is None or control is None or not control.running:
            return True
        given_up: list[bool] = []

        def give_up() -> None:
            given_up.append(True)
            reader.stop()
            if not self._thread_ended.called:
                self._thread_ended.callback(None)

        late = self._reactor.callLater(deadline, give_up)
        await self._until_idle(reader, control, min(GRACE, deadline / 2))
        control.send([proxy.TERMINATE])
        await self._thread_ended
        await reader.finish()
        control.stop()
        if late.active():
            late.cancel()
        return not given_up

    async def _until_idle(self, reader: ZmqReader, control: ZmqReader, seconds: float) -> None:
        before: tuple[int | None, int] = (None, 0)
        until = self._reactor.seconds() + seconds
        while self._reactor.seconds() < until:
            control.send([proxy.STATISTICS])
            await deferLater(self._reactor, proxy.IDLE)
            now = (self._passed, reader.received)
            if now == before:
                return
            before = now

    def _statistics(self, frames: list[bytes]) -> None:
        self._passed = int.from_bytes(frames[0], sys.byteorder)  # frames that came in (zmq_proxy_steerable(3))

    def _run(self, plan: proxy.Plan) -> None:
        call = self._reactor.callFromThread
        try:
            proxy.run(self._context, plan, lambda addresses: call(self._bound, addresses))
        except Exception:
            call(self._over, Failure())
        else:
            call(self._over, None)

    def _bound(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self._started.callback(None)

    def _over(self, failure: Failure | None) -> None:
        if failure is not None and not self._started.called:
            for each in (self._reader, self._control):
                if each is not None:
                    each.stop()
            self._started.errback(failure)
        elif failure is not None and failure.check(zmq.ContextTerminated) is None:
            self._log.error("What publishers send is not taken in any more: {reason}. Restart the relay.", reason=failure.getErrorMessage())
        if not self._thread_ended.called:
            self._thread_ended.callback(None)

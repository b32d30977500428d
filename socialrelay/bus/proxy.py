"""The thread that passes on what publishers send: ZeroMQ's own proxy, which needs no Python and no reactor while it works."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import zmq
from attrs import frozen

from socialrelay.bus.context import BusContext

LINK = 10_000
"""Messages that wait on either side of the inproc link."""
IDLE = 0.2
"""Seconds without a message after which all has come."""
STATISTICS = b"STATISTICS"
TERMINATE = b"TERMINATE"

_SUBSCRIBE_ALL = b"\x01"


@frozen
class Plan:
    """
    What the proxy is to do.

    @ivar addresses: where publishers connect.
    @ivar high_water_mark: messages that wait for each of them.
    @ivar max_frame: bytes.
    @ivar link: where the messages go, bound by who wants them.
    @ivar steering: where L{STATISTICS} and L{TERMINATE} come from (zmq_proxy_steerable(3)).
    """

    addresses: Sequence[str]
    high_water_mark: int
    max_frame: int
    link: str
    steering: str


def run(context: BusContext, plan: Plan, bound: Callable[[list[str]], object]) -> None:
    """
    Bind and pass on until L{TERMINATE} comes; then unbind, and pass the rest on.

    @param bound: called with the addresses in ZeroMQ's words, when publishers may connect.
    @raise CannotBind: nothing is bound.
    @raise zmq.ContextTerminated: whoever ended the context does not want the rest.
    @raise zmq.ZMQError: it broke.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
    sockets: list[zmq.Socket[bytes]] = []

    def open_(kind: int, max_frame: int = -1) -> zmq.Socket[bytes]:
        sockets.append(context.socket(kind, max_frame=max_frame))
        return sockets[-1]

    try:
        xsub, push, control = open_(zmq.XSUB, max_frame=plan.max_frame), open_(zmq.PUSH), open_(zmq.PAIR)
        xsub.set(zmq.RCVHWM, plan.high_water_mark)
        push.set(zmq.SNDHWM, LINK)
        push.set(zmq.LINGER, -1)  # what is in the link stays there until it is read
        push.connect(plan.link)
        control.connect(plan.steering)
        xsub.send(_SUBSCRIBE_ALL)
        endpoints = [context.bind(xsub, address) for address in plan.addresses]
        bound(endpoints)
        zmq.proxy_steerable(xsub, push, None, control)
        for endpoint in endpoints:
            xsub.unbind(endpoint)
        _pass_on_rest(xsub, push)
    finally:
        for socket in sockets:
            socket.close()


def _pass_on_rest(xsub: zmq.Socket[bytes], push: zmq.Socket[bytes]) -> None:
    while xsub.poll(int(IDLE * 1000)):
        more = True
        while more:
            frame = xsub.recv(copy=False)
            more = frame.more
            push.send(frame, zmq.SNDMORE if more else 0, copy=False)

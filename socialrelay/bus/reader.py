"""
A ZeroMQ socket among the reactor's descriptors.

The descriptor of a ZeroMQ socket tells that its I{state} changed, not that there is something to read (zmq_getsockopt(3), ZMQ_FD): it
speaks once, and not again before the socket was asked for everything.  So whoever reads it either goes on until there is nothing, or comes
back unasked.  Sending on the socket may swallow that one word, too; after each send it is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import zmq
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

BATCH = 60
"""Messages that are read before others have their turn."""
TURN = 0.002
"""
Seconds after which others have theirs, however few were read.  What is stored leaves for PostgreSQL a socket's buffer a turn: with turns
of 10 ms it waited most of the time.
"""
MOST_FRAMES = 16
"""Frames of one message that are kept; what is sent here has three, and four with a delimiter."""
QUIET = 60.0
"""Seconds between two tracebacks of the log."""

_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


@implementer(IReadDescriptor)
class ZmqReader:
    """
    Hands over what comes in at a socket, which belongs to it from now on: it closes it.

    @ivar received: messages handed over.
    @ivar failed: times that C{on_message} raised.
    @ivar running: it has not been stopped.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        socket: zmq.Socket[bytes],
        on_message: Callable[[list[bytes]], object],
        batch: int = BATCH,
        turn: float = TURN,
    ) -> None:
        """
        @param socket: bound or connected in this thread, and used in no other.
        @param on_message: called with the frames of each message, at most L{MOST_FRAMES} of them; what it raises is logged, and the next
            message read.
        @param batch: messages that are read at once.
        @param turn: seconds of reading at once.
        """
        self.received = 0
        self.failed = 0
        self.running = True
        self._reactor = reactor
        self._socket = socket
        self._on_message = on_message
        self._batch = batch
        self._turn = turn
        self._descriptor = int(socket.get(zmq.FD))
        self._frames: list[bytes] = []
        self._call: IDelayedCall | None = None
        self._ended: list[Deferred[None]] = []
        self._quiet_until = 0.0
        self._untold = 0
        reactor.addReader(self)
        self.poke()  # what came before is not told again

    def poke(self) -> None:
        """Read in the reactor's next turn; whatever was done to the socket."""
        if self.running and self._call is None:
            self._call = self._reactor.callLater(0, self._poked)

    def send(self, frames: Sequence[bytes]) -> bool:
        """
        Send one message, now or never.

        @return: whether the socket took it; not if its queue is full, or it is closed.
        """
        if not self.running:
            return False
        send = self._socket.send
        try:
            # A message that the socket takes the first frame of it takes as a whole; send_multipart is half as fast.
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self.poke()
        return True

    def finish(self) -> Deferred[None]:
        """
        Hand over what there is, then L{stop}; for a socket to which nothing more comes.

        @return: fires when it has stopped, be it because L{stop} was called.
        """
        if not self.running:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        self.poke()
        return ended

    def stop(self) -> None:
        """Read no more, and close the socket, which sends what it still has to send for as long as its linger says."""
        if not self.running:
            return
        self.running = False
        self._reactor.removeReader(self)  # before its descriptor is another's
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._socket.close()
        self._frames = []
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)

    def fileno(self) -> int:
        """For the reactor; C{-1} after the end."""
        return self._descriptor if self.running else -1

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "zmq"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given the descriptor up."""
        self.stop()

    def doRead(self) -> None:
        """Something changed: read, unless that is to be done in this turn anyway."""
        if self._call is None:
            self._read()

    def _poked(self) -> None:
        self._call = None
        self._read()

    def _read(self) -> None:
        seconds = self._reactor.seconds
        until = seconds() + self._turn
        for _ in range(self._batch):
            try:
                whole = self._receive()
            except zmq.Again:
                if self._ended:
                    self.stop()
                return
            except zmq.ZMQError as error:  # the socket or its context is gone
                self._log.error("A socket of the bus cannot be read any more: {reason}.", reason=str(error))
                self.stop()
                return
            if whole:
                frames, self._frames = self._frames, []
                self._hand_over(frames)
                if not self.running:
                    return
            if seconds() >= until:
                break
        self.poke()

    def _receive(self) -> bool:
        """
        Read a message, or a part of one that has very many frames.

        @return: whether it is whole.
        """
        # Frames know whether more follow; asking the socket for each takes twice as long.
        receive, kept = self._socket.recv, self._frames
        for _ in range(MOST_FRAMES):
            frame = receive(_NOBLOCK, False)
            if len(kept) < MOST_FRAMES:
                kept.append(frame.bytes)
            if not frame.more:
                return True
        return False

    def _hand_over(self, frames: list[bytes]) -> None:
        self.received += 1
        try:
            self._on_message(frames)
        except Exception:
            self.failed += 1
            self._complain()

    def _complain(self) -> None:
        now = self._reactor.seconds()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + QUIET
        self._log.failure("A message of the bus could not be handled; {count} more since this was last said.", count=self._untold)
        self._untold = 0

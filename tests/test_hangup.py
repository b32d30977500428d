"""Tests for L{socialrelay.running.hangup}."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.hangup import on_hangup


class Turns:
    """A reactor that takes what is asked of it from a signal handler."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def callFromThread(self, work: object) -> None:
        self.asked.append(work)


class HangupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

    def test_reload(self) -> None:
        """SIGHUP has the configuration read again, when the reactor has a turn."""
        turns, done = Turns(), []
        with open(os.devnull) as nothing:
            on_hangup(turns, lambda: done.append("reload"), lambda: done.append("end"), nothing.fileno())
            os.kill(os.getpid(), signal.SIGHUP)
            self.assertEqual(done, [])
            [work] = turns.asked
            work()  # type: ignore[operator]
        self.assertEqual(done, ["reload"])

    def test_terminal_closed(self) -> None:
        """A relay whose terminal is closed ends; one whose terminal is still there reloads."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, slave)
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=slave, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=os.getcwd(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert child.stdout is not None
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), "listening\n")
        child.send_signal(signal.SIGHUP)
        self.assertEqual(child.stdout.readline(), "reload\n")
        os.close(master)  # the kernel says it itself
        self.assertEqual(child.stdout.readline(), "end\n")
        self.assertEqual(child.wait(10), 0)


_CHILD = """
import fcntl, os, queue, sys, termios
from socialrelay.running.hangup import on_hangup

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
turns = queue.SimpleQueue()

class Reactor:
    def callFromThread(self, work):
        turns.put(work)

def say(what):
    print(what, flush=True)

def end():
    say("end")
    sys.exit()

on_hangup(Reactor(), lambda: say("reload"), end)
say("listening")
while True:
    turns.get()()
"""

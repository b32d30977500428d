"""Who may listen at a UNIX socket's path."""

from __future__ import annotations

import errno
import os
import socket as sockets
import stat
import subprocess
import sys
from pathlib import Path

import zmq
from twisted.internet import reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.context import IPC_MODE, BusContext, CannotBind, advice, threads_refused
from socialrelay.bus.locks import SUFFIX, PathLock, take_path
from tests.zmq_peers import ZmqCase

_ROOT = Path(__file__).resolve().parent.parent
_HOLD = "import sys; from socialrelay.bus.locks import take_path; lock = take_path(sys.argv[1]); print(flush=True); sys.stdin.read()"


class PathLockTests(ZmqCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = f"{self.folder()}/socket"

    def take(self) -> PathLock:
        lock = take_path(self.path)
        self.addCleanup(lock.release)
        return lock

    def refused(self) -> OSError:
        return self.assertRaises(OSError, take_path, self.path)

    def test_once(self) -> None:
        """
        A path is one daemon's at a time, and whoever comes second learns which process has it.
        """
        lock = self.take()
        refusal = self.refused()
        self.assertEqual(refusal.errno, errno.EADDRINUSE)
        self.assertIn(f"process {os.getpid()}", str(refusal))
        lock.release()
        lock.release()
        self.take()

    def test_killed(self) -> None:
        """
        What a daemon that was killed leaves behind is in nobody's way.
        """
        command = [sys.executable, "-c", _HOLD, self.path]
        with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with sockets.socket(sockets.AF_UNIX) as left:
                left.bind(self.path)
            self.assertEqual(self.refused().errno, errno.EADDRINUSE)
            other.kill()
        self.assertTrue(os.path.exists(self.path + SUFFIX))
        self.take()

    def test_other_programs(self) -> None:
        """
        Where somebody listens without a lock, nobody is thrown out.
        """
        with sockets.socket(sockets.AF_UNIX) as other:
            other.bind(self.path)
            other.listen()
            self.assertEqual(self.refused().errno, errno.EADDRINUSE)
        self.take()

    def test_no_socket(self) -> None:
        """
        A file that is no socket is not lost.
        """
        Path(self.path).write_text("precious")
        self.assertEqual(self.refused().errno, errno.EEXIST)

    def test_link(self) -> None:
        """
        A link in the lock's place leads nowhere.
        """
        os.symlink("/dev/null", self.path + SUFFIX)
        self.assertEqual(self.refused().errno, errno.ELOOP)

    def test_mode(self) -> None:
        """
        Nobody else can open the lock, and so nobody else can hold it.
        """
        self.take()
        self.assertEqual(stat.S_IMODE(os.stat(self.path + SUFFIX).st_mode), 0o600)


class ContextTests(ZmqCase):
    def test_mode(self) -> None:
        """
        The relay's user and its group may connect to a UNIX socket, and nobody else.
        """
        path = f"{self.folder()}/socket"
        socket = self.context.socket(zmq.PULL)
        self.addCleanup(socket.close)
        self.context.bind(socket, f"ipc://{path}")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), IPC_MODE)

    def test_in_the_way(self) -> None:
        """
        A file that is no socket is named as what is in the way.
        """
        path = f"{self.folder()}/socket"
        Path(path).write_text("precious")
        socket = self.context.socket(zmq.PULL)
        self.addCleanup(socket.close)
        refusal = self.assertRaises(CannotBind, self.context.bind, socket, f"ipc://{path}")
        self.assertIn("no socket. Name another path", str(refusal))
        self.assertEqual(Path(path).read_text(), "precious")

    async def test_left_open(self) -> None:
        """
        A socket that nobody closed does not hold up the end; it is told.
        """
        context = BusContext(reactor, slack=0.01)
        socket = context.socket(zmq.PULL)
        with capturedLogs() as logs:
            await context.close()
        self.assertEqual(len(logs), 1)
        socket.close()

    def test_nothing(self) -> None:
        """
        Ending what never began is over at once.
        """
        self.assertIsNone(self.successResultOf(self.context.close()))


class AdviceTests(SynchronousTestCase):
    def test_remedies(self) -> None:
        """
        Each refusal says what can be done about it.
        """
        for address, code, remedy in (
            ("tcp://127.0.0.1:2003", errno.EADDRINUSE, "Stop what listens there"),
            ("ipc:///run/bus/in", errno.EADDRINUSE, "Stop what listens there"),
            ("tcp://127.0.0.1:203", errno.EACCES, "Ports below 1024 are root's"),
            ("tcp://192.0.2.1:2003", errno.EADDRNOTAVAIL, "Name an address of this machine"),
            ("tcp://[::1]:2003", errno.EAFNOSUPPORT, "Name another address"),
            ("ipc:///run/bus/in", errno.ENOENT, "Make the folder /run/bus,"),
            ("ipc:///run/bus/in", errno.EACCES, "Give the relay's user a folder"),
            ("ipc:///run/bus/in", errno.EEXIST, "Name another path"),
        ):
            self.assertIn(f"words. {remedy}", advice(address, code, "words"))


class ThreadTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """
        Where the system forbids what ZeroMQ's threads do, and would have the process end, that is said, and how to allow it.
        """

        def forbidden(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        self.assertIn("(Operation not permitted), and would end the process. Under systemd: Sys", threads_refused(forbidden))
        self.assertEqual(threads_refused(), "")

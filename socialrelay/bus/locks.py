"""
Who may listen at a UNIX socket's path.

ZeroMQ removes whatever it finds there and binds anew, without a word to whom it takes the path from (libzmq 4.3.5, ipc_listener.cpp).  So
a file beside it is locked first.  The lock is the kernel's and goes with the process, also after C{kill -9}; the file stays and means
nothing.  Only its owner can open it, so nobody else can hold the lock; but in a folder that everybody may write to, anybody can put a file
there first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress

from attrs import define

SUFFIX = ".lock"


@define
class PathLock:
    """
    A path that is ours until it is released.

    @ivar path: of the socket.
    """

    path: str
    _descriptor: int

    def release(self) -> None:
        """Let another have it; once the socket is gone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def take_path(path: str) -> PathLock:
    """
    Take it, and see that nothing is lost when ZeroMQ removes what is there.

    @raise OSError: another daemon listens there, with a lock or without; or something else has this name; or the lock cannot be made.
    """
    # Whoever may write to the folder must not lead us to another file.
    descriptor = os.open(path + SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor)
        _look(path)
    except OSError:
        os.close(descriptor)
        raise
    return PathLock(path, descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise OSError(errno.EADDRINUSE, f"another relay listens there{f' (process {holder})' if holder.isdigit() else ''}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


def _look(path: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is something of this name that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT):
                raise OSError(errno.EADDRINUSE, "another program listens there")

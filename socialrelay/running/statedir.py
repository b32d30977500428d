"""
The folder that a relay keeps its data in, held by one daemon at a time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from attrs import define


class StateDirError(Exception):
    """The folder cannot be used; the message is one line: what, why, and what to do."""


class StateDirHeld(StateDirError):
    """Another process holds it: a daemon, or a command that does without the daemon."""


@define
class StateDir:
    """
    A folder that is ours alone.

    @ivar path: absolute.
    """

    path: Path
    _lock: int

    def release(self) -> None:
        """Let another daemon have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def take(path: Path, uid: int | None = None, gid: int | None = None) -> StateDir:
    """
    Make the folder if it is not there, and lock it.

    The lock is the kernel's and goes with the last process that holds it, also after C{kill -9}; it survives a fork, and no child that runs
    another program inherits it.

    @param uid: whom the daemon will run as, if not as who it is now; a new folder is given to that user.
    @param gid: likewise.
    @raise StateDirHeld: another daemon holds it.
    @raise StateDirError: it cannot be made or written to.
    """
    try:
        _make(path, uid, gid)
        # Root does this in a folder of the daemon's user: whoever took that user over must not lead root to another file.
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateDirError(
            f"The state directory {path} cannot be used: {error.strerror} ({error.filename}). "
            "Give it to the user that runs the relay, or name another with --state-dir."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise StateDirHeld(
            f"Another relay is running in {path}{f' (process {holder})' if holder.isdigit() else ''}. Stop it, or name another --state-dir."
        ) from None
    _chown(lock, uid, gid)
    taken = StateDir(path, lock)
    sign(taken)
    return taken


def sign(taken: StateDir) -> None:
    """Write into the lock which process holds it; again when it was handed to a child."""
    os.ftruncate(taken._lock, 0)
    os.pwrite(taken._lock, b"%d\n" % os.getpid(), 0)


def _make(path: Path, uid: int | None, gid: int | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o750)
        _chown(path, uid, gid)
    except FileExistsError:
        pass
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if uid is not None and not _writable(path.stat(), uid, gid):
        raise PermissionError(errno.EACCES, f"Not writable for user {uid}", str(path))


def _writable(status: os.stat_result, uid: int, gid: int | None) -> bool:
    """Whether another user may write; L{os.access} only answers for who we are now."""
    if uid == status.st_uid:
        return bool(status.st_mode & stat.S_IWUSR)
    return uid == 0 or bool(status.st_mode & (stat.S_IWGRP if gid == status.st_gid else stat.S_IWOTH))


def _chown(what: Path | int, uid: int | None, gid: int | None) -> None:
    if uid is not None or gid is not None:
        os.chown(what, -1 if uid is None else uid, -1 if gid is None else gid)

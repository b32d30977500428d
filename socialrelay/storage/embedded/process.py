"""A server's process, be it ours or one that an earlier daemon left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Protocol


class Process(Protocol):
    """Something that runs. No method blocks."""

    @property
    def pid(self) -> int: ...

    def alive(self) -> bool: ...

    def signal(self, number: int) -> None:
        """Nothing happens if it is gone."""


class Child:
    """A process that this daemon started."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)


class Found:
    """
    A process that somebody else started.

    @ivar arguments: by these it is known again: its number may go to another process once it is gone.
    """

    def __init__(self, pid: int, arguments: list[str]) -> None:
        self.pid = pid
        self.arguments = arguments

    def alive(self) -> bool:
        return exists(self.pid) and (not sys.platform.startswith("linux") or command_line(self.pid) == self.arguments)

    def signal(self, number: int) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def command_line(pid: int) -> list[str]:
    """
    A process's arguments; empty if it is gone or a zombie.

    Read from here because everybody may read it, while a root without C{CAP_SYS_PTRACE}, as in a container, may not read another user's
    C{/proc/PID/exe} and C{cwd}.
    """
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return [] if sys.platform.startswith("linux") else _command_line_by_ps(pid)
    return [os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0")] if raw else []


def tail(log: Path, size: int = 2000) -> str:
    """The end of a server's log, in whole lines."""
    try:
        with log.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - size))
            text = file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""
    return (text.partition("\n")[2] if length > size else text).strip()


def shorten(log: Path, limit: int) -> None:
    """Move what a log holds to C{….1} when it is longer than C{limit} bytes. The server goes on appending to the same file."""
    try:
        found = log.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size > limit:
            with open(os.open(log, os.O_RDWR | os.O_NOFOLLOW), "rb+") as file:
                file.seek(-limit, os.SEEK_END)
                older = log.with_name(log.name + ".1")
                older.unlink(missing_ok=True)
                with open(os.open(older, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as kept:
                    kept.write(file.read(limit))
                file.truncate(0)
    except FileNotFoundError:
        pass


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _command_line_by_ps(pid: int) -> list[str]:
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]  # where it is differs, and PATH is the operator's
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)  # noqa: S603 - a constant and a number
    return answer.stdout.split()

"""Processes, seen from outside: their memory, their files and sockets, their children, and whether they had a processor."""

from __future__ import annotations

import ipaddress
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Self

from benchmarks import processes
from tests.chaos.waiting import surely


def stood(*schedstats: str) -> float:
    """
    For how many seconds threads have wanted to run while others had the processor, all together.

    @param schedstats: files; see "scheduler statistics" in Linux's documentation.
    """
    total = 0.0
    for file in schedstats:
        with suppress(OSError):
            total += int(Path(file).read_text().split()[1]) / 1e9
    return total


def children(pid: int, *programs: str) -> list[int]:
    """The children of a process that run these programs."""
    found = []
    for each in processes.family(pid)[1:]:
        with suppress(OSError):
            parent = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and Path(f"/proc/{each}/comm").read_text().strip() in programs:
                found.append(each)
    return found


def sockets(pid: int, address: str) -> list[tuple[int, str]]:
    """The sockets of a process, in whatever state, that lead to an IPv4 address: to which port, and their inodes."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(each.readlink().name)
    where = f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"
    lines = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    mine = (fields for fields in lines if fields[2].startswith(where) and f"socket:[{fields[9]}]" in inodes)
    return [(int(fields[2].partition(":")[2], 16), fields[9]) for fields in mine]


class Watch:
    """
    Looks at a process every few milliseconds.

    @ivar base: MB of memory before; C{peak}: the most since.
    @ivar files: regular files that it opened meanwhile.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = Event()
        self._before = self._open()
        self.base = processes.resident(pid)
        self.peak = self.base
        self._grown: dict[str, float] = {}
        self._doing = ""
        self.files: set[str] = set()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self, doing: str) -> None:
        """Something else is done from now on."""
        self._doing = doing

    @property
    def most(self) -> tuple[str, float]:
        """During what memory grew most, and by how many MB at a time."""
        return max(self._grown.items(), key=lambda each: each[1])

    def _work(self) -> None:
        doing, base = "", self.base
        while not self._over.wait(0.02):
            self.files |= self._open() - self._before
            resident = processes.resident(self._pid)
            self.peak = max(self.peak, resident)
            if self._doing != doing:
                doing, base = self._doing, resident
            self._grown[doing] = max(self._grown.get(doing, 0.0), resident - base)

    def _open(self) -> set[str]:
        found = set()
        for each in Path(f"/proc/{self._pid}/fd").iterdir():
            with suppress(OSError):
                target = str(each.readlink())
                if target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/sys/")):
                    found.add(target)
        return found


@contextmanager
def strace(pid: int) -> Iterator[Path | None]:
    """Record which files a process opens, where there is strace."""
    program = shutil.which("strace")
    if program is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="socialrelay-trace-") as file:
        command = [program, "-f", "-qq", "-e", "trace=openat,open,creat,memfd_create", "-o", file.name, "-p", str(pid)]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            surely(lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text(), "strace watches the relay", 10.0)
            yield Path(file.name)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def made(trace: Path | None) -> set[str]:
    """The calls by which a file was made."""
    if trace is None or not trace.exists():
        return set()
    return {line for line in trace.read_text().splitlines() if re.search(r"O_CREAT|O_TMPFILE|memfd_create|creat\(", line)}

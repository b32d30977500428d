"""What processes cost, from C{/proc}; and which processor they run on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(stat: str, with_ended_children: bool = False) -> float:
    """
    User and system time of a process, all its threads together.

    @param stat: the text of C{/proc/PID/stat} (proc_pid_stat(5)); the program's name in it may hold anything.
    """
    fields = stat.rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11 : 15 if with_ended_children else 13]) * TICK


def megabytes(status: str, name: str) -> float:
    """
    A size of memory from the text of C{/proc/PID/status}.

    @param name: C{VmRSS}: what is resident now, C{VmHWM}: the most that ever was.
    """
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024 / 1e6


def cpu(pid: int) -> float:
    """CPU seconds of one process."""
    return cpu_seconds(Path(f"/proc/{pid}/stat").read_text())


def family_cpu(pid: int) -> float:
    """CPU seconds of a server and of all its processes, those that ended included."""
    total = 0.0
    for each in family(pid):
        with suppress(OSError):
            total += cpu_seconds(Path(f"/proc/{each}/stat").read_text(), with_ended_children=True)
    return total


def peak(pid: int) -> float:
    """Peak memory of one process, MB."""
    return megabytes(Path(f"/proc/{pid}/status").read_text(), "VmHWM")


def resident(pid: int) -> float:
    """Memory of one process now, MB."""
    return megabytes(Path(f"/proc/{pid}/status").read_text(), "VmRSS")


def descriptors(pid: int) -> int:
    """How many files, sockets and pipes a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def connections(pid: int) -> int:
    """How many established TCP connections over IPv4 a process has."""
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.add(each.readlink().name)
    return sum(f"socket:[{inode}]" in sockets for inode in established(Path(f"/proc/{pid}/net/tcp").read_text()))


def established(table: str) -> list[str]:
    """
    The sockets of connections that stand.

    @param table: the text of C{/proc/net/tcp} (proc_net_tcp in Linux's documentation).
    @return: their inodes.
    """
    lines = (line.split() for line in table.splitlines()[1:])
    return [fields[9] for fields in lines if fields[3] == "01"]


def family(pid: int) -> list[int]:
    """A process, its children and theirs."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cores() -> tuple[set[int], set[int]]:
    """The processor for what is measured, and those for everything else; the same where there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def pin(pids: Iterable[int], processors: set[int]) -> None:
    """Keep processes, with all their threads, and what they will start, on these processors."""
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), processors)

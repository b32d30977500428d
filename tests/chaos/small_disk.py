"""
A disk that can be filled and freed.

It is a file system of its own in memory where one may be mounted, which wants C{CAP_SYS_ADMIN}.  Where not, it is a folder, and "full" means
that the processes whose disk it is may not make any file longer (C{RLIMIT_FSIZE}): for them it is the same, but that the error has another
name, and that a process that is started meanwhile has room; so one that a proof itself has to start is started afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import family

MEGABYTES = 192
_BLOCK = bytes(1024 * 1024)
_SHORT = 4096
"""Bytes of a file, when there is no room: less than any page of the database."""


class SmallDisk:
    """
    @ivar folder: what is on it.
    @ivar how: what it is, for a finding's remark; empty for a file system of its own.
    @ivar full: whether it is.
    """

    def __init__(self, folder: Path, how: str = "", longest: int = _SHORT) -> None:
        """@param longest: bytes of a file when it is full, if it is no file system of its own."""
        self.folder = folder
        self.how = how
        self.full = False
        self._longest = longest

    def fill(self, processes: Iterable[int]) -> None:
        """
        Leave no room.

        @param processes: whose disk it is; with their children.
        """
        self.full = True
        if self.how:
            _limit(processes, f"{self._longest}:")
            return
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            for size in (len(_BLOCK), 4096, 1):
                with suppress(OSError):
                    while filler.write(_BLOCK[:size]) == size:
                        pass

    def top_up(self) -> None:
        """Take what has been given back since it was filled."""
        if not self.how:
            self.fill(())

    def free(self, processes: Iterable[int]) -> None:
        """There is room again."""
        self.full = False
        if self.how:
            _limit(processes, "unlimited:")
        else:
            (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """One that is empty, open to other users, for as long as it is needed."""
    folder = Path(tempfile.mkdtemp(prefix="socialrelay-disk-", dir="/tmp"))
    folder.chmod(0o711)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=0711", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield SmallDisk(folder, "" if mounted else "no file system may be mounted here: full means that no file may grow (RLIMIT_FSIZE)")
    finally:
        if mounted:
            # Lazily: a process that was killed may take a moment to end.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _limit(processes: Iterable[int], size: str) -> None:
    """Set the soft limit. A process's limits may be set by its own user, without any capability."""
    for each in (member for process in processes for member in family(process)):
        with suppress(OSError):
            owner = os.stat(f"/proc/{each}")
            user = (
                ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"] if os.geteuid() != owner.st_uid else []
            )
            subprocess.run([*user, "prlimit", f"--pid={each}", f"--fsize={size}"], check=False, capture_output=True)

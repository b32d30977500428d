"""The programs that read what is in C{etc/}, and how they are run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import TestCase

ROOT = Path(__file__).parent.parent.parent
ETC = ROOT / "etc"
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATH = f"{os.environ.get('PATH', '')}:{SYSTEM}"

PROGRAMS: Mapping[str, str] = {
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nginx": "nginx",
    "apache2": "apache2",
    "caddy": "caddy",
    "logrotate": "logrotate",
    "promtool": "prometheus",
    "shellcheck": "shellcheck",
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "curl": "curl",
    "git": "git",
}
"""By program, the package of Debian and Ubuntu."""

PACKAGES = sorted(PROGRAMS.values())
# A server that is only to read a configuration must not be started when it is installed.
HOW = f"RUNLEVEL=1 apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"


def found(program: str) -> str:
    """
    Where a program is.

    @raise LookupError: it is not there.
    """
    path = shutil.which(program, path=PATH)
    if path is None:
        raise LookupError(f"{program} is missing")
    return path


def missing() -> list[str]:
    """Programs that are not there, and root."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    return absent + ([] if os.geteuid() == 0 else ["root's rights"])


def run(
    *command: str | Path, check: bool = True, environ: Mapping[str, str] | None = None, within: float = 300, **options: object
) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end; what it prints, errors included, is C{stdout}.

    @param within: seconds.
    @raise AssertionError: it failed, and C{check} is set.
    """
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", **(environ or {})}
    words = [found(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(  # type: ignore[call-overload]
        words, env=environment, timeout=within, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done  # type: ignore[no-any-return]


def folder(case: TestCase) -> Path:
    """A folder for a test, short and open to other users."""
    path = Path(tempfile.mkdtemp(prefix="relay-deploy-", dir="/tmp"))
    path.chmod(0o755)
    case.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


def eventually(ask: Callable[[], bool], what: str, within: float = 60.0) -> None:
    """
    Wait until something is so.

    @raise AssertionError: it is not, in time.
    """
    end = time.monotonic() + within
    while not ask():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {within:g} s")
        time.sleep(0.05)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """
    A text with other paths and ports.

    @raise AssertionError: something that is to be replaced is not there.
    """
    for old, new in replacements.items():
        if old not in text:
            raise AssertionError(f"{old!r} is not there any more")
        text = text.replace(old, new)
    return text

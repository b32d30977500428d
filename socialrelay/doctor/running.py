"""Checks of the daemon: whether it runs, is ready, and may open enough files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialrelay import __version__
from socialrelay.cli.client import CallFailed, Daemon
from socialrelay.config import Config
from socialrelay.doctor.findings import Finding, failure, ok, warning
from socialrelay.running.limits import descriptors_wanted

SECONDS = 4.0


def daemon(config: Config, socket: Path) -> Iterator[Finding]:
    """What the running daemon says of itself."""
    name = "daemon"
    try:
        status = Daemon(socket, SECONDS).view("status")
    except CallFailed as error:
        if error.code == "no-daemon":
            yield warning(name, f"No relay is running: nobody listens at {socket}.", "Start it; without it not everything can be checked.")
        else:
            yield failure(name, str(error).partition("\n")[0], "Do this as root, or as the user whom the relay runs as; look at its log.")
        return
    yield from _status(status)
    if config.federation.enabled:
        yield from _files(config, int(status["pid"]))


def _status(status: dict[str, Any]) -> Iterator[Finding]:
    name = "daemon"
    unwell = [each for each in status["conditions"] if not each["well"]]
    if not unwell:
        yield ok(name, f"It runs (process {status['pid']}) and is ready.")
    for each in unwell:
        say = failure if each["essential"] else warning
        yield say(name, f"{each['name']} is not well: {each['detail']}.", "`socialrelay status` and the log say more.")
    if status["version"] != __version__:
        yield warning(name, f"Version {status['version']} runs, and {__version__} is installed.", "Restart it.")


def _files(config: Config, pid: int) -> Iterator[Finding]:
    name = "open files"
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return
    found = re.search(r"^Max open files +(\d+|unlimited) +(\d+|unlimited)", limits, re.MULTILINE)
    if found is None or found[2] == "unlimited":
        return
    most = int(found[2])
    wanted = descriptors_wanted(config)
    if most < wanted:
        yield warning(
            name,
            f"The daemon may open {most} files, and its configuration can use {wanted}: fewer deliveries go out at a time.",
            f"Set LimitNOFILE={wanted} in its unit (ulimit -n elsewhere), or lower delivery.in_flight or delivery.kept_connections.",
        )
    else:
        yield ok(name, f"The daemon may open {most} files; its configuration can use {wanted}.")

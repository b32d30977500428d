"""Checks of the message bus: whether its addresses can be had, or reached, and by whom."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from socialrelay.bus.addresses import is_loopback
from socialrelay.bus.finding import reachable
from socialrelay.cli.client import CallFailed, Daemon
from socialrelay.config import Bus, Config
from socialrelay.doctor.findings import Finding, failure, ok, warning

NAME = "message bus"
SECONDS = 2.0
_KEYS = ("relay_inbound", "relay_outbound", "relay_ingest")
_ANYWHERE = "0.0.0.0"  # noqa: S104 - looked for, to warn of it


def bus(config: Config, control: Path) -> Iterator[Finding]:
    """
    What the configuration has the bus listen at; nothing at all if it is off.

    @param control: the daemon's control socket.
    """
    if not config.bus.enabled:
        return
    try:
        answer = Daemon(control, SECONDS).view("bus")
    except CallFailed as error:
        runs = error.code != "no-daemon"
        if runs and error.code not in ("refused", "no-permission"):
            return  # the daemon's own check says what is amiss
        if error.code == "refused":
            yield warning(NAME, "The daemon that runs has no bus, and its configuration wants one.", "Restart it.")
            return
        look = _reached if runs else _free
    else:
        look = _reached
        if any(answer[key.removeprefix("relay_")] != list(getattr(config.bus, key)) for key in _KEYS):
            yield warning(NAME, "The daemon listens at other addresses than its configuration says now.", "Restart it.")
            return
    yield from _each(config.bus, look)
    yield from _exposed(config.bus)


def _each(bus: Bus, look: Callable[[str], tuple[str, str] | None]) -> Iterator[Finding]:
    troubles = [(key, address, trouble) for key in _KEYS for address in getattr(bus, key) if (trouble := look(address))]
    for key, address, (text, advice) in troubles:
        yield failure(NAME, f"bus.{key}: {address} {text}.", advice)
    if not troubles:
        can = "can be connected to" if look is _reached else "are free"
        yield ok(NAME, f"Its addresses {can}: {', '.join(address for key in _KEYS for address in getattr(bus, key))}.")


def _reached(address: str) -> tuple[str, str] | None:
    """What is wrong, and what to do, if nobody can connect there."""
    try:
        family, place = _place(reachable(address))
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(SECONDS)
            probe.connect(place)
    except OSError as error:
        return f"cannot be connected to: {error.strerror or error}", "`socialrelay bus` and the log say more."
    return None


def _free(address: str) -> tuple[str, str] | None:
    """Likewise, if the daemon could not listen there."""
    try:
        family, place = _place(address)
        if family == socket.AF_UNIX:
            return _usable_path(str(place))
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return (
            f"cannot be listened at: {error.strerror or error}",
            "Stop what listens there, such as fedmsg-relay, or name another.",
        )
    return None


def _usable_path(path: str) -> tuple[str, str] | None:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"cannot be listened at: there is no folder {folder}", f"Make {folder}, for the user that runs the relay."
    if not _reached(f"ipc://{path}"):
        return "cannot be listened at: another program does", "Stop it, or name another path."
    return None


def _place(address: str) -> tuple[int, str | tuple[str, int]]:
    """Family and address as L{socket} takes them."""
    scheme, _, rest = address.partition("://")
    if scheme == "ipc":
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    host = _ANYWHERE if host == "*" else host.strip("[]")
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port))


def _exposed(bus: Bus) -> Iterator[Finding]:
    for key, what in (("relay_inbound", "say what they like"), ("relay_outbound", "hear everything")):
        for address in getattr(bus, key):
            if not is_loopback(address):
                yield warning(
                    NAME,
                    f"bus.{key}: others than this machine can connect to {address}, where nobody is asked who they are, and {what}.",
                    "Say 127.0.0.1 there, unless a firewall lets only those in who may.",
                )

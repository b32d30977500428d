"""
Where the bus is, for scripts.

What says it: an address that is given; C{$SOCIALRELAY_INGEST}; the daemon's configuration; a C{fedmsg.d}; the defaults.  An address that is
given replaces that of C{relay_ingest} alone.

Files of a C{fedmsg.d} are Python, and are not run: a hook runs as whoever pushed.  C{config = {…}} and C{config = dict(…)} are read, and
each value that is a literal; all else is passed over.  C{./fedmsg.d} is left out, where stock fedmsg looks, too: a hook's folder can be
written by others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

INGEST_VARIABLE = "SOCIALRELAY_INGEST"
"""In the environment: the address of C{relay_ingest}."""

CONFIGURATION = Path("/etc/socialrelay.toml")
"""Where the daemon's configuration usually is."""

_LARGEST = 1024 * 1024
"""Bytes of a file that are read."""

_ANYWHERE = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - read, not bound


@frozen
class Place:
    """
    Where the bus is; the defaults are those of L{socialrelay.config.Bus}.

    @ivar found: what said so: files, variables.
    @ivar passed_over: sentences: what would have said so and could not be read.
    """

    relay_ingest: tuple[str, ...] = ("tcp://127.0.0.1:2004",)
    relay_inbound: tuple[str, ...] = ("tcp://127.0.0.1:2003",)
    relay_outbound: tuple[str, ...] = ("tcp://127.0.0.1:4001",)
    topic_prefix: str = "com.example"
    environment: str = "dev"
    found: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def find(
    address: str = "",
    config: Path | None = None,
    fedmsg: Path | None = None,
    environ: Mapping[str, str] | None = None,
    usual: Path = CONFIGURATION,
) -> Place:
    """
    Find the bus.

    @param address: of C{relay_ingest}, if somebody says it.
    @param config: the daemon's configuration; C{None}: that of C{$SOCIALRELAY_CONFIG}, else C{usual} if it is there.
    @param fedmsg: a file or folder of fedmsg's configuration, instead of those in the usual places and of the daemon's configuration.
    @param environ: C{None} for the process's own.
    """
    environ = os.environ if environ is None else environ
    place, said = _of_daemon(config, environ, usual) if fedmsg is None else (Place(), False)
    if not said:
        place = _of_fedmsg(place, [fedmsg] if fedmsg is not None else list(_folders(environ)))
    if address:
        return evolve(place, relay_ingest=(address,))
    if named := environ.get(INGEST_VARIABLE):
        return evolve(place, relay_ingest=(named,), found=(*place.found, f"${INGEST_VARIABLE}"))
    return place


def reachable(address: str) -> str:
    """Where to connect for what listens there: C{tcp://*:4001} is everywhere, so it is here, too."""
    scheme, separator, rest = address.partition("://")
    host, colon, port = rest.rpartition(":")
    return f"{scheme}{separator}{_ANYWHERE.get(host, host)}{colon}{port}" if scheme == "tcp" else address


def _of_daemon(config: Path | None, environ: Mapping[str, str], usual: Path) -> tuple[Place, bool]:
    """What the daemon's configuration says, and whether it says anything."""
    file = config or (Path(named) if (named := environ.get("SOCIALRELAY_CONFIG")) else None)
    variables = any(name.startswith("SOCIALRELAY_BUS__") for name in environ)
    if file is None and usual.exists():
        file = usual
    if file is None and not variables:
        return Place(), False
    # The schema is large, and who has a fedmsg.d does without.
    from socialrelay.loading import ConfigError, load

    try:
        bus = load(file, environ=environ).bus
    except (ConfigError, RuntimeError) as error:  # RuntimeError: this user has no home
        return Place(passed_over=(str(error),)), False
    place = Place(
        bus.relay_ingest,
        bus.relay_inbound,
        bus.relay_outbound,
        bus.topic_prefix,
        bus.environment,
        (str(file) if file is not None else "$SOCIALRELAY_BUS__…",),
    )
    return place, True


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path("/etc/fedmsg.d")
    if home := environ.get("HOME"):
        yield Path(home) / ".fedmsg.d"
    if environment := environ.get("VIRTUAL_ENV"):
        yield Path(environment) / "etc" / "fedmsg.d"


def _of_fedmsg(place: Place, paths: list[Path]) -> Place:
    """What fedmsg's configuration adds; of two files that say the same, the later one is right."""
    for path in paths:
        try:
            files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        except OSError:
            files = [path]
        for file in files:
            place = _of_file(place, file)
    return place


def _of_file(place: Place, file: Path) -> Place:
    try:
        values = read_fedmsg(file)
    except FileNotFoundError:
        return place
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        return evolve(place, passed_over=(*place.passed_over, f"{file}: {reason}"))
    known: dict[str, Any] = {name: value for name, value in values.items() if value}
    return evolve(place, **known, found=(*place.found, str(file))) if known else place


def read_fedmsg(file: Path) -> dict[str, str | tuple[str, ...]]:
    """
    What one file of fedmsg's configuration says of the bus: some of the names of L{Place}.

    @raise OSError: it cannot be read.
    @raise ValueError: it is no Python, or too large.
    """
    import ast

    with open(file, "rb") as opened:
        text = opened.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError("is too large")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("is no Python that can be read") from None
    values: dict[str, str | tuple[str, ...]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(isinstance(each, ast.Name) and each.id == "config" for each in statement.targets):
            values.update(_read(dict(_items(statement.value))))
    return values


def _read(entries: Mapping[str, object]) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    for name in ("topic_prefix", "environment"):
        if isinstance(text := _literal(entries.get(name)), str):
            found[name] = text
    endpoints = dict(_items(entries.get("endpoints")))
    for name, node in (
        ("relay_inbound", entries.get("relay_inbound")),
        ("relay_ingest", entries.get("relay_ingest")),
        ("relay_outbound", endpoints.get("relay_outbound")),
    ):
        value = _literal(node)
        addresses = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
        if addresses and all(isinstance(each, str) for each in addresses):
            found[name] = tuple(addresses)
    return found


def _items(node: object) -> Iterator[tuple[str, object]]:
    """Of C{{"name": …}} and C{dict(name=…)}: the names that are literals, and what stands there."""
    import ast

    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(name := _literal(key), str):
                yield name, value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield keyword.arg, keyword.value


def _literal(node: object) -> object:
    """The value of a literal; C{None} of anything else."""
    import ast

    if not isinstance(node, ast.AST):
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None

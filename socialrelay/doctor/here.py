"""Checks of what is on this machine: configuration, secrets, state directory, disk."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialrelay.config import Config
from socialrelay.doctor.findings import Finding, failure, ok, warning
from socialrelay.identity import IdentityError, check_key_file, key_path

MIB = 1024 * 1024
_LEAST_DISK = 256 * MIB


def configuration(config: Config, file: Path | None) -> Iterator[Finding]:
    """What can be read, and is not what a relay should be run with."""
    name = "configuration"
    said = f"It was read from {file}." if file else "No file is named: it is made of the defaults and the environment."
    yield ok(name, said)
    if not config.federation.enabled:
        return
    if not config.production:
        yield warning(name, "There is no host: this is a relay for trying out.", "Set host to the relay's public name.")
        return
    if not (config.operator.source and config.operator.contact):
        yield warning(
            name,
            "Nobody who uses the relay can find its source code, which its licence (AGPL, section 13) entitles them to, or you.",
            "Set operator.source and operator.contact.",
        )
    if not config.receive.trusted_proxies and all(_local_tcp(each) for each in config.listen):
        yield warning(
            name,
            "It listens on this machine alone, so there is a proxy, and no proxy is trusted: all clients are counted as one.",
            'Set receive.trusted_proxies, such as ["127.0.0.1"], and have the proxy send X-Forwarded-For.',
        )
    for option in ("connect_to", "ca_file", "allow_addresses", "author_keys"):
        if getattr(config.network, option):
            yield warning(name, f"network.{option} is set, which is for tests alone.", "Remove it from a public relay.")


def _local_tcp(description: str) -> bool:
    return description.startswith("tcp:") and "interface=127." in description


def secrets(config: Config, file: Path | None) -> Iterator[Finding]:
    """Whether others can read what must be secret."""
    name = "secrets"
    if config.federation.enabled:
        yield from _key(config)
    if file is None or not file.is_file():
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o002:
        yield failure(name, f"Everybody may change {file} (mode {mode:04o}).", f"chmod o-w {file}")
    if mode & 0o004 and (held := _secrets_in(file)):
        yield warning(name, f"Everybody may read {file} (mode {mode:04o}), and it holds {', '.join(held)}.", f"chmod o-r {file}")


def _key(config: Config) -> Iterator[Finding]:
    name, path = "secrets", key_path(config)
    try:
        check_key_file(path)
    except IdentityError as error:
        yield failure(name, f"{error}.", "")
    else:
        if path.exists():
            yield ok(name, f"The private key {path} is for its owner alone.")
        elif config.production:
            yield ok(name, f"There is no private key {path} yet, or it may not be seen from here; a relay's first start makes it.")


def _secrets_in(file: Path) -> list[str]:
    try:
        said: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    held = []
    if said.get("admin", {}).get("password"):
        held.append("admin.password")
    if said.get("bus", {}).get("tokens"):
        held.append("bus.tokens")
    dsn = str(said.get("postgres", {}).get("dsn", ""))
    if "password" in dsn or _has_login(dsn):
        held.append("the password in postgres.dsn")
    if "password" in (url := str(said.get("redis", {}).get("url", ""))) or _has_login(url):
        held.append("the password in redis.url")
    return held


def _has_login(url: str) -> bool:
    """C{scheme://user:password@…}."""
    return ":" in url.partition("//")[2].rpartition("@")[0]


def state_directory(config: Config) -> Iterator[Finding]:
    """Whether the relay's folder is its own."""
    name, path = "state directory", config.state_dir
    try:
        found = path.stat()
    except FileNotFoundError:
        yield warning(name, f"{path} is not there.", "The first start makes it. If the relay has run already, name the right one.")
        return
    except OSError as error:
        yield failure(name, f"{path} cannot be looked at: {error.strerror}.", "Do this as root, or as the user whom the relay runs as.")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield failure(name, f"{path} is no folder.", "Move it away, or name another with --state-dir.")
        return
    owner = _user(found.st_uid)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        yield failure(name, f"Others than {owner} may write to {path} (mode {mode:04o}).", f"chmod go-w {path}")
    elif os.geteuid() not in (0, found.st_uid):
        yield ok(name, f"{path} is {owner}'s; what is in it could not be looked at.")
    else:
        yield ok(name, f"{path} is {owner}'s, mode {mode:04o}.")
    yield from _disk(config, path)


def _disk(config: Config, path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path).free
    said = f"{free // MIB} MiB are free on the disk of {path}."
    if free < _LEAST_DISK:
        yield failure("disk", said, "Make room: without it no post can be kept.")
    elif free < config.retention.bodies_max_bytes and not config.postgres.dsn:
        wanted = config.retention.bodies_max_bytes // MIB
        yield warning("disk", said, f"Posts that wait may take {wanted} MiB: make room, or set retention.bodies_max_bytes lower.")
    else:
        yield ok("disk", said)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"

"""All checks of a relay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from socialrelay.cli.client import CallFailed, Daemon
from socialrelay.config import Config
from socialrelay.diaspora.keys import pem_of
from socialrelay.doctor import here, outside, running, stores
from socialrelay.doctor.bus import bus
from socialrelay.doctor.findings import Check, Finding, examine, failure
from socialrelay.doctor.outside import Known
from socialrelay.doctor.wire import Wire
from socialrelay.identity import IdentityError, key_path, read_key
from socialrelay.network.trust import NoTrustRoot

SECONDS = 5.0
"""For each check."""
_GUID_SECONDS = 2.0


def examine_relay(config: Config, file: Path | None, socket: Path, seconds: float = SECONDS) -> list[Finding]:
    """
    Make all checks. Blocks for a little longer than C{seconds} at most. The daemon may run or not.

    @param file: that the configuration was read from.
    @param socket: the daemon's control socket.
    """
    checks = [
        Check("configuration", lambda: here.configuration(config, file)),
        Check("secrets", lambda: here.secrets(config, file)),
        Check("state directory", lambda: here.state_directory(config)),
        Check("database", lambda: stores.database(config)),
        Check("redis", lambda: stores.cache(config)),
        Check("daemon", lambda: running.daemon(config, socket)),
        Check("message bus", lambda: bus(config, socket)),
    ]
    if not config.federation.enabled:
        return examine([check for check in checks if check.name != "redis"], seconds)
    try:
        wire = Wire(config)
    except NoTrustRoot as error:
        no_wire = failure("trust", f"{error}.", "Install the package ca-certificates.")
        return [*examine(checks, seconds), no_wire]
    except OSError as error:
        no_wire = failure("trust", f"{config.network.ca_file} cannot be read: {error.strerror}.", "Correct network.ca_file.")
        return [*examine(checks, seconds), no_wire]
    known = who_it_is(config, socket)
    public: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("name", lambda: outside.name(config, wire)),
        ("certificate", lambda: outside.certificate(config, wire)),
        ("front page", lambda: outside.front_page(config, wire)),
        ("identity", lambda: outside.identity(config, wire, known)),
        ("nodeinfo", lambda: outside.nodeinfo(config, wire)),
        ("receiving", lambda: outside.receiving(config, wire)),
        ("operators' site", lambda: outside.private(config, wire)),
        ("outgoing https", lambda: outside.outgoing(config, wire)),
    ]
    return _once(examine([*checks, *(Check(name, run) for name, run in public)], seconds))


def _once(findings: list[Finding]) -> list[Finding]:
    """If nobody answers at the relay's name, that is said once."""
    if not any(found.unreached and found.check == "front page" for found in findings):
        return findings
    return [found for found in findings if not found.unreached or found.check == "front page"]


def who_it_is(config: Config, socket: Path) -> Known:
    """By the running daemon and the key file, as far as they can be asked."""
    guid = key_pem = ""
    try:
        guid = str(Daemon(socket, _GUID_SECONDS).view("identity")["guid"])
    except (CallFailed, KeyError):
        pass  # what there is to say of the daemon its own check says
    try:
        key = read_key(key_path(config))
        key_pem = pem_of(key.public_key()) if key is not None else ""
    except IdentityError:
        pass  # likewise, that of the secrets
    return Known(guid, key_pem)

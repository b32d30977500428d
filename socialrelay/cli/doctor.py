"""C{socialrelay doctor}."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import click

from socialrelay.cli.client import find_socket
from socialrelay.cli.context import Command, answered, as_text, print_whole
from socialrelay.cli.output import paragraphs, prose, table
from socialrelay.doctor.examination import examine_relay
from socialrelay.doctor.findings import Finding, Level, worst
from socialrelay.loading import FILE_VARIABLE, ConfigError, load
from socialrelay.words import counted

_SHOWN = {Level.OK: "ok", Level.WARNING: "WARNING", Level.FAILURE: "FAILURE"}


@click.command()
@answered
def doctor(command: Command, as_json: bool) -> None:
    """
    Look at all that the relay depends on, and say what to do.

    Configuration, secrets, state directory, disk, database, Redis, open files, the daemon, the message bus; and as others see it: DNS,
    certificate, pages, whether posts come through, that the operators' site does not; outgoing https, and the clock. It takes some
    seconds, changes nothing, and works whether the daemon runs or not.

    Exit codes: 0 all is well, 1 there are warnings, 2 there are failures.
    """
    findings = _findings(command)
    level = worst(findings)
    print_whole(as_text(_plain(findings, level)) if as_json else _text(findings))
    sys.exit(level.value)


def _findings(command: Command) -> list[Finding]:
    said = {"state_dir": None if command.state_dir is None else str(command.state_dir)}
    file = command.config or (Path(named) if (named := os.environ.get(FILE_VARIABLE)) else None)
    try:
        config = load(command.config, said)
    except ConfigError as error:
        return [Finding("configuration", Level.FAILURE, f"{error}.", "Correct it; nothing else can be checked before.")]
    return examine_relay(config, file, find_socket(command.socket, command.config, command.state_dir))


def _plain(findings: list[Finding], level: Level) -> dict[str, object]:
    checks = [
        {"check": each.check, "level": each.level.name.lower(), "text": each.text, "advice": each.advice or None} for each in findings
    ]
    return {"level": level.name.lower(), "checks": checks}


def _text(findings: list[Finding]) -> str:
    rows = [(each.check, _SHOWN[each.level], f"{each.text} {each.advice}".strip()) for each in findings]
    many = Counter(each.level for each in findings)
    bad = [counted(many[level], word) for level, word in ((Level.FAILURE, "failure"), (Level.WARNING, "warning")) if many[level]]
    return paragraphs(
        table([".check", ".is", "what is so, and what to do"], rows), prose(f"{', '.join(bad).capitalize()}." if bad else "All is well.")
    )

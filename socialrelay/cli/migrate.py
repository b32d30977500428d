"""C{socialrelay migrate}."""

from __future__ import annotations

import sys

import click

from socialrelay.cli.context import FAILED, Command, answered, as_text, print_whole
from socialrelay.cli.offline import refusals
from socialrelay.running.offline import beside, held
from socialrelay.storage.migrate import Schema, apply, inspect, known_migrations


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; the exit code is 1 if there is something to apply.")
@answered
def migrate(command: Command, as_json: bool, check: bool) -> None:
    """
    Bring the database to this version's schema, without starting the daemon.

    The daemon does the same at each start, and must not run meanwhile (with --check it may). A database of a newer version is refused.
    """
    config = command.configuration(as_json)
    migrations = known_migrations()
    with refusals(as_json):
        if check:
            with beside(config) as dsn:
                found = inspect(dsn, migrations)
        else:
            with held(config, make=False) as dsn:
                found = inspect(dsn, migrations)
                apply(dsn, migrations)
    missing = [migration.label for migration in found.missing]
    newest = migrations[-1].version
    answer = {"schema": found.present if check else newest, "known": newest, "missing" if check else "applied": missing}
    print_whole(as_text(answer) if as_json else _told(found, newest, check))
    if check and missing:
        sys.exit(FAILED)


def _told(found: Schema, newest: int, check: bool) -> str:
    if not found.missing:
        return f"The database has schema {newest}, which is this version's."
    has = f"has schema {found.present}" if found.present else "has no tables of the relay"
    names = ", ".join(migration.label for migration in found.missing)
    if check:
        return f"The database {has}, and this version's is {newest}. To be applied: {names}."
    return f"The database {has.replace('has', 'had', 1)} and has schema {newest} now. Applied: {names}."

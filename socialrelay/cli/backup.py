"""C{socialrelay export} and C{socialrelay restore}."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from socialrelay.backup.exporting import Export
from socialrelay.backup.exporting import export as write_export
from socialrelay.backup.manifest import Manifest
from socialrelay.backup.reading import Opened, opened
from socialrelay.backup.restoring import Restored, check_target
from socialrelay.backup.restoring import restore as put_back
from socialrelay.cli.context import Command, answered, as_text, print_whole, say
from socialrelay.cli.offline import progress, refusals
from socialrelay.cli.output import paragraphs, prose, size
from socialrelay.identity import key_path
from socialrelay.running.offline import beside, held
from socialrelay.storage.migrate import known_migrations
from socialrelay.words import counted

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))

KEEP_SAFE = (
    "{path} HOLDS THE RELAY'S PRIVATE KEY. Who has it can speak as {handle}. Keep it as you keep the key itself, and encrypt copies."
)


@click.command()
@_file
@click.option(
    "--without-bodies", is_flag=True, help="Leave out what waits, and what was said on the bus; after a restore it counts as expired."
)
@click.option("--overwrite", is_flag=True, help="In place of a file that is there.")
@answered
def export(command: Command, as_json: bool, file: Path, without_bodies: bool, overwrite: bool) -> None:
    """
    Write everything that the relay keeps into one file.

    It is for backups, and for moving to another PostgreSQL: the database, as it is at one moment, and the private key. The daemon may run.
    The file is a zip archive, for nobody to read but its owner. The configuration is not in it.
    """
    config = command.configuration(as_json)
    now = datetime.now(UTC)
    with refusals(as_json), beside(config) as dsn, progress("export") as tell:
        made = write_export(dsn, key_path(config), file, now=now, bodies=not without_bodies, overwrite=overwrite, tell=tell)
    print_whole(as_text(_as_plain(made)) if as_json else _made(made))
    if made.manifest.identity is not None:
        say(KEEP_SAFE.format(path=file, handle=made.manifest.identity.handle))


@click.command()
@_file
@click.option("--force", is_flag=True, help="Throw away what the database holds. Another relay's identity is never replaced.")
@answered
def restore(command: Command, as_json: bool, file: Path, force: bool) -> None:
    """
    Put an export into an empty database.

    The configuration says which: the embedded PostgreSQL in the state directory, or postgres.dsn. The daemon must not run. The whole file
    is checked first, and restored entirely or not at all. Do it as the user whom the daemon runs as.
    """
    config = command.configuration(as_json)
    migrations = known_migrations()
    with refusals(as_json), progress("restore") as tell, opened(file, migrations, lambda part: tell("checking", part)) as found:
        hint = check_target(found, config.host, config.identity.username)
        with held(config) as dsn:
            done = put_back(found, dsn, key_path(config), migrations, force=force, tell=tell)
        print_whole(as_text(_restored_plain(found, done)) if as_json else _restored(found, done, hint, key_path(config)))
        if found.open_to_others and found.key is not None:
            say(f"{file} can be read by others on this machine, and the private key is in it: chmod 600 {file}")


def _as_plain(made: Export) -> dict[str, object]:
    return {"file": str(made.path), "bytes": made.size, **_plain(made.manifest)}


def _plain(manifest: Manifest) -> dict[str, object]:
    return {
        "made_by": manifest.made_by,
        "made_at": manifest.made_at,
        "schema": manifest.schema,
        "identity": None if manifest.identity is None else manifest.identity.handle,
        "bodies": manifest.bodies,
        "rows": {table.name: table.rows for table in manifest.tables},
    }


def _made(made: Export) -> str:
    rows = {table.name: table.rows for table in made.manifest.tables}
    whose = f"of {made.manifest.identity.handle}" if made.manifest.identity else "of a relay that was never bound to a name"
    return prose(
        f"{made.path} is an export {whose}: {counted(sum(rows.values()), 'row')}, among them {counted(rows['post'], 'post')}, "
        f"{counted(rows['node'], 'node')}, {counted(rows['profile'], 'key')} of authors; {size(made.size)}."
    )


def _restored_plain(found: Opened, done: Restored) -> dict[str, object]:
    return {**_plain(found.manifest), "restored": done.rows, "upgraded": done.upgraded, "key_written": done.key_written}


def _restored(found: Opened, done: Restored, hint: str, key: Path) -> str:
    manifest = found.manifest
    of = (
        f"{manifest.identity.handle}, as it was at {manifest.made_at}" if manifest.identity else f"a relay, as it was at {manifest.made_at}"
    )
    key_told = f"Its private key is in {key}. " if done.key_written else ""
    upgraded = f"{counted(done.upgraded, 'migration')} brought it to this version's schema. " if done.upgraded else ""
    return paragraphs(
        prose(f"Restored: {of}, {counted(done.rows, 'row')}. {key_told}{upgraded}"),
        prose(
            "Every node goes on from where it was then: what it got since it may get once more, and drops it as known. Posts that the "
            "relay took since then are not in the export."
        ),
        prose(hint),
        prose("See to it that the old relay never runs again: there must be one of each name."),
    )

"""C{socialrelay import}."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from attrs import asdict

from socialrelay.cli.context import Command, answered, as_text, print_whole, say
from socialrelay.cli.offline import progress, refusals
from socialrelay.cli.output import details, paragraphs, prose
from socialrelay.running.offline import held
from socialrelay.storage.migrate import apply, known_migrations
from socialrelay.takeover.configuration import new_configuration
from socialrelay.takeover.old_config import OldConfig, read_old_config
from socialrelay.takeover.old_redis import OldRedis, read_old_redis
from socialrelay.takeover.story import Old, take_over
from socialrelay.takeover.taking import Taken
from socialrelay.takeover.zones import zone_named, zone_of_host
from socialrelay.words import counted

_folder = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group("import")
def takeover() -> None:
    """Take over from other relay software."""


@takeover.command("social-relay")
@click.option("--local-config", type=click.Path(path_type=Path, dir_okay=False), help="Its local_config.py; it is read, not executed.")
@click.option("--database", metavar="DSN", help="Its PostgreSQL, if local_config.py does not say it; 'off': nothing of it.")
@click.option("--tables", type=_folder, help="A folder of its tables as files, in place of the database (see docs/moving.md).")
@click.option("--redis", metavar="URL", help="Its Redis, likewise; 'off': nothing of it.")
@click.option("--timezone", metavar="ZONE", help="Of its host, such as Europe/Berlin; else this host's.")
@click.option("--leave-queue", is_flag=True, help="Even if posts wait in its queue: they are lost.")
@click.option("--yes", is_flag=True, help="Do it; else all is only tried, and undone.")
@answered
def social_relay(
    command: Command,
    as_json: bool,
    local_config: Path | None,
    database: str | None,
    tables: Path | None,
    redis: str | None,
    timezone: str | None,
    leave_queue: bool,
    yes: bool,
) -> None:
    """
    Take over an old Social-Relay: nodes, what they asked for, authors' keys, counts, and who was forwarded everything.

    The daemon must not run. Without --yes all is tried and undone, and what would be done is shown. Twice gives the same as once.
    """
    if not (local_config or database or tables or redis):
        raise click.UsageError("Say where the old relay is: --local-config, --database or --tables, --redis.")
    if database and tables:
        raise click.UsageError("Say either --database or --tables.")
    config = command.configuration(as_json)
    with refusals(as_json):
        old = _old(local_config, database, tables, redis, timezone)
        with held(config) as dsn, progress("import") as tell:
            apply(dsn, known_migrations())
            taken = take_over(old, dsn, config, now=datetime.now(UTC), commit=yes, leave_queue=leave_queue, tell=tell)
    if as_json:
        print_whole(as_text({"done": yes, **asdict(taken), "waiting": old.redis.waiting, "unread": list(old.config.unread)}))
        return
    print_whole(_told(old, taken, yes))
    if local_config is not None:
        print_whole("\n" + new_configuration(old.config).rstrip())
    if not yes:
        say("\nNothing was changed: say --yes to do it.")


def _old(local_config: Path | None, database: str | None, tables: Path | None, redis: str | None, timezone: str | None) -> Old:
    config = OldConfig({}) if local_config is None else read_old_config(local_config)
    said = database if database is not None else "" if tables is not None else config.database
    url = redis if redis is not None else config.redis
    return Old(
        config=config,
        database="" if said == "off" else said,
        tables=tables,
        redis=OldRedis() if url in ("", "off") else read_old_redis(url),
        zone=zone_named(timezone) if timezone else zone_of_host(),
    )


def _told(old: Old, taken: Taken, done: bool) -> str:
    rows: list[tuple[str, Any]] = [
        ("servers", f"{taken.nodes}, of which {taken.subscribers} ask for posts; each is asked again within the hour"),
        ("histories", f"of deliveries to {counted(taken.destinations, 'server')}"),
        ("keys", f"of {counted(taken.keys, 'author')}, {taken.new_keys} of them new"),
        ("forwarded to", ", ".join(taken.forward_to)),
        *((event, counted(count, "post")) for event, count in taken.counts.items()),
        ("hours", f"{taken.hours} with counts of their own; what is older is in the sums alone" if taken.counts else None),
        ("its clock", f"was in the time zone {old.zone}" if old.database or old.tables else None),
    ]
    left_out = [f"- {count}: {why}" for why, count in sorted(taken.left_out.items()) if count]
    left_out += [f"- {name} in local_config.py is calculated, and was not read" for name in old.config.unread]
    if old.redis.waiting:
        left_out.append(f"- {counted(old.redis.waiting, 'post')} in its queue: let its workers finish first")
    return paragraphs(
        "Taken over:" if done else "This would be taken over:",
        details(rows),
        "Left out:\n" + "\n".join(prose(line) for line in left_out) if left_out else "",
        prose(
            "The relay gets a key and a guid of its own: the old one's public key was everybody's, and nobody has the private one. "
            "Nodes never ask again for a key that they know, so give the relay another user name than it had; authors who had added "
            "the old one as a contact add the new one."
        ),
    )

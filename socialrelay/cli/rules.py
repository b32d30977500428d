"""The commands about rules: who is blocked, limited, allowed or forwarded to, by hand or with lists that others keep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from socialrelay.cli import output as cli_output
from socialrelay.cli import rule_output
from socialrelay.cli.context import FAILED, Command, Showing, answered, end

_MAX_FILE = 4 * 1024 * 1024

_subject = click.argument("subject", metavar="HOST|HANDLE|#TAG")
_reason = click.option("--reason", default="", help="Why, for whoever looks at the rule later.")
_until = click.option("--until", default="", metavar="END", help="When it ends by itself: 12h, 7d, 4w, or 2027-01-31T12:00Z.")
_action = click.Choice(["block", "limit", "allow", "forward"])


def _rule(function: Callable[..., None]) -> click.Command:
    """A command that makes a rule."""
    return click.command()(_subject(_reason(_until(answered(function)))))


def _act(command: Command, as_json: bool, name: str, /, **fields: Any) -> None:
    command.show(as_json, lambda daemon: daemon.act(name, **fields), cli_output.act)


@_rule
def block(command: Command, as_json: bool, **fields: str) -> None:
    """
    Relay nothing from and to a server, nothing of an author, or no post with a tag.

    A server's subdomains are blocked too. What waits to be delivered is cancelled at once. Put a tag into quotes: '#spam'.
    """
    _act(command, as_json, "block", **fields)


@_rule
def limit(command: Command, as_json: bool, **fields: str) -> None:
    """
    Keep, and do not relay, what comes from a server, from an author, or with a tag.

    A server's subdomains are limited too. It is sent posts as before.
    """
    _act(command, as_json, "limit", **fields)


@click.command()
@click.argument("subject", metavar="HOST|HANDLE")
@_reason
@_until
@answered
def allow(command: Command, as_json: bool, **fields: str) -> None:
    """
    Put a server or an author on the allow list, and take it out of others' lists.

    The allow list counts only with policy.allow_list in the configuration.
    """
    _act(command, as_json, "allow", **fields)


@click.command()
@_subject
@answered
def unblock(command: Command, as_json: bool, subject: str) -> None:
    """Undo `block`, `limit` and `allow` for a server, an author or a tag."""
    _act(command, as_json, "unblock", subject=subject)


@click.command()
@click.argument("host")
@click.option("--off", is_flag=True, help="No longer.")
@_reason
@_until
@answered
def forward(command: Command, as_json: bool, **fields: Any) -> None:
    """
    Send a server every post that is relayed.

    It is meant for other relays and archives. A server that publishes that it wants nothing is not forwarded to.
    """
    _act(command, as_json, "forward", **fields)


@click.group(cls=Showing)
def rules() -> None:
    """
    Show and exchange the rules: who is blocked, limited, allowed and forwarded to.

    Without a command, or with anything else that is said, `rules` means `rules show`.
    """


@rules.command()
@click.argument("text", required=False, default="", metavar="[PART OF SUBJECT OR REASON]")
@click.option("--action", type=_action, help="Only these.")
@click.option("--list", default="", metavar="NAME", help="Only those of a list; - for those made by hand.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="How many.")
@click.option("--offset", type=click.IntRange(0, 1_000_000), default=0, metavar="N", help="Leave out the first of them.")
@answered
def show(command: Command, as_json: bool, **fields: Any) -> None:
    """
    Show the rules, the lists, and the subscriptions made by hand.

    Since when, by whom, why, and until when.
    """
    chosen = any(fields[name] for name in ("text", "action", "list", "offset"))
    text = rule_output.chosen_rules if chosen else rule_output.rules
    command.show(as_json, lambda daemon: daemon.view("rules", **fields), text)


@rules.command("import")
@click.argument("name")
@click.argument("source", metavar="FILE|URL|-")
@click.option("--action", type=click.Choice(["block", "limit"]), default="block", show_default=True, help="Of entries that do not say it.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@answered
def import_(command: Command, as_json: bool, name: str, source: str, **fields: Any) -> None:
    """
    Take over a list: Mastodon's CSV of blocked domains, or one host, handle or #tag a line.

    Afterwards the list NAME holds exactly what the document says. `rules remove NAME` takes it away again.
    """
    if source.startswith(("https://", "http://")):
        fields["url"] = source
    else:
        fields |= {"text": _read(as_json, source), "source": "" if source == "-" else Path(source).name}
    command.show(as_json, lambda daemon: daemon.act("rules-import", name=name, **fields), rule_output.imported)


def _read(as_json: bool, source: str) -> str:
    """The list's text; ends the process if it cannot be read."""
    name = "standard input" if source == "-" else source
    try:
        if source == "-":
            body = sys.stdin.buffer.read(_MAX_FILE + 1)
        else:
            with Path(source).open("rb") as file:
                body = file.read(_MAX_FILE + 1)
        text = body.decode("utf-8-sig")
    except OSError as error:
        end(as_json, FAILED, "not-read", f"{name} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        end(as_json, FAILED, "bad-list", f"{name} is no list: it is not UTF-8.")
    if len(body) > _MAX_FILE:
        end(as_json, FAILED, "too-large", f"{name} is too long: a list may have {_MAX_FILE // 1024 // 1024} MiB.")
    if not text.strip():
        end(as_json, FAILED, "bad-list", f"{name} is empty. `socialrelay rules remove` takes a list away.")
    return text


@rules.command()
@click.argument("name")
@answered
def remove(command: Command, as_json: bool, name: str) -> None:
    """Take a list away, with all its rules. What other lists or operators say of the same subjects stays."""
    _act(command, as_json, "rules-remove", name=name)


@rules.command()
@click.option("--list", default="", metavar="NAME", help="Only this list; - for the rules made by hand.")
@click.option("--format", type=click.Choice(["csv", "plain"]), default="csv", show_default=True, help="Mastodon's CSV, or one a line.")
@click.option("--action", type=_action, help="Only these; a plain list has one action, block if none is named.")
@answered
def export(command: Command, as_json: bool, **fields: Any) -> None:
    """Print rules as a list that others can take over. Mastodon's CSV has room for hosts that are blocked or limited."""
    command.show(as_json, lambda daemon: daemon.view("rules-export", **fields), rule_output.exported)


@rules.command()
@click.argument("name", required=False, default="", metavar="[NAME]")
@click.option("--anyway", is_flag=True, help="Take a list over although it has lost more than half of its entries.")
@answered
def fetch(command: Command, as_json: bool, name: str, anyway: bool) -> None:
    """Fetch the lists of the configuration (moderation.lists) now. If one cannot be taken over, the exit code is 1."""
    command.show(
        as_json,
        lambda daemon: daemon.act("rules-fetch", name=name, anyway=anyway),
        cli_output.lists,
        lambda answer: bool(answer["failed"]),
    )

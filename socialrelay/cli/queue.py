"""The commands about what waits, was put aside, or was refused."""

from __future__ import annotations

from typing import Any

import click

from socialrelay.cli import output as cli_output
from socialrelay.cli import queue_output
from socialrelay.cli.context import Command, Showing, answered

_host = click.argument("host")
_id = click.argument("id", type=click.IntRange(min=1))
_limit = click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, metavar="N", help="How many.")


def _act(command: Command, as_json: bool, act: str, **fields: Any) -> None:
    command.show(as_json, lambda daemon: daemon.act(act, **fields), cli_output.act)


@click.command()
@_limit
@answered
def deferred(command: Command, as_json: bool, limit: int) -> None:
    """Show the posts that fail at a server which takes others; each is tried on its own."""
    command.show(as_json, lambda daemon: daemon.view("deferred", limit=limit), queue_output.deferred)


@click.command()
@_host
@_limit
@answered
def bounced(command: Command, as_json: bool, host: str, limit: int) -> None:
    """
    Show the posts that a server refused for themselves.

    The last hundred are kept, for as long as rejections are. A post is named by its place in the log.
    """
    command.show(as_json, lambda daemon: daemon.view("bounced", host=host, limit=limit), queue_output.bounced)


@click.command()
@_host
@click.argument("post", type=click.IntRange(min=1), required=False)
@click.option("--all", "everything", is_flag=True, help="All that `bounced` lists and that can be.")
@answered
def requeue(command: Command, as_json: bool, host: str, post: int | None, everything: bool) -> None:
    """
    Try a post once more that a server refused, or all of them.

    It can be done as long as the post's body is kept and the post was not taken back. POST is its number in `socialrelay bounced HOST`.
    """
    if everything == (post is not None):
        raise click.UsageError("Say which post: its number in `socialrelay bounced HOST`, or --all.")
    fields = {"everything": True} if everything else {"position": post}
    _act(command, as_json, "requeue", host=host, **fields)


@click.command()
@answered
def waiting(command: Command, as_json: bool) -> None:
    """Show what was taken in and waits to be judged: mostly for its author's key."""
    command.show(as_json, lambda daemon: daemon.view("waiting"), queue_output.waiting)


@click.group(cls=Showing)
def quarantine() -> None:
    """
    Show what could not be judged; judge it again, or drop it.

    Without a command `quarantine` means `quarantine show`.
    """


@quarantine.command()
@_limit
@answered
def show(command: Command, as_json: bool, limit: int) -> None:
    """Show the bodies on which the relay broke three times; they are kept for a week."""
    command.show(as_json, lambda daemon: daemon.view("quarantine", limit=limit), queue_output.quarantine)


@quarantine.command()
@_id
@answered
def retry(command: Command, as_json: bool, id: int) -> None:
    """Judge a body again, as if it had just come."""
    _act(command, as_json, "quarantine-retry", id=id)


@quarantine.command()
@_id
@answered
def drop(command: Command, as_json: bool, id: int) -> None:
    """Drop a body."""
    _act(command, as_json, "quarantine-drop", id=id)


@click.command("forget-key")
@click.argument("handle")
@answered
def forget_key(command: Command, as_json: bool, handle: str) -> None:
    """
    Forget an author's key.

    It is looked up anew when the author's next post comes: for a server that was set up anew and does not say so.
    """
    _act(command, as_json, "forget-key", handle=handle)

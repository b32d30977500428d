"""Commands that want to know one thing of the running daemon, or have it do one."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from socialrelay.boundaries.node_table import KINDS, ORDERS
from socialrelay.cli import bus_output, node_output, queue_output, status_output
from socialrelay.cli import output as cli_output
from socialrelay.cli.context import FAILED, Command, answered


def _known_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from socialrelay.cli.completion import known_hosts

    return known_hosts(context, parameter, incomplete)


_host = click.argument("host", shell_complete=_known_hosts)


@click.command()
@answered
def status(command: Command, as_json: bool) -> None:
    """Show how the relay is, and what it did."""
    command.show(as_json, lambda daemon: daemon.view("status"), status_output.status)


@click.command()
@click.argument("text", required=False, default="", metavar="[PART OF HOST]")
@click.option("--which", type=click.Choice(KINDS), default="all", help="Only these; from active on, by the state of deliveries.")
@click.option("--sort", type=click.Choice(ORDERS), default="host", show_default=True, help="By what to sort them.")
@click.option("--descending", is_flag=True, help="The greatest, or latest, first.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="How many.")
@click.option("--offset", type=click.IntRange(0, 1_000_000), default=0, metavar="N", help="Leave out the first of them.")
@answered
def nodes(command: Command, as_json: bool, **fields: Any) -> None:
    """List the servers that the relay has heard of."""
    command.show(as_json, lambda daemon: daemon.view("nodes", **fields), node_output.nodes)


@click.command()
@_host
@answered
def node(command: Command, as_json: bool, host: str) -> None:
    """
    Show all that is known of one server.

    What it publishes, what it gets and why, and how deliveries to it fare.
    """
    command.show(as_json, lambda daemon: daemon.view("node", host=host), queue_output.node)


@click.command()
@click.option("--state", type=click.Choice(["active", "deferred", "dead", "gone", "suspended"]), help="All servers of this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="How many.")
@answered
def queue(command: Command, as_json: bool, state: str | None, limit: int) -> None:
    """
    Show the servers that deliveries do not reach as they should.

    deferred: it failed and is tried again later. dead: it failed for a week and is tried once a week. gone: it said that it has gone.
    suspended: you hold it back. Also those that catch up with what they missed.
    """
    command.show(as_json, lambda daemon: daemon.view("queue", state=state, limit=limit), node_output.queue)


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="How many.")
@answered
def rejected(command: Command, as_json: bool, limit: int) -> None:
    """Show what was not relayed lately, and why."""
    command.show(as_json, lambda daemon: daemon.view("rejected", limit=limit), cli_output.rejected)


@click.command()
@answered
def identity(command: Command, as_json: bool) -> None:
    """Show who the relay is to other servers."""
    command.show(as_json, lambda daemon: daemon.view("identity"), cli_output.identity)


@click.command()
@answered
def bus(command: Command, as_json: bool) -> None:
    """Show how the message bus is: where it listens, what came and went, and what is kept."""
    command.show(as_json, lambda daemon: daemon.view("bus"), bus_output.bus)


@click.command()
@_host
@click.option("--tags", multiple=True, metavar="TAG,TAG", help="Posts with one of these hashtags.")
@click.option("--all", "everything", is_flag=True, help="All public posts.")
@answered
def subscribe(command: Command, as_json: bool, host: str, tags: tuple[str, ...], everything: bool) -> None:
    """
    Subscribe a server by hand, to tags or to all posts.

    It gets what is posted from now on, and an earlier subscription by hand is replaced. A server that publishes that it wants nothing
    cannot be subscribed.
    """
    wanted = [tag for part in tags for tag in part.replace(",", " ").split()]
    if everything == bool(wanted):
        raise click.UsageError("Say either --tags cats,dogs or --all.")
    _act(command, as_json, "subscribe", host=host, tags=wanted, everything=everything)


@click.command()
@_host
@answered
def unsubscribe(command: Command, as_json: bool, host: str) -> None:
    """End a subscription made by hand. What the server publishes about itself stays in force."""
    _act(command, as_json, "unsubscribe", host=host)


@click.command()
@_host
@answered
def poll(command: Command, as_json: bool, host: str) -> None:
    """
    Read a server's preferences now, and act on them.

    Whatever is wrong with them is shown, for its administrator. If they cannot be read, the exit code is 1.
    """
    command.show(as_json, lambda daemon: daemon.act("poll", host=host), cli_output.poll, _unread)


@click.group()
def lists() -> None:
    """The node lists, from which the relay learns of servers."""


@lists.command()
@answered
def fetch(command: Command, as_json: bool) -> None:
    """Fetch all node lists now. If none can be read, the exit code is 1."""
    command.show(as_json, lambda daemon: daemon.act("lists-fetch"), cli_output.lists, _none_read)


def _unread(answer: cli_output.Answer) -> bool:
    return answer["report"]["preferences"] is None


def _none_read(answer: cli_output.Answer) -> bool:
    return bool(answer["lists"]) and len(answer["failed"]) == len(answer["lists"])


@click.command()
@_host
@answered
def wake(command: Command, as_json: bool, host: str) -> None:
    """Try a server that failed again, at once."""
    _act(command, as_json, "wake", host=host)


@click.command()
@_host
@answered
def suspend(command: Command, as_json: bool, host: str) -> None:
    """Hold deliveries to a server back. Its posts wait, as long as posts are kept."""
    _act(command, as_json, "suspend", host=host)


@click.command()
@_host
@answered
def resume(command: Command, as_json: bool, host: str) -> None:
    """Deliver to a suspended server again."""
    _act(command, as_json, "resume", host=host)


@click.command()
@click.argument("handle", required=False, default="", metavar="[HANDLE]")
@click.option("--guid", default="", metavar="GUID", help="The posts with this guid, instead of all of an author.")
@click.option("--host", default="", metavar="HOST", help="All authors of a server and of its subdomains.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@answered
def erase(command: Command, as_json: bool, handle: str, guid: str, host: str, yes: bool) -> None:
    """
    Erase what the relay knows of an author, a post or a server.

    It is meant for requests under data-protection law: the posts with their bodies and names, what waits to be judged, what was refused,
    and the author's key. What was not delivered yet is cancelled. Servers that have a post already are not told.
    """
    if sum(map(bool, (handle, guid, host))) != 1:
        raise click.UsageError("Say exactly one: an author's handle, --guid or --host.")
    if not yes:
        _confirm(handle or (f"the posts with the guid {guid}" if guid else f"all authors of {host}"))
    given = {"handle": handle, "guid": guid, "host": host}
    fields = {name: value for name, value in given.items() if value}
    command.show(as_json, lambda daemon: daemon.act("erase", **fields), cli_output.erased)


def _confirm(what: str) -> None:
    """Whoever is not sure ends the process."""
    if not _at_a_terminal():
        raise click.UsageError("What is erased cannot be brought back, and nobody can be asked here: say --yes if you mean it.")
    if not click.confirm(f"Erase what the relay knows of {cli_output.clean(what)}? It cannot be brought back.", err=True):
        click.echo("Nothing was erased.", err=True)
        sys.exit(FAILED)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _act(command: Command, as_json: bool, name: str, **fields: Any) -> None:
    command.show(as_json, lambda daemon: daemon.act(name, **fields), cli_output.act)

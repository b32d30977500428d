"""
C{socialrelay}, the operators' command.

What is here asks the running daemon.  Commands that do without it have modules of their own, L{LATER}, imported when they are wanted: most
calls of the command want to know one thing of the daemon, at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from socialrelay import __version__
from socialrelay.boundaries.node_table import KINDS, ORDERS
from socialrelay.cli import node_output, queue_output, status_output
from socialrelay.cli import output as cli_output
from socialrelay.cli import queue as cli_queue
from socialrelay.cli import rules as cli_rules
from socialrelay.cli.context import FAILED, Command, answered

LATER: dict[str, str] = {
    "login": "socialrelay.cli.access:login",
    "password": "socialrelay.cli.access:password",
    "migrate": "socialrelay.cli.migrate:migrate",
    "import": "socialrelay.cli.takeover:takeover",
    "export": "socialrelay.cli.backup:export",
    "restore": "socialrelay.cli.backup:restore",
    "doctor": "socialrelay.cli.doctor:doctor",
    "completion": "socialrelay.cli.completion:completion",
}
"""Name of a command -> where it is: C{"doctor": "socialrelay.cli.doctor:doctor"}."""


def _known_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from socialrelay.cli.completion import known_hosts

    return known_hosts(context, parameter, incomplete)


_host = click.argument("host", shell_complete=_known_hosts)
_path = click.Path(path_type=Path)


class InOrder(click.Group):
    """Lists its commands in the order in which an operator needs them, not that of the alphabet; those of L{LATER} last."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they are defined."""
        return [*self.commands, *LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it if need be."""
        if cmd_name not in LATER:
            return super().get_command(ctx, cmd_name)
        module, _, name = LATER[cmd_name].partition(":")
        found: click.Command = getattr(import_module(module), name)
        return found


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", type=_path, help="The daemon's configuration file; else $SOCIALRELAY_CONFIG.")
@click.option("--state-dir", type=_path, help="The daemon's state directory, if the configuration does not say it.")
@click.option("--socket", type=_path, help="The daemon's control socket, instead of looking for it.")
@click.version_option(__version__, message="socialrelay %(version)s")
@click.pass_context
def main(context: click.Context, config: Path | None, state_dir: Path | None, socket: Path | None) -> None:
    """
    Look after a relay of public posts.

    Most commands speak to the running daemon. They find it as the daemon finds its own configuration, or at --socket. Use them as root, as
    the daemon's user, or as a member of the control socket's group. `migrate`, `import` and `restore` want the daemon stopped; `export` and
    `doctor` work either way.

    Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 no daemon is running. Of `doctor`: 0 all is well, 1 warnings, 2 failures.
    """
    context.obj = Command(socket, config, state_dir)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[TWISTD OPTIONS] [socialrelay OPTIONS]")
@click.pass_obj
def run(command: Command, options: tuple[str, ...]) -> None:
    """
    Start the daemon.

    It starts `twistd socialrelay` of this installation, with the options of both, in any order; `--nodaemon` keeps it in the foreground.
    `twistd --help` and `twistd socialrelay --help` explain them.
    """
    from socialrelay.cli.launch import run as launch

    launch([*options, *command.daemon_options()])


@main.command()
@answered
def status(command: Command, as_json: bool) -> None:
    """Show how the relay is, and what it did."""
    command.show(as_json, lambda daemon: daemon.view("status"), status_output.status)


@main.command()
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


@main.command()
@_host
@answered
def node(command: Command, as_json: bool, host: str) -> None:
    """
    Show all that is known of one server.

    What it publishes, what it gets and why, and how deliveries to it fare.
    """
    command.show(as_json, lambda daemon: daemon.view("node", host=host), queue_output.node)


@main.command()
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


@main.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="How many.")
@answered
def rejected(command: Command, as_json: bool, limit: int) -> None:
    """Show what was not relayed lately, and why."""
    command.show(as_json, lambda daemon: daemon.view("rejected", limit=limit), cli_output.rejected)


for _command in (cli_queue.deferred, cli_queue.bounced, cli_queue.waiting, cli_queue.quarantine, cli_rules.rules):
    main.add_command(_command)


@main.command()
@answered
def identity(command: Command, as_json: bool) -> None:
    """Show who the relay is to other servers."""
    command.show(as_json, lambda daemon: daemon.view("identity"), cli_output.identity)


@main.command()
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


@main.command()
@_host
@answered
def unsubscribe(command: Command, as_json: bool, host: str) -> None:
    """End a subscription made by hand. What the server publishes about itself stays in force."""
    _act(command, as_json, "unsubscribe", host=host)


for _command in (cli_rules.block, cli_rules.limit, cli_rules.allow, cli_rules.unblock, cli_rules.forward):
    main.add_command(_command)


@main.command()
@_host
@answered
def poll(command: Command, as_json: bool, host: str) -> None:
    """
    Read a server's preferences now, and act on them.

    Whatever is wrong with them is shown, for its administrator. If they cannot be read, the exit code is 1.
    """
    command.show(as_json, lambda daemon: daemon.act("poll", host=host), cli_output.poll, _unread)


@main.group()
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


@main.command()
@_host
@answered
def wake(command: Command, as_json: bool, host: str) -> None:
    """Try a server that failed again, at once."""
    _act(command, as_json, "wake", host=host)


@main.command()
@_host
@answered
def suspend(command: Command, as_json: bool, host: str) -> None:
    """Hold deliveries to a server back. Its posts wait, as long as posts are kept."""
    _act(command, as_json, "suspend", host=host)


@main.command()
@_host
@answered
def resume(command: Command, as_json: bool, host: str) -> None:
    """Deliver to a suspended server again."""
    _act(command, as_json, "resume", host=host)


main.add_command(cli_queue.requeue)
main.add_command(cli_queue.forget_key)


@main.command()
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


if __name__ == "__main__":
    main(prog_name="socialrelay")

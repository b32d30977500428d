"""
C{socialrelay}, the operators' command.

Each command is imported when it is wanted, L{LATER}: C{emit} is started by hooks and loops of scripts, and most others want to know one
thing of the daemon, at once.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from socialrelay import __version__
from socialrelay.cli.context import Command

LATER: dict[str, str] = {
    "status": "socialrelay.cli.asking:status",
    "nodes": "socialrelay.cli.asking:nodes",
    "node": "socialrelay.cli.asking:node",
    "queue": "socialrelay.cli.asking:queue",
    "rejected": "socialrelay.cli.asking:rejected",
    "deferred": "socialrelay.cli.queue:deferred",
    "bounced": "socialrelay.cli.queue:bounced",
    "waiting": "socialrelay.cli.queue:waiting",
    "quarantine": "socialrelay.cli.queue:quarantine",
    "rules": "socialrelay.cli.rules:rules",
    "identity": "socialrelay.cli.asking:identity",
    "bus": "socialrelay.cli.asking:bus",
    "subscribe": "socialrelay.cli.asking:subscribe",
    "unsubscribe": "socialrelay.cli.asking:unsubscribe",
    "block": "socialrelay.cli.rules:block",
    "limit": "socialrelay.cli.rules:limit",
    "allow": "socialrelay.cli.rules:allow",
    "unblock": "socialrelay.cli.rules:unblock",
    "forward": "socialrelay.cli.rules:forward",
    "poll": "socialrelay.cli.asking:poll",
    "lists": "socialrelay.cli.asking:lists",
    "wake": "socialrelay.cli.asking:wake",
    "suspend": "socialrelay.cli.asking:suspend",
    "resume": "socialrelay.cli.asking:resume",
    "requeue": "socialrelay.cli.queue:requeue",
    "forget-key": "socialrelay.cli.queue:forget_key",
    "erase": "socialrelay.cli.asking:erase",
    "post": "socialrelay.cli.posting:post",
    "emit": "socialrelay.cli.emit:emit",
    "tail": "socialrelay.cli.tail:tail",
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

_path = click.Path(path_type=Path)


class InOrder(click.Group):
    """Lists its commands in the order in which an operator needs them, not that of the alphabet."""

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


if __name__ == "__main__":
    main(prog_name="socialrelay")

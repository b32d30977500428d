"""C{socialrelay completion}, and what the shell is offered."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from socialrelay.cli.client import CallFailed, Daemon, find_socket
from socialrelay.cli.context import print_whole
from socialrelay.loading import ConfigError

NAME = "socialrelay"
VARIABLE = "_SOCIALRELAY_COMPLETE"
_SECONDS = 1.0
_MOST = 50


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print what makes a shell complete this command.

    \b
    bash: socialrelay completion bash > /etc/bash_completion.d/socialrelay
    zsh:  socialrelay completion zsh > /usr/local/share/zsh/site-functions/_socialrelay
    fish: socialrelay completion fish > ~/.config/fish/completions/socialrelay.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    print_whole(made(context.find_root().command, {}, NAME, VARIABLE).source())


def known_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Hosts that the running daemon knows and that begin so; none if it does not say it at once."""
    said = context.find_root().params
    try:
        socket = find_socket(said.get("socket"), said.get("config"), said.get("state_dir"))
        answer = Daemon(socket, _SECONDS).view("nodes", text=incomplete, limit=_MOST)
        hosts = [str(node["host"]) for node in answer["nodes"]]
    except (CallFailed, ConfigError, KeyError, OSError):
        return []
    return [CompletionItem(host) for host in hosts if host.startswith(incomplete.lower())]

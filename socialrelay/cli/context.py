"""What every command has: what was said before its name, how it prints, and how it ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from attrs import define

from socialrelay.cli import output as cli_output

# What reads the configuration and asks the daemon is imported where it is used: some commands do without, and are started very often.
if TYPE_CHECKING:
    from socialrelay.cli.client import Daemon
    from socialrelay.config import Config

FAILED, USAGE, NO_DAEMON = 1, 2, 3
_WHY_CONFIGURATION = "The command reads the daemon's configuration to find the daemon; with --socket it does without."


@define
class Command:
    """What was said before the name of the command."""

    socket: Path | None
    config: Path | None
    state_dir: Path | None

    def show(
        self,
        as_json: bool,
        ask: Callable[[Daemon], cli_output.Answer],
        text: cli_output.Show,
        in_vain: Callable[[cli_output.Answer], bool] = lambda answer: False,
    ) -> None:
        """
        Ask the daemon and print its answer; ends the process with its exit code if there is none.

        @param in_vain: whether the answer says that what was asked for failed.
        """
        from socialrelay.cli.client import CallFailed, Daemon, find_socket
        from socialrelay.loading import ConfigError

        try:
            daemon = Daemon(find_socket(self.socket, self.config, self.state_dir))
            answer = ask(daemon)
        except ConfigError as error:
            end(as_json, USAGE, "bad-configuration", f"{error}\n{_WHY_CONFIGURATION}")
        except CallFailed as error:
            end(as_json, NO_DAEMON if error.code == "no-daemon" else FAILED, error.code, str(error))
        print_whole(as_text(answer) if as_json else text(answer, datetime.now(UTC)))
        if in_vain(answer):
            sys.exit(FAILED)

    def configuration(self, as_json: bool = False) -> Config:
        """The daemon's configuration; ends the process if it is wrong."""
        from socialrelay.loading import ConfigError, load

        try:
            return load(self.config, {"state_dir": None if self.state_dir is None else str(self.state_dir)})
        except ConfigError as error:
            end(as_json, USAGE, "bad-configuration", str(error))

    def daemon_options(self) -> list[str]:
        """The same, as options of C{twistd socialrelay}."""
        given = {"--config": self.config, "--state-dir": self.state_dir}
        return [word for option, value in given.items() if value is not None for word in (option, str(value))]


class Showing(click.Group):
    """Commands of which C{show} is meant unless another is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is no command's name is said to C{show}."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they are defined."""
        return list(self.commands)


def answered(function: Callable[..., None]) -> Callable[..., None]:
    """A command that can answer in JSON: it gets the L{Command}, and C{as_json}."""
    with_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
    return with_json(click.pass_obj(function))


def as_text(answer: Any) -> str:
    """An answer as JSON for people and programs."""
    return json.dumps(answer, indent=2, ensure_ascii=False)


def print_whole(text: str) -> None:
    """Print to standard output; ends the process if that takes nothing."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # the reader has seen enough, and click ends quietly
    except OSError as error:
        # Python would try again at its end, and complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"The answer cannot be written: {error.strerror}.", err=True)
        sys.exit(FAILED)


def end(as_json: bool, code: int, name: str, sentence: str) -> NoReturn:
    """
    End the process in vain.

    @param name: of the error, for programs.
    """
    if as_json:
        print_whole(as_text({"error": {"code": name, "message": sentence}}))
    else:
        say(sentence)
    sys.exit(code)


def say(sentence: str) -> None:
    """To standard error, for people."""
    click.echo("\n".join(cli_output.prose(line) for line in sentence.splitlines()), err=True)

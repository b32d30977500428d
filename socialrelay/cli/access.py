"""Ways to the operators' pages: a password, and a link that logs in once."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from socialrelay.cli.context import FAILED, Command, answered, as_text, end, print_whole, say
from socialrelay.cli.output import Answer


@click.command()
@answered
def password(_command: Command, as_json: bool) -> None:
    """
    Make the hash of a password for the operators' pages.

    It asks for the password twice, or reads one line where nobody can be asked, and prints the line for the configuration. The password
    itself is kept nowhere.
    """
    from socialrelay.web.admin.password import password_hash

    try:
        made = password_hash(_read())
    except ValueError as error:
        end(as_json, FAILED, "bad-password", str(error))
    if as_json:
        print_whole(as_text({"password": made}))
        return
    if sys.stdout.isatty():
        say("Put this line below [admin] in the configuration, and let the relay read it anew (systemctl reload, or SIGHUP):")
    print_whole(f'password = "{made}"')


def _read() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True))


@click.command()
@answered
def login(command: Command, as_json: bool) -> None:
    """
    Print a link that logs you in to the operators' pages.

    It works once, for five minutes.
    """
    command.show(as_json, lambda daemon: daemon.act("login"), _link)


def _link(answer: Answer, _now: datetime) -> str:
    minutes = int(answer["seconds"] // 60)
    lines = [f"This logs you in to the operators' pages, once, within {minutes} minutes:", ""]
    if answer["url"]:
        lines += [f"    {answer['url']}"]
        return "\n".join(lines)
    path, place = answer["path"], answer["host"] or "the.relay"
    if answer["socket"]:
        lines += [
            f"    http://127.0.0.1:8081{path}",
            "",
            "It leads through a tunnel, which this makes on the machine that you sit at:",
            "",
            f"    ssh -N -L 8081:{answer['socket']} {place}",
            "",
            f"If a web server leads to the operators' pages, the same below its name: {path}",
        ]
    else:
        lines += [f"    {path}", "", "That is the path, below the address at which admin_listen has the operators' pages."]
    return "\n".join(lines)

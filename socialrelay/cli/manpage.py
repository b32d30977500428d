"""
The manual page, made from what the commands say of themselves: C{python -m socialrelay.cli.manpage} prints C{socialrelay.1}.

One page for all commands, in the format of man(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from socialrelay import __version__
from socialrelay.cli.command import main

_HEAD = """\
.\\" Made by make man from socialrelay/cli; do not edit.
.TH SOCIALRELAY 1 "" "socialrelay {version}" "Administration"
.SH NAME
socialrelay \\- look after a relay of public posts
"""

_FILES = (
    ("/etc/socialrelay.toml", "The usual place of the configuration; every option is explained in etc/socialrelay.toml of the source."),
    ("/var/lib/socialrelay", "The state directory, unless the configuration or $STATE_DIRECTORY names another."),
    ("/var/lib/socialrelay/identity.pem", "The relay's private key: its identity. Keep it secret, and in your backup."),
    ("/run/socialrelay/control.sock", "The control socket of a daemon that systemd started."),
)

_ENVIRONMENT = (
    ("SOCIALRELAY_CONFIG", "The configuration file, if --config is not given."),
    ("SOCIALRELAY_TABLE__KEY", "An option of the configuration: SOCIALRELAY_DELIVERY__TIMEOUT=20."),
)

_EXIT = (
    ("0", "Done."),
    (
        "1",
        "Refused or failed; the reason is on standard error. Of doctor: there are warnings. Of migrate --check: there is something to do.",
    ),
    ("2", "Wrong use, or a wrong configuration. Of doctor: there are failures."),
    ("3", "No daemon is running."),
)


def manual() -> str:
    """The page as roff."""
    context = click.Context(main, info_name="socialrelay")
    parts = [_HEAD.format(version=_text(__version__))]
    parts += [".SH SYNOPSIS\n", f".B socialrelay\n{_text(' '.join(main.collect_usage_pieces(context)))}\n"]
    parts += [".SH DESCRIPTION\n", _prose(main.help or ""), ".SH OPTIONS\n", *_options(main, context), ".SH COMMANDS\n"]
    parts += [each for name in main.list_commands(context) for each in _command(main, context, name)]
    parts += [".SH EXIT STATUS\n", *_list(_EXIT), ".SH ENVIRONMENT\n", *_list(_ENVIRONMENT), ".SH FILES\n", *_list(_FILES)]
    parts += [".SH SEE ALSO\n", ".BR twistd (1),\n.BR systemctl (1)\n"]
    return "".join(parts)


def _command(group: click.Group, parent: click.Context, name: str) -> Iterator[str]:
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    path = context.command_path.partition(" ")[2]
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _command(command, context, each)
        return
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f".SS {_text(' '.join([path, *pieces]))}\n"
    yield _prose(command.help or "")
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield f".TP\n.B {_text(record[0])}\n{_text(record[1])}\n"


def _list(entries: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in entries:
        yield f".TP\n.B {_text(term)}\n{_text(text)}\n"


def _prose(text: str) -> str:
    """Paragraphs; those that begin with a backspace keep their lines, as click does."""
    made = []
    for paragraph in cleandoc(text).split("\n\n"):
        kept = paragraph.startswith("\b")
        lines = paragraph.removeprefix("\b").strip("\n").split("\n")
        made.append(".PP\n" + (".nf\n" + "\n".join(map(_text, lines)) + "\n.fi\n" if kept else _text(" ".join(lines)) + "\n"))
    return "".join(made)


def _text(text: str) -> str:
    """Text as roff reads it: nothing in it is a command, and hyphens stay what they are."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return re.sub(r"(?m)^([.'])", r"\\&\1", plain)


if __name__ == "__main__":
    print(manual(), end="")

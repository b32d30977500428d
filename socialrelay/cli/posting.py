"""C{socialrelay post}."""

from __future__ import annotations

from base64 import b64encode
from typing import BinaryIO

import click

from socialrelay.cli import output as cli_output
from socialrelay.cli.context import FAILED, Command, answered, end

MOST = 64 * 1024 * 1024
"""Bytes; no relay can be configured to take more (receive.max_body)."""


@click.command()
@click.argument("file", type=click.File("rb"))
@answered
def post(command: Command, as_json: bool, file: BinaryIO) -> None:
    """
    Bring a signed post to the relay, as a server would.

    FILE holds what a server would send to /receive/public, the whole signed envelope; - is standard input. It is checked, limited and
    answered as if it came by HTTP. If it is accepted, it is kept safely, or needs no keeping; what becomes of it is in the log, and
    `socialrelay rejected` shows what was not relayed. If it is refused, the reason is the one that HTTP would give, and the exit code is 1.
    """
    try:
        body = file.read(MOST + 1)
    except OSError as error:
        end(as_json, FAILED, "unreadable", f"{file.name} cannot be read: {error.strerror}.")
    if len(body) > MOST:
        end(as_json, FAILED, "too-large", f"{file.name} has more than {MOST} bytes; no relay takes that.")
    command.show(as_json, lambda daemon: daemon.act("post", body=b64encode(body).decode("ascii")), cli_output.act)

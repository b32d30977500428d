"""What the commands of the bus have in common: where it is, and how they end."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from socialrelay.bus.finding import Place, find
from socialrelay.cli.context import say

if TYPE_CHECKING:
    from socialrelay.cli.context import Command

INTERRUPTED = 130
"""As a shell says that a signal 2 ended a process."""


def in_place(function: Callable[..., None]) -> Callable[..., None]:
    """A command that is told where the bus is."""
    fedmsg = click.option(
        "--fedmsg-config",
        type=click.Path(path_type=Path, exists=True),
        metavar="PATH",
        help="A file or folder of fedmsg's configuration that says where the bus is.",
    )
    address = click.option("--address", default="", metavar="ADDRESS", help="Where the relay listens, instead of looking for it.")
    return address(fedmsg(function))


def ended(function: Callable[..., None]) -> Callable[..., None]:
    """A command that ends without a word when it is interrupted, and refuses what is no address."""

    @functools.wraps(function)
    def run(*arguments: object, **options: object) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from None

    return run


def find_bus(command: Command | None, address: str, fedmsg_config: Path | None) -> Place:
    """
    Where the bus is; ends the process if what was named does not say it.

    @param address: in place of that of C{relay_ingest}.
    """
    config = command.config if command is not None else None
    place = find(address, config, fedmsg_config)
    if place.passed_over and not place.found:
        reasons = "; ".join(place.passed_over)
        if config is not None or fedmsg_config is not None:
            raise click.UsageError(f"{reasons}.")
        say(f"{reasons}. So topics begin with {place.topic_prefix}.{place.environment}; /etc/fedmsg.d can say it to everybody.")
    return place


def hint(place: Place, address: str) -> str:
    """What may be the matter when nobody answers.  C{address}: that was named."""
    where = f" Its address is from {', '.join(place.found)}." if place.found else " Nothing says where it is, so this is the default."
    where = "" if address else where
    return "Is it running, with bus.enabled = true?" + where

"""C{socialrelay tail}: what is said on the bus."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from socialrelay.bus.client import Bus, BusError, Heard, NoAnswer, TooOld
from socialrelay.cli.bus_place import ended, find_bus, hint, in_place
from socialrelay.cli.context import FAILED, NO_DAEMON, Command, say
from socialrelay.cli.output import clean
from socialrelay.words import sentence

_PATIENCE = 5.0
"""Seconds for an answer."""


@click.command()
@click.option("--since", default="now", show_default=True, metavar="N|now|oldest", help="Begin after message N, or with the oldest.")
@click.option("--topic", default="", metavar="PREFIX", help="Only topics that begin so; the bus's own prefix need not be said.")
@click.option("--full", is_flag=True, help="PREFIX is complete: put nothing before it.")
@click.option("--json", "as_json", is_flag=True, help="Print each message as an object of JSON, on one line.")
@click.option("--raw", is_flag=True, help="Print the body as it came, and nothing else.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many messages.")
@click.option("--live", is_flag=True, help="Listen as fedmsg-tail does: also to what is not kept; what is missed is missed.")
@in_place
@click.pass_obj
@ended
def tail(
    command: Command | None,
    since: str,
    topic: str,
    full: bool,
    as_json: bool,
    raw: bool,
    count: int | None,
    live: bool,
    address: str,
    fedmsg_config: Path | None,
) -> None:
    """
    Print the messages of the bus: time (UTC), number, topic, and what it says.

    Nothing that the relay keeps is missed: it goes on where it was when the relay comes back after a restart, and says on standard error if
    messages were forgotten meanwhile. End it with Ctrl-C.

    Exit codes: 0 done, or nobody reads any more; 1 failed, 2 wrong use, 3 no relay answers, 130 interrupted.
    """
    if as_json and raw:
        raise click.UsageError("Say either --json or --raw.")
    if live and since != "now":
        raise click.UsageError("Without --live it can begin in the past.")
    if not (since in ("now", "oldest") or (since.isascii() and since.isdecimal() and len(since) < 19)):
        raise click.UsageError("--since wants the number of a message, now or oldest.")
    place = find_bus(command, "" if live else address, fedmsg_config)
    with Bus(place=place, timeout=_PATIENCE) as bus:
        prefix = topic if full else bus.topic(topic)
        show: Callable[[Line], str] = _raw if raw else _json if as_json else _line
        lines = _heard_live(bus, address, prefix) if live else _heard(bus, since, prefix, address)
        _print(map(show, lines), count)


@frozen
class Line:
    """
    @ivar seq: C{None}: nobody says.
    @ivar at: ISO 8601, UTC.
    """

    seq: int | None
    at: str
    topic: str
    source: str | None
    body: str


def _heard(bus: Bus, since: str, prefix: str, address: str) -> Iterator[Line]:
    last = 0

    def away() -> None:
        say("The relay does not answer; it is waited for.")

    def back() -> None:
        say(f"The relay answers again; it goes on after message {last}.")

    def gap(error: TooOld) -> None:
        say(f"Messages {error.since + 1} to {error.oldest_seq - 1} are not kept any more.")

    try:
        page = bus.page(limit=1)  # says where now is, and that somebody is there
        last = {"now": page.next, "oldest": page.oldest_seq - 1}.get(since, -1)
        last = int(since) if last < 0 else last
        for each in bus.follow(last, prefix, on_gap=gap, on_away=away, on_back=back, on_idle=_look):
            last = each.seq
            yield _line_of(each)
    except NoAnswer as error:
        say(sentence(error) if error.answered else f"{sentence(error)} {hint(bus.place, address)}")
        sys.exit(FAILED if error.answered else NO_DAEMON)
    except BusError as error:
        say(sentence(error))
        sys.exit(FAILED)


def _line_of(heard: Heard) -> Line:
    return Line(heard.seq, heard.received_at, heard.topic, heard.source, heard.body)


def _heard_live(bus: Bus, address: str, prefix: str) -> Iterator[Line]:
    addresses = (address,) if address else bus.place.relay_outbound

    def away() -> None:
        say(f"Nobody publishes at {', '.join(addresses)}; it is waited for.")

    def back() -> None:
        say("The relay is there again; what it said meanwhile is missed.")

    for topic, body in bus.listen(prefix, addresses, on_away=away, on_back=back, on_idle=_look):
        yield Line(None, datetime.now(UTC).isoformat(), topic, None, body.decode("utf-8", "replace"))


class _Enough(Exception):
    """Nobody reads any more."""


def _look() -> None:
    """@raise _Enough: whoever read the pipe has closed it."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return  # that is no descriptor
    if poll.poll(0):
        raise _Enough


def _print(texts: Iterator[str], count: int | None) -> None:
    out = sys.stdout.buffer  # UTF-8, whatever the locale
    printed = 0
    try:
        for text in texts:
            out.write(text.encode("utf-8", "replace") + b"\n")
            out.flush()
            printed += 1
            if printed == count:
                return
    except (_Enough, BrokenPipeError):
        # Python would try to write the rest at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _raw(line: Line) -> str:
    return line.body


def _json(line: Line) -> str:
    said = _envelope(line)
    members = {"seq": line.seq, "received_at": line.at, "source": line.source, "topic": line.topic, "msg_id": said.get("msg_id")}
    return json.dumps({**members, "message": said})


def _line(line: Line) -> str:
    said = json.dumps(_envelope(line).get("msg"), ensure_ascii=False, separators=(",", ":"))
    return clean("  ".join((line.at[:19].replace("T", " "), str(line.seq or "-"), line.topic, said)))


def _envelope(line: Line) -> dict[str, Any]:
    try:
        said = json.loads(line.body)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {"msg": line.body}

"""C{socialrelay emit}: messages of scripts, onto the bus."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import click
from attrs import Factory, define

from socialrelay.bus.client import Bus, Malformed, NoAnswer, Outcome, Outgoing, Sender, read_envelope
from socialrelay.cli.bus_place import ended, find_bus, hint, in_place
from socialrelay.cli.context import FAILED, NO_DAEMON, Command, print_whole, say
from socialrelay.words import counted, sentence

_LINGER = 1.0
_LONGEST = 4 * 1024 * 1024
"""Bytes of a line: more than any relay takes."""
_TOLD = 20
"""Refusals that are told one by one."""
_ONCE = 65536
_LONG = 3600.0

Make = Callable[[int, bytes], Outgoing]
"""Of a line and its number, from 1 on.  It raises L{Malformed}."""


@click.command()
@click.argument("dash", required=False, default="", metavar="[-]")
@click.option("--topic", metavar="TOPIC", help="git.receive; the bus's prefix and environment are put before it if they are not there.")
@click.option("--message", metavar="TEXT", help='Say TEXT: {"log": TEXT}, as fedmsg-logger does.')
@click.option("--json", "text", metavar="OBJECT|-", help="Say this object. -: those on standard input, one on each line.")
@click.option("--envelope", metavar="FILE|-", help="Complete messages, signed perhaps, one on each line: passed on byte for byte.")
@click.option("--msg-id", default="", metavar="ID", help="What has the same id is kept once. Of line N it is ID-N.")
@click.option("--timeout", type=click.FloatRange(0.1, 86400), default=30.0, show_default=True, metavar="SECONDS", help="How long to try.")
@click.option("--no-wait", is_flag=True, help="Send, and do not wait until it is kept: it may be lost.")
@click.option("--print", "shown", is_flag=True, help="Print number and id of each message that is kept.")
@in_place
@click.pass_obj
@ended
def emit(
    command: Command | None,
    dash: str,
    topic: str | None,
    message: str | None,
    text: str | None,
    envelope: str | None,
    msg_id: str,
    timeout: float,
    no_wait: bool,
    shown: bool,
    address: str,
    fedmsg_config: Path | None,
) -> None:
    """
    Publish messages on the bus, and wait until the relay has written them to its disk.

    With `-` each line of standard input is a message: {"log": LINE}. It tries until --timeout is over, also while the relay restarts or is
    busy, and keeps nothing twice. Anybody on the relay's machine may use it.

    Exit codes: 0 all are kept, 1 some are not, 2 wrong use, 3 no relay answers.
    """
    _check_use(dash, topic, message, text, envelope, msg_id)
    if no_wait and shown:
        raise click.UsageError("With --no-wait nobody knows the number: leave out --print.")
    bus = Bus(place=find_bus(command, address, fedmsg_config), timeout=timeout, linger=_LINGER)
    make: Make
    single = message is not None or text not in (None, "-")
    if envelope is not None:
        source, make = _opened(envelope), lambda number, line: read_envelope(line)
    else:
        assert topic is not None
        if single:
            body: object = {"log": _whole(message)} if message is not None else _object(text or "")
            source, make = Lines(None, [b""]), lambda number, line: bus.prepare(topic, body, msg_id)
        else:
            read = _logged if text is None else _object_of_line
            source = Lines(0)
            make = lambda number, line: bus.prepare(topic, read(line), msg_id and f"{msg_id}-{number}")  # noqa: E731
        _check_topic(bus, topic, msg_id)
    with bus:
        sys.exit(_forget(bus, source, make) if no_wait else Emission(bus, source, make, address, single, shown).run())


def _check_use(dash: str, topic: str | None, message: str | None, text: str | None, envelope: str | None, msg_id: str) -> None:
    if dash not in ("", "-"):
        raise click.UsageError(f"What is {dash!r}? Say --message for a text, and - for the lines of standard input.")
    if dash == "-" and text == "-":
        dash = ""
    if sum((bool(dash), message is not None, text is not None, envelope is not None)) != 1:
        raise click.UsageError("Say exactly one: --message TEXT, --json OBJECT, --envelope FILE, or - for the lines of standard input.")
    if (topic is None) != (envelope is not None):
        raise click.UsageError("Say --topic." if topic is None else "A complete message says its topic itself: leave out --topic.")
    if envelope is not None and msg_id:
        raise click.UsageError("A complete message says its id itself: leave out --msg-id.")


def _check_topic(bus: Bus, topic: str, msg_id: str) -> None:
    """What is wrong in the same way for each message is wrong use."""
    try:
        bus.check(topic, msg_id and msg_id + "-1")
    except Malformed as error:
        raise click.UsageError(sentence(error)) from None


def _object(text: str) -> object:
    try:
        found = json.loads(_whole(text))
    except (ValueError, RecursionError):
        raise click.UsageError('--json wants a JSON object, such as \'{"repo": "x"}\'.') from None
    if not isinstance(found, dict):
        raise click.UsageError('--json wants an object, such as \'{"repo": "x"}\', not any other JSON.')
    return found


def _whole(text: str) -> str:
    """An argument of the command line need not be UTF-8; a message must."""
    return os.fsencode(text).decode("utf-8", "replace")


def _logged(line: bytes) -> object:
    return {"log": line.decode("utf-8", "replace")}


def _object_of_line(line: bytes) -> object:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Malformed("not-json", "it is not JSON; each object stands on one line") from None
    if not isinstance(found, dict):
        raise Malformed("not-object", "it is JSON, but not an object")
    return found


def _opened(name: str) -> Lines:
    if name == "-":
        return Lines(0)
    try:
        return Lines(os.open(name, os.O_RDONLY))
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}.") from None


class Lines:
    """
    Lines, as they come.

    @ivar descriptor: where the next ones come from; C{None} if there are none.
    @ivar number: of the line that was taken last.
    """

    def __init__(self, descriptor: int | None, lines: list[bytes] | None = None) -> None:
        self.descriptor = descriptor
        self.number = 0
        self._lines: deque[bytes | None] = deque(lines or [])
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def over(self) -> bool:
        """Whether there is none and will be none."""
        return self.descriptor is None and not self._lines

    def fill(self) -> None:
        """Read on; may wait."""
        if self.descriptor is None:
            return
        block = os.read(self.descriptor, _ONCE)
        first, *others = block.split(b"\n")
        self._add(first)
        for part in others:
            self._end()
            self._add(part)
        if not block:
            if self._size:
                self._end()
            self.descriptor = None

    def take(self) -> bytes | None:
        """
        The next line, without its end; there must be one.

        @return: C{None} if it is too long.
        """
        self.number += 1
        return self._lines.popleft()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= _LONGEST:
            self._parts.append(part)

    def _end(self) -> None:
        self._lines.append(b"".join(self._parts).rstrip(b"\r") if self._size <= _LONGEST else None)
        self._parts, self._size = [], 0


def _made(lines: Lines, make: Make) -> Outgoing | str:
    """The next message, or why it is none."""
    line = lines.take()
    if line is None:
        return "the line is too long"
    try:
        return make(lines.number, line)
    except Malformed as error:
        return str(error)
    except (ValueError, RecursionError):
        return "it cannot be said in JSON"


@define
class Emission:
    """
    Messages on their way, and what became of them.

    @ivar address: of the relay, if it was named.
    @ivar single: there is one, and it was not a line.
    @ivar shown: number and id of what is kept are printed.
    """

    bus: Bus
    lines: Lines
    make: Make
    address: str
    single: bool
    shown: bool
    kept: int = 0
    refused: int = 0
    _numbers: dict[str, int] = Factory(dict)

    def run(self) -> int:
        """Send all; the exit code."""
        sender = self.bus.sender()
        held: Outgoing | None = None
        try:
            while held is not None or sender.waiting or not self.lines.over:
                if held is None and self.lines:
                    held = self._take()
                    if held is None:
                        continue
                seconds = _LONG
                if held is not None and sender.takes(held.msg_id):
                    self._numbers[held.msg_id] = self.lines.number
                    sender.give(held)
                    held, seconds = None, 0.0
                self._go_on(sender, seconds, held is None and not self.lines)
        except NoAnswer as error:
            self._tell(sender.rest())
            return self._unanswered(error, held is not None or not self.lines.over)
        if self.refused > 1:
            say(f"{self.refused} of {counted(self.refused + self.kept, 'message')} are not kept.")
        return FAILED if self.refused else 0

    def _go_on(self, sender: Sender, seconds: float, wanted: bool) -> None:
        """@param wanted: there are no lines in hand."""
        more = self.lines.descriptor if wanted else None
        self._tell(sender.turn(seconds if more is None else _LONG, more))
        if more is not None and select.select([more], [], [], 0)[0]:
            self.lines.fill()

    def _take(self) -> Outgoing | None:
        made = _made(self.lines, self.make)
        if isinstance(made, Outgoing):
            return made
        self._refuse(self.lines.number, made)
        return None

    def _tell(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            number = self._numbers.pop(outcome.msg_id)
            if not outcome.kept:
                self._refuse(number, outcome.detail)
                continue
            self.kept += 1
            if self.shown:
                print_whole(f"{outcome.seq} {outcome.msg_id}")

    def _refuse(self, number: int, reason: str) -> None:
        self.refused += 1
        if self.refused <= _TOLD:
            say(f"{'The message' if self.single else f'Line {number}'} is not kept: {reason}.")
        elif self.refused == _TOLD + 1:
            say("More are not kept; they are only counted from here on.")

    def _unanswered(self, error: NoAnswer, more: bool) -> int:
        say(sentence(error))
        if not error.answered:
            say(hint(self.bus.place, self.address))
        if not self.single:
            lost = _ranges(sorted(self._numbers[msg_id] for msg_id in error.msg_ids))
            rest = " What follows was not sent." if more else ""
            say(f"Kept: {counted(self.kept, 'message')}. Not confirmed: {lost}.{rest}")
        return FAILED if error.answered else NO_DAEMON


def _ranges(numbers: list[int]) -> str:
    """C{[4, 7, 8, 9]}: C{line 4, lines 7 to 9}."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    texts = [f"line {first}" if first == last else f"lines {first} to {last}" for first, last in found]
    return ", ".join(texts[:_TOLD]) + (" and more" if len(texts) > _TOLD else "")


def _forget(bus: Bus, lines: Lines, make: Make) -> int:
    """Send all and wait for none."""
    lost = 0
    end = time.monotonic() + _LINGER
    while not lines.over:
        if not lines:
            lines.fill()
            continue
        made = _made(lines, make)
        sent = isinstance(made, Outgoing) and bus.send_prepared(made)
        while isinstance(made, Outgoing) and not sent and time.monotonic() < end:
            time.sleep(0.01)
            sent = bus.send_prepared(made)
        end = time.monotonic() + _LINGER if sent else end
        lost += not sent
    if lost:
        say(f"{counted(lost, 'message')} could not be sent.")
    return 0

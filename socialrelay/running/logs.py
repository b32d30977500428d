"""
How events become lines: text for people, or one JSON object each.

What remote servers say ends up in events.  No field of an event can begin a new line, move a terminal's cursor, or fill the disk: control
characters are escaped and each text is cut at 256 characters.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TextIO, cast

from attrs import frozen
from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.logfile import LogFile as RotatingFile
from zope.interface import implementer

_log = Logger()

NAMESPACES = 1000
"""Names of loggers of which it is remembered what is shown."""
MAX_FIELD = 256
MAX_MESSAGE = 4096
FILE_LENGTH = 10_000_000
FILES = 10
FILE_MODE = 0o640

_LEGACY = frozenset(("message", "time", "system", "isError", "format", "printed", "failure", "why", "logLevel"))
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    # Unicode's own line ends and the marks that turn the direction of text, with which a line can be made to read as another.
    code: f"\\u{code:04x}"
    for code in (0x2028, 0x2029, *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def plain(text: str, limit: int = MAX_FIELD) -> str:
    """A text on one line, of printable characters, at most C{limit} of them and an ellipsis."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    if len(text) > limit:
        text = text[:limit] + "…"
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")


def cleaned(event: LogEvent) -> LogEvent:
    """The event with every text in its fields made plain."""
    return {key: value if key.startswith("log_") else _clean(value) for key, value in event.items()}


def as_text(event: LogEvent, *, times: bool = True) -> str:
    """
    One line, and the lines of a traceback below it, indented.

    @param times: begin with the time.
    """
    when = _local(event["log_time"]) + " " if times else ""
    line = f"{when}[{_level(event)}] {_name(event)}: {message(event)}\n"
    return line + "".join(f"    {plain(each, MAX_MESSAGE)}\n" for each in _traceback(event).splitlines())


def for_journal(form: Callable[[LogEvent], str]) -> Callable[[LogEvent], str]:
    """
    The same with the event's priority before each line, as C{sd-daemon(3)} has it: C{<4>} for a warning.

    The journal takes it off, and C{journalctl -p warning} shows what is at least that.
    """

    def lines(event: LogEvent) -> str:
        mark = f"<{_priority(event)}>"
        return "".join(mark + line for line in form(event).splitlines(keepends=True))

    return lines


def in_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """
    Whether a descriptor leads to the journal.

    @param environ: C{JOURNAL_STREAM} names device and inode of the socket that systemd gave the process, which may have been exchanged.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}


def _priority(event: LogEvent) -> int:
    return _PRIORITIES.get(_level(event), 6)


def as_json(event: LogEvent) -> str:
    """One object on a line: C{time} (ISO 8601, UTC), C{level}, C{logger}, C{message}, the event's fields, and C{traceback} of a failure."""
    fields = {key: value for key, value in cleaned(event).items() if not key.startswith("log_") and key not in _LEGACY}
    fields |= {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": _level(event),
        "logger": _name(event),
        "message": message(event),
    }
    if traceback := _traceback(event):
        fields["traceback"] = "\n".join(plain(each, MAX_MESSAGE) for each in traceback.splitlines())
    return _ENCODER.encode(fields) + "\n"


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=lambda value: plain(str(value)))


@frozen
class Destination:
    """
    Where twistd was asked to log to, and how.

    @ivar logfile: C{-} for standard output; empty for the default: standard output in the foreground, C{twistd.log} of a daemon.
    @ivar uid: whom a new file is given to; only its owner can rotate it.
    """

    logfile: str = ""
    syslog: bool = False
    prefix: str = "socialrelay"
    nodaemon: bool = True
    format: str = "text"
    level: str = "info"
    uid: int | None = None
    gid: int | None = None


_destination = Destination()
_quiet: Quiet | None = None


def choose(destination: Destination) -> str:
    """
    Say where the log goes.

    @return: the name under which twistd, that makes its log before it makes a service, finds the observer (as with C{--logger}).
    """
    global _destination  # noqa: PLW0603 - twistd calls what it finds under a name, without arguments
    _destination = destination
    return f"{__name__}.chosen"


def chosen() -> ILogObserver:
    """The observer for the destination that was chosen."""
    global _quiet  # noqa: PLW0603 - likewise
    _quiet = Quiet(observer(_destination), _destination.level)
    return cast(ILogObserver, _quiet)


def set_level(level: str) -> None:
    """From now on log what is at least of this level."""
    if _quiet is not None:
        _quiet.set_level(level)


def observer(destination: Destination) -> ILogObserver:
    """Make an observer that writes to a destination."""
    if destination.syslog:
        return _syslog(destination)
    to_stdout = _to_stdout(destination)
    if to_stdout and not destination.nodaemon:
        sys.exit("socialrelay: A daemon has no standard output to log to. Name a file with --logfile, or use --nodaemon.")
    out = sys.stdout if to_stdout else _file(destination)
    journal = to_stdout and in_journal(os.environ, 1)
    form = as_json if destination.format == "json" else partial(as_text, times=not journal)
    return Lines(out, for_journal(form) if journal else form)


def on_standard_error() -> bool:
    """Whether what is logged is seen where standard error is: on one terminal, in one journal."""
    return not _destination.syslog and _to_stdout(_destination) and os.path.samestat(os.fstat(1), os.fstat(2))


def _to_stdout(destination: Destination) -> bool:
    return destination.logfile == "-" or (destination.nodaemon and not destination.logfile)


@implementer(ILogObserver)
class Lines:
    """Writes each event as its format says.  A full disk loses lines and stops nothing."""

    def __init__(self, out: TextIO | LogFile, form: Callable[[LogEvent], str]) -> None:
        self._out = out
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        try:
            self._out.write(self._form(event))
            self._out.flush()
        except (OSError, ValueError):
            pass  # nowhere to say it


@implementer(ILogObserver)
class Quiet:
    """Passes on what is at least of a level; and, unless it is C{debug}, of Twisted's own chatter only warnings."""

    def __init__(self, to: ILogObserver, level: str) -> None:
        self._to = to
        self.set_level(level)

    def __call__(self, event: LogEvent) -> None:
        level, namespace = event.get("log_level"), event.get("log_namespace")
        if level is None or not namespace or not self._passes(namespace, level):
            return
        if self._all or not (_of_factories(event) or _second_signal(event)):
            self._to(event)

    def set_level(self, level: str) -> None:
        """From now on it is another level."""
        predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
        chatter = max(LogLevel.warn, LogLevel.levelWithName(level))
        if level != "debug":
            for namespace in ("twisted", "log_legacy", "-", "txpostgres", "txredisapi"):
                predicate.setLogLevelForNamespace(namespace, chatter)
            for namespace in ("twisted.scripts", "twisted.application"):
                predicate.setLogLevelForNamespace(namespace, LogLevel.levelWithName(level))
            # It tells of each attempt to connect; whoever has it connect says what matters.
            predicate.setLogLevelForNamespace("twisted.application._client_service", chatter)
        # Each accepted post is an event, and to look for the names above a name, and to compare levels, is most of what it would cost.
        self._passes = lru_cache(NAMESPACES)(lambda namespace, level: bool(level >= predicate.logLevelForNamespace(namespace)))
        self._all = level == "debug"


def _of_factories(event: LogEvent) -> bool:
    """Factories of every kind tell that they start and stop, under their own names."""
    return event.get("log_format") in ("Starting factory {factory!r}", "Stopping factory {factory!r}")


def _second_signal(event: LogEvent) -> bool:
    """Who presses Ctrl-C again while the daemon stops has done nothing wrong."""
    failure = event.get("log_failure")
    return failure is not None and event["log_namespace"] == "twisted.internet.base" and bool(failure.check(ReactorNotRunning))


class LogFile(RotatingFile):
    """A file that is rotated when it is long, and opened anew when somebody else has turned it."""

    def write(self, data: bytes | str) -> None:
        """As files do; one that could not be opened anew after it had been closed is tried again with every line."""
        if self._file.closed:
            self._openFile()
        super().write(data)

    def rotate(self) -> None:
        """Begin a new file; if that cannot be had go on in the old one."""
        try:
            super().rotate()
        except OSError:
            if self._file.closed:
                self._openFile()

    def reopen(self) -> None:
        """
        Go on in the file that has the name now, which is made if there is none.

        If that cannot be had the old one stays: a log under another name is better than none.
        """
        before = self._file
        self.defaultMode = None if os.path.exists(self.path) else FILE_MODE
        try:
            self._openFile()
        except OSError as error:
            self._file = before
            _log.error(
                "The log {name} cannot be opened anew, and goes on in the old file: {reason}.", name=self.path, reason=error.strerror
            )
        else:
            before.close()


def _file(destination: Destination) -> LogFile:
    """A file that is opened anew on SIGUSR1, which is what logrotate says when it has given it another name."""
    name = destination.logfile or "twistd.log"
    path = os.path.abspath(name)
    mode = None if os.path.exists(path) else FILE_MODE
    try:
        file = LogFile(os.path.basename(path), os.path.dirname(path), defaultMode=mode, rotateLength=FILE_LENGTH, maxRotatedFiles=FILES)
        if mode is not None and os.geteuid() == 0 and destination.uid is not None:
            os.chown(path, destination.uid, -1 if destination.gid is None else destination.gid)
    except OSError as error:
        sys.exit(f"socialrelay: The log {name} cannot be written: {error.strerror}. Name another with --logfile.")

    def reopen(_signal: int, _frame: object) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(file.reopen)  # type: ignore[attr-defined]

    if signal.getsignal(signal.SIGUSR1) in (None, signal.SIG_DFL):
        signal.signal(signal.SIGUSR1, reopen)
    return file


def _syslog(destination: Destination) -> ILogObserver:
    from twisted.python.syslog import SyslogObserver

    emit = LegacyLogObserverWrapper(cast(Any, SyslogObserver(destination.prefix).emit))
    form = as_json if destination.format == "json" else lambda event: as_text(event, times=False)

    @implementer(ILogObserver)
    def write(event: LogEvent) -> None:
        emit({**_bare(event), "syslogPriority": _priority(event), "log_format": "{log_line}", "log_line": form(event).rstrip("\n")})

    return cast(ILogObserver, write)


def _bare(event: LogEvent) -> dict[str, Any]:
    return {key: event[key] for key in ("log_time", "log_level", "log_namespace") if key in event}


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "info"


def _local(time: float) -> str:
    second, thousandth = divmod(int(time * 1000), 1000)
    text = _local_second(second)
    return f"{text[:19]}.{thousandth:03d}{text[19:]}"


@lru_cache(maxsize=1)
def _local_second(second: int) -> str:
    """ISO 8601, with the offset that is in force then. Lines come by the hundred in a second."""
    return datetime.fromtimestamp(second).astimezone().isoformat(timespec="seconds")


def _name(event: LogEvent) -> str:
    return plain(str(event.get("log_namespace", "-")))


def message(event: LogEvent) -> str:
    """What an event says, on one line."""
    return plain(_sentence(cleaned(event)), MAX_MESSAGE)


def _sentence(event: LogEvent) -> str:
    """As L{formatEvent}, which takes ten times as long because a field's name might end with C{()} and mean a call."""
    form = event.get("log_format")
    if isinstance(form, str) and "(" not in form and "log_flattened" not in event:
        try:
            return form.format_map(event)
        except Exception:  # noqa: S110 - formatEvent says what is wrong, in a sentence
            pass
    return formatEvent(event)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return "" if failure is None else str(failure.getTraceback())


def _clean(value: object) -> object:
    """Texts made plain, also those inside of lists and tables; what is no text says so when it is formatted, and is made plain then."""
    match value:
        case str():
            return plain(value)
        case bytes():
            return plain(value[: MAX_FIELD + 1].decode("utf-8", "backslashreplace"))
        case Mapping():
            return {plain(str(key)): _clean(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(each) for each in value]
        case _:
            return value

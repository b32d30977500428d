"""Tests for L{socialrelay.running.logs}."""

from __future__ import annotations

import json
import os
import syslog
from datetime import datetime
from errno import ENOSPC
from io import StringIO
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socialrelay.running.logs import (
    Destination,
    Lines,
    LogFile,
    Quiet,
    as_json,
    as_text,
    choose,
    chosen,
    for_journal,
    in_journal,
    observer,
    plain,
)

HOSTILE = "evil\n2026-01-01 [info] relay: all is well\x1b[2J\r\x07\u202e"


def event(form: str, **fields: Any) -> dict[str, Any]:
    return {"log_time": 0.0, "log_level": LogLevel.info, "log_namespace": "relay", "log_format": form, **fields}


class PlainTests(SynchronousTestCase):
    def test_escaped(self) -> None:
        """Line ends, escapes and marks that turn the writing are spelt out."""
        self.assertEqual(plain(HOSTILE), "evil\\n2026-01-01 [info] relay: all is well\\x1b[2J\\r\\x07\\u202e")

    def test_kept(self) -> None:
        """Other writing stays as it is."""
        self.assertEqual(plain("Zoë schreibt 😀 日本"), "Zoë schreibt 😀 日本")

    def test_cut(self) -> None:
        """A long text is cut at 256 characters, and that is shown."""
        self.assertEqual(plain("a" * 300), "a" * 256 + "…")

    @given(st.text())
    def test_always_printable(self, text: str) -> None:
        """Whatever comes in, one line that can be encoded comes out."""
        made = plain(text)
        self.assertFalse(set(made) & {chr(code) for code in (*range(32), *range(0x7F, 0xA0))})
        made.encode("utf-8")
        self.assertEqual(made.splitlines(), [made] if made else [])


class TextTests(SynchronousTestCase):
    def test_line(self) -> None:
        """An event is a line with time, level, origin and sentence."""
        self.assertRegex(as_text(event("{host} answers.", host="pod.example")), r"\A\S+ \[info\] relay: pod\.example answers\.\n\Z")
        self.assertEqual(as_text(event("{count} posts.", count=3), times=False), "[info] relay: 3 posts.\n")

    def test_hostile_fields(self) -> None:
        """No field can begin a new line, however it is put into the sentence."""
        for form in ("{host}", "{host!r}", "{inner[host]}", "{names}", "{error}"):
            fields = {"host": HOSTILE, "inner": {"host": HOSTILE}, "names": [HOSTILE], "error": ValueError(HOSTILE)}
            line = as_text(event(form, **fields))
            self.assertEqual(line.count("\n"), 1)
            self.assertNotIn("\x1b", line)

    def test_traceback(self) -> None:
        """A traceback stands below its line, indented, so that it cannot be taken for other events."""
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            lines = as_text(event("Oh.", log_failure=Failure())).splitlines()
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))
        self.assertIn("Traceback", lines[1])
        self.assertNotIn("\x1b", "".join(lines))

    def test_broken_event(self) -> None:
        """A sentence that names a missing field still gives a line."""
        for form in ("{missing}", "{", "{0}", "{}", "{host:d}", "{host.missing}"):
            self.assertIn("Unable to format event", as_text(event(form, host="pod.example")), form)

    def test_as_twisted_formats(self) -> None:
        """Each way to write a sentence gives what Twisted makes of it."""
        fields = {"host": "pod.example", "count": 3, "inner": {"host": "x"}, "call": lambda: "called"}
        for form in (
            "{host}: {count:03d}",
            "{host!r}",
            "{inner[host]}",
            "{call()}",
            "{{}} (none)",
            "{host:>20}",
            b"{host}",
            "",
        ):
            made = event("", **fields) | {"log_format": form}
            self.assertEqual(as_text(made, times=False), f"[info] relay: {formatEvent(made)}\n")

    def test_time(self) -> None:
        """The time is the local one, to the thousandth."""
        for when in (0.0, 1.9996, 1700000000.25, 1700000000.9994):
            made = as_text(event("x") | {"log_time": when}).split()[0]
            self.assertEqual(datetime.fromisoformat(made).timestamp(), int(when * 1000) / 1000)
            self.assertRegex(made, r"\.\d{3}[+-]\d\d:\d\d\Z")


class JsonTests(SynchronousTestCase):
    def test_object(self) -> None:
        """An event is one object on a line, with its fields."""
        line = as_json(event("{host} is back after {count} failures.", host="pod.example", count=3))
        self.assertEqual(
            json.loads(line),
            {
                "time": "1970-01-01T00:00:00.000+00:00",
                "level": "info",
                "logger": "relay",
                "message": "pod.example is back after 3 failures.",
                "host": "pod.example",
                "count": 3,
            },
        )

    def test_hostile_fields(self) -> None:
        """Fields are made plain in it, too, and what JSON does not know becomes text."""
        line = as_json(event("x", host=HOSTILE, body=b"\xff\n", error=ValueError("no\n"), names={"a\n"}))
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(json.loads(line)["host"], plain(HOSTILE))
        self.assertEqual(json.loads(line)["error"], "no\\n")
        self.assertEqual(json.loads(line)["names"], ["a\\n"])

    def test_fields_do_not_replace(self) -> None:
        """A field cannot pass itself off as the event's level."""
        self.assertEqual(json.loads(as_json(event("x", level="critical")))["level"], "info")

    def test_traceback(self) -> None:
        """A failure's traceback is a field."""
        self.assertIn("ValueError: no", json.loads(as_json(event("x", log_failure=Failure(ValueError("no")))))["traceback"])


class ObserverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = StringIO()
        self.lines = Lines(self.out, lambda each: as_text(each, times=False))

    def log(self, namespace: str, level: str) -> Logger:
        return Logger(namespace, observer=cast(ILogObserver, LogPublisher(Quiet(cast(ILogObserver, self.lines), level))))

    def test_observer(self) -> None:
        """It is what Twisted's logger wants."""
        self.assertTrue(verifyObject(ILogObserver, self.lines))

    def test_full_disk(self) -> None:
        """A disk that is full loses lines and disturbs nobody."""

        class Full(StringIO):
            def write(self, text: str) -> int:
                raise OSError(28, "No space left on device")

        Lines(Full(), as_json)(event("x"))

    def test_level(self) -> None:
        """What is below the level is left out."""
        log = self.log("socialrelay.x", "warn")
        log.info("one")
        log.warn("two")
        self.assertEqual(self.out.getvalue(), "[warn] socialrelay.x: two\n")

    def test_chatter(self) -> None:
        """Of Twisted's own events only warnings are passed on, unless everything is asked for."""
        for level, expected in (("info", ["warn"]), ("debug", ["debug", "info", "warn"])):
            self.out.truncate(0)
            self.out.seek(0)
            log = self.log("twisted.web.http", level)
            for each in ("debug", "info", "warn"):
                log.emit(LogLevel.levelWithName(each), "x")
            self.assertEqual([line[1:].partition("]")[0] for line in self.out.getvalue().splitlines()], expected)

    def test_retries(self) -> None:
        """Each attempt of Twisted to connect again is chatter too, though it is told in the name of the application."""
        log = self.log("twisted.application._client_service", "info")
        log.info("Scheduling retry {attempt}", attempt=1)
        self.assertEqual(self.out.getvalue(), "")

    def test_factories(self) -> None:
        """Nobody needs to know that a factory starts or stops, whosever it is."""
        log = self.log("socialrelay.web", "info")
        log.info("Starting factory {factory!r}", factory=object())
        log.info("Stopping factory {factory!r}", factory=object())
        self.assertEqual(self.out.getvalue(), "")

    def test_second_signal(self) -> None:
        """A second Ctrl-C, which comes while the reactor stops, is no trouble."""
        log = self.log("twisted.internet.base", "info")
        log.failure("while calling from thread", Failure(ReactorNotRunning()))
        self.assertEqual(self.out.getvalue(), "")
        log.failure("while calling from thread", Failure(ValueError()))
        self.assertIn("ValueError", self.out.getvalue())

    def test_file(self) -> None:
        """A daemon logs to the file that twistd was told of, and twistd finds the observer by name."""
        name = self.mktemp()
        self.patch(observer.__globals__["signal"], "signal", lambda *_: None)
        self.addCleanup(choose, Destination())
        self.assertEqual(choose(Destination(logfile=name, nodaemon=False, format="json")), "socialrelay.running.logs.chosen")
        chosen()(event("hello", log_namespace="socialrelay"))
        with open(name) as file:
            self.assertEqual(json.loads(file.read())["message"], "hello")
        self.assertEqual(os.stat(name).st_mode & 0o777, 0o640)

    def test_reopened(self) -> None:
        """When somebody else has given the file another name, SIGUSR1 has a new one made, with the same mode."""
        name, handlers = self.mktemp(), []
        self.patch(observer.__globals__["signal"], "signal", lambda number, handler: handlers.append(handler))
        write = observer(Destination(logfile=name, nodaemon=False))
        self.addCleanup(write._out.close)  # type: ignore[attr-defined]
        write(event("before"))
        os.rename(name, name + ".1")
        write(event("between"))
        write._out.reopen()  # type: ignore[attr-defined]
        write(event("after"))
        read = [[line.split()[-1] for line in Path(each).read_text().splitlines()] for each in (name + ".1", name)]
        self.assertEqual(read, [["before", "between"], ["after"]])
        self.assertEqual(os.stat(name).st_mode & 0o777, 0o640)
        self.assertEqual(len(handlers), 1)

    def test_cannot_be_rotated(self) -> None:
        """A log that is long, and cannot be begun anew, goes on: it is not lost with the first file that cannot be opened."""
        refusals = iter((False, True, True))

        class Reluctant(LogFile):
            def _openFile(self) -> None:
                if next(refusals, False):
                    raise OSError(ENOSPC, "No space left on device")
                super()._openFile()

        folder = Path(self.mktemp())
        folder.mkdir()
        file = Reluctant("log", str(folder), rotateLength=10)
        write = Lines(file, lambda event: str(event["text"]))
        for text in ("first line\n", "lost\n", "second line\n"):
            write({"text": text})
        file.close()
        self.assertEqual([(folder / name).read_text() for name in ("log.1", "log")], ["first line\n", "second line\n"])

    def test_cannot_be_reopened(self) -> None:
        """If no new file can be made the old one goes on, and says so."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.patch(observer.__globals__["signal"], "signal", lambda *_: None)
        write = observer(Destination(logfile=f"{folder}/log", nodaemon=False))
        self.addCleanup(write._out.close)  # type: ignore[attr-defined]
        os.rename(folder, folder + ".gone")
        with capturedLogs() as events:
            write._out.reopen()  # type: ignore[attr-defined]
        self.assertEqual(events[0]["reason"], "No such file or directory")
        write(event("after"))
        with open(f"{folder}.gone/log") as file:
            self.assertIn("after", file.read())

    def test_set_level(self) -> None:
        """The level can change while the relay runs."""
        quiet = Quiet(cast(ILogObserver, self.lines), "warn")
        log = Logger("socialrelay.x", observer=cast(ILogObserver, LogPublisher(cast(ILogObserver, quiet))))
        log.info("one")
        quiet.set_level("info")
        log.info("two")
        self.assertEqual(self.out.getvalue(), "[info] socialrelay.x: two\n")

    def test_journal(self) -> None:
        """For the journal each line begins with its priority, those of a traceback too."""
        form = for_journal(lambda each: as_text(each, times=False))
        self.assertEqual(form(event("x") | {"log_level": LogLevel.warn}), "<4>[warn] relay: x\n")
        lines = form(event("x", log_failure=Failure(ValueError("no"))) | {"log_level": LogLevel.critical}).splitlines()
        self.assertGreater(len(lines), 1)
        self.assertTrue(all(line.startswith("<2>") for line in lines))
        self.assertEqual(for_journal(as_json)(event("x") | {"log_level": LogLevel.debug})[:4], "<7>{")

    def test_in_journal(self) -> None:
        """Whether the output is the journal is seen by what systemd says and what the output is: it may lead elsewhere by now."""
        with open(os.devnull) as file:
            found = os.fstat(file.fileno())
            self.assertTrue(in_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, file.fileno()))
            self.assertFalse(in_journal({"JOURNAL_STREAM": "8:1"}, file.fileno()))
            self.assertFalse(in_journal({}, file.fileno()))
        self.assertFalse(in_journal({"JOURNAL_STREAM": "8:1"}, 10_000))

    def test_syslog(self) -> None:
        """The system's log gets the same sentence, without the time, which it has itself."""
        told: list[str] = []
        self.patch(syslog, "openlog", lambda *_: None)
        priorities: list[int] = []
        self.patch(syslog, "syslog", lambda *said: (priorities.append(said[-2]), told.append(said[-1])))
        write = observer(Destination(syslog=True))
        write(event("{host} is back.", host="pod.example\n"))
        write(event("x", log_failure=Failure(ValueError("no"))))
        self.assertEqual(told[0], "[-] [info] relay: pod.example\\n is back.")
        self.assertEqual(priorities[0], syslog.LOG_INFO)
        self.assertIn("ValueError", "".join(told[1:]))

    def test_daemon_without_output(self) -> None:
        """A daemon cannot log to a standard output that it does not have."""
        self.assertRaises(SystemExit, observer, Destination(logfile="-", nodaemon=False))

    def test_no_such_folder(self) -> None:
        """A log that cannot be written is refused at start, in one line."""
        error = self.assertRaises(SystemExit, observer, Destination(logfile="/nowhere/log"))
        self.assertEqual(
            str(error), "socialrelay: The log /nowhere/log cannot be written: No such file or directory. Name another with --logfile."
        )

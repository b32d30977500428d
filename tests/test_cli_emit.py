"""C{socialrelay emit}, as scripts run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.cli.command import main
from tests.bus_relay import ScriptedRelay
from tests.bus_wire import PATIENCE, envelope, free_address, until
from tests.daemon import environment

_PLACE = 'config = {{"topic_prefix": "org.example", "environment": "test", "relay_ingest": "{address}"}}\n'


class EmitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = ScriptedRelay()
        self.relay.start()
        self.addCleanup(self.relay.stop)
        self.home = Path(self.mktemp()).absolute()
        (self.home / ".fedmsg.d").mkdir(parents=True)
        (self.home / ".fedmsg.d" / "bus.py").write_text(_PLACE.format(address=self.relay.address))

    def environment(self) -> dict[str, str]:
        return {key: value for key, value in environment().items() if key != "VIRTUAL_ENV"} | {"HOME": str(self.home)}

    def run_command(self, *words: str, input: bytes = b"", **given: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "socialrelay", *words]
        return subprocess.run(command, env=self.environment(), input=input, capture_output=True, check=False, timeout=60, **given)

    def emit(self, *words: str, input: bytes = b"", code: int = 0) -> tuple[str, str]:
        """What it says to standard output and standard error."""
        said = self.run_command("emit", *words, input=input)
        out, err = said.stdout.decode(), said.stderr.decode()
        self.assertEqual(said.returncode, code, err)
        return out, err

    def wrong_use(self, *words: str) -> str:
        """What it says to that, in this process."""
        said = CliRunner(env={"HOME": str(self.home)}).invoke(main, list(words))
        self.assertEqual(said.exit_code, 2, said.output)
        return " ".join(said.stderr.split())

    def kept(self) -> list[tuple[str, str, Any]]:
        return [(msg_id, topic, json.loads(body)["msg"]) for msg_id, topic, body in self.relay.kept]

    def said(self) -> list[Any]:
        return [msg for _, _, msg in self.kept()]


class EmitTests(EmitCase):
    def test_message(self) -> None:
        """
        A text becomes a message as fedmsg-logger writes it, the first of its process, under the prefix of the bus; nothing is printed.
        """
        self.assertEqual(self.emit("--topic", "git.receive", "--message", "hello"), ("", ""))
        [(_, topic, msg)] = self.kept()
        self.assertEqual((topic, msg), ("org.example.test.git.receive", {"log": "hello"}))
        self.assertEqual(json.loads(self.relay.kept[0][2])["i"], 1)

    def test_json(self) -> None:
        """
        An object is said as it is; number and id are printed if asked for, and the same id again is the same message.
        """
        words = ["--topic", "git.receive", "--json", '{"repo": "x", "size": 1.5}', "--msg-id", "mine", "--print"]
        self.assertEqual([self.emit(*words), self.emit(*words)], [("1 mine\n", "")] * 2)
        self.assertEqual(self.said(), [{"repo": "x", "size": 1.5}])

    def test_lines(self) -> None:
        """
        Each line of standard input is a message, also an empty one and the last without its end; ids are made of their numbers.
        """
        out, _ = self.emit("--topic", "log", "-", "--msg-id", "run7", "--print", input=b"one\r\n\ntw\xff\xc3\xb6")
        self.assertEqual(self.said(), [{"log": "one"}, {"log": ""}, {"log": "tw\ufffd\u00f6"}])
        self.assertEqual(out, "1 run7-1\n2 run7-2\n3 run7-3\n")

    def test_json_lines(self) -> None:
        """
        With --json - each line is an object; one that is none is told with its number, and the others are kept.
        """
        for words in (["--json", "-"], ["--json", "-", "-"]):
            _, err = self.emit("--topic", "a", *words, input=b'{"n": 1}\n[2]\n{"n"\n{"n": 4}\n', code=1)
            self.assertEqual(
                err.splitlines(),
                [
                    "Line 2 is not kept: it is JSON, but not an object.",
                    "Line 3 is not kept: it is not JSON; each object stands on one line.",
                    "2 of 4 messages are not kept.",
                ],
            )
        self.assertEqual(self.said(), [{"n": 1}, {"n": 4}] * 2)

    def test_envelopes(self) -> None:
        """
        Complete messages pass byte for byte, from a file or standard input.
        """
        bodies = [
            b'{"topic" : "org.other.prod.x",  "msg":{"a":1e3,"a":1.10}, "msg_id":"odd", "signature":"x"}',
            envelope("org.other.prod.y", {}, "theirs"),
        ]
        file = self.home / "messages"
        file.write_bytes(b"\n".join(bodies))
        self.emit("--envelope", str(file))
        out, _ = self.emit("--envelope", "-", "--print", input=bodies[1] + b"\n")
        self.assertEqual([body for _, _, body in self.relay.kept], bodies)
        self.assertEqual(out, "2 theirs\n")
        _, err = self.emit("--envelope", "-", input=b'{"msg": {}}\n', code=1)
        self.assertEqual(err, "Line 1 is not kept: it is no object with a 'topic'.\n")

    def test_long_lines(self) -> None:
        """
        A line that is longer than any message may be is passed over, without being kept in memory, and told.
        """
        _, err = self.emit("--topic", "a", "-", input=b"x" * (5 * 1024 * 1024) + b"\nshort\n", code=1)
        self.assertEqual(err, "Line 1 is not kept: the line is too long.\n")
        self.assertEqual(self.said(), [{"log": "short"}])

    def test_many(self) -> None:
        """
        Many lines are sent without waiting for each, and all are kept, although the relay breaks down among them.
        """
        self.relay.script.extend([""] * 2500 + ["break"])
        self.emit("--topic", "a", "-", input=b"".join(b"%d\n" % number for number in range(5000)))
        self.assertEqual(self.said(), [{"log": str(number)} for number in range(5000)])

    def test_as_they_come(self) -> None:
        """
        A line is sent when it comes, not when the last one has come; and it is sent again while nothing more comes.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "socialrelay", "emit", "--topic", "a", "-"], env=self.environment(), stdin=subprocess.PIPE
        )
        self.addCleanup(process.wait, PATIENCE)
        assert process.stdin is not None
        self.addCleanup(process.stdin.close)
        self.relay.script.append("break")
        for number in range(3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            until(lambda number=number: len(self.relay.seen), lambda many, number=number: many > number + 1)
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(self.said(), [{"log": str(number)} for number in range(3)])

    def test_no_wait(self) -> None:
        """
        Fire and forget does not wait, delivers if it can, and succeeds where no relay is, too.
        """
        self.relay.script.extend(["drop"])
        self.assertEqual(self.emit("--topic", "a", "--message", "lost", "--no-wait"), ("", ""))
        self.emit("--topic", "a", "-", "--no-wait", input=b"".join(b"%d\n" % number for number in range(300)))
        until(lambda: len(self.relay.kept), lambda many: many == 300)
        self.emit("--topic", "a", "--message", "x", "--no-wait", "--address", free_address())

    def test_restart(self) -> None:
        """
        A relay that is away is waited for.
        """
        self.relay.stop()
        process = subprocess.Popen([sys.executable, "-m", "socialrelay", "emit", "--topic", "a", "--message", "x"], env=self.environment())
        self.relay.start()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(self.said(), [{"log": "x"}])


class InVainTests(EmitCase):
    def test_refused(self) -> None:
        """
        What the relay refuses is told with its reason; of many only the first refusals are told one by one.
        """
        self.relay.refused = {"org.example.test.socialrelay.x": ("bad", "the relay alone may use that topic")}
        _, err = self.emit("--topic", "socialrelay.x", "--message", "x", code=1)
        self.assertEqual(err, "The message is not kept: the relay alone may use that topic.\n")
        _, err = self.emit("--topic", "socialrelay.x", "-", input=b"x\n" * 50, code=1)
        self.assertEqual(len(err.splitlines()), 22)
        self.assertTrue(err.endswith("\n50 of 50 messages are not kept.\n"))

    def test_no_relay(self) -> None:
        """
        Where no relay answers the exit code is 3, and it is told where it was looked for.
        """
        nowhere = free_address()
        _, err = self.emit("--topic", "a", "--message", "x", "--address", nowhere, "--timeout", "0.3", code=3)
        self.assertEqual(err, f"No relay answers at {nowhere}.\nIs it running, with bus.enabled = true?\n")
        self.relay.stop()
        _, err = self.emit("--topic", "a", "--message", "x", "--timeout", "0.3", code=3)
        self.assertIn("Its address is from ", err)
        self.assertIn("bus.py.", err)

    def test_not_in_time(self) -> None:
        """
        Messages that are not confirmed in time are named by their lines, and what was not sent any more is told.
        """
        self.relay.script.extend(["", "drop", "drop", "", "drop", *["drop"] * 5000])
        _, err = self.emit("--topic", "a", "-", "--timeout", "2", input=b"x\n" * 3000, code=1)
        self.assertIn("did not answer in time.\n", err)
        self.assertIn("Kept: 2 messages. Not confirmed: lines 2 to 3, lines 5 to 1001. What follows was not sent.", err)

    def test_wrong_use(self) -> None:
        """
        Wrong use is told before anything is sent.
        """
        for words, reason in (
            (["--topic", "a"], "Say exactly one"),
            (["--topic", "a", "--message", "x", "-"], "Say exactly one"),
            (["--message", "x"], "Say --topic"),
            (["--topic", "a", "more"], "What is 'more'"),
            (["--topic", "a\nb", "--message", "x"], "no control characters"),
            (["--topic", "", "--message", "x"], "1 to 255 bytes"),
            (["--topic", "a", "--json", "{"], "a JSON object"),
            (["--topic", "a", "--json", "[]"], "an object"),
            (["--topic", "a", "--message", "x", "--msg-id", "a b"], "no spaces"),
            (["--topic", "a", "--envelope", "-"], "leave out --topic"),
            (["--envelope", "/nonexistent"], "/nonexistent cannot be read: No such file"),
            (["--envelope", "-", "--msg-id", "x"], "leave out --msg-id"),
            (["--topic", "a", "--message", "x", "--no-wait", "--print"], "leave out --print"),
            (["--topic", "a", "--message", "x", "--address", "nonsense"], "nonsense is no address"),
            (["--topic", "a", "--message", "x", "--fedmsg-config", "/nonexistent"], "does not exist"),
        ):
            self.assertIn(reason, self.wrong_use("emit", *words))
        self.assertEqual(self.relay.seen, [])

    def test_unreadable_configuration(self) -> None:
        """
        A configuration that was named and cannot be read is wrong use; one that is only there is passed over, and told if nothing else says
        where the bus is.
        """
        said = self.run_command("--config", "/nonexistent", "emit", "--topic", "a", "--message", "x")
        self.assertEqual(said.returncode, 0, said.stderr)  # the fedmsg.d says it
        os.remove(self.home / ".fedmsg.d" / "bus.py")
        said = self.run_command("--config", "/nonexistent", "emit", "--topic", "a", "--message", "x")
        self.assertEqual(said.returncode, 2)
        self.assertIn(b"/nonexistent: cannot be read: No such file", said.stderr)
        words = ["-m", "socialrelay", "emit", "--topic", "a", "--message", "x", "--address", self.relay.address]
        told = subprocess.run(
            [sys.executable, *words],
            env=self.environment() | {"SOCIALRELAY_CONFIG": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual(told.returncode, 0)
        self.assertIn("/nonexistent: cannot be read", told.stderr)
        self.assertIn("topics begin with com.example.dev", told.stderr)

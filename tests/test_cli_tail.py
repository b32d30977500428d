"""C{socialrelay tail}, as people and scripts run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import zmq

from tests.bus_wire import PATIENCE, envelope, free_address, until
from tests.test_cli_emit import EmitCase


class TailCase(EmitCase):
    def keep(self, many: int, topic: str = "org.example.test.a", msg: object = None) -> None:
        for _ in range(many):
            number = len(self.relay.kept)
            self.relay.keep(f"k{number}", topic, {"n": number} if msg is None else msg)

    def tail(self, *words: str, code: int = 0) -> tuple[list[str], str]:
        """Lines of standard output, and standard error."""
        said = self.run_command("tail", *words)
        self.assertEqual(said.returncode, code, said.stderr.decode())
        return said.stdout.decode().splitlines(), said.stderr.decode()

    def following(self, *words: str) -> Following:
        process = Following(self, words)
        self.addCleanup(process.end)
        return process


class Following:
    """A C{tail} that goes on."""

    def __init__(self, case: TailCase, words: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "socialrelay", "tail", *words]
        self.process = subprocess.Popen(command, env=case.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(stream, found), daemon=True)
            for stream, found in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream: Any, found: list[str]) -> None:
        for line in stream:
            found.append(line.decode().rstrip("\n"))  # noqa: PERF401  # they are looked at meanwhile
        stream.close()

    def end(self, number: int = signal.SIGKILL) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        return code


class TailTests(TailCase):
    def test_lines(self) -> None:
        """
        A message is a line: time, number, topic, and what it says.
        """
        self.keep(2)
        lines, errors = self.tail("--since", "0", "--count", "2")
        self.assertEqual(errors, "")
        self.assertEqual(lines[1], '2026-11-22 06:00:00  2  org.example.test.a  {"n":1}')

    def test_json(self) -> None:
        """
        For programs it is an object with the whole envelope, or the body alone, as it came.
        """
        self.keep(1, msg={"path": "C:\\x7f", "odd": "\x7f\ud800"})
        ([line], _), ([body], _) = [self.tail("--since", "oldest", "--count", "1", option) for option in ("--json", "--raw")]
        self.assertEqual(body, self.relay.kept[0][2].decode())
        self.assertEqual(
            json.loads(line),
            {
                "seq": 1,
                "received_at": "2026-11-22T06:00:00.123456+00:00",
                "source": "ingest",
                "topic": "org.example.test.a",
                "msg_id": "k0",
                "message": json.loads(body),
            },
        )

    def test_topic(self) -> None:
        """
        Topics may be said without the prefix of the bus, or, with --full, as they are.
        """
        self.keep(1)
        self.keep(1, "org.example.test.b")
        self.keep(1, "org.other.b")
        for words, number in (
            (["--topic", "b"], "2"),
            (["--topic", "org.example.test.b"], "2"),
            (["--topic", "org.other", "--full"], "3"),
        ):
            [line], _ = self.tail("--since", "0", "--count", "1", *words)
            self.assertEqual(line.split("  ")[1], number)

    def test_safe(self) -> None:
        """
        Nothing in a message steers the terminal, unless it is asked for as it came.
        """
        self.keep(1, msg={"log": "\x1b[2J\u202e\x7f\x9b\n"})
        for words in ([], ["--json"]):
            [line], _ = self.tail("--since", "0", "--count", "1", *words)
            self.assertTrue(line.isprintable(), line)

    def test_follows(self) -> None:
        """
        It goes on with what comes, also after a restart of the relay, which is told once.
        """
        self.keep(1)
        process = self.following("--topic", "a")
        until(lambda: any(query["wait"] for query in self.relay.queries))
        self.keep(1)
        until(lambda: len(process.lines), lambda many: many == 1)
        self.relay.stop()
        until(lambda: process.errors)
        self.keep(2)
        self.relay.start()
        until(lambda: len(process.lines), lambda many: many == 3)
        self.assertEqual([line.split("  ")[1] for line in process.lines], ["2", "3", "4"])
        until(lambda: len(process.errors), lambda many: many == 2)
        self.assertEqual(
            process.errors, ["The relay does not answer; it is waited for.", "The relay answers again; it goes on after message 2."]
        )

    def test_gap(self) -> None:
        """
        Messages that were forgotten are told, and it goes on from the oldest that is kept.
        """
        self.keep(10)
        self.relay.oldest = 6
        lines, errors = self.tail("--since", "2", "--count", "1")
        self.assertEqual((lines[0].split("  ")[1], errors), ("6", "Messages 3 to 5 are not kept any more.\n"))
        lines, errors = self.tail("--since", "oldest", "--count", "1")
        self.assertEqual((lines[0].split("  ")[1], errors), ("6", ""))

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends it without a word, as it ends other programs.
        """
        self.keep(1)
        process = self.following("--since", "0")
        until(lambda: process.lines)
        self.assertEqual((process.end(signal.SIGINT), process.errors), (130, []))

    def test_closed_pipe(self) -> None:
        """
        It ends without a word when nobody reads any more, whether something comes or not.
        """
        self.keep(5)
        for since in ("0", "4"):
            read, write = os.pipe()
            process = subprocess.Popen(
                [sys.executable, "-m", "socialrelay", "tail", "--since", since],
                env=self.environment(),
                stdout=write,
                stderr=subprocess.PIPE,
            )
            os.close(write)
            with open(read, "rb") as reader:
                self.assertTrue(reader.readline())
            _, errors = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, errors), (0, b""))

    def test_in_vain(self) -> None:
        """
        Without a relay the exit code is 3; with a number that it never gave it is 1; with wrong use 2.
        """
        _, errors = self.tail("--since", "99", code=1)
        self.assertIn("refuses: there is no such number.", errors)
        _, errors = self.tail("--address", free_address(), code=3)
        self.assertIn("No relay answers at tcp://", errors)
        for words in (
            ["--since", "x"],
            ["--since", "-1"],
            ["--json", "--raw"],
            ["--live", "--since", "1"],
            ["--address", "x"],
            ["--count", "0"],
        ):
            self.wrong_use("tail", *words)


class LiveTests(TailCase):
    def test_heard(self) -> None:
        """
        Live it hears what is published, as stock listeners do, and waits for a publisher that is away.
        """
        address = free_address()
        process = self.following("--live", "--address", address, "--topic", "a", "--count", "2")
        until(lambda: process.errors)
        self.assertEqual(process.errors, [f"Nobody publishes at {address}; it is waited for."])
        with zmq.Context() as context, context.socket(zmq.XPUB) as publishes:
            publishes.set(zmq.LINGER, 0)
            publishes.bind(address)
            self.assertEqual(publishes.recv(), b"\x01org.example.test.a")
            topic = "org.example.test.a"
            for frames in (
                [b"org.example.test.b", b"{}"],
                [topic.encode()],
                [topic.encode(), b"\xff"],
                [topic.encode(), envelope(topic, {"n": 1}, "x")],
            ):
                publishes.send_multipart(frames)
            self.assertEqual(process.process.wait(PATIENCE), 0)
        process.end()
        self.assertEqual([line.split("  ")[1:] for line in process.lines], [["-", topic, '"\ufffd"'], ["-", topic, '{"n":1}']])

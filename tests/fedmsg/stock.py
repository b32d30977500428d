"""
Stock fedmsg: its commands, run in a folder with a C{fedmsg.d}.

They are looked for in C{.venv/fedmsg/bin}, or where C{$FEDMSG_TOOLS} says.
"""

from __future__ import annotations

import ast
import os
import pprint
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bus_wire import PATIENCE, until
from tests.daemon import ROOT

TOOLS = Path(os.environ.get("FEDMSG_TOOLS") or ROOT / ".venv" / "fedmsg" / "bin")
_MARK = b"[fedmsg.commands    INFO] "
"""Stands before a message that C{fedmsg-tail} prints."""
PREFIX, ENVIRONMENT = "org.example", "dev"


def topic(name: str) -> str:
    """In full: C{git.testing} is C{org.example.dev.git.testing}."""
    return f"{PREFIX}.{ENVIRONMENT}.{name}"


def absent() -> str:
    """Why there is no stock fedmsg; empty if there is."""
    if (TOOLS / "fedmsg-relay").exists():
        return ""
    return f"There is no fedmsg in {TOOLS}. 'make check-fedmsg' installs it (Python 3.11 to 3.13); $FEDMSG_TOOLS may name another folder."


class Stock:
    """
    A folder in which its commands find their configuration.

    @ivar inbound: C{relay_inbound}.
    @ivar outbound: C{relay_outbound}.
    """

    def __init__(self, inbound: str, outbound: str, **options: Any) -> None:
        """@param options: of fedmsg's configuration, besides the usual."""
        self.inbound, self.outbound = inbound, outbound
        self.folder = Path(tempfile.mkdtemp(prefix="socialrelay-fedmsg-", dir="/tmp"))
        config = {
            "topic_prefix": PREFIX,
            "environment": ENVIRONMENT,
            "zmq_enabled": True,
            "zmq_strict": False,
            "io_threads": 1,
            "high_water_mark": 0,
            "post_init_sleep": 0.5,
            "zmq_linger": 1000,
            "sign_messages": False,
            "validate_signatures": False,
            "relay_inbound": inbound,
            "endpoints": {"relay_outbound": [outbound]},
            **options,
        }
        (self.folder / "fedmsg.d").mkdir()
        (self.folder / "fedmsg.d" / "base.py").write_text(f"config = {pprint.pformat(config)}\n")
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """End what was started, and take the folder away."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str, said: str = "") -> str:
        """
        Run one of its commands to its end; what it printed.

        @param said: what it reads.
        @raise AssertionError: it failed.
        """
        process = self.begin(*words)
        return self.finished(process, said)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command that ends by itself."""
        process = subprocess.Popen(
            self._command(words),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._processes.append(process)
        return process

    def finished(self, process: subprocess.Popen[bytes], said: str = "") -> str:
        """
        Wait for its end; what it printed.

        @raise AssertionError: it failed.
        """
        printed = process.communicate(said.encode(), timeout=PATIENCE)[0].decode()
        if process.returncode:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}:\n{printed}")
        return printed

    def start(self, *words: str) -> Running:
        """Start a command that stays."""
        log = self.folder / f"log-{len(self._processes)}"
        with open(log, "wb") as written:
            process = subprocess.Popen(self._command(words), cwd=self.folder, env=self._environment(), stdout=written, stderr=written)
        self._processes.append(process)
        return Running(process, log)

    def tail(self, *options: str) -> Tail:
        """A C{fedmsg-tail}."""
        running = self.start("fedmsg-tail", *options)
        return Tail(running.process, running.log)

    def python(self, script: str) -> str:
        """Run Python code of somebody who uses fedmsg."""
        return self.run("python", "-c", script)

    def _command(self, words: Iterable[str]) -> list[str]:
        name, *others = words
        return [str(TOOLS / name), *others]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "FEDMSG"))}
        ours = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(self.folder), "HOME": str(self.folder)}
        return kept | ours


class Running:
    """
    A command that stays.

    @ivar log: what it prints.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and wait for its end; its exit code."""
        if self.alive:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


class Tail(Running):
    """A C{fedmsg-tail}, which prints a Python dictionary for each message."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        super().__init__(process, log)
        self._read = 0
        self._messages: list[dict[str, Any]] = []

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it has heard."""
        with open(self.log, "rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        found = (line.partition(_MARK) for line in whole.split(b"\n"))
        self._messages += [ast.literal_eval(said.decode()) for _, mark, said in found if mark]
        return self._messages

    @property
    def topics(self) -> list[str]:
        """Theirs."""
        return [message["topic"] for message in self.messages]

    def about(self, name: str) -> list[Any]:
        """C{msg} of those with this topic."""
        return [message["msg"] for message in self.messages if message["topic"] == name]

    def has(self, name: str, count: int = 1) -> list[Any]:
        """Wait for so many with this topic; C{msg} of all of them."""
        found: list[Any] = until(lambda: self._alive(name), lambda found: len(found) >= count)
        return found

    def _alive(self, name: str) -> list[Any]:
        if not self.alive:
            raise AssertionError(f"fedmsg-tail has ended:\n{self.log.read_text()[-2000:]}")
        return self.about(name)

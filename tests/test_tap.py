"""Tests for L{socialrelay.tap} and L{socialrelay.running.daemon}: the real twistd, as an operator meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.cli.launch import command_line
from socialrelay.running import statedir
from socialrelay.running.daemon import Unreachable, check_reachable
from tests.servers import take_away

ROOT = Path(__file__).parent.parent
TWISTD = Path(sys.executable).parent / "twistd"
DEADLINE = 60.0


class Twistd(SynchronousTestCase):
    """Runs twistd in a folder of its own."""

    def setUp(self) -> None:
        # Not trial's own: the servers run as another user, who must reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="socialrelay-"))
        self.folder.chmod(0o755)
        self.state = self.folder / "state"
        self.addCleanup(take_away, self.folder, self.state)
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("SOCIALRELAY_")} | {"PYTHONPATH": str(ROOT)}

    def twistd(self, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(each) for each in (TWISTD, *arguments)],
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def alive(self, process: int) -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return True

    def await_end(self, process: int) -> None:
        end = time.monotonic() + DEADLINE
        while self.alive(process) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertFalse(self.alive(process))


class HelpTests(Twistd):
    def test_listed(self) -> None:
        """twistd lists the relay among its commands."""
        self.assertRegex(self.twistd("--help").stdout, r"(?m)^ +socialrelay +A relay for the federated social web")

    def test_options(self) -> None:
        """Each option is explained."""
        told = self.twistd("socialrelay", "--help").stdout
        for option in ("config", "state-dir", "host", "listen", "log-format", "log-level", "version"):
            self.assertRegex(told, rf"--{option}=? +\S")

    def test_version(self) -> None:
        """The version is the relay's, not Twisted's."""
        self.assertRegex(self.twistd("socialrelay", "--version").stdout, r"^socialrelay \d")


class RefusedStartTests(Twistd):
    """What is wrong before twistd leaves the terminal is said there in one line; in the foreground and as a daemon alike."""

    def refused(self, *arguments: object, **environ: str) -> str:
        said = set()
        for mode in (["--nodaemon"], []):
            done = self.twistd(*mode, "--pidfile=", "socialrelay", "--state-dir", self.state, *arguments, **environ)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stdout, "")
            said.add(done.stderr)
        [line] = said
        self.assertRegex(line, r"\Asocialrelay: [^\n]+\n\Z")
        return line

    def test_option(self) -> None:
        """An unknown option."""
        self.assertIn("option --hots not recognized. See twistd socialrelay --help.", self.refused("--hots=x"))
        self.assertIn("'start' is no option. See", self.refused("start"))

    def test_file(self) -> None:
        """A file that is not there."""
        self.assertIn("/nowhere.toml: cannot be read: No such file or directory", self.refused("--config", "/nowhere.toml"))

    def test_key(self) -> None:
        """A key that does not exist, in a file or a variable."""
        file = self.folder / "relay.toml"
        file.write_text("[delivery]\nwindows = 3\n")
        self.assertIn(f"{file}: delivery.windows: there is no such key; did you mean delivery.window?", self.refused("--config", file))
        self.assertIn("SOCIALRELAY_HOTS: there is no such option", self.refused(SOCIALRELAY_HOTS="x"))

    def test_host(self) -> None:
        """A host that is none."""
        self.assertIn("--host: must be the relay's public host name", self.refused("--host", "localhost"))

    def test_lock(self) -> None:
        """A state directory that another relay holds."""
        taken = statedir.take(self.state)
        self.addCleanup(taken.release)
        said = self.refused("--listen", "tcp:0:interface=127.0.0.1")
        self.assertIn(f"Another relay is running in {self.state} (process {os.getpid()}). Stop it, or name another --state-dir.", said)

    def test_state_dir(self) -> None:
        """A state directory that cannot be one."""
        self.state.write_text("")
        self.assertIn(f"The state directory {self.state} cannot be used: Not a directory", self.refused())

    def test_key_file(self) -> None:
        """A private key that is none."""
        key = self.folder / "key.pem"
        key.write_text("garbage")
        key.chmod(0o600)
        self.assertIn(f"{key}: this is no private key in PEM format", self.refused(SOCIALRELAY_IDENTITY__KEY_FILE=str(key)))

    def test_log(self) -> None:
        """A log file in a folder that does not exist."""
        for mode in (["--nodaemon"], []):
            done = self.twistd(
                *mode,
                "--pidfile=",
                "--logfile=/nowhere/log",
                "socialrelay",
                "--state-dir",
                self.state,
                "--listen=tcp:0:interface=127.0.0.1",
            )
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"\Asocialrelay: The log /nowhere/log cannot be written: [^\n]+\n\Z")

    def test_port(self) -> None:
        """A port that is in use."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            endpoint = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            said = self.refused("--listen", endpoint)
        self.assertIn(f"Cannot listen on {endpoint}: Address already in use. Stop what uses it, or name another with --listen.", said)

    def test_endpoint(self) -> None:
        """An endpoint that is none."""
        for endpoint in ("tcp:http", "pigeon:coop", "tcp:80:speed=high"):
            self.assertIn(f"The endpoint {endpoint} is not understood", self.refused("--listen", endpoint))
        for endpoint, reason in (
            ("ssl:0:privateKey=/nowhere.pem", "No such file or directory: /nowhere.pem."),
            ("unix:/nowhere/web", "No such file or directory. Name another"),
            ("systemd:domain=INET:index=0", "systemd handed no such socket over."),
        ):
            self.assertIn(f"Cannot listen on {endpoint}: {reason}", self.refused("--listen", endpoint))

    def test_network_file(self) -> None:
        """A file with authorities that is not there."""
        said = self.refused("--listen", "tcp:0:interface=127.0.0.1", SOCIALRELAY_NETWORK__CA_FILE="/nowhere.pem")
        self.assertEqual(said, "socialrelay: network.ca_file: /nowhere.pem cannot be read: No such file or directory.\n")

    def test_embedded_programs(self) -> None:
        """A folder of PostgreSQL's programs in which there are none."""
        said = self.refused("--listen", "tcp:0:interface=127.0.0.1", SOCIALRELAY_EMBEDDED__POSTGRES_BIN="/nowhere")
        self.assertIn("embedded.postgres_bin: /nowhere has no postgres and initdb in it", said)
        self.assertFalse((self.state / "run").is_symlink())

    def test_embedded_user(self) -> None:
        """Embedded servers that would run as a user who does not exist, or who cannot reach the state directory."""
        if os.geteuid() != 0:
            self.skipTest("only root's embedded servers are another user's")
        said = self.refused("--listen", "tcp:0:interface=127.0.0.1", SOCIALRELAY_EMBEDDED__USER="no-such-user")
        self.assertIn("embedded.user: there is no user 'no-such-user'", said)
        self.folder.chmod(0o700)
        self.assertIn(f"{self.state} cannot be reached by the user nobody", self.refused("--listen", "tcp:0:interface=127.0.0.1"))
        self.assertFalse((self.state / "run").is_symlink())

    def test_user(self) -> None:
        """A user whom nobody knows, said to C{socialrelay run}."""
        done = subprocess.run(
            [sys.executable, "-m", "socialrelay", "run", "--uid", "no-such-user"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (1, "socialrelay: --uid or --gid: name not found: 'no-such-user'.\n"))


class LateStartTests(Twistd):
    """What goes wrong after twistd has forked is said on the terminal as well."""

    def late(self, start: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.notes = self.folder / "notes"
        foreground = "yes" if "--nodaemon" in arguments else ""
        tac = Path(__file__).parent / "late.tac"
        return self.twistd(*arguments, "--pidfile=twistd.pid", "-y", tac, START=start, NOTES=str(self.notes), FOREGROUND=foreground)

    def test_fails(self) -> None:
        """A part that cannot start gives one line and 1, in the foreground and as a daemon, and what has started is stopped."""
        for start in ("fails at once", "fails later"):
            for mode in (["--nodaemon"], []):
                done = self.late(start, "--logfile=log", *mode)
                self.assertEqual(done.stderr, "socialrelay: database: The database db.example does not answer. Start it.\n")
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.await_note("stopped\n")
                log = (self.folder / "log").read_text()
                self.assertIn("The relay cannot start. database: The database db.example does not answer.", log)
                self.assertNotIn("Traceback", log)
                self.notes.unlink()

    def test_dies(self) -> None:
        """A daemon that dies while it starts, without a word, is not taken for one that runs."""
        done = self.late("dies", "--logfile=log")
        self.assertEqual(done.stderr, "socialrelay: The relay ended while it was starting; its log says why.\n")
        self.assertEqual(done.returncode, 1)

    def test_database(self) -> None:
        """A database that cannot be reached is such a part."""
        environ = {"SOCIALRELAY_POSTGRES__DSN": "host=/nowhere dbname=relay", "SOCIALRELAY_REDIS__URL": "off"}
        arguments = ("socialrelay", "--state-dir", self.state, "--listen", "tcp:0:interface=127.0.0.1")
        for mode in (["--nodaemon"], []):
            done = self.twistd(*mode, "--pidfile=", "--logfile=log", *arguments, **environ)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"\Asocialrelay: [^\n]*/nowhere[^\n]*No such file or directory[^\n]*\n\Z")
            self.assertNotIn("Traceback", (self.folder / "log").read_text())

    def test_no_folder_left(self) -> None:
        """Embedded servers that refuse to run leave no folder for their sockets."""
        (self.state / "postgres").mkdir(parents=True)
        arguments = ("socialrelay", "--state-dir", self.state, "--listen", "tcp:0:interface=127.0.0.1")
        sockets = self.folder / "socialrelay-sockets"
        done = self.twistd("--nodaemon", "--pidfile=", "--logfile=log", *arguments, RUNTIME_DIRECTORY=str(sockets))
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(self.state / "postgres"), done.stderr)
        self.assertFalse((self.state / "run").is_symlink())
        self.assertFalse(sockets.exists())

    def test_said_once(self) -> None:
        """On a terminal that shows the log, the log's line is all."""
        environ = self.environ | {"SOCIALRELAY_POSTGRES__DSN": "host=/nowhere dbname=relay", "SOCIALRELAY_REDIS__URL": "off"}
        command = [TWISTD, "--nodaemon", "--pidfile=", "socialrelay", "--state-dir", self.state, "--listen", "tcp:0:interface=127.0.0.1"]
        done = subprocess.run(
            [str(each) for each in command],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.count("/nowhere"), 1)
        self.assertIn("PostgreSQL: ", done.stdout)
        self.assertIn("Start it, or correct postgres.dsn.", done.stdout)

    def test_starts(self) -> None:
        """The command of a daemon returns, with 0, when the relay runs."""
        done = self.late("well", "--logfile=log")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("ready", (self.folder / "log").read_text())
        process = int((self.folder / "twistd.pid").read_text())
        os.kill(process, signal.SIGTERM)
        self.await_note("stopped\n")
        self.await_end(process)

    def await_note(self, note: str) -> None:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and not self.notes.exists():
            time.sleep(0.02)
        self.assertEqual(self.notes.read_text(), note)


class RunningTests(Twistd):
    def test_daemon(self) -> None:
        """As a daemon it has its process id and log where twistd was told, and on SIGTERM it ends and leaves its folder free."""
        pid, log = self.folder / "relay.pid", self.folder / "relay.log"
        endpoint = f"unix:{self.folder}/web"
        arguments = ("--listen", endpoint, "--log-format", "json", "--state-dir", self.state)
        done = self.twistd("--pidfile", pid, "--logfile", log, "socialrelay", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        process = int(pid.read_text())
        self.assertEqual((self.state / "lock").read_text(), f"{process}\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.folder}/web")
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", client.recv(100))
        os.kill(process, signal.SIGTERM)
        self.await_end(process)
        self.assertFalse(pid.exists())
        self.assertFalse((self.folder / "web").exists())
        statedir.take(self.state).release()
        events = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertIn(f"Listening on {endpoint}.", [event["message"] for event in events])

    def test_user(self) -> None:
        """Started by root with --uid and --gid, it becomes that user; if that user could not read the program, it says so at once."""
        if os.geteuid() != 0:
            return  # only root may become another
        pid = self.folder / "relay.pid"
        twistds = ("--uid=65534", "--gid=65534", "--pidfile", pid, "--logfile", self.folder / "relay.log")
        arguments = ("--listen", "tcp:0:interface=127.0.0.1", "--state-dir", self.state)
        done = self.twistd(*twistds, "socialrelay", *arguments)
        try:
            check_reachable(65534, 65534)
        except Unreachable as error:
            self.assertEqual((done.returncode, done.stderr), (1, f"socialrelay: {error}\n"))
            return
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        process = int(pid.read_text())
        self.assertEqual(self.state.stat().st_uid, 65534)
        self.assertIn("Uid:\t65534", Path(f"/proc/{process}/status").read_text())
        os.kill(process, signal.SIGTERM)
        self.await_end(process)


class CommandLineTests(SynchronousTestCase):
    def test_order(self) -> None:
        """Options of twistd and of the relay may come in any order."""
        made = command_line(["--host", "relay.example", "--nodaemon", "--listen=tcp:80", "--logfile", "log"])
        self.assertEqual(
            made, ["twistd", "--pidfile=", "--nodaemon", "--logfile", "log", "socialrelay", "--host", "relay.example", "--listen=tcp:80"]
        )

    def test_pidfile(self) -> None:
        """A file with the process id is written if one is named."""
        self.assertEqual(command_line(["--pidfile", "x"]), ["twistd", "--pidfile", "x", "socialrelay"])

    def test_as_twistd(self) -> None:
        """What is written as for twistd stays as it is."""
        self.assertEqual(command_line(["-n", "socialrelay", "--host", "x"]), ["twistd", "--pidfile=", "-n", "socialrelay", "--host", "x"])

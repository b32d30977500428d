"""What the command offers to shells and to man."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO

import click
from click.testing import CliRunner
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.cli.command import main
from socialrelay.cli.completion import known_hosts
from socialrelay.cli.manpage import manual
from socialrelay.cli.offline import progress, sentence
from socialrelay.operators.offers import act_offers, view_offers
from socialrelay.web.control import SOCKET_NAME, ControlService
from tests.daemon import ROOT, environment
from tests.operators import EVERYTHING, Relay
from tests.test_control import reactor, short_directory


class ManualTests(SynchronousTestCase):
    def test_up_to_date(self) -> None:
        """
        The manual page that is shipped is that of the commands as they are; `make man` makes it.
        """
        self.assertEqual((ROOT / "share/man/man1/socialrelay.1").read_text(), manual())

    def test_whole(self) -> None:
        """
        Each command has a section, and nothing in its text is taken for a command of roff.
        """
        page = manual()
        context = click.Context(main)
        for name in main.list_commands(context):
            self.assertIn("\n.SS " + name.replace("-", "\\-"), page)
        known = {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BR", ".nf", ".fi"}
        for line in page.splitlines():
            self.assertFalse(line.startswith("'"))
            if line.startswith(".") and not line.startswith('.\\"'):
                self.assertIn(line.partition(" ")[0], known)


class CompletionTests(TestCase):
    def test_scripts(self) -> None:
        """
        For each shell there is a script that asks the command what may come next.
        """
        for shell in ("bash", "zsh", "fish"):
            said = CliRunner().invoke(main, ["completion", shell])
            self.assertEqual(said.exit_code, 0, said.output)
            self.assertIn(f"_SOCIALRELAY_COMPLETE={shell}_complete", said.stdout)
        self.assertEqual(CliRunner().invoke(main, ["completion", "powershell"]).exit_code, 2)

    def test_asked(self) -> None:
        """
        What the script asks is answered, also of commands that are imported later.
        """
        words = {"_SOCIALRELAY_COMPLETE": "bash_complete", "COMP_WORDS": "socialrelay exp", "COMP_CWORD": "1"}
        program = "from socialrelay.cli.command import main; main(prog_name='socialrelay')"
        said = subprocess.run(
            [sys.executable, "-c", program], env={**environment(), **words}, capture_output=True, text=True, check=False, timeout=60
        )
        self.assertEqual(said.stdout.strip(), "plain,export")

    async def test_hosts(self) -> None:
        """
        Hosts are those that the daemon knows and that begin so; without a daemon there are none.
        """
        relay, path = Relay(), short_directory(self) / SOCKET_NAME
        service = ControlService(reactor, path, view_offers(relay.views), act_offers(relay.operations), lambda uid: succeed("ada"))
        service.startService()
        self.addCleanup(service.stopService)
        for host in ("pod-a.example", "pod-b.example", "other-pod.example"):
            await relay.publishes(host, EVERYTHING)
        for socket, expected in ((path, ["pod-a.example", "pod-b.example"]), (path.parent / "none.sock", [])):
            context = click.Context(main)
            context.params = {"socket": socket, "config": None, "state_dir": None}
            found = await deferToThread(known_hosts, context, click.Argument(["host"]), "pod-")
            self.assertEqual([item.value for item in found], expected)


class QuickTests(SynchronousTestCase):
    def test_imports(self) -> None:
        """
        A command that asks the daemon imports neither a web server nor what only other commands need.
        """
        program = "import sys, socialrelay.cli.asking; print(*sys.modules)"
        said = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True, timeout=60)
        heavy = {
            "twisted.web.server",
            "klein",
            "redis",
            "psycopg2",
            "rich",
            "socialrelay.takeover",
            "socialrelay.doctor",
            "socialrelay.backup",
        }
        self.assertEqual(heavy & set(said.stdout.split()), set())

    def test_lazy(self) -> None:
        """
        The command itself imports neither Twisted nor the configuration: what needs them does.
        """
        program = "import sys, socialrelay.cli.command; print(*sys.modules)"
        said = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual({"twisted", "socialrelay.config", "socialrelay.boundaries"} & set(said.stdout.split()), set())


class Terminal(StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def test_terminal(self) -> None:
        """
        On a terminal it is shown what is being done, and nothing is left of it; elsewhere nothing is written.
        """
        for stream, shown in ((Terminal(), True), (StringIO(), False)):
            self.patch(sys, "stderr", stream)
            with progress("export") as tell:
                tell("post", 0.5)
            self.assertEqual("export: post" in stream.getvalue(), shown)
            self.assertEqual(bool(stream.getvalue()), shown)


class SentenceTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        """
        A reason begins with a capital and ends with a full stop; a path stays as it is.
        """
        self.assertEqual(sentence("the database has schema 9"), "The database has schema 9.")
        self.assertEqual(sentence("/var/relay.zip: no"), "/var/relay.zip: no.")
        self.assertEqual(sentence("Stop it."), "Stop it.")

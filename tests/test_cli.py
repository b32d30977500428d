"""The operators' command, against a real control socket."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from click import Context
from click.testing import CliRunner, Result
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay import __version__
from socialrelay.boundaries import Condition, Rejection
from socialrelay.cli import asking, launch
from socialrelay.cli import output as cli_output
from socialrelay.cli.client import find_socket
from socialrelay.cli.command import main
from socialrelay.erasure import Erased
from socialrelay.operators.offers import act_offers, view_offers
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import Gap, Progress, State
from socialrelay.web.control import SOCKET_NAME, ControlService
from tests.operators import EVERYTHING, NOW, REFUSAL, Relay
from tests.storing import publication
from tests.test_control import reactor, short_directory

LONG = "a-node-with-a-rather-long-name.of-a-rather-large-hoster.example"


class CommandCase(TestCase):
    """The command in this process, the daemon's socket in the reactor."""

    def setUp(self) -> None:
        self.relay = Relay()
        self.path = short_directory(self) / SOCKET_NAME
        views, acts = view_offers(self.relay.views), act_offers(self.relay.operations)
        service = ControlService(reactor, self.path, views, acts, lambda uid: succeed("ada"))
        service.startService()
        self.addCleanup(service.stopService)

    async def say(self, *words: str, columns: int | None = None, input: str | None = None) -> Result:
        environ = {"COLUMNS": None if columns is None else str(columns)}
        words = ("--socket", str(self.path), *words)
        result: Result = await deferToThread(CliRunner().invoke, main, words, env=environ, input=input)
        return result

    async def said(self, *words: str, columns: int | None = None) -> str:
        result = await self.say(*words, columns=columns)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout

    async def json(self, *words: str) -> Any:
        return json.loads(await self.said(*words, "--json"))

    async def fill(self) -> None:
        """Nodes in all states."""
        tags = frozenset(f"hashtag{number}" for number in range(40))
        await self.relay.publishes("pod.example", EVERYTHING)
        await self.relay.publishes(LONG, Preferences(Scope.TAGS, tags, f"https://{LONG}/receive/public", dropped_tags=2))
        await self.relay.publishes("never.example", REFUSAL)
        self.relay.queue.becomes(
            LONG,
            State.DEFERRED,
            behind=1234,
            failures=4,
            failing_since=NOW,
            next_attempt=NOW + timedelta(hours=1),
            last_reason="connection refused or unreachable: Connection refused by the other side",
            bounced=2,
            last_bounce="HTTP 413",
        )
        await self.relay.stores.rejections.record([Rejection(NOW, "bad-signature", f"eve@{LONG}", "f00d" * 8, "status_message")])


class CommandTests(CommandCase):
    """What each command says."""

    async def test_acts(self) -> None:
        """
        Each act prints the sentence that says what is so now.
        """
        for words, expected in [
            (
                ["subscribe", "pod.example", "--tags", "cats,Dogs", "--tags", "birds"],
                "subscribed to the tags birds, cats, dogs, from now on",
            ),
            (["subscribe", "pod.example", "--all"], "pod.example is subscribed to all public posts, from now on"),
            (["suspend", "pod.example"], "Deliveries to pod.example are suspended"),
            (["resume", "pod.example"], "Deliveries to pod.example go on"),
            (["wake", "pod.example"], "pod.example is not waiting"),
            (["unsubscribe", "pod.example"], "pod.example is no longer subscribed"),
            (["block", "pod.example", "--reason", "spam"], "Nothing from or to pod.example and its subdomains is relayed any more"),
            (["unblock", "pod.example"], "The block rule for pod.example is removed."),
            (["allow", "eve@pod.example"], "eve@pod.example is on the allow list."),
            (["forward", "pod.example"], "pod.example is sent every post"),
            (["forward", "pod.example", "--off"], "The forward rule is removed"),
            (["lists", "fetch"], "No node list is configured"),
        ]:
            self.assertIn(expected, await self.said(*words), words)

    async def test_json(self) -> None:
        """
        Each command prints the daemon's answer as JSON if asked to.
        """
        await self.fill()
        self.relay.poller.published[LONG] = EVERYTHING
        for words in (
            ["status"],
            ["nodes"],
            ["node", LONG],
            ["queue"],
            ["rejected"],
            ["rules"],
            ["identity"],
            ["lists", "fetch"],
            ["poll", LONG],
        ):
            self.assertIsInstance(await self.json(*words), dict)
        answer = await self.json("subscribe", "pod.example", "--tags", "cats")
        self.assertEqual(answer["subscription"]["tags"], ["cats"])

    async def test_refused(self) -> None:
        """
        A refusal goes to standard error in a sentence, or to standard output as JSON, and the exit code is 1.
        """
        await self.fill()
        result = await self.say("subscribe", "never.example", "--all")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertIn("never.example publishes that it wants nothing from relays, and that decides.", result.stderr)
        result = await self.say("subscribe", "never.example", "--all", "--json")
        self.assertEqual((result.exit_code, json.loads(result.stdout)["error"]["code"]), (1, "refused"))

    async def test_erase(self) -> None:
        """
        What was erased is told, and what not; as JSON with all counts.
        """
        self.relay.eraser.known = Erased(posts=3, rejections=1)
        said = await self.said("erase", "ada@pod.example", "--yes", columns=60)
        self.assertIn("What the relay knew of ada@pod.example is erased: 3 posts,", said)
        self.assertIn("- The digests of the posts stay", said)
        self.assertIn("`socialrelay block ada@pod.example`", " ".join(said.split()))
        self.assertEqual((await self.json("erase", "--guid", "f00d4711", "--yes"))["erased"]["rejections"], 1)
        await self.said("erase", "--host", "pod.example", "--yes")
        self.assertEqual([[*asked.values()] for asked in self.relay.eraser.asked][1:], [["", "f00d4711", ""], ["", "", "pod.example"]])

    async def test_erase_asks(self) -> None:
        """
        At a terminal the operator is asked first; elsewhere nobody can be, and nothing is erased without --yes.
        """
        result = await self.say("erase", "ada@pod.example")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("--yes", result.stderr)
        self.patch(asking, "_at_a_terminal", lambda: True)
        result = await self.say("erase", "ada@pod.example", input="n\n")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertIn("Nothing was erased.", result.stderr)
        self.assertEqual(self.relay.eraser.asked, [])
        result = await self.say("erase", "ada@pod.example", input="y\n")
        self.assertEqual((result.exit_code, len(self.relay.eraser.asked)), (0, 1))

    async def test_in_vain(self) -> None:
        """
        What could not be read is told on standard output as usual, and the exit code is 1.
        """
        result = await self.say("poll", "pod.example")
        self.assertEqual((result.exit_code, result.stderr), (1, ""))
        self.assertIn("The preferences of pod.example could not be read. It answered HTTP 404.", result.stdout)
        self.relay.lists.results = {"one": "failed, what it named before stays: HTTP 500", "two": "failed, what it named before stays: x"}
        result = await self.say("lists", "fetch")
        self.assertEqual((result.exit_code, result.stderr), (1, ""))
        self.assertIn("HTTP 500", result.stdout)
        self.relay.lists.results["two"] = "3 hosts, 0 new"
        self.assertIn("HTTP 500", await self.said("lists", "fetch"))

    async def test_not_polled(self) -> None:
        """
        A node that was not polled yet is shown as such.
        """
        await self.said("subscribe", "pod.example", "--all")
        text = await self.said("node", "pod.example")
        self.assertRegex(text, r"(?m)^publishes +not polled yet$")
        self.assertNotIn("last polled", text)
        self.assertIn("next poll", text)

    async def test_usage(self) -> None:
        """
        What cannot be meant is explained, and the exit code is 2.
        """
        for words in (
            ["subscribe", "a.example"],
            ["subscribe", "a.example", "--all", "--tags", "x"],
            ["nothing"],
            ["node"],
            ["nodes", "--limit", "0"],
            ["erase", "--yes"],
            ["erase", "ada@pod.example", "--host", "pod.example", "--yes"],
        ):
            self.assertEqual((await self.say(*words)).exit_code, 2, words)

    async def test_fits_80_columns(self) -> None:
        """
        At 80 columns no line is longer, and nothing is cut off.
        """
        await self.fill()
        for words in (["status"], ["nodes"], ["node", LONG], ["queue"], ["rejected"], ["rules"], ["identity"]):
            text = await self.said(*words, columns=80)
            self.assertLessEqual(max(len(line) for line in text.splitlines()), 80, text)
            self.assertNotIn("…", text)

    async def test_pipe(self) -> None:
        """
        In a pipe a row is one line, whatever its length, without colour and without blanks at its end.
        """
        await self.fill()
        text = await self.said("queue")
        [line] = [line for line in text.splitlines() if line.startswith(LONG)]
        self.assertIn("deferred", line)
        self.assertTrue(line.endswith("connection refused or unreachable: Connection refused by the other side"))
        self.assertNotIn("\x1b", text)

    async def test_bounced(self) -> None:
        """
        A node's posts that it refused are shown with why it refused the last.
        """
        await self.fill()
        self.assertRegex(await self.said("node", LONG), r"(?m)^refused +2, the last with HTTP 413$")

    async def test_given_up(self) -> None:
        """
        What a node was never sent is shown, when that was, and why; in the queue how much it is; in the status how much in all.
        """
        await self.fill()
        self.relay.queue.becomes(LONG, State.DEAD, expired=40, cancelled=3)
        await self.relay.stores.log.publish(publication(published_at=NOW))
        number = self.relay.queue.destination(LONG).record.number
        gaps = (Gap(number, 0, 1, 40, "expired", "the node is dead"), Gap(number, 9, 12, 3, "cancelled", "it wants nothing"))
        await self.relay.stores.destinations.save(Progress(gaps=gaps))
        text = await self.said("node", LONG)
        self.assertRegex(text, r"(?m)^expired +40$")
        self.assertRegex(text, r"(?m)^cancelled +3$")
        self.assertRegex(text, r"(?m)^\? +\? +3 +cancelled +it wants nothing$")
        self.assertRegex(text, r"(?m)^2026-11-21 21:30 +2026-11-21 21:30 +40 +expired +the node is dead$")
        self.assertRegex(await self.said("queue", "--state", "dead"), r"dead +\d+ +\d+ +43 ")
        await self.relay.stores.statistics.add({(NOW, "expired", LONG): 40})
        self.assertRegex(await self.said("status"), r"(?m)^expired +40 +40 +40 +40$")

    async def test_adapting(self) -> None:
        """
        How much is sent to a node at a time, and for how long each delivery is waited for, is shown.
        """
        await self.fill()
        self.relay.queue.statuses["pod.example"] = evolve(self.relay.queue.statuses["pod.example"], window=4, timeout=3.25)
        text = await self.said("node", "pod.example")
        self.assertRegex(text, r"(?m)^now +0 of at most 4 in flight")
        self.assertRegex(text, r"(?m)^time for each +3\.2 s$")

    async def test_not_active(self) -> None:
        """
        Of a node that is tried at times, or not at all, no window is shown; and if nothing waits for it, that the next post is its attempt.
        """
        await self.fill()
        self.relay.queue.becomes(LONG, State.DEFERRED, failures=2, failing_since=NOW, next_attempt=datetime(2020, 1, 1, tzinfo=UTC))
        text = await self.said("node", LONG)
        self.assertRegex(text, r"(?m)^next attempt +with the next post for it$")
        self.assertNotRegex(text, r"(?m)^now ")
        self.assertIn("with the next post for it", await self.said("queue"))
        self.relay.queue.becomes(LONG, State.DEFERRED, behind=1)
        self.assertRegex(await self.said("node", LONG), r"(?m)^next attempt +2020-01-01 00:00 UTC")
        self.relay.queue.becomes(LONG, State.SUSPENDED)
        self.relay.queue.statuses[LONG] = evolve(self.relay.queue.statuses[LONG], in_flight=1)
        text = await self.said("node", LONG)
        self.assertRegex(text, r"(?m)^now +1 in flight$")
        self.assertNotIn("time for each", text)

    async def test_counted(self) -> None:
        """
        The counts of a node are named as elsewhere.
        """
        await self.fill()
        await self.relay.stores.statistics.add({(NOW, "bounced", LONG): 7, (NOW, "failed", LONG): 3})
        self.assertRegex(await self.said("node", LONG), r"(?m)^Counted in 30 days\nrefused +7\ntimes deferred +3$")

    async def test_behind(self) -> None:
        """
        The status says how many nodes have not come to the end of what was posted.
        """
        await self.fill()
        self.assertRegex(await self.said("status"), r"(?m)^behind +1 of the destinations$")

    async def test_moved(self) -> None:
        """
        Where a node's redirect points is shown whole.
        """
        await self.fill()
        reason = f"HTTP 301, points to https://{LONG.replace('a-node', 'another-node')}/receive/public"
        self.relay.queue.becomes(LONG, State.DEFERRED, last_reason=reason)
        for words in (["node", LONG], ["queue"]):
            self.assertIn(reason, await self.said(*words))
        self.assertIn(reason.replace(" ", ""), "".join((await self.said("node", LONG, columns=80)).split()))

    async def test_gone(self) -> None:
        """
        Of a node that answers 410 Gone it is shown until when it is left alone, and what can be done.
        """
        await self.relay.publishes("pod.example", EVERYTHING)
        self.relay.queue.becomes("pod.example", State.GONE)
        await self.relay.membership.retire("pod.example")
        text = await self.said("node", "pod.example")
        self.assertRegex(text, r"because +it answers 410 Gone to deliveries")
        self.assertRegex(text, r"left alone until +2026-11-28 21:30 UTC \(.*\), or until you say `socialrelay wake pod\.example`")
        self.assertIn("1 gone", await self.said("queue"))
        self.assertIn("gets all public posts again", await self.said("wake", "pod.example"))

    async def test_status(self) -> None:
        """
        The status shows what is amiss.
        """
        self.relay.health.watch("cache", lambda: Condition("cache", well=False, essential=False, detail="Valkey does not answer"))
        text = await self.said("status")
        self.assertIn("degraded: it works, but something is amiss", text)
        self.assertRegex(text, r"cache +amiss +Valkey does not answer")
        self.relay.tables.go_away()
        self.assertIn("the database cannot be reached now", await self.said("status"))

    async def test_no_steering(self) -> None:
        """
        What strangers wrote cannot steer the operator's terminal.
        """
        await self.relay.stores.rejections.record([Rejection(NOW, "bad-signature", "\x1b[31meve@pod.example", "[bold]x")])
        text = await self.said("rejected")
        self.assertNotIn("\x1b", text)
        self.assertIn("[bold]x", text)

    async def test_process(self) -> None:
        """
        The command works as a process of its own.
        """
        words = ["-m", "socialrelay.cli.command", "--socket", str(self.path), "identity"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        out, err, code = await getProcessOutputAndValue(sys.executable, words, environ)
        self.assertEqual((code, err), (0, b""))
        self.assertIn(b"relay@relay.example", out)

    async def test_full(self) -> None:
        """
        An answer that cannot be written is told in one line, and the exit code is 1.
        """
        words = ["-m", "socialrelay.cli.command", "--socket", str(self.path), "identity"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = shlex.join([sys.executable, *words])
        out, err, code = await getProcessOutputAndValue("/bin/sh", ["-c", f"{command} >/dev/full"], environ)
        self.assertEqual((code, out, err), (1, b"", b"The answer cannot be written: No space left on device.\n"))


class WithoutDaemonTests(SynchronousTestCase):
    """The command alone."""

    def say(self, *words: str, env: dict[str, str | None] | None = None) -> Result:
        return CliRunner().invoke(main, words, env=env)

    def test_no_daemon(self) -> None:
        """
        Without a daemon the command names the socket and what to do, and the exit code is 3.
        """
        folder = short_directory(self)
        result = self.say("--state-dir", str(folder), "status")
        self.assertEqual(result.exit_code, 3, result.output)
        self.assertIn("No relay is running: nobody listens at ", result.stderr)
        self.assertIn("socialrelay run", result.stderr)

    def test_dead_socket(self) -> None:
        """
        A socket that a dead daemon left is no daemon.
        """
        path = short_directory(self) / SOCKET_NAME
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(str(path))
        result = self.say("--socket", str(path), "status")
        self.assertEqual((result.exit_code, str(path) in result.stderr), (3, True))

    def test_bad_configuration(self) -> None:
        """
        A configuration that cannot be read is an error that names it.
        """
        result = self.say("--config", "/nowhere/relay.toml", "status")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("/nowhere/relay.toml", result.stderr)

    def test_finds_the_socket(self) -> None:
        """
        The socket is found as the daemon finds its state directory: option, then environment, then what systemd says.
        """
        first, second = short_directory(self), short_directory(self)
        for folder in (first, second):
            (folder / "r").mkdir()
            (folder / "run").symlink_to(folder / "r")
        environ = {"STATE_DIRECTORY": str(second)}
        self.assertEqual(find_socket(None, None, first, environ), first / "r" / SOCKET_NAME)
        self.assertEqual(find_socket(None, None, None, environ), second / "r" / SOCKET_NAME)
        self.assertEqual(find_socket(Path("/x"), None, first, environ), Path("/x"))

    def test_run(self) -> None:
        """
        The daemon is started with the options of the command and its own.
        """
        started: list[list[str]] = []
        self.patch(launch, "run", started.append)
        result = self.say("--state-dir", "/data", "run", "--nodaemon", "--host", "relay.example")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(started, [["--nodaemon", "--host", "relay.example", "--state-dir", "/data"]])

    def test_version(self) -> None:
        """
        The version is that of the package.
        """
        self.assertEqual(self.say("--version").stdout, f"socialrelay {__version__}\n")

    def test_help(self) -> None:
        """
        Every command explains itself.
        """
        listing = self.say("--help").stdout
        context = Context(main)
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            self.assertIn(name, listing)
            self.assertTrue(command is not None and command.help, name)
            self.assertEqual(self.say(name, "--help").exit_code, 0)


class WordsTests(SynchronousTestCase):
    def test_when(self) -> None:
        """
        Times are in UTC, with how long ago or how soon.
        """
        now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        for moment, expected in [
            ("2026-11-21T11:57:00+00:00", "2026-11-21 11:57 UTC (3 min ago)"),
            ("2026-11-21T14:00:00+02:00", "2026-11-21 12:00 UTC (0 s ago)"),
            ("2026-11-21T13:00:00+00:00", "2026-11-21 13:00 UTC (in 60 min)"),
            ("2026-11-14T12:00:00+00:00", "2026-11-14 12:00 UTC (7 d ago)"),
            (None, "never"),
        ]:
            self.assertEqual(cli_output.when(moment, now), expected)

    def test_size(self) -> None:
        """
        Sizes are given in a unit that suits.
        """
        self.assertEqual([cli_output.size(count) for count in (0, 2048, 3 * 1024**2, 5 * 1024**3)], ["0 B", "2 KiB", "3 MiB", "5.0 GiB"])

    def test_tags(self) -> None:
        """
        Long lists of tags are shortened, and it is said by how many.
        """
        self.assertEqual(cli_output.tags(["a", "b", "c"], 2), "a, b and 1 more")

"""The embedded servers, for real: started, taken over, restarted, ended."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from socialrelay.compose import tell_user
from socialrelay.config import Config, Embedded, Postgres, Redis
from socialrelay.storage.embedded import Account, EmbeddedError, EmbeddedPostgres, EmbeddedValkey, existing_runtime_directory, supervisor
from socialrelay.storage.embedded.binaries import find_postgres, find_valkey
from socialrelay.storage.embedded.process import command_line
from socialrelay.storage.embedded.supervisor import Limits
from tests.servers import take_away

QUICK = Limits(ready=20, shortest_pause=0.01, longest_pause=0.05)
NOT_ROOT = None if os.geteuid() == 0 else "only root can become another user"

_CHILD = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from socialrelay.config import Embedded
from socialrelay.storage.embedded import EmbeddedPostgres, EmbeddedValkey

async def main(reactor):
    for kind in EmbeddedPostgres, EmbeddedValkey:
        service = kind(Path(sys.argv[1]), reactor, Embedded())
        await service.startService()
        print(service.supervisor.process.pid, flush=True)
    await Deferred()

react(main)
"""


def state_directory(case: TestCase) -> Path:
    """A state directory that other users can pass through, unlike trial's own in root's home directory."""
    path = Path(tempfile.mkdtemp(prefix="socialrelay-test-", dir="/tmp"))
    path.chmod(0o755)
    case.addCleanup(take_away, path, path)
    return path


async def until(condition: Callable[[], bool]) -> None:
    """Trial's own time-out bounds it."""
    while not condition():
        await deferLater(reactor, 0.01)


def listens_on_tcp(pid: int) -> bool:
    """Whether a process holds a listening TCP socket."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                return True
    return False


class Common(TestCase):
    """What each of the servers is held to."""

    timeout = 60

    def setUp(self) -> None:
        self.state = state_directory(self)

    def postgres(self, config: Embedded = Embedded(), limits: Limits = QUICK) -> EmbeddedPostgres:
        service = EmbeddedPostgres(self.state, reactor, config, {"fsync": "off"}, limits)
        self.addCleanup(service.stopService)
        return service

    def valkey(self, config: Embedded = Embedded(), limits: Limits = QUICK) -> EmbeddedValkey:
        service = EmbeddedValkey(self.state, reactor, config, limits)
        self.addCleanup(service.stopService)
        return service

    def pid(self, service: EmbeddedPostgres | EmbeddedValkey) -> int:
        process = service.supervisor.process
        assert process is not None
        return process.pid

    async def replaced(self, service: EmbeddedPostgres | EmbeddedValkey, pid: int) -> None:
        """Wait until another process serves."""
        await until(lambda: self.pid(service) != pid and bool(command_line(self.pid(service))))


class LifeTests(Common):
    """From start to end."""

    async def test_cold_and_warm(self) -> None:
        """
        The first start makes the data directory, the next finds it, and after a stop no process and no socket is left.
        """
        for _ in range(2):
            postgres, valkey = self.postgres(), self.valkey()
            await postgres.startService()
            await valkey.startService()
            pids = [self.pid(postgres), self.pid(valkey)]
            self.assertTrue(all(command_line(pid) for pid in pids))
            runtime = existing_runtime_directory(self.state)
            assert runtime is not None
            self.assertEqual(runtime, valkey.socket.parent.parent)
            self.assertTrue(valkey.socket.is_socket())
            await valkey.stopService()
            await postgres.stopService()
            self.assertEqual([command_line(pid) for pid in pids], [[], []])
            self.assertFalse(runtime.exists())
            self.assertIsNone(existing_runtime_directory(self.state))

    async def test_private(self) -> None:
        """
        The servers have a session of their own, listen on nothing but sockets of mode 0700, and run without root's rights.
        """
        postgres, valkey = self.postgres(), self.valkey()
        await postgres.startService()
        await valkey.startService()
        user = Account.current("").uid or os.geteuid()
        for pid in (self.pid(postgres), self.pid(valkey)):
            self.assertEqual(os.getsid(pid), pid)
            self.assertFalse(listens_on_tcp(pid))
            self.assertEqual(Path(f"/proc/{pid}").stat().st_uid, user)
            status = Path(f"/proc/{pid}/status").read_text()
            if os.geteuid() == 0:
                self.assertIn("\nGroups:\t \n", status)
        for path in (valkey.socket.parent, self.state / "postgres", self.state / "valkey"):
            self.assertEqual((path.stat().st_mode & 0o777, path.stat().st_uid), (0o700, user))

    async def test_session(self) -> None:
        """
        The connection string opens a session on a durable, checksummed UTF-8 database that knows only UTC.
        """
        import psycopg2

        postgres = EmbeddedPostgres(self.state, reactor, Embedded())
        self.addCleanup(postgres.stopService)
        await postgres.startService()

        def ask() -> list[str]:
            connection = psycopg2.connect(postgres.dsn)
            try:
                with connection.cursor() as cursor:
                    answers = []
                    for name in ("fsync", "synchronous_commit", "data_checksums", "server_encoding", "timezone", "listen_addresses"):
                        cursor.execute("SELECT current_setting(%s)", (name,))
                        answers.append(cursor.fetchone()[0])
                    return answers
            finally:
                connection.close()

        self.assertEqual(await deferToThread(ask), ["on", "on", "on", "UTF8", "UTC", ""])

    async def test_stop_while_starting(self) -> None:
        """
        A stop in the middle of a start leaves nothing behind, and the start fails.
        """
        valkey = self.valkey()
        started = valkey.startService()
        stopped = valkey.stopService()
        with self.assertRaises(EmbeddedError):
            await started
        await stopped
        self.assertIsNone(valkey.supervisor.process)
        self.assertIsNone(existing_runtime_directory(self.state))

    async def test_known_before(self) -> None:
        """
        Where a server listens is known before it is started, and stays the same.
        """
        valkey = self.valkey()
        url = valkey.url
        await valkey.startService()
        self.assertEqual(valkey.url, url)
        self.assertTrue(valkey.socket.is_socket())
        await valkey.stopService()


class SurvivalTests(Common):
    """Kills, of the daemon and of the servers."""

    async def test_taken_over(self) -> None:
        """
        Servers that a killed daemon left behind are taken over by the next, and end with it.
        """
        found = await deferToThread(self._leave_behind)
        services: list[EmbeddedPostgres | EmbeddedValkey] = [
            EmbeddedPostgres(self.state, reactor, Embedded()),
            EmbeddedValkey(self.state, reactor, Embedded()),
        ]
        for service, pid in zip(services, found, strict=True):
            self.addCleanup(service.stopService)
            await service.startService()
            self.assertEqual((self.pid(service), service.supervisor.taken_over), (pid, True))
        for service, pid in zip(services, found, strict=True):
            await service.stopService()
            self.assertEqual(command_line(pid), [])

    async def test_replaced(self) -> None:
        """
        A server that was left behind with other settings is stopped, and one with today's settings is started.
        """
        [old, _] = await deferToThread(self._leave_behind)
        postgres = self.postgres()
        await postgres.startService()
        self.assertEqual((postgres.supervisor.taken_over, command_line(old)), (False, []))
        valkey = self.valkey()
        await valkey.startService()
        self.assertTrue(valkey.supervisor.taken_over)

    def _leave_behind(self) -> list[int]:
        """Start both servers in a daemon that is then killed; their processes."""
        root = Path(__file__).parent.parent
        command = [sys.executable, "-c", _CHILD, str(self.state)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
        with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            pids = [int(child.stdout.readline()) for _ in range(2)]
            child.kill()
        for pid in pids:
            self.addCleanup(self._end, pid, command_line(pid))
        return pids

    def _end(self, pid: int, arguments: list[str]) -> None:
        if command_line(pid) == arguments:
            os.kill(pid, signal.SIGKILL)

    async def test_restarted(self) -> None:
        """
        A server that is killed is started again.
        """
        for service in (self.postgres(), self.valkey()):
            await service.startService()
            killed = self.pid(service)
            os.kill(killed, signal.SIGKILL)
            await self.replaced(service, killed)
            self.assertEqual(service.supervisor.restarts, 1)
            await service.stopService()

    async def test_log_in_the_way(self) -> None:
        """
        A server whose log cannot be read is watched all the same; one whose log cannot be written is tried again until it can.
        """

        def unreadable(path: Path) -> str:
            raise OSError(errno.EIO, "Input/output error", str(path))

        self.patch(supervisor, "tail", unreadable)
        service = self.valkey()
        await service.startService()
        killed, log = self.pid(service), self.state / "valkey.log"
        log.unlink()
        log.mkdir()
        os.kill(killed, signal.SIGKILL)
        with capturedLogs() as logs:
            await until(lambda: any("cannot be written" in formatEvent(event) for event in logs))
        log.rmdir()
        await until(lambda: service.supervisor.process is not None)
        await self.replaced(service, killed)

    async def test_told_once(self) -> None:
        """
        However often a server is tried again that does not start, the log says so once a minute, with what is wrong.
        """
        service = self.valkey()
        await service.startService()
        log = self.state / "valkey.log"
        log.unlink()
        log.mkdir()
        with capturedLogs() as logs:
            os.kill(self.pid(service), signal.SIGKILL)
            await until(lambda: service.supervisor.restarts >= 5)
        told = [event["reason"] for event in logs if "does not start" in formatEvent(event)]
        self.assertEqual(told, [f"{log} cannot be written: Is a directory; move it away"])
        log.rmdir()

    async def test_taken_over_and_killed(self) -> None:
        """
        A server that was taken over, and then dies, is started again.
        """
        await deferToThread(self._leave_behind)
        service = EmbeddedPostgres(self.state, reactor, Embedded(), limits=QUICK)
        self.addCleanup(service.stopService)
        # The other server is taken over in the end, to be ended.
        self.addCleanup(self.valkey().startService)
        await service.startService()
        found = self.pid(service)
        os.kill(found, signal.SIGKILL)
        await self.replaced(service, found)
        self.assertFalse(service.supervisor.taken_over)

    async def test_stale_pid(self) -> None:
        """
        A file that names a dead process does no harm, and neither does one whose number now is a stranger's, who is left alone.
        """
        postgres = self.postgres()
        await postgres.startService()
        record = (self.state / "postgres/postmaster.pid").read_text().split("\n", 1)[1]
        await postgres.stopService()
        stranger = subprocess.Popen(["sleep", "60"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        for pid in (2**22 + 1, stranger.pid):
            (self.state / "postgres/postmaster.pid").write_text(f"{pid}\n{record}")
            (self.state / "valkey").mkdir(exist_ok=True)
            (self.state / "valkey/valkey.pid").write_text(f"{pid}\n")
            for service in (self.postgres(), self.valkey()):
                await service.startService()
                self.assertFalse(service.supervisor.taken_over)
                await service.stopService()
        self.assertIsNone(stranger.poll())


class RefusalTests(Common):
    """What cannot be started says why."""

    async def fails(self, service: EmbeddedPostgres | EmbeddedValkey) -> str:
        """Start it in vain; why."""
        with self.assertRaises(EmbeddedError) as caught:
            await service.startService()
        self.assertIsNone(service.supervisor.process)
        return str(caught.exception)

    async def test_other_major(self) -> None:
        """
        A data directory of another major version is refused with what to do about it, and stays as it was.
        """
        data = self.state / "postgres"
        data.mkdir(0o700)
        (data / "PG_VERSION").write_text("15\n")
        if os.geteuid() == 0:
            Account.current("").own(data)
        reason = await self.fails(self.postgres())
        self.assertIn("was made by PostgreSQL 15", reason)
        self.assertIn("`socialrelay export FILE`", reason)
        self.assertEqual([path.name for path in data.iterdir()], ["PG_VERSION"])

    async def test_not_a_server(self) -> None:
        """
        A program that ends at once is reported with the end of its log.
        """
        program = self.state / "valkey-server"
        program.write_text("#!/bin/sh\necho out of order\nexit 3\n")
        program.chmod(0o755)
        reason = await self.fails(self.valkey(Embedded(valkey_server=str(program))))
        self.assertIn("ended at once", reason)
        self.assertIn("out of order", reason)

    async def test_mute(self) -> None:
        """
        A server that runs but does not answer in time is ended.
        """
        program = self.state / "valkey-server"
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        program.chmod(0o755)
        reason = await self.fails(self.valkey(Embedded(valkey_server=str(program)), evolve(QUICK, ready=0.1)))
        self.assertIn("does not answer", reason)

    async def test_initdb_fails(self) -> None:
        """
        When the data directory cannot be made, what initdb said is reported, and nothing half-made is left.
        """
        programs = self.state / "bin"
        programs.mkdir()
        for name in ("postgres", "initdb"):
            (programs / name).write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
            (programs / name).chmod(0o755)
        reason = await self.fails(self.postgres(Embedded(postgres_bin=str(programs))))
        self.assertIn("no room", reason)
        self.assertEqual([path.name for path in self.state.iterdir() if "postgres" in path.name], [])


class RootTests(Common):
    """A daemon that is root."""

    skip = NOT_ROOT

    def hidden(self) -> Path:
        """A directory that only root can pass through, as root's home directory is."""
        path = Path(tempfile.mkdtemp(dir="/tmp"))
        self.addCleanup(shutil.rmtree, path, True)
        return path

    async def test_hidden_programs(self) -> None:
        """
        Servers of a virtual environment that their user cannot reach are copied once to the state directory and run from there.
        """
        hidden = self.hidden()
        without = shutil.ignore_patterns("include", "*.py", "*.pyc")
        for installation in (find_postgres(""), find_valkey("")):
            assert installation.package is not None
            for source in (installation.package, installation.package.with_name(installation.package.name + ".libs")):
                if source.exists():
                    await deferToThread(shutil.copytree, source, hidden / source.name, ignore=without)
            (hidden / installation.package.name / "__init__.py").touch()
        self.patch(sys, "path", [str(hidden), *sys.path])
        for _ in range(2):
            for service in (self.postgres(), self.valkey()):
                await service.startService()
                self.assertTrue(command_line(self.pid(service))[0].startswith(f"{self.state}/servers/"))
                await service.stopService()
        self.assertEqual(len(list((self.state / "servers").iterdir())), 2)

    async def test_hidden_state(self) -> None:
        """
        A state directory that the servers' user cannot reach is refused with what to do about it.
        """
        self.state = self.hidden() / "state"
        self.state.mkdir()
        with self.assertRaises(EmbeddedError) as caught:
            await self.valkey().startService()
        self.assertIn("/var/lib/socialrelay", str(caught.exception))

    async def test_closed_state(self) -> None:
        """
        The state directory itself may be the daemon's alone: it is opened for passing, not for reading.
        """
        self.state.chmod(0o700)
        valkey = self.valkey()
        await valkey.startService()
        self.assertEqual(self.state.stat().st_mode & 0o777, 0o711)
        await valkey.stopService()

    async def test_other_owner(self) -> None:
        """
        Data of another user, as after a change of C{embedded.user}, is refused with what to do about it.
        """
        data = self.state / "postgres"
        data.mkdir(0o700)
        (data / "PG_VERSION").write_text("18\n")
        with self.assertRaises(EmbeddedError) as caught:
            await self.postgres().startService()
        self.assertIn("chown -R", str(caught.exception))
        self.assertEqual(data.stat().st_uid, 0)

    async def test_default_user(self) -> None:
        """
        Unless the operator says otherwise it is C{socialrelay} if there is such a user, else C{nobody}, which is shared with others.
        """
        nobody = pwd.getpwnam("nobody")
        users = {"nobody": nobody}
        self.patch(pwd, "getpwnam", users.__getitem__)
        self.assertEqual((Account.current("").name, Account.current("").shared), ("nobody", True))
        users["socialrelay"] = pwd.struct_passwd(("socialrelay", "x", 123, 456, "", "/", "/bin/false"))
        own = Account.current("")
        self.assertEqual((own, own.shared), (Account("socialrelay", 123, 456), False))
        self.assertTrue(Account.current("nobody").shared)

    async def test_told_of_shared_user(self) -> None:
        """
        A public relay whose servers share their user with others tells the operator what to do; one with servers elsewhere has none.
        """
        ours, theirs = Embedded(user="nobody"), Embedded(user=pwd.getpwuid(1).pw_name)
        elsewhere = {"postgres": Postgres("host=/tmp"), "redis": Redis("off")}
        for host, changes, told in (
            ("relay.example", {"embedded": ours}, True),
            ("", {"embedded": ours}, False),
            ("relay.example", {"embedded": theirs}, False),
            ("relay.example", {"embedded": ours, **elsewhere}, False),
        ):
            config = evolve(Config(state_dir=self.state), host=host, **changes)
            with capturedLogs() as events:
                tell_user(config)
            self.assertEqual(
                [f"chown -R socialrelay {self.state}/postgres" in (formatEvent(event) or "") for event in events], [True] * told
            )

    async def test_unknown_user(self) -> None:
        """
        A user that does not exist, or root, is refused.
        """
        for name in ("no-such-user-here", "root"):
            with self.assertRaises(EmbeddedError) as caught:
                await self.valkey(Embedded(user=name)).startService()
            self.assertIn("embedded.user", str(caught.exception))

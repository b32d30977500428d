"""The database for commands that do without the daemon."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from socialrelay.boundaries import Unavailable
from socialrelay.config import Config, Postgres
from socialrelay.running import statedir
from socialrelay.running.offline import as_owner, beside, held
from socialrelay.storage.blocking import connected
from tests import servers
from tests.daemon import environment, new_folder
from tests.test_takeover import rows

_PROGRAM = """
import os, signal, sys, time
from socialrelay.config import Config
from socialrelay.running.offline import held
with held(Config(Path(sys.argv[1]))) as dsn:
    print(dsn, flush=True)
    os.kill(os.getpid(), int(sys.argv[2]))
    time.sleep(60)
"""


class OfflineTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        folder = new_folder()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.state = folder / "state"
        self.own = Config(self.state)

    async def test_embedded(self) -> None:
        """
        The embedded PostgreSQL runs for as long as it is needed, and nobody else may use the state directory meanwhile.
        """

        def use() -> str:
            with held(self.own) as dsn:
                self.assertEqual(rows(dsn, "SELECT 1"), [(1,)])
                self.assertRaises(statedir.StateDirHeld, statedir.take, self.state)
                return dsn

        dsn = await deferToThread(use)
        with self.assertRaises(Unavailable), connected(dsn):
            pass
        self.assertEqual(sorted(path.name for path in self.state.iterdir()), ["lock", "postgres", "postgres.log"])
        self.assertEqual(await deferToThread(use), dsn)

    async def test_signals(self) -> None:
        """
        Whatever signal ends the command, no server is left behind.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            words = ["-c", _PROGRAM, str(self.state), str(int(number))]
            out, _, code = await getProcessOutputAndValue(sys.executable, words, environment(), reactor=reactor)
            self.assertNotEqual(code, 0)
            self.assertFalse((self.state / "postgres" / "postmaster.pid").exists(), number)
            with self.assertRaises(Unavailable), connected(out.decode().strip()):
                pass

    def test_own_server(self) -> None:
        """
        The operator's own server is taken as it is; whoever writes holds the state directory all the same.
        """
        config = Config(self.state, postgres=Postgres(servers.database()))
        with held(config) as dsn:
            self.assertEqual(dsn, config.postgres.dsn)
            self.assertRaises(statedir.StateDirHeld, statedir.take, self.state)
            with beside(config) as again:
                self.assertEqual(again, dsn)
        for use in (held, beside):
            with self.assertRaises(SystemExit) as ended, use(config):
                signal.raise_signal(signal.SIGTERM)
            self.assertEqual(ended.exception.code, 128 + signal.SIGTERM)

    def test_nothing(self) -> None:
        """
        Where there is no database none is made for those who only read.
        """
        for use in (beside(self.own), held(self.own, make=False)):
            with self.assertRaisesRegex(statedir.StateDirError, "There is no database in"), use:
                pass
        self.assertFalse(self.state.exists())

    def test_owner(self) -> None:
        """
        For root the servers are the state directory's owner's, as for the daemon that runs as that user.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        self.state.mkdir()
        self.assertEqual(as_owner(self.own), self.own.embedded)
        os.chown(self.state, pwd.getpwnam("nobody").pw_uid, -1)
        self.assertEqual(as_owner(self.own).user, "nobody")
        os.chown(self.state, 54321, -1)
        self.assertEqual(as_owner(self.own), self.own.embedded)

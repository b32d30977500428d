"""The samples of etc/bus, run as they are: git's hook in a repository, and what cron starts; against a relay as operators run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.bus_wire import free_address
from tests.daemon import ROOT, environment
from tests.test_end_to_end_bus import BusDaemon, BusTestCase

HOOK, TELL = (ROOT / "etc" / "bus" / name for name in ("post-receive", "tell"))


def has_git() -> bool:
    return shutil.which("git") is not None


class SampleCase(BusTestCase):
    async def home_of(self, relay: BusDaemon | None, environment: str = "dev") -> Path:
        """A home whose fedmsg.d names the relay, with C{socialrelay} on the path."""
        home = Path(self.mktemp()).absolute()
        for folder in (".fedmsg.d", "bin"):
            (home / folder).mkdir(parents=True)
        ingest = relay.ingest if relay is not None else free_address()
        place = {"topic_prefix": "org.example", "environment": environment, "relay_ingest": ingest}
        (home / ".fedmsg.d" / "bus.py").write_text(f"config = {place!r}\n")
        command = home / "bin" / "socialrelay"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m socialrelay "$@"\n')
        command.chmod(0o755)
        return home

    async def run_in(self, home: Path, *words: str, cwd: Path | None = None, input: str = "") -> subprocess.CompletedProcess[str]:
        own = {key: value for key, value in environment().items() if not key.startswith("GIT_") and key != "VIRTUAL_ENV"}
        identity = {f"GIT_{who}_{what}": "ada@relay.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environ = {
            **own,
            **identity,
            "HOME": str(home),
            "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_NOSYSTEM": "1",
            "REMOTE_USER": "ada",
        }
        return await deferToThread(
            subprocess.run, words, cwd=cwd, env=environ, input=input, capture_output=True, text=True, timeout=50, check=False
        )

    async def said(self, relay: BusDaemon, topic: str) -> list[dict[str, Any]]:
        answer = await relay.messages("GET", f"?since=0&topic=org.example.dev.{topic}")
        return [json.loads(each["body"]) for each in answer.json["messages"]]


class HookTests(SampleCase):
    skip = None if has_git() else "there is no git"

    async def repository(self, home: Path, hook: str = "post-receive") -> tuple[Path, Path]:
        """A bare one with the hook, and one that pushes to it."""
        bare, work = home / 'na"me.git', home / "work"
        for words in (["init", "--bare", "-b", "main", str(bare)], ["init", "-b", "main", str(work)]):
            await self.git(home, home, *words)
        await self.git(home, bare, "config", "core.logAllRefUpdates", "true")
        installed = bare / "hooks" / hook
        installed.write_text(HOOK.read_text().replace("#!/opt/socialrelay/bin/python", f"#!{sys.executable}").replace("10.0", "1.0"))
        installed.chmod(0o755)
        await self.git(home, bare, "config", "receive.denyDeleteCurrent", "ignore")
        await self.git(home, work, "remote", "add", "origin", str(bare))
        await self.git(home, work, "commit", "--allow-empty", "-m", "first")
        return bare, work

    async def git(self, home: Path, cwd: Path, *words: str, code: int = 0) -> str:
        said = await self.run_in(home, "git", *words, cwd=cwd)
        self.assertEqual(said.returncode, code, said.stderr)
        return said.stdout.strip() + said.stderr

    async def test_pushed(self) -> None:
        """
        Each ref that is pushed is a message; the hook can be run again, and a push that is undone and made again is another one.
        """
        relay = await self.relay()
        home = await self.home_of(relay)
        bare, work = await self.repository(home)
        first = (await self.git(home, work, "rev-parse", "HEAD")).strip()
        await self.git(home, work, "branch", 'o"dd/brän')
        told = await self.git(home, work, "push", "origin", "main", 'o"dd/brän')
        self.assertNotIn("remote:", told)
        zeros = "0" * 40
        messages = await self.said(relay, "git.receive")
        expected = {"repo": 'na"me', "old": zeros, "new": first, "user": "ada"}
        self.assertEqual([each["msg"] for each in messages], [{**expected, "ref": f"refs/heads/{ref}"} for ref in ("main", 'o"dd/brän')])

        hook = bare / "hooks" / "post-receive"
        again = await self.run_in(home, str(hook), cwd=bare, input=f"{zeros} {first} refs/heads/main\n")
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        self.assertEqual(len(await self.said(relay, "git.receive")), 2)

        await self.git(home, work, "commit", "--allow-empty", "-m", "second")
        for commit in ("HEAD", "HEAD~1", "HEAD"):
            await self.git(home, work, "push", "--force", "origin", f"{commit}:main")
        await self.git(home, work, "push", "origin", ":refs/heads/main")
        second = (await self.git(home, work, "rev-parse", "HEAD")).strip()
        moves = [(each["msg"]["old"], each["msg"]["new"]) for each in (await self.said(relay, "git.receive"))[2:]]
        self.assertEqual(moves, [(first, second), (second, first), (first, second), (second, zeros)])

    async def test_relay_away(self) -> None:
        """
        Without a relay a push goes through with a warning; as pre-receive the hook refuses it.
        """
        home = await self.home_of(None)
        _, work = await self.repository(home)
        told = await self.git(home, work, "push", "origin", "main")
        self.assertIn("The message bus does not know of this push: no relay answers at tcp://", told)
        other = home / "other"
        other.mkdir()
        shutil.copytree(home / ".fedmsg.d", other / ".fedmsg.d")
        bare, work = await self.repository(other, "pre-receive")
        told = await self.git(other, work, "push", "origin", "main", code=1)
        self.assertIn("no relay answers", told)
        await self.git(other, bare, "rev-parse", "--verify", "main", code=128)


class DocumentTests(SampleCase):
    async def test_python(self) -> None:
        """
        The Python of docs/bus.md runs as it stands there.
        """
        relay = await self.relay(environment="prod")
        home = await self.home_of(relay, environment="prod")
        found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "bus.md").read_text(), re.DOTALL)
        assert found is not None
        program = "import sys\n\ndef remember(seq):\n    sys.exit(0)\n\n" + found[1]
        said = await self.run_in(home, sys.executable, "-c", program)
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        self.assertIn("org.example.prod.deploy.done {'host': 'a'}\n", said.stdout)


class CronTests(SampleCase):
    async def test_told(self) -> None:
        """
        A job's end is told, and it ends as the job did; what it prints stays.
        """
        relay = await self.relay()
        home = await self.home_of(relay)
        for words, code, out in ((["echo", "done"], 0, "done\n"), (["sh", "-c", "kill -TERM $$"], 143, "")):
            said = await self.run_in(home, str(TELL), "night-job", *words)
            self.assertEqual((said.returncode, said.stdout, said.stderr.replace("Terminated\n", "")), (code, out, ""))
        messages = [each["msg"] for each in await self.said(relay, "cron.night-job")]
        self.assertEqual([(each["exit"], each["host"]) for each in messages], [(0, os.uname().nodename), (143, os.uname().nodename)])

    async def test_wrong_use(self) -> None:
        """
        Without a job, or with a name that can be no topic, nothing is run.
        """
        home = await self.home_of(None)
        for words in ([], ["job"], ["no name", "touch", str(home / "ran")]):
            self.assertEqual((await self.run_in(home, str(TELL), *words)).returncode, 2)
        self.assertFalse((home / "ran").exists())

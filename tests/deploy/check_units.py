"""systemd's units and what belongs to them, read by the programs that read them on an operator's machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from unittest import TestCase

from tests.deploy.tools import ETC, ROOT, folder, replaced, run

PROGRAM = "/opt/socialrelay/bin/socialrelay"
EXPOSURE = 2.0


def system_calls(name: str) -> set[str]:
    """Those of a set of systemd's, or the one of this name."""
    if not name.startswith("@"):
        return {name}
    listed = run("systemd-analyze", "syscall-filter", "--no-pager", name).stdout.split("\n")[1:]
    words = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
    return {call for word in words for call in system_calls(word)}


class UnitTests(TestCase):
    def setUp(self) -> None:
        """The units, with a program that is there."""
        self.folder = folder(self)
        for unit in (ETC / "systemd").glob("socialrelay.s*"):
            if unit.is_file():
                shutil.copy(unit, self.folder)
        service = self.folder / "socialrelay.service"
        service.write_text(replaced(service.read_text(), {PROGRAM: "/bin/true"}))

    def add(self, unit: str, *names: str) -> None:
        """Lay drop-ins beside the units."""
        for name in names:
            target = self.folder / f"{unit}.d" / f"{name}.conf"
            target.parent.mkdir(exist_ok=True)
            target.write_text((ETC / "systemd" / f"{unit}.d" / f"{name}.conf").read_text().replace(PROGRAM, "/bin/true"))

    def verify(self) -> str:
        return run("systemd-analyze", "verify", "--man=no", *self.folder.glob("socialrelay.s*[et]")).stdout

    def test_verify(self) -> None:
        """systemd understands every line of service and socket."""
        self.assertEqual(self.verify(), "")

    def test_verify_drop_ins(self) -> None:
        """And of what an operator may add."""
        self.add("socialrelay.service", "bus", "logfile", "secrets", "unix")
        self.assertEqual(self.verify(), "")

    def test_exposure(self) -> None:
        """By systemd's own rating the service is exposed by 2 of 10 at most."""
        rated = run("systemd-analyze", "security", "--offline=true", "--no-pager", self.folder / "socialrelay.service").stdout
        [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", rated)
        self.assertLessEqual(float(exposure), EXPOSURE)

    def test_system_calls(self) -> None:
        """What ZeroMQ does in each of its threads is allowed: it ends the process where it is not."""
        allowed: set[str] = set()
        for line in re.findall(r"^SystemCallFilter=(.*)$", (ETC / "systemd/socialrelay.service").read_text(), re.MULTILINE):
            calls = {call for each in line.removeprefix("~").split() for call in system_calls(each)}
            allowed = allowed - calls if line.startswith("~") else allowed | calls
        self.assertLessEqual({"sched_setscheduler", "eventfd2", "epoll_wait"}, allowed)
        self.assertNotIn("setpriority", allowed)

    def test_names(self) -> None:
        """The socket is handed over under the name by which the documents have the relay look for it."""
        [name] = re.findall(r"^FileDescriptorName=(.*)$", (ETC / "systemd/socialrelay.socket").read_text(), re.MULTILINE)
        for document in ("docs/install.md", "etc/nginx/socialrelay.conf", "etc/ansible/roles/socialrelay/templates/socialrelay.toml.j2"):
            self.assertIn(f"systemd:domain=INET:name={name}", (ROOT / document).read_text())

    def test_stop(self) -> None:
        """systemd waits longer for the end than the relay takes for it."""
        [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", (ETC / "systemd/socialrelay.service").read_text(), re.MULTILINE)
        [own] = re.findall(r"^#stop_timeout = ([\d.]+)$", (ETC / "socialrelay.toml").read_text(), re.MULTILINE)
        self.assertGreater(float(seconds), float(own) + 5)


class BesideTests(TestCase):
    def setUp(self) -> None:
        self.root = folder(self)

    def put(self, path: str, source: Path) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)

    def test_user(self) -> None:
        """The user and its group are made, without a shell, and a second time nothing is."""
        self.put("etc/sysusers.d/socialrelay.conf", ETC / "systemd/sysusers.conf")
        run("systemd-sysusers", f"--root={self.root}", "socialrelay.conf")
        entry = (self.root / "etc/passwd").read_text()
        self.assertRegex(entry, r"(?m)^socialrelay:.*:/var/lib/socialrelay:/usr/sbin/nologin$")
        self.assertRegex((self.root / "etc/group").read_text(), r"(?m)^socialrelay:")
        self.assertNotIn("Creating", run("systemd-sysusers", f"--root={self.root}", "socialrelay.conf").stdout)

    def test_folders(self) -> None:
        """The state directory is made, and the configuration is kept from others."""
        self.put("etc/sysusers.d/socialrelay.conf", ETC / "systemd/sysusers.conf")
        self.put("etc/tmpfiles.d/socialrelay.conf", ETC / "systemd/tmpfiles.conf")
        run("systemd-sysusers", f"--root={self.root}", "socialrelay.conf")
        (self.root / "etc/socialrelay.toml").write_text("")
        run("systemd-tmpfiles", f"--root={self.root}", "--create", "socialrelay.conf")
        self.assertEqual((self.root / "var/lib/socialrelay").stat().st_mode & 0o777, 0o750)
        self.assertEqual((self.root / "etc/socialrelay.toml").stat().st_mode & 0o777, 0o640)

    def test_logrotate(self) -> None:
        """logrotate understands its file."""
        text = replaced(
            (ETC / "logrotate/socialrelay").read_text(),
            {"/var/log/socialrelay": str(self.root), "su socialrelay socialrelay": "su root root"},
        )
        (self.root / "relay.log").write_text("a line\n")
        (self.root / "logrotate").write_text(text)
        said = run("logrotate", "--debug", "--state", self.root / "state", self.root / "logrotate").stdout
        self.assertIn(f"considering log {self.root}/relay.log", said)
        self.assertNotIn("error:", said)


class ScriptTests(TestCase):
    def test_shellcheck(self) -> None:
        """Shell scripts, and what the installation has people type, are sound."""
        run("shellcheck", ROOT / ".ci" / "run")
        boxes = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/install.md").read_text(), re.MULTILINE | re.DOTALL)
        run("shellcheck", "--shell=bash", "--exclude=SC2164", "-", input="".join(boxes))

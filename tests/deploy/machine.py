"""
An empty Debian with systemd, in namespaces of its own: what is done there is done as on an operator's machine.

It is made of Debian's packages as they are (C{mmdebstrap}), and booted by C{systemd-nspawn}, with a network of its own in which there is
nothing but itself.  Whatever is changed there goes with it: it runs over a layer in memory.
"""

from __future__ import annotations

import ast
import atexit
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

from tests.deploy.tools import ROOT, SYSTEM, eventually, found, run

WHEELS = "/srv/wheels"
"""Python packages, for a pip without an index."""

CHECKOUT = "/srv/checkout"
"""This checkout, read-only."""

_ALWAYS = ("ca-certificates", "dbus", "git", "iproute2", "procps", "python3-venv", "systemd", "systemd-sysv")


_RELAY = "setuptools wheel '/srv/source[embedded]' --constraint /srv/source/requirements/run.txt"


@cache
def tree(packages: Sequence[str], python: Sequence[str]) -> Path:
    """
    Debian's files, made once in a run.

    @param packages: of Debian, besides what boots.
    @param python: what pip fetches besides what the relay needs: arguments, each of a call of its own.
    @return: a folder; gone at the end of the run.
    """
    path = Path(tempfile.mkdtemp(prefix="relay-machine-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    kept = os.environ.get("DEPLOY_KEEP")  # whoever works on these checks need not make it each time
    if kept and Path(kept).exists():
        run("tar", "--directory", path, "--extract", "--file", kept)
        (path / "etc/machine-id").write_text(f"{uuid4().hex}\n")
        return path
    wanted = sorted({*_ALWAYS, *packages})
    run("mmdebstrap", "--variant=minbase", f"--include={','.join(wanted)}", codename(), path, within=600)
    # Without one it would take this for its first boot, and enable whatever is installed.
    (path / "etc/machine-id").write_text(f"{uuid4().hex}\n")
    _fetch(path, python)
    if kept:
        run("tar", "--directory", path, "--create", "--file", kept, ".")
    return path


def codename() -> str:
    """The name of the system's release, such as C{trixie}."""
    release = dict(re.findall(r'^(\w+)="?(.*?)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    return release["VERSION_CODENAME"]


def _fetch(path: Path, python: Sequence[str]) -> None:
    """Have the machine's own pip fetch wheels, by the ways on which pip gets packages here: its configuration, certificates, and cache."""
    mapped: list[str] = []
    environment: dict[str, str] = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for name, value in _pip_settings():
        environment[f"PIP_{name.upper().replace('-', '_')}"] = value
        mapped += [f"--bind-ro={_beside(Path(each))}" for each in re.findall(r"(?:(?<=\s)|^|(?<=file://))(/[^\s:]+)", value)]
    cache_folder = run("python3", "-m", "pip", "cache", "dir", check=False)
    if not cache_folder.returncode and Path(cache_folder.stdout.strip()).is_dir():
        mapped.append(f"--bind={cache_folder.stdout.strip()}:/root/.cache/pip")
    for each in ("/etc/ssl/certs", "/usr/local/share/ca-certificates", "/etc/hosts"):
        mapped.append(f"--bind-ro={each}")
    script = f"""
        set -e
        python3 -m venv /srv/fetching
        git clone --quiet {CHECKOUT} /srv/source
        {"".join(f"/srv/fetching/bin/pip wheel --quiet --wheel-dir {WHEELS} {each}; " for each in (_RELAY, *python))}
        rm -r /srv/fetching /srv/source {WHEELS}/socialrelay-*
    """
    run(
        *("systemd-nspawn", "--quiet", f"--directory={path}", "--register=no", "--keep-unit", "--pipe", "--resolv-conf=copy-host"),
        *(f"--bind-ro={ROOT}:{CHECKOUT}", *sorted(set(mapped)), *(f"--setenv={name}={value}" for name, value in environment.items())),
        *("/bin/sh", "-c", script),
        within=600,
        stdin=subprocess.DEVNULL,
    )


def _beside(path: Path) -> Path:
    """A file; of a folder the one that it is in, since an index refers to what lies beside it."""
    return path.parent if path.is_dir() and path.parent != Path("/") else path


def _pip_settings() -> Iterator[tuple[str, str]]:
    """(option, value), from files and environment."""
    for line in run("python3", "-m", "pip", "config", "list").stdout.splitlines():
        if given := re.fullmatch(r"(?::env:|global)\.([\w-]+)=(.*)", line):
            yield given[1], str(ast.literal_eval(given[2])).replace("\n", " ")


class Machine:
    """
    One that is running.

    @ivar environ: of each script.
    """

    def __init__(self, files: Path, environ: Mapping[str, str] | None = None) -> None:
        """@param files: what L{tree} returned; it is not changed."""
        self.environ = {"PATH": SYSTEM, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "PIP_NO_INDEX": "1"}
        self.environ |= {"PIP_FIND_LINKS": WHEELS, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environ or {})}
        self._console = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the machine
        self._nspawn = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM"),  # it ends when a run is killed
                *(found("systemd-nspawn"), "--quiet", f"--directory={files}", "--boot", "--volatile=overlay", "--private-network"),
                *("--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", f"--bind-ro={ROOT}:{CHECKOUT}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
        )
        atexit.register(self.stop)
        eventually(self._booted, "The machine boots")

    def _booted(self) -> bool:
        if self._nspawn.poll() is not None:
            self._console.seek(0)
            raise AssertionError(f"The machine does not boot:\n{self._console.read()[-3000:]}")
        return bool(self._first()) and self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _first(self) -> str:
        """The process id of its init."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return children[0] if children else ""

    def run(
        self, script: str, *, given: str = "", check: bool = True, shell: str = "/bin/sh", within: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a script there, as root, in root's home.

        @param given: its standard input.
        @return: what it prints, errors included, is C{stdout}.
        @raise AssertionError: it failed, and C{check} is set.
        """
        environment = [f"{name}={value}" for name, value in self.environ.items()]
        enter = [found("nsenter"), "--target", self._first(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        command = [*enter, "--", "/usr/bin/env", "--ignore-environment", "--chdir=/root", *environment, shell, "-c", script]
        done = subprocess.run(
            command, input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=within, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{script}\nended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done

    def stop(self) -> None:
        """Switch it off."""
        if self._nspawn.poll() is None:
            self._nspawn.terminate()  # systemd-nspawn has it shut down in order
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

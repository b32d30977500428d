"""
Builds the sdist and the wheel, installs the wheel into an environment of its own, and starts the relay that was installed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

HERE = Path(__file__).parent.parent
START = 60.0
INSIDE = ("twisted/plugins/socialrelay_plugin.py", "socialrelay/storage/migrations/0001.initial.sql", "socialrelay/web/static/logo.svg")
"""Of what is no module of the package; all that the checkout has is looked for besides."""


def main() -> None:
    """Say what was checked, or fail."""
    # Not below a home folder: the servers run as another user, who must reach them.
    with tempfile.TemporaryDirectory(prefix="socialrelay-packages-", dir=os.environ.get("TMPDIR", "/tmp")) as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder / "dist", HERE], check=True, stdout=subprocess.DEVNULL)
        [wheel] = (folder / "dist").glob("*.whl")
        [sdist] = (folder / "dist").glob("*.tar.gz")
        contents(wheel, sdist)
        python = install(folder, wheel)
        serves(folder, python)
    print("Packages: built, complete, installed, started, answered, stopped.")


def contents(wheel: Path, sdist: Path) -> None:
    """Every file of the package is in the wheel, and in the sdist what tests and installation need."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "socialrelay", "twisted"], cwd=HERE, check=True, capture_output=True, text=True)
    if missing := ({*INSIDE, *tracked.stdout.split()} - inside):
        raise SystemExit(f"Not in the wheel: {', '.join(sorted(missing))}")
    if hiding := [each for each in inside if each in ("twisted/__init__.py", "twisted/plugins/__init__.py")]:
        raise SystemExit(f"In the wheel, and would hide Twisted: {', '.join(hiding)}")
    with tarfile.open(sdist) as archive:
        names = {each.partition("/")[2] for each in archive.getnames()}
    if missing := ({*INSIDE, "LICENSE", "etc/socialrelay.toml", "pyproject.toml"} - names):
        raise SystemExit(f"Not in the sdist: {', '.join(sorted(missing))}")


def install(folder: Path, wheel: Path) -> Path:
    """@return: the Python of a new environment with the wheel."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--use-pep517"]
    subprocess.run([*pip, f"{wheel}[embedded]", "--constraint", HERE / "requirements" / "run.txt"], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True, stdout=subprocess.DEVNULL)
    return python


def serves(folder: Path, python: Path) -> None:
    """The installed daemon is listed by twistd, starts without configuration, answers, and ends on SIGTERM."""
    home = {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "HOME": str(folder)}
    listed = subprocess.run([python.parent / "twistd", "--help"], check=True, capture_output=True, text=True, cwd=folder, env=home)
    if "socialrelay" not in listed.stdout:
        raise SystemExit("twistd --help does not list socialrelay.")
    subprocess.run([python.parent / "socialrelay", "--help"], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        python.parent / "socialrelay",
        "run",
        "--nodaemon",
        "--state-dir",
        folder / "state",
        f"--listen=tcp:{port}:interface=127.0.0.1",
    ]
    with subprocess.Popen(command, cwd=folder, env=home) as relay:
        try:
            await_answer(f"http://127.0.0.1:{port}/", relay)
        finally:
            relay.send_signal(signal.SIGTERM)
            code = relay.wait(START)
    if code not in (0, -signal.SIGTERM):
        raise SystemExit(f"The relay ended with {code}.")


def await_answer(url: str, relay: subprocess.Popen[bytes]) -> None:
    """@raise SystemExit: there was none."""
    end = time.monotonic() + START
    while time.monotonic() < end and relay.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"No answer at {url}.")


if __name__ == "__main__":
    main()

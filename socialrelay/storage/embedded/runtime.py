"""
Where the sockets are.

A socket's path holds 107 bytes (103 on some systems), a state directory's path may be longer.  So sockets stand in a short directory that
follows from the state directory, and C{run} in the state directory points to it, for those who do not share the daemon's environment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from socialrelay.storage.embedded.account import EmbeddedError

LINK = "run"
CONTROL_SOCKET = "control.sock"
"""In that directory: where the operators' command asks the daemon."""
_LONGEST = 103 - len("/postgres/.s.PGSQL.5432.lock")
_PREFIX = "socialrelay-"


def runtime_directory(state_dir: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """
    Make the directory for the sockets of the daemon that has this state directory; the same one every time.

    It is C{$RUNTIME_DIRECTORY} (set by systemd), else a directory below C{/run} if the state directory is root's, else below
    C{$XDG_RUNTIME_DIR} or C{/run/user/UID}, else below C{/tmp}.  Its mode is 0700; as root 0711, since the embedded servers, which are
    another user, have directories in it: a socket put into it brings its own mode.

    It belongs to the state directory's owner, so that it is the same before and after a daemon drops its privileges.

    @raise EmbeddedError: it cannot be made, or somebody else made it.
    """
    reasons = []
    for path in _candidates(state_dir, environ):
        if len(os.fsencode(path)) > _LONGEST:
            reasons.append(f"{path} is too long for a socket")
            continue
        try:
            _make(path, _owner(state_dir))
        except OSError as error:
            reasons.append(str(error))
            continue
        _remember(state_dir, path)
        return path
    raise EmbeddedError(f"no directory for sockets: {'; '.join(reasons)}; set RUNTIME_DIRECTORY to a short path of a directory of yours")


def existing_runtime_directory(state_dir: Path) -> Path | None:
    """The one that the daemon of this state directory made last, if it is still there."""
    try:
        path = Path(os.readlink(state_dir / LINK))
        return path if path.is_dir() else None
    except OSError:
        return None


def remove_if_empty(state_dir: Path, runtime: Path) -> None:
    """Take it away again when the last socket is gone. systemd's own it removes itself."""
    if runtime.name.startswith(_PREFIX):
        try:
            runtime.rmdir()
            (state_dir / LINK).unlink(missing_ok=True)
        except OSError:
            pass


def _candidates(state_dir: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    name = _PREFIX + sha256(os.fsencode(state_dir.resolve())).hexdigest()[:12]
    owner = _owner(state_dir)
    if environ.get("RUNTIME_DIRECTORY"):
        yield Path(environ["RUNTIME_DIRECTORY"].split(":")[0])
    if owner == 0 and os.geteuid() == 0:
        yield Path("/run") / name
    else:
        for parent in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{owner}"):
            if parent and Path(parent).is_dir() and Path(parent).stat().st_uid == owner:
                yield Path(parent) / name
    yield Path("/tmp") / name  # noqa: S108 - made with care, see below


def _owner(state_dir: Path) -> int:
    """Whoever the daemon is, or, while it is root, will be: it may drop its privileges to those of the state directory's owner."""
    return state_dir.stat().st_uid if os.geteuid() == 0 and state_dir.exists() else os.geteuid()


def _make(path: Path, owner: int) -> None:
    root = os.geteuid() == 0
    mode = 0o711 if root else 0o700
    try:
        path.mkdir(mode)
        if root:
            os.chown(path, owner, -1)
    except FileExistsError:
        pass
    found = path.lstat()
    # Below /tmp anybody may have been first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise PermissionError(f"{path} is not a directory of ours")
    if path.name.startswith(_PREFIX):
        path.chmod(mode)


def _remember(state_dir: Path, path: Path) -> None:
    link = state_dir / LINK
    if state_dir.is_dir() and not (link.is_symlink() and os.readlink(link) == str(path)):
        fresh = state_dir / f".{LINK}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(path)
        fresh.replace(link)

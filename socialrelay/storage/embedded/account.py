"""Whom the embedded servers run as, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

# Nothing of the daemon's environment, which may hold passwords, reaches a server that runs as somebody else.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN_USER = "socialrelay"
SHARED_USER = "nobody"

_REACHES = 'for path; do [ -r "$path" ] && [ -x "$path" ] || exit 1; done'


class EmbeddedError(Exception):
    """An embedded server cannot be started; the message says why and what to do."""


@frozen
class Account:
    """
    @ivar uid: C{None} if the servers run as the user that the daemon is.
    """

    name: str
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def current(cls, user: str) -> Account:
        """
        The daemon's own account, or that of C{user} if the daemon is root now (PostgreSQL refuses to run as root).

        @param user: if empty L{OWN_USER}, or L{SHARED_USER} if there is no such user.
        @raise EmbeddedError: there is no such user.
        """
        if os.geteuid() != 0:
            return cls(str(os.geteuid()))
        try:
            entry = pwd.getpwnam(user or OWN_USER)
        except KeyError:
            if not user:
                return cls.current(SHARED_USER)
            raise EmbeddedError(f"embedded.user: there is no user {user!r} for the embedded servers to run as; name another one") from None
        if entry.pw_uid == 0:
            raise EmbeddedError("embedded.user: PostgreSQL refuses to run as root; name an unprivileged user")
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    @property
    def shared(self) -> bool:
        """Other programs run as that user, too, and so get at everything that the servers hold."""
        return self.name == SHARED_USER

    def process_options(self) -> dict[str, Any]:
        """Arguments for L{subprocess.Popen}: a session of its own (Ctrl-C in the terminal is not for it), no input, its user."""
        environment = {"PATH": _DEFAULT_PATH, **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}}
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
            "cwd": "/",
            "umask": 0o077,
            "env": {**environment, "LC_ALL": "C", "TZ": "UTC"},
        }
        if self.uid is not None:
            options.update(user=self.uid, group=self.gid, extra_groups=[])
        return options

    def own(self, path: Path | int) -> None:
        """Give it to the servers' user; a path, or a descriptor."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def owns(self, path: Path) -> bool:
        """Whether it is that user's."""
        return path.stat().st_uid == (os.geteuid() if self.uid is None else self.uid)

    def reaches(self, *paths: Path) -> bool:
        """Whether that user can read and execute, or enter, all of these. Blocks."""
        return self._finds(_REACHES, "sh", *map(str, paths))

    def passes(self, directory: Path) -> bool:
        """Whether that user can go through it. Blocks."""
        return self._finds('[ -x "$0" ]', str(directory))

    def _finds(self, script: str, *arguments: str) -> bool:
        """
        @raise EmbeddedError: the daemon cannot become that user, as in a container without the right to.
        """
        command = ["/bin/sh", "-c", script, *arguments]
        try:
            # The scripts are constants, their arguments paths that the operator chose.
            return subprocess.run(command, **self.process_options(), check=False, timeout=10).returncode == 0  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"nothing can be run as the user {self.name}, whom the embedded servers run as: {error}") from error

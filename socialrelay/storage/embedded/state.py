"""The directories of the embedded servers."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from socialrelay.storage.embedded.account import Account, EmbeddedError


def require_state(state_dir: Path, account: Account) -> None:
    """
    See to it that the servers' user can pass through the state directory to its own directories in it.

    The state directory is the daemon's, which may open it for passing (not for reading); its parents are not.

    @raise EmbeddedError: that user cannot get there.
    """
    if account.uid is None:
        return
    found = state_dir.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & 0o001:
        state_dir.chmod((found.st_mode & 0o777) | 0o011)
    if not account.passes(state_dir):
        raise EmbeddedError(
            f"{state_dir} cannot be reached by the user {account.name}, whom the embedded servers run as: "
            "take a state directory elsewhere, such as /var/lib/socialrelay, or set postgres.dsn and redis.url to servers of yours"
        )


def private_directory(path: Path, account: Account) -> Path:
    """
    Make it, or make it so: a directory for the servers' user alone.

    @raise EmbeddedError: something else is there.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(0o700)
        # Root does this in a directory of that user, who must not lead it to another one.
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise EmbeddedError(f"{path} is no directory that can be used: {error.strerror}; move it away") from None
    try:
        os.fchmod(directory, 0o700)
        account.own(directory)
    finally:
        os.close(directory)
    return path

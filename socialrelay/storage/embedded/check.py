"""What can be known of the embedded servers before the daemon leaves its terminal."""

from __future__ import annotations

from pathlib import Path

from socialrelay.config import Embedded
from socialrelay.storage.embedded.account import Account
from socialrelay.storage.embedded.binaries import find_postgres, find_valkey
from socialrelay.storage.embedded.state import require_state


def check(state_dir: Path, config: Embedded, *, postgres: bool, valkey: bool) -> None:
    """
    See that these servers are there, and that whom they run as can reach the state directory. Blocks.

    The process must be whom the daemon will be: as root the servers run as somebody else.

    @param state_dir: exists.
    @raise EmbeddedError: they cannot be started.
    """
    if not (postgres or valkey):
        return
    require_state(state_dir.resolve(), Account.current(config.user))
    if postgres:
        find_postgres(config.postgres_bin)
    if valkey:
        find_valkey(config.valkey_server)

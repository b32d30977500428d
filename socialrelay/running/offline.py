"""
The relay's database for a command that does without the daemon.

While the daemon is stopped the command holds the state directory in its place, and runs the embedded PostgreSQL for as long as it needs it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.threads import blockingCallFromThread

from socialrelay.config import Config
from socialrelay.running import statedir
from socialrelay.storage.embedded import EmbeddedPostgres, existing_runtime_directory, remove_if_empty
from socialrelay.storage.embedded.postgres import dsn_at

_REACTOR_ENDS = 5.0


@contextmanager
def held(config: Config) -> Iterator[str]:
    """
    The database, with no daemon beside; for whoever writes.

    @return: its connection string.
    @raise statedir.StateDirHeld: the daemon runs.
    @raise statedir.StateDirError: the state directory cannot be used.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded server cannot be started.
    """
    state = statedir.take(config.state_dir, *_owner(config.state_dir))
    try:
        if config.postgres.dsn:
            yield config.postgres.dsn
        else:
            with _running(lambda reactor: EmbeddedPostgres(config.state_dir, reactor, config.embedded)) as postgres:
                yield postgres.dsn
    finally:
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is not None:
            remove_if_empty(config.state_dir, runtime)
        state.release()


@contextmanager
def beside(config: Config) -> Iterator[str]:
    """
    The database, be the daemon running or not; for whoever only reads.

    @return: its connection string.
    @raise statedir.StateDirError: the state directory cannot be used.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded server cannot be started.
    """
    if config.postgres.dsn:
        yield config.postgres.dsn
        return
    if not config.state_dir.is_dir():
        raise statedir.StateDirError(f"There is no state directory {config.state_dir}. Name the daemon's with --config or --state-dir.")
    try:
        with held(config) as dsn:
            yield dsn
    except statedir.StateDirHeld:
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is None:
            raise
        yield dsn_at(runtime)


def _owner(state_dir: Path) -> tuple[int | None, int | None]:
    """Root leaves the lock to the user whom the daemon runs as."""
    if os.geteuid() != 0 or not state_dir.is_dir():
        return None, None
    found = state_dir.stat()
    return (found.st_uid, found.st_gid) if found.st_uid else (None, None)


@contextmanager
def _running(make: Callable[[Any], Any]) -> Iterator[Any]:
    """A service that runs meanwhile, in a reactor: the one that runs already, else one in a thread."""
    from twisted.internet import reactor as chosen

    reactor: Any = chosen

    thread = None
    if not reactor.running:
        thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
        thread.start()
    service: Service = make(reactor)
    try:
        blockingCallFromThread(reactor, service.startService)
        yield service
    finally:
        blockingCallFromThread(reactor, service.stopService)
        if thread is not None:
            reactor.callFromThread(reactor.stop)
            thread.join(_REACTOR_ENDS)

"""
The relay's database for a command that does without the daemon.

While the daemon is stopped the command holds the state directory in its place, and runs the embedded PostgreSQL for as long as it needs it.
"""

from __future__ import annotations

import os
import pwd
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.threads import blockingCallFromThread

from socialrelay.config import Config, Embedded
from socialrelay.running import statedir
from socialrelay.storage.embedded import EmbeddedPostgres, existing_runtime_directory, remove_if_empty
from socialrelay.storage.embedded.postgres import dsn_at

_REACTOR_ENDS = 5.0
_MADE = ("postgres.log", "servers", "run")


@contextmanager
def held(config: Config, *, make: bool = True) -> Iterator[str]:
    """
    The database, with no daemon beside; for whoever writes.

    Root leaves everything to whom the state directory belongs to, who is the daemon's user.

    @param make: make the embedded server's data directory if there is none.
    @return: its connection string.
    @raise statedir.StateDirHeld: the daemon runs.
    @raise statedir.StateDirError: the state directory cannot be used.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded server cannot be started.
    """
    if not make:
        _require_data(config)
    uid, gid = _owner(config.state_dir)
    state = statedir.take(config.state_dir, uid, gid)
    try:
        if config.postgres.dsn:
            with _ended_by_signals():
                yield config.postgres.dsn
        else:
            with _ended_by_signals(), _running(lambda reactor: EmbeddedPostgres(config.state_dir, reactor, as_owner(config))) as postgres:
                yield postgres.dsn
    finally:
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is not None:
            remove_if_empty(config.state_dir, runtime)
        _leave(config.state_dir, uid, gid)
        state.release()


@contextmanager
def beside(config: Config) -> Iterator[str]:
    """
    The database, be the daemon running or not; for whoever only reads.

    @return: its connection string.
    @raise statedir.StateDirError: the state directory cannot be used.
    @raise socialrelay.storage.embedded.EmbeddedError: the embedded server cannot be started.
    """
    with ExitStack() as stack:
        if config.postgres.dsn:
            stack.enter_context(_ended_by_signals())
            yield config.postgres.dsn
            return
        _require_data(config)
        try:
            dsn = stack.enter_context(held(config))
        except statedir.StateDirHeld:
            runtime = existing_runtime_directory(config.state_dir)
            if runtime is None:
                raise
            dsn = dsn_at(runtime)
            stack.enter_context(_ended_by_signals())
        yield dsn


def as_owner(config: Config) -> Embedded:
    """The embedded servers as the daemon starts them: if root asks and the state directory is another's, they are that user's."""
    uid, _ = _owner(config.state_dir)
    if uid is None:
        return config.embedded
    try:
        return evolve(config.embedded, user=pwd.getpwuid(uid).pw_name)
    except KeyError:
        return config.embedded


def _owner(state_dir: Path) -> tuple[int | None, int | None]:
    """Whom root does it for, if not for root."""
    if os.geteuid() != 0 or not state_dir.is_dir():
        return None, None
    found = state_dir.stat()
    return (found.st_uid, found.st_gid) if found.st_uid else (None, None)


def _leave(state_dir: Path, uid: int | None, gid: int | None) -> None:
    """What root may have made is the daemon's."""
    if uid is not None and gid is not None:
        for name in _MADE:
            with suppress(FileNotFoundError):
                os.chown(state_dir / name, uid, gid, follow_symlinks=False)


def _require_data(config: Config) -> None:
    """
    @raise statedir.StateDirError: there is no embedded database, and no other is named.
    """
    if not config.postgres.dsn and not (config.state_dir / "postgres").is_dir():
        raise statedir.StateDirError(
            f"There is no database in {config.state_dir}. Name the daemon's configuration with --config, its folder with --state-dir, "
            "or its PostgreSQL in SOCIALRELAY_POSTGRES__DSN if the configuration does not say it."
        )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals that would end the process at once, with a server or half a file left behind, end it as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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

"""
C{twistd socialrelay}: its options, and the service that they make.

Whatever can be found wrong before twistd leaves the terminal is found here, and ends the process with one line and exit code 1.
"""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

from socialrelay import __version__
from socialrelay.config import Config
from socialrelay.health import in_one_line
from socialrelay.identity import key_path, read_key
from socialrelay.loading import ConfigError, default_state_dir, load
from socialrelay.running import logs, statedir
from socialrelay.running.daemon import Daemon, Terminal, check_reachable, leave_waiting, refuse
from socialrelay.running.hangup import on_hangup
from socialrelay.running.limits import raise_descriptor_limit
from socialrelay.running.listening import local_port
from socialrelay.running.notify import Notifier, Supervision
from socialrelay.services import reason_of


class Options(usage.Options):
    """
    What can be said after C{twistd socialrelay}.

    @ivar config: what the options, the environment and the file make together; there once the options are parsed.
    @ivar reread: reads all of it again, as it was meant at start.
    """

    config: Config
    reread: Callable[[], Config]

    longdesc = (
        "Relays public posts between the servers of the federated social web. Without any option it runs for trying out: on this machine "
        "alone, with a PostgreSQL and a Valkey of its own. With --host it is a public relay. Every other setting is explained in "
        "etc/socialrelay.toml. The options before 'socialrelay' are twistd's: -n stays in the foreground."
    )

    optParameters: ClassVar = [
        ["config", None, None, "TOML file with the configuration ($SOCIALRELAY_CONFIG)."],
        [
            "state-dir",
            None,
            None,
            "Folder for database, key and sockets. [default: /var/lib/socialrelay for root, else ~/.local/share/socialrelay]",
        ],
        [
            "host",
            None,
            None,
            "The relay's public name. With it the relay is in production: it fetches node lists and is bound to this name.",
        ],
        ["log-format", None, None, "'text', or 'json' for one object a line. [default: text]"],
        ["log-level", None, None, "The least that is logged: debug, info, warn or error. [default: info]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, description: str) -> None:
        """Where to listen, as a Twisted endpoint; may be given several times. [default: tcp:8080:interface=127.0.0.1]"""
        self["listen"].append(description)

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"socialrelay {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """There is nothing but options."""
        if arguments:
            raise usage.UsageError(f"'{arguments[0]}' is no option")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the options and everything else that makes the configuration.

        @raise SystemExit: something is wrong with it.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise refuse(f"{str(error).rstrip('.')}. See twistd socialrelay --help.") from None
        except ConfigError as error:
            raise refuse(str(error)) from None

    def postOptions(self) -> None:
        """Make the configuration, and tell twistd of our log before it makes its own."""
        said = {key: self[key.replace("_", "-")] for key in ("state_dir", "host", "listen", "log_format", "log_level")}
        self.config = load(self["config"], said)
        # As a daemon the relay may be in another folder by then.
        self.reread = partial(load, self["config"], said, folder=Path.cwd())
        parent = self.parent
        if parent is not None and "logger" in parent and parent["logger"] is None:
            parent["logger"] = logs.choose(_log_destination(parent, self.config))


def makeService(options: Options) -> IService:
    """
    Make the relay.

    @raise SystemExit: it cannot start.
    """
    from twisted.internet import reactor

    return make_service(options.config, reactor, options.parent or {}, options.reread)


def make_service(config: Config, reactor: Any, twistd: Any, reread: Callable[[], Config]) -> IService:
    """
    Make the relay for a reactor.

    @param twistd: twistd's own options: C{nodaemon}, C{debug}, C{uid}, C{gid}.
    @param reread: reads the configuration again.
    @raise SystemExit: it cannot start.
    """
    from socialrelay.compose import compose
    from socialrelay.storage.embedded import existing_runtime_directory, remove_if_empty

    # The stock reactor tells the time by the wall clock, whose jumps would stall every timer.
    reactor.seconds = time.monotonic
    raise_descriptor_limit()
    supervision = Supervision.take(os.environ, os.getpid())
    # Each transfer makes objects by the dozen that end with it; looking through them for cycles as often as Python does, and through all
    # that there is, took a ninth of a delivery. Seldom is not good either: behind the objects of a TLS connection that failed, which are a
    # cycle, there are 50 kB of OpenSSL's that nobody counts.
    gc.set_threshold(10_000, 10, 50)
    terminal_is_ours = twistd.get("nodaemon", True) or twistd.get("debug", False)
    if terminal_is_ours:
        terminal = Terminal(sees_log=logs.on_standard_error())
    try:
        check_reachable(twistd.get("uid"), twistd.get("gid"))
        state = statedir.take(config.state_dir, twistd.get("uid"), twistd.get("gid"))
        if config.federation.enabled:
            read_key(key_path(config))
        whole = compose(config, reactor, reread, stays=not twistd.get("uid"))
    except Exception as error:
        if not type(error).__module__.startswith("socialrelay.") and not isinstance(error, OSError):
            raise
        raise refuse(reason_of(error)) from None
    if not terminal_is_ours:
        terminal = leave_waiting(reactor)

    def ready() -> Iterator[tuple[str, dict[str, object]]]:
        statedir.sign(state)
        # What is there now stays: without it, to look through all that there is takes a few milliseconds.
        gc.collect()
        gc.freeze()
        yield from greeting(config)

    def ended() -> None:
        # Whatever had its sockets there has ended, or never began.
        runtime = existing_runtime_directory(config.state_dir)
        if runtime is not None:
            remove_if_empty(config.state_dir, runtime)
        state.release()

    notifier = Notifier(supervision, reactor)
    notifier.line = lambda: in_one_line(whole.health)
    daemon = Daemon(whole.service, reactor, terminal, ready, ended, notifier, whole.reloader.reload, config.stop_timeout)
    on_hangup(reactor, daemon.reload, daemon.end)
    return daemon


def greeting(config: Config) -> Iterator[tuple[str, dict[str, object]]]:
    """What to log when all runs: what it is, where its data is, and what to try next."""
    yield "socialrelay {version} is ready. Its data is in {folder}.", {"version": __version__, "folder": str(config.state_dir)}
    if config.bus.enabled:
        yield _BUS, {name: ", ".join(getattr(config.bus, f"relay_{name}")) for name in ("inbound", "outbound", "ingest")}
    if not config.federation.enabled:
        yield "It runs the bridge of the message bus alone (federation.enabled): it relays no posts, and listens for none.", {}
        yield "This leads to the operators' pages: {command} login", {"command": command(config)}
        return
    if config.production:
        handle = f"{config.identity.username}@{config.host}"
        yield "It is {handle}. Servers reach it at https://{host}/.", {"handle": handle, "host": config.host}
        return
    yield "This is a relay for trying out: it fetches no list of servers and polls none. Set host (--host) to run a public one.", {}
    if port := local_port(config.listen):
        yield "Look at {url}, or ask it: {command} status", {"url": f"http://127.0.0.1:{port}/", "command": command(config)}
    yield "This leads to the operators' pages: {command} login", {"command": command(config)}


_BUS = "The message bus: publishers connect to {inbound}, listeners to {outbound}; messages are acknowledged at {ingest}."


def command(config: Config) -> str:
    """How the operators' command of this installation is called for this relay, from the folder that it was started in."""
    installed = Path(sys.prefix, "bin", "socialrelay")
    on_path = shutil.which("socialrelay")
    if on_path is not None and Path(on_path).exists() and installed.exists() and Path(on_path).samefile(installed):
        name = "socialrelay"
    else:
        name = str(installed.relative_to(Path.cwd()) if installed.is_relative_to(Path.cwd()) else installed)
    usual = config.state_dir == default_state_dir(os.environ)
    return name if usual else f"{name} --state-dir {shlex.quote(str(config.state_dir))}"


def _log_destination(twistd: Any, config: Config) -> logs.Destination:
    prefix = twistd.get("prefix")
    return logs.Destination(
        logfile=twistd.get("logfile") or "",
        syslog=bool(twistd.get("syslog")),
        prefix="socialrelay" if prefix in (None, "twisted") else prefix,
        nodaemon=bool(twistd.get("nodaemon") or twistd.get("debug")),
        format=config.log_format,
        level=config.log_level,
        uid=twistd.get("uid"),
        gid=twistd.get("gid"),
    )

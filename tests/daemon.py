"""
The relay as its operators run it: a process of this environment's C{twistd socialrelay}, with a folder of its own.

It listens on a UNIX socket unless it is told otherwise, so that no port has to be guessed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import treq
from attrs import Factory, define, frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.client import Agent, HTTPConnectionPool, ResponseNeverReceived
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tests.servers import take_away

ROOT = Path(__file__).parent.parent
ENVELOPE = "application/magic-envelope+xml"
# Where there is util-linux, the relay ends when a test run is killed.
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()

# Sockets are numbered from 3 on, and meant for the process that is named: sd_listen_fds(3).
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="public")
os.execv(sys.argv[2], sys.argv[2:])
"""


class DaemonError(Exception):
    """The relay did not do as it was told; the message has the end of its log."""


@frozen
class Answer:
    """What the relay answered over HTTP."""

    code: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@frozen
class Said:
    """What a command printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read."""
        return json.loads(self.out)


@implementer(IAgentEndpointFactory)
@frozen
class _OverSocket:
    reactor: Any
    path: str

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(self.reactor, self.path)


@define(eq=False)
class Daemon:
    """
    A relay in a folder of its own, below C{/tmp}: embedded servers run as another user and sockets want short paths.

    @ivar configuration: TOML, after what every test wants.
    @ivar folder: its C{state}, C{relay.toml}, C{log} and C{web} socket.
    @ivar listen: endpoint descriptions in addition to the socket.
    @ivar program: what Python is to run.
    @ivar listener: a socket that it is handed over as systemd does it, under the name C{public}.
    """

    reactor: Any
    configuration: str = ""
    folder: Path = Factory(lambda: new_folder())
    listen: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "socialrelay")
    process: subprocess.Popen[bytes] | None = None
    listener: socket.socket | None = None
    _clients: int = 0

    # Its life

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def log(self) -> str:
        """All that it logged since the first start."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the process, and return at once."""
        (self.folder / "relay.toml").write_text(self.configuration)
        endpoints = [f"unix:{self.folder / 'web'}", *self.listen]
        handed_over = [] if self.listener is None else [self.listener.fileno()]
        command = [
            *_END_WITH_PARENT,
            *(word for descriptor in handed_over for word in (sys.executable, "-c", _HAND_OVER, str(descriptor))),
            *(sys.executable, *self.program, "run", "--nodaemon"),
            *("--config", str(self.folder / "relay.toml"), "--state-dir", str(self.state)),
            *(word for endpoint in endpoints for word in ("--listen", endpoint)),
            *options,
        ]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=handed_over,
            )
        return self.process

    async def start(self, *options: str) -> None:
        """
        Start it, and wait until it is ready.

        @raise DaemonError: it ended instead.
        """
        self.launch(*options)
        await self.eventually(self.ready, lambda answer: answer in ("ready", "degraded"))

    async def ready(self) -> str:
        """What C{/health/ready} says; empty while nobody answers."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise DaemonError(f"The relay ended with {self.process.returncode}.\n{self.log[-3000:]}")
        try:
            return str((await self.get("/health/ready")).json["status"])
        except (ConnectError, ResponseNeverReceived):
            return ""

    async def terminate(self) -> int:
        """Stop it as an operator does; its exit code."""
        return await self.end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash does."""
        await self.end(signal.SIGKILL)

    async def end(self, number: int) -> int:
        """Send it a signal, and wait for its end; its exit code, negative for a signal."""
        process = self.process
        assert process is not None
        self.process = None
        if process.poll() is None:
            process.send_signal(number)
        code: int = await deferToThread(process.wait)
        return code

    async def remove(self) -> None:
        """Stop it if it runs, and take away its folder."""
        if self.process is not None:
            await self.terminate()
        take_away(self.folder, self.state)

    def children(self, program: str) -> list[int]:
        """Its embedded servers: process ids of the children whose program has this name."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [child for child in children if program in Path(f"/proc/{child}/comm").read_text()]

    # What it is asked

    async def ask(self, socket: Path, method: str, path: str, **options: Any) -> Answer:
        """Ask over HTTP at one of its sockets."""
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        client = HTTPClient(Agent.usingEndpointFactory(self.reactor, _OverSocket(self.reactor, str(socket)), pool))
        response = await client.request(method, f"http://relay{path}", allow_redirects=False, reactor=self.reactor, **options)
        return Answer(response.code, await treq.content(response), response.headers)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """
        Ask it over HTTP.

        @param options: as for C{treq.request}. Each request comes from a client address of its own, unless one is named.
        """
        self._clients += 1
        client = f"198.51.100.{self._clients % 250 + 1}"
        options["headers"] = {"X-Forwarded-For": client, **options.get("headers", {})}
        return await self.ask(self.folder / "web", method, path, **options)

    async def get(self, path: str) -> Answer:
        """A page, as JSON where there is a choice."""
        return await self.request("GET", path, headers={"Accept": "application/json"})

    async def post(self, body: bytes, path: str = "/receive/public", content_type: str = ENVELOPE) -> int:
        """Bring it a body; the status of its answer."""
        answer = await self.request("POST", path, data=body, headers={"Content-Type": content_type})
        return answer.code

    async def check(self, host: str) -> Any:
        """What the self-service page says of a node, after it has asked it."""
        return (await self.get(f"/check?node={host}&format=json")).json

    async def command(self, *words: str) -> Said:
        """Run the operators' command."""
        arguments = ["-m", "socialrelay", "--state-dir", str(self.state), *words]
        out, err, code = await getProcessOutputAndValue(sys.executable, arguments, environment(), str(self.folder), self.reactor)
        return Said(code, out.decode(), err.decode())

    @property
    def _control(self) -> Path:
        return self.state / "run" / "control.sock"

    async def view(self, what: str) -> Any:
        """What the operators' command would be told, without the command: C{node?host=pod.example}."""
        return (await self.ask(self._control, "GET", f"/v1/{what}")).json

    async def act(self, what: str, **fields: Any) -> Any:
        """
        Have the relay do what the operators' command would.

        @raise DaemonError: it refuses.
        """
        answer = await self.ask(self._control, "POST", f"/v1/{what}", json=fields)
        if answer.code != 200:
            raise DaemonError(answer.body.decode())
        return answer.json

    async def eventually(self, ask: Callable[[], Any], well: Callable[[Any], bool]) -> Any:
        """Ask until the answer is as it should be; what it is then. The test's own deadline ends it."""
        while not well(answer := await ask()):
            await self.pause()
        return answer

    def pause(self) -> Deferred[None]:
        """A moment, before something that failed is tried again."""
        return deferLater(self.reactor, 0.03, lambda: None)

    async def logs(self, text: str, times: int = 1) -> None:
        """Wait until it has logged this so many times."""

        async def ask() -> str:
            return self.log

        await self.eventually(ask, lambda log: log.count(text) >= times)


async def command(*words: str) -> Said:
    """Run the operators' command where there is no daemon."""
    out, err, code = await getProcessOutputAndValue(sys.executable, ["-m", "socialrelay", *words], environment())
    return Said(code, out.decode(), err.decode())


def environment() -> dict[str, str]:
    """That of a relay which is told everything by its options."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("SOCIALRELAY_")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return ours | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


def new_folder(prefix: str = "socialrelay-e2e-") -> Path:
    """A folder for a relay: short, and open to its embedded servers."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o711)
    return folder

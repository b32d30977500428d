"""
What the browser looks at: two relays, and the nodes and authors around the first.

Twisted's reactor runs in a thread of its own, because Playwright wants the main one.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, TypeVar

from argon2 import PasswordHasher
from attrs import Factory, define, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.browser import seed
from tests.daemon import Daemon
from tests.envelopes import Author
from tests.nodes import Node, World
from tests.servers import database, valkey

T = TypeVar("T")
PASSWORD = "correct horse battery staple"
PATIENCE = 60.0
"""Seconds after which something that was waited for has failed."""

NAMES = tuple(f"live-{number}.example" for number in range(40))

_BUSY = """
host = "relay.example"
admin_listen = ["tcp:{admin}:interface=127.0.0.1"]

[operator]
name = "Ada Byron"
contact = "ada@relay.example"
source = "https://code.example/socialrelay"
rules = "Public posts in good faith. No advertising, and no hatred of people for what they are."
imprint = "https://relay.example/imprint"

[admin]
password = {password}

[dashboard]
node_names = true

[receive]
trusted_proxies = ["127.0.0.1"]

[delivery]
origin_spread = 0

[polling]
lists = []

[postgres]
dsn = {dsn}

[redis]
url = {redis}

[bus]
enabled = true
relay_inbound = ["tcp://127.0.0.1:{inbound}"]
relay_outbound = ["tcp://127.0.0.1:{outbound}"]
relay_ingest = ["tcp://127.0.0.1:{ingest}"]

"""

_FRESH = """
admin_listen = ["tcp:{admin}:interface=127.0.0.1"]

[receive]
trusted_proxies = ["127.0.0.1"]

[postgres]
dsn = {dsn}

[redis]
url = "off"

"""


@frozen
class Relay:
    """
    A relay that runs.

    @ivar public: address of the public site, without a slash at its end.
    @ivar admin: of the operators' site.
    """

    daemon: Daemon
    public: str
    admin: str


@define(eq=False)
class Stage:
    """
    @ivar busy: in service for years: ten thousand nodes, 640 subscribers, a month of numbers.
    @ivar fresh: started without any configuration of its own: development mode, nobody subscribed, no password.
    @ivar world: nodes that the busy relay can reach.
    """

    busy: Relay = Factory(lambda: None)
    fresh: Relay = Factory(lambda: None)
    world: World = Factory(lambda: None)
    _thread: Thread = Factory(lambda: Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True))

    def open(self) -> None:
        """Make everything, and wait until both relays are ready."""
        self._thread.start()
        dsn = database()
        seed.fill(dsn)
        places = {"dsn": json.dumps(dsn), "redis": json.dumps(valkey()), "password": json.dumps(PasswordHasher().hash(PASSWORD))}
        places |= {name: str(free_port()) for name in ("inbound", "outbound", "ingest")}
        self.busy = self._relay(_BUSY, places)
        self.world = World(reactor, self.busy.daemon.folder).reserve(*NAMES)
        self.busy.daemon.configuration += self.world.network()
        self.fresh = self._relay(_FRESH, {"dsn": json.dumps(database())})
        for relay in (self.busy, self.fresh):
            self.does(relay.daemon.start())

    def close(self) -> None:
        """End everything."""
        for relay in (self.busy, self.fresh):
            if relay is not None:
                self.does(relay.daemon.remove())
        if self.world is not None:
            self.does(self.world.stop())
            self.world.close()
        if self._thread.is_alive():
            reactor.callFromThread(reactor.stop)
            self._thread.join(PATIENCE)

    def _relay(self, configuration: str, places: dict[str, str]) -> Relay:
        public, admin = free_port(), free_port()
        daemon = Daemon(reactor, listen=(f"tcp:{public}:interface=127.0.0.1",))
        daemon.configuration = configuration.format(admin=admin, **places)
        return Relay(daemon, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}")

    # From the main thread

    def does(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the reactor do this; its result, or its error."""

        def begin() -> Deferred[T]:
            return Deferred.fromCoroutine(work).addTimeout(PATIENCE, reactor)

        return blockingCallFromThread(reactor, begin)

    def calls(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Have the reactor call this; what it returns, or what its Deferred fires with."""
        return blockingCallFromThread(reactor, function, *arguments, **named)

    def node(self, **attributes: Any) -> Node:
        """A node that nobody had before, and that listens."""
        return self.calls(lambda: self.world.node(**attributes).start())

    def subscribed(self, *tags: str, **attributes: Any) -> Node:
        """Such a node, which the operator has subscribed."""
        node = self.node(**attributes)
        self.does(self.busy.daemon.act("subscribe", host=node.host, tags=list(tags)))
        return node

    def author(self, node: Node, name: str = "ada") -> Author:
        """Somebody who lives at a node."""
        return self.calls(node.author, name)

    def posts(self, author: Author, text: str, **options: Any) -> bytes:
        """
        An author posts.

        @return: the body that was brought to the relay.
        """
        body = author.post(text, **options)
        code = self.does(self.busy.daemon.post(body))
        if code != 202:
            raise AssertionError(f"The relay answered a post with {code}.")
        return body

    def has(self, node: Node, *guids: str) -> None:
        """Wait until a node has taken these posts."""

        async def wait() -> None:
            await node.has(*guids)

        self.does(wait())

    def view(self, what: str) -> Any:
        """What the operators' command would be told."""
        return self.does(self.busy.daemon.view(what))

    def becomes(self, what: str, well: Callable[[Any], bool]) -> Any:
        """Wait until a view is as it should be; what it is then."""
        daemon = self.busy.daemon

        async def ask() -> Any:
            return await daemon.view(what)

        return self.does(daemon.eventually(ask, well))

    def state(self, host: str, wanted: str) -> None:
        """Wait until a node's destination is in this state."""
        self.becomes(f"node?host={host}", lambda node: (node.get("deliveries") or {}).get("state") == wanted)


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def chromium() -> str:
    """
    The system's browser.

    @raise SystemExit: there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("There is no Chromium. On Debian and Ubuntu: apt-get install chromium")

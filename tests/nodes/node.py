"""One node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import trustme
from attrs import Factory, define, evolve, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from tests.envelopes import Author
from tests.nodes.conduct import Conduct, welcoming
from tests.nodes.reading import Post, Unacceptable, read_envelope
from tests.tlsnode import Exchange, Received, TLSNode

if TYPE_CHECKING:
    from tests.nodes.world import World

RECEIVE = "/receive/public"
PREFERENCES = "/.well-known/x-social-relay"


@frozen
class Taken:
    """
    A post that was brought, whether or not it was taken.

    @ivar at: the reactor's seconds; of a post that was taken, those when it was answered.
    @ivar connection: which of the node's connections, counted from 1.
    """

    post: Post
    body: bytes
    at: float
    connection: int


@define
class Visit(Exchange):
    """A delivery that waits for its answer."""

    node: Node
    brought: Taken

    def answer(self, status: int, *headers: str, body: bytes = b"", close: bool = False) -> None:
        """What is answered with 2xx the node has."""
        if self.node.is_connected(self):
            super().answer(status, *headers, body=body, close=close)
            if 200 <= status < 300:
                self.node.taken.append(evolve(self.brought, at=self.node.world.reactor.seconds()))
                self.node.changed()


@define(eq=False)
class Node:
    """
    A server of the federation: its host name, its authors, what it wants, what it got.

    @ivar wants: the x-social-relay document; a status to answer with instead of one; 404 as for current diaspora* pods.
    @ivar pages: other documents that it has: path -> body.
    @ivar conduct: how it treats whoever delivers to it.
    @ivar receives_at: path for posts, exactly.
    @ivar people: its authors by handle, whom it introduces by webfinger and hCard.
    @ivar brought: every post that was brought, in order.
    @ivar taken: those that it took.
    @ivar faults: what a real node would have refused. Empty at the end of every test.
    @ivar asked: paths of documents that were fetched from it.
    @ivar reluctant: it does not answer who asks for a document.
    @ivar held: deliveries that it has yet to answer, if its conduct is to hold them.
    """

    world: World
    host: str
    port: int
    wants: bytes | int = 404
    pages: dict[str, bytes] = Factory(dict)
    conduct: Conduct = welcoming
    receives_at: str = RECEIVE
    people: dict[str, Author] = Factory(dict)
    brought: list[Taken] = Factory(list)
    taken: list[Taken] = Factory(list)
    faults: list[str] = Factory(list)
    asked: list[str] = Factory(list)
    reluctant: bool = False
    held: list[Visit] = Factory(list)
    _server: TLSNode = Factory(TLSNode)
    _listens: bool = False

    # Its life

    def start(self, issuer: trustme.CA | None = None) -> Node:
        """
        Listen; before that, connections are refused.

        @param issuer: another authority than the one that the relay trusts.
        """
        self._server.port = self.port
        self._server.behaviour = self._serve
        context = SSL.Context(SSL.TLS_METHOD)
        (issuer or self.world.authority).issue_cert(self.host).configure_cert(context)
        self._server.listen(self.world.reactor, context)
        self._listens = True
        return self

    async def stop(self) -> None:
        """Refuse connections from now on, and break off those that there are."""
        if self._listens:
            self._listens = False
            await self._server.stop()

    @property
    def connections(self) -> int:
        """How many were ever made."""
        return self._server.connections

    # What it has

    def author(self, name: str) -> Author:
        """Somebody who lives here, and whom it introduces to whoever asks."""
        author = Author(f"{name}@{self.host}")
        self.people[author.handle] = author
        self.world.people[author.handle] = author
        return author

    @property
    def guids(self) -> list[str]:
        """The posts that it took, in order, as often as they came."""
        return [taken.post.guid for taken in self.taken]

    def has(self, *guids: str) -> Deferred[None]:
        """Fires when it has taken all of these posts."""
        return self.until(lambda: set(guids) <= set(self.guids))

    def until(self, holds: Callable[[], bool]) -> Deferred[None]:
        """Fires when something holds that a visit brings about."""
        return self._server.until(holds)

    def release(self) -> None:
        """Take the posts that it holds."""
        held, self.held = self.held, []
        for visit in held:
            visit.answer(202)

    def is_connected(self, visit: Visit) -> bool:
        """Whether who came is still there."""
        return visit.connection in self._server.open

    def changed(self) -> None:
        """Tell those who wait."""
        self._server.look()

    # What it does

    def _serve(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.headers["host"] != self.host or request.server_name != self.host:
            self.faults.append(f"asked for {request.headers['host']} with SNI {request.server_name}")
        if self._server.faults:
            self.faults += self._server.faults
            self._server.faults.clear()
        if request.method == "POST":
            self._receive(exchange, request)
        else:
            self._show(exchange, request)

    def _receive(self, exchange: Exchange, request: Received) -> None:
        if request.path != self.receives_at:
            self.faults.append(f"POST {request.path}")
            exchange.answer(404)
            return
        for name, value in (("content-type", "application/magic-envelope+xml"), ("content-length", str(len(request.body)))):
            if request.headers.get(name) != value:
                self.faults.append(f"{name} is {request.headers.get(name)}")
        if not request.headers.get("user-agent", "").startswith("socialrelay/"):
            self.faults.append(f"a stranger: {request.headers.get('user-agent')}")
        try:
            post = read_envelope(request.body, self.world.key_of)
        except Unacceptable as refused:
            self.faults.append(str(refused))
            exchange.answer(400)
            return
        brought = Taken(post, request.body, self.world.reactor.seconds(), request.connection)
        self.brought.append(brought)
        self.conduct(Visit(request, exchange.connection, self, brought))

    def _show(self, exchange: Exchange, request: Received) -> None:
        url = urlsplit(request.path)
        self.asked.append(url.path)
        if self.reluctant:
            return
        if url.path == "/.well-known/webfinger":
            handle = parse_qs(url.query).get("resource", [""])[0].removeprefix("acct:")
            self._answer(exchange, self.people[handle].webfinger() if handle in self.people else 404, "application/jrd+json")
        elif url.path.startswith("/hcard/users/"):
            found = [author for author in self.people.values() if url.path.endswith(f"/{author.guid}")]
            self._answer(exchange, found[0].hcard() if found else 404, "text/html")
        elif url.path == PREFERENCES:
            self._answer(exchange, self.wants, "application/json")
        else:
            self._answer(exchange, self.pages.get(url.path, 404), "application/json")

    def _answer(self, exchange: Exchange, what: bytes | int, content_type: str) -> None:
        if isinstance(what, int):
            exchange.answer(what)
        else:
            exchange.answer(200, f"Content-Type: {content_type}; charset=utf-8", body=what)

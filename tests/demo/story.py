"""
What happens: nodes subscribe, authors post, a node goes away and comes back, somebody forges; and was everything delivered?
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from os import getpid
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred, DeferredList, TimeoutError, succeed
from twisted.internet.task import deferLater

from tests.daemon import Daemon, new_folder
from tests.demo.cast import ALL, TEXTS, Member, Sent, tags_of
from tests.envelopes import Author, new_guid, preferences, seal, status_message
from tests.nodes import World
from tests.nodes.conduct import slow

SLOW = 1.2
GRACE = 20.0
"""Seconds after the last post in which everything is to arrive."""

AUTHORS = {"garden": "alice", "studio": "bob", "kitchen": "carol"}
HOSTS = ("hub", "garden", "camera", "kitchen", "snail", "nomad", "ruin", "hermit", "studio")


@define(eq=False)
class Story:
    """
    The whole of it.

    @ivar tell: called with a line about what happens.
    @ivar accepted: posts that the relay answered 202 and that are genuine.
    @ivar forged: posts that are not.
    @ivar rejected: what the relay says of them: reason -> count.
    @ivar delivered: deliveries, as the relay counts them.
    @ivar closing: it is being stopped before its end.
    """

    reactor: Any
    seconds: float
    rate: float
    tell: Callable[[str], None]
    relay: Daemon = Factory(lambda self: Daemon(self.reactor, folder=new_folder(f"socialrelay-demo-{getpid()}-")), takes_self=True)
    world: World = Factory(lambda self: World(self.reactor, self.relay.folder), takes_self=True)
    members: list[Member] = Factory(list)
    authors: list[Author] = Factory(list)
    sent: list[Sent] = Factory(list)
    port: int = 0
    accepted: int = 0
    refused: int = 0
    forged: int = 0
    delivered: int = 0
    rejected: dict[str, int] = Factory(dict)
    began: float = 0.0
    closing: bool = False
    _posting: set[Deferred[None]] = Factory(set)
    _numbers: count[int] = Factory(count)

    # Before

    async def prepare(self) -> None:
        """Start the relay and the nodes, and subscribe them."""
        self.world.reserve(*(f"{name}.example" for name in HOSTS))
        self.port = _free_port()
        self.relay.listen = (f"tcp:{self.port}:interface=127.0.0.1",)
        self.relay.configuration = self.world.network()
        await self.relay.start()
        self.tell(f"The relay is ready. While the demo lasts, its page is http://127.0.0.1:{self.port}/")
        self._cast()
        for member in self.members:
            if member.how:
                await self._join(member)
        await self.look()

    def _cast(self) -> None:
        add = self._add
        add("hub", ALL)
        add("garden", {"gardening", "plants"}, home="alice")
        add("studio", ALL, how="", home="bob", wants_nothing=True, remark="only sends")
        add("kitchen", {"cooking", "vegan"}, how="operator", home="carol")
        add("camera", {"photography"})
        add("snail", {"art", "plants"}, remark=f"slow: {SLOW} s each").node.conduct = slow(self.reactor, SLOW)
        add("nomad", {"photography", "cooking"}, home="dave")
        add("ruin", ALL, how="operator", away=True)
        add("hermit", ALL, wants_nothing=True, remark="left alone")
        self.authors = [self._member(name).node.author(author) for name, author in AUTHORS.items()]

    def _add(self, name: str, tags: Any, how: str = "itself", *, away: bool = False, **attributes: Any) -> Member:
        node = self.world.node(f"{name}.example")
        member = Member(node, ALL if tags is ALL else frozenset(tags), how=how, away=away, **attributes)
        if how == "itself":
            node.wants = preferences(*sorted(member.tags), subscribe=not member.wants_nothing)
        if not away:
            node.start()
        self.members.append(member)
        return member

    def _member(self, name: str) -> Member:
        return next(member for member in self.members if member.host == f"{name}.example")

    async def _join(self, member: Member) -> None:
        """It asks for posts: by what it publishes, and a look at the relay's /check page; or its administrator asked the operator."""
        wanted = "everything" if member.tags is ALL else " ".join(f"#{tag}" for tag in sorted(member.tags))
        if member.how == "itself":
            await self.relay.check(member.host)
            said = "that it wants nothing, and so it gets nothing" if member.wants_nothing else f"that it wants {wanted}"
            self.tell(f"{member.host} publishes {said}.")
        else:
            words = ("--all",) if member.tags is ALL else ("--tags", ",".join(sorted(member.tags)))
            done = await self.relay.command("subscribe", member.host, *words)
            if done.code:
                raise RuntimeError(done.err)
            self.tell(f"The operator: socialrelay subscribe {member.host} {' '.join(words)}")

    # The story

    async def play(self) -> None:
        """Post at a steady rate, and let things happen in between."""
        self.tell("alice, bob and carol post. The relay fetches each one's public key from the author's own node, once.")
        self.began = self.reactor.seconds()
        turns: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.15, self._forge),
            (0.25, self._leave),
            (0.6, self._come_back),
            (0.8, self._forge),
        ]
        total = max(round(self.seconds * self.rate), 1)
        for number in range(total):
            await self._until(number / self.rate)
            while turns and number / total >= turns[0][0]:
                await turns.pop(0)[1]()
            self._keep(self._post(self._next_author()))
        for _, turn in turns:
            await turn()
        await self._until(self.seconds)
        await DeferredList(list(self._posting))

    async def finish(self) -> None:
        """Wait until everybody who can be reached has everything, or no longer."""
        complete = Deferred.fromCoroutine(self._complete())
        complete.addTimeout(GRACE, self.reactor).addErrback(lambda failure: failure.trap(TimeoutError))
        await complete

    async def _complete(self) -> None:
        for member in self.members:
            if not member.away:
                await member.node.until(partial(_has_all, member))
        await self.look()
        while sum(self.rejected.values()) < self.forged:  # it writes them down together, every few seconds
            await deferLater(self.reactor, 0.2, lambda: None)
            await self.look_at_rejected()

    def verdict(self) -> dict[str, list[str]]:
        """What each node that can be reached has to complain about: host -> complaints."""
        found = {member.host: member.complaints() for member in self.members if not member.away}
        if self.refused:
            found["the authors"] = [f"{self.refused} posts were not accepted"]
        if sum(self.rejected.values()) < self.forged:
            found["the relay"] = [f"{self.forged} posts were forged and {sum(self.rejected.values())} rejected"]
        return {who: what for who, what in found.items() if what}

    async def close(self) -> None:
        """Stop everything, and leave nothing behind."""
        await self.world.stop()
        self.world.close()
        await self.relay.remove()

    @property
    def played(self) -> float:
        """How much of it is over, 0 to 1."""
        return min((self.reactor.seconds() - self.began) / self.seconds, 1.0) if self.began else 0.0

    def _next_author(self) -> Author:
        return self.authors[next(self._numbers) % len(self.authors)]

    async def _post(self, author: Author, text: str = "") -> None:
        name = author.handle.partition("@")[0]
        text = text or TEXTS[name][len([each for each in self.sent if each.author is author]) % len(TEXTS[name])]
        tags = tags_of(text)
        guid = new_guid()
        body = author.post(text, guid=guid)
        due = [member for member in self.members if member.asked_for(author, tags)]
        post = Sent(guid, author, text, body, self.reactor.seconds(), frozenset(member.host for member in due))
        self.sent.append(post)
        for member in due:
            member.due[guid] = post
        if await self.relay.post(body) == 202:
            self.accepted += 1
        else:
            self.refused += 1
            for member in due:
                del member.due[guid]

    async def _forge(self) -> None:
        victim = self.authors[0].handle
        self.forged += 1
        self.tell(f"Mallory posts as {victim}. The relay says 202 to everything, checks the signature, and drops it.")
        await self.relay.post(seal(status_message(victim, "Buy my coins #gardening"), victim, Author("mallory@pod.example").private_key))

    async def _leave(self) -> None:
        nomad = self._member("nomad")
        nomad.away = True
        self.tell(f"{nomad.host} goes away. The relay notices, stops trying for a while, and keeps its posts.")
        await nomad.node.stop()

    async def _come_back(self) -> None:
        nomad = self._member("nomad")
        nomad.away = False
        nomad.node.start()
        self.tell(f"{nomad.host} is back: dave, who lives there, posts. The relay takes that for a sign of life: it catches up.")
        await self._post(nomad.node.author("dave"), "We are back on air #art")

    def _keep(self, work: Any) -> None:
        running = Deferred.fromCoroutine(work)
        self._posting.add(running)
        running.addBoth(self._kept, running)

    def _kept(self, result: object, running: Deferred[None]) -> object:
        self._posting.discard(running)
        return None if self.closing else result

    def _until(self, seconds: float) -> Deferred[None]:
        wait = self.began + seconds - self.reactor.seconds()
        return deferLater(self.reactor, wait, lambda: None) if wait > 0 else succeed(None)

    # The relay's own view, over the socket that the operators' command uses

    async def look(self) -> None:
        """Ask the relay how it sees its nodes, and what it rejected."""
        delivered = 0
        for member in self.members:
            known = await self.relay.view(f"node?host={member.host}")
            deliveries = known.get("deliveries") or {}
            member.state = deliveries.get("state", "")
            delivered += deliveries.get("delivered", 0)
        self.delivered = delivered
        await self.look_at_rejected()

    async def look_at_rejected(self) -> None:
        """Ask it what it rejected."""
        self.rejected = (await self.relay.view("rejected?limit=1000")).get("reasons", {})


def _has_all(member: Member) -> bool:
    return not member.waiting


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

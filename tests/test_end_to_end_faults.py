"""What goes wrong around the relay, and within it, costs no accepted post and holds up nobody else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from trustme import CA
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from socialrelay.running import statedir
from tests.end_to_end import EndToEnd, OwnRelay, guids
from tests.envelopes import Author, new_guid, preferences
from tests.nodes.conduct import abrupt, flapping, holding, says, silent, welcoming
from tests.nodes.node import Node


class CrashTests(OwnRelay):
    async def test_killed_before_delivery(self) -> None:
        """A post that was answered 202 and not delivered when the relay was killed arrives after the next start."""
        node, home = self.node(conduct=silent), self.node()
        await self.subscribe(node)
        guid = new_guid()
        await self.accepted(home.author("alice").post("Hold on", guid=guid))
        await node.until(lambda: bool(node.brought))
        await self.relay.kill()
        node.conduct = welcoming
        await self.relay.start()
        await node.has(guid)

    async def test_killed_before_verification(self) -> None:
        """So does one whose author's key was still being fetched."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        home.reluctant = True
        guid = new_guid()
        await self.accepted(alice.post("Who am I?", guid=guid))
        await home.until(lambda: bool(home.asked))
        await self.relay.kill()
        home.reluctant = False
        await self.relay.start()
        await node.has(guid)

    async def test_everything_killed(self) -> None:
        """Nor is anything lost when the servers that the relay brought along are killed together with it."""
        node, home = self.node(conduct=silent), self.node()
        await self.subscribe(node)
        guid = new_guid()
        await self.accepted(home.author("alice").post("Hold on", guid=guid))
        await node.until(lambda: bool(node.brought))
        servers = [*self.relay.children("postgres"), *self.relay.children("valkey")]
        await self.relay.kill()
        for server in servers:
            os.killpg(server, signal.SIGKILL)
        node.conduct = welcoming
        await self.relay.start()
        await node.has(guid)

    async def test_killed_under_load(self) -> None:
        """All that was answered 202 arrives, whenever the relay is killed."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        authors = [home.author(name) for name in ("alice", "bob", "carol")]
        accepted: set[str] = set()

        async def load(author: Author) -> None:
            while len(accepted) < 150:
                guid = new_guid()
                try:
                    if await self.relay.post(author.post("And again", guid=guid)) == 202:
                        accepted.add(guid)
                except (ConnectError, RequestTransmissionFailed, ResponseFailed):
                    await self.relay.pause()

        loads = gatherResults([Deferred.fromCoroutine(load(author)) for author in authors])
        for posts in (30, 90):
            await node.until(lambda posts=posts: len(node.taken) > posts)
            await self.relay.kill()
            await self.relay.start()
        await loads
        await node.has(*accepted)

    async def test_restarted(self) -> None:
        """After a stop and a start everybody goes on where they were: nobody gets a post twice, and who was away gets what waited."""
        node, away, home = self.node(), self.world.node(), self.node()
        await self.subscribe(node)
        await self.subscribe(away)
        alice = home.author("alice")
        before, after = guids(5), guids(5)
        for guid in before:
            await self.accepted(alice.post("Before", guid=guid))
        await node.has(*before)
        await self.relay.terminate()
        await self.relay.start()
        for guid in after:
            await self.accepted(alice.post("After", guid=guid))
        await node.has(*after)
        self.assertEqual(sorted(node.guids), sorted(before + after))
        away.start()
        await self.relay.act("wake", host=away.host)
        await away.has(*before, *after)
        self.assertEqual(sorted(away.guids), sorted(before + after))

    async def test_suspended(self) -> None:
        """What an operator suspended, or resumed, is so also if the relay is killed as soon as it has said so."""
        node = self.node()
        await self.subscribe(node)
        for act, state in (("suspend", "suspended"), ("resume", "active")):
            await self.relay.act(act, host=node.host)
            await self.relay.kill()
            await self.relay.start()
            self.assertEqual((await self.relay.view(f"node?host={node.host}"))["deliveries"]["state"], state)

    async def test_remembered(self) -> None:
        """What operators, authors and nodes said holds after a restart."""
        node, held, refuses, home = self.node(), self.node(), self.node(wants=preferences("cats")), self.node()
        for each in (node, held, refuses):
            await self.subscribe(each)
        refuses.wants = preferences(subscribe=False)
        await self.relay.check(refuses.host)
        await self.relay.act("suspend", host=held.host)
        alice, spam = home.author("alice"), home.author("spam")
        await self.relay.act("block", subject=spam.handle)
        await self.relay.terminate()
        await self.relay.start()
        first, blocked, last = guids(3)
        await self.accepted(alice.post("Hello", guid=first))
        await node.has(first)
        await self.accepted(spam.post("Buy", guid=blocked))
        await self.accepted(alice.post("Bye", guid=last))
        await node.has(last)
        self.assertEqual([each.guids for each in (node, held, refuses)], [[first, last], [], []])
        await self.relay.act("resume", host=held.host)
        await held.has(first, last)

    async def test_author_cannot_be_found(self) -> None:
        """An author whose node does not answer holds up no other; when the node answers again, the post is not lost."""
        node, home, mute = self.node(), self.node(), self.node(reluctant=True)
        await self.subscribe(node)
        unknown, known = guids(2)
        await self.accepted(mute.author("eve").post("Who am I?", guid=unknown))
        await mute.until(lambda: bool(mute.asked))
        await self.accepted(home.author("alice").post("I am Alice", guid=known))
        await node.has(known)
        self.assertEqual(node.guids, [known])
        mute.reluctant = False
        await mute.stop()
        mute.start()
        await self.relay.terminate()
        await self.relay.start()
        await node.has(unknown)

    async def test_terminated(self) -> None:
        """SIGTERM lets it finish what is under way, and leaves no process and no socket behind."""
        node, home = self.node(conduct=holding), self.node()
        await self.subscribe(node)
        await self.accepted(home.author("alice").post("Just in time"))
        await node.until(lambda: bool(node.brought))
        servers = [*self.relay.children("postgres"), *self.relay.children("valkey")]
        self.assertEqual(len(servers), 2)
        runtime = (self.relay.state / "run").resolve()
        process = self.relay.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        await self.relay.eventually(self._closed, bool)
        node.release()
        code = await self.relay.terminate()
        self.assertIn(code, (0, -signal.SIGTERM))
        self.assertEqual([server for server in servers if Path(f"/proc/{server}").exists()], [])
        self.assertEqual((runtime.exists(), (self.relay.folder / "web").exists()), (False, False))
        statedir.take(self.relay.state).release()
        self.assertEqual(len(node.taken), 1)
        await self.relay.start()
        await self.relay.logs("is ready. Its data is in", 2)
        self.assertEqual(len(node.brought), 1)

    async def _closed(self) -> bool:
        return not (self.relay.folder / "web").exists()


class StorageTests(OwnRelay):
    async def under_load(self, author: Author, over: Deferred[None]) -> tuple[set[str], set[int]]:
        """Post, one after the other, until it is over: what was accepted, and all answers."""
        accepted: set[str] = set()
        answers: set[int] = set()
        while not over.called:
            guid = new_guid()
            code = await self.relay.post(author.post("And again", guid=guid))
            answers.add(code)
            if code == 202:
                accepted.add(guid)
        return accepted, answers

    async def test_postgres_killed(self) -> None:
        """While PostgreSQL is killed and comes again posts are answered 202 or 503, and all accepted ones arrive."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        first = new_guid()
        await self.accepted(alice.post("Hello", guid=first))
        await node.has(first)
        over: Deferred[None] = Deferred()
        load = Deferred.fromCoroutine(self.under_load(alice, over))
        await node.until(lambda: len(node.taken) > 10)
        [server] = self.relay.children("postgres")
        os.kill(server, signal.SIGKILL)
        await self.relay.eventually(self.relay.ready, lambda word: word == "not ready")
        await self.relay.eventually(self.relay.ready, lambda word: word == "ready")
        count = len(node.taken)
        await node.until(lambda: len(node.taken) > count + 10)
        over.callback(None)
        accepted, answers = await load
        self.assertLessEqual(answers, {202, 503})
        await node.has(*accepted)

    async def test_valkey_killed(self) -> None:
        """While Valkey hangs, is killed and comes again nothing is refused or lost; the relay is degraded meanwhile, and then well again."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        over: Deferred[None] = Deferred()
        load = Deferred.fromCoroutine(self.under_load(home.author("alice"), over))
        await node.until(lambda: len(node.taken) > 10)
        [server] = self.relay.children("valkey")
        os.kill(server, signal.SIGSTOP)  # one that is killed may be back before anybody has noticed
        await self.relay.eventually(self.relay.ready, lambda word: word == "degraded")
        os.kill(server, signal.SIGKILL)
        await self.relay.eventually(self.relay.ready, lambda word: word == "ready")
        over.callback(None)
        accepted, answers = await load
        self.assertEqual(answers, {202})
        await node.has(*accepted)


class BadNodeTests(EndToEnd):
    async def state(self, node: Node) -> str:
        """As the operator sees it."""
        deliveries = (await self.relay.view(f"node?host={node.host}"))["deliveries"]
        return str(deliveries["state"])

    async def test_among_others(self) -> None:
        """A dead node, a black hole and a flapping one hold up nobody else, and get what they missed when they are well."""
        good = [self.node() for _ in range(7)]
        dead, hole, flaps = self.world.node(), self.node(conduct=silent), self.node(conduct=flapping(3, 2))
        home = self.node()
        for node in (*good, dead, hole, flaps):
            await self.subscribe(node)
        authors = [home.author(name) for name in ("alice", "bob", "carol", "dave")]
        posts = guids(40)
        for number, guid in enumerate(posts):
            await self.accepted(authors[number % 4].post(f"Number {number}", guid=guid))
        for node in good:
            await node.has(*posts)
            self.assertEqual(sorted(node.guids), sorted(posts))
        self.assertEqual((dead.taken, hole.taken), ([], []))
        self.assertLessEqual(len(hole.brought), 2)
        self.assertEqual(await self.state(dead), "deferred")
        dead.start()
        hole.conduct = flaps.conduct = welcoming
        await hole.stop()
        hole.start()
        for node in (dead, hole, flaps):
            await self.relay.act("wake", host=node.host)
            await node.has(*posts)
        for node in (*good, dead, hole, flaps):
            ledger = await self.relay.eventually(lambda node=node: self.ledger(node), lambda ledger: ledger["delivered"] >= 40)
            self.assertEqual(ledger, {"delivered": 40, "bounced": 0, "expired": 0, "cancelled": 0, "behind": 0, "waiting": 0})

    async def ledger(self, node: Node) -> dict[str, int]:
        """What became of all posts that were for it."""
        deliveries = (await self.relay.view(f"node?host={node.host}"))["deliveries"]
        return {name: deliveries[name] for name in ("delivered", "bounced", "expired", "cancelled", "behind", "waiting")}

    async def test_unsubscribed_while_it_fails(self) -> None:
        """What waits for a node is cancelled with its subscription, and counted; a new subscription begins with what comes then."""
        node, other, home = self.world.node(), self.node(), self.node()
        await self.subscribe(node)
        await self.subscribe(other)
        alice = home.author("alice")
        old, new = guids(3), new_guid()
        for guid in old:
            await self.accepted(alice.post("Old", guid=guid))
        await other.has(*old)
        for act in ("unsubscribe", "block"):
            await self.relay.eventually(lambda: self.state(node), lambda state: state == "deferred")
            await self.relay.act(act, **{"subject" if act == "block" else "host": node.host})
            if act == "block":
                await self.relay.act("unblock", subject=node.host)
            await self.relay.eventually(lambda: self.ledger(node), lambda ledger: ledger["cancelled"] >= 3)
            if act == "unsubscribe":
                await self.subscribe(node)
                old = guids(3)
                for guid in old:
                    await self.accepted(alice.post("Old", guid=guid))
                await other.has(*old)
        node.start()
        await self.accepted(alice.post("New", guid=new))
        await self.relay.act("wake", host=node.host)
        await node.has(new)
        self.assertEqual(node.guids, [new])
        ledger = await self.relay.eventually(lambda: self.ledger(node), lambda ledger: ledger["delivered"] >= 1)
        self.assertEqual((ledger["delivered"], ledger["cancelled"]), (1, 6))

    async def test_one_that_comes_back(self) -> None:
        """A post by one of its own authors is a sign of life of a node that was away: it catches up."""
        node, other = self.world.node(), self.node()
        await self.subscribe(node)
        await self.subscribe(other)
        missed, own = guids(2)
        await self.accepted(other.author("alice").post("Are you there?", guid=missed))
        await self.relay.eventually(lambda: self.state(node), lambda state: state == "deferred")
        node.start()
        await self.accepted(node.author("bob").post("I am", guid=own))
        await node.has(missed)
        await other.has(own)

    async def test_every_kind_of_trouble(self) -> None:
        """Whatever a node does with a post, the other nodes get it, and what the node did is what the operator reads."""
        kinds = {
            "reset": abrupt,
            "HTTP 301": says(301, "Location: https://elsewhere.example/receive/public"),
            "HTTP 500": says(500),
            "HTTP 503": says(503, "Retry-After: 3600"),
            "HTTP 404": says(404),
            "HTTP 413": says(413),
        }
        nodes = {kind: self.node(conduct=conduct) for kind, conduct in kinds.items()}
        nodes["certificate"] = self.world.node()
        nodes["certificate"].start(issuer=CA())
        good, home = self.node(), self.node()
        for node in (*nodes.values(), good):
            await self.subscribe(node)
        guid = new_guid()
        await self.accepted(home.author("alice").post("Hello to everybody", guid=guid))
        await good.has(guid)
        for kind, node in nodes.items():
            expected = ("active", 1) if kind == "HTTP 413" else ("deferred", 0)
            found = await self.relay.eventually(lambda node=node: self.fate(node), lambda fate, expected=expected: fate[:2] == expected)
            if found[0] == "deferred" and kind.startswith("HTTP"):
                self.assertIn(kind.removeprefix("HTTP "), found[2])
        self.assertEqual(nodes["certificate"].brought, [])

    async def fate(self, node: Node) -> tuple[str, int, str]:
        """State, bounced posts, the last reason."""
        deliveries = (await self.relay.view(f"node?host={node.host}"))["deliveries"]
        return deliveries["state"], deliveries["bounced"], deliveries["last_reason"]

"""The log keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from twisted.internet.defer import gatherResults

from socialrelay.boundaries import LogEntry
from socialrelay.config import Retention
from socialrelay.scheduler.record import DeferredDelivery, Progress
from socialrelay.storage import log as log_module
from socialrelay.storage.queries import StorageError
from tests.storing import NOW, InMemory, InPostgres, ago, arrival, publication


class LogContract:
    async def test_positions_ascend(self):
        """
        Posts get ascending positions in the order in which they were handed over, and the end is the last of them.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.end(), 0)
        positions = [await log.publish(publication()) for _ in range(3)]
        positions += await gatherResults([log.publish(publication()) for _ in range(20)])
        self.assertEqual(positions, sorted(set(positions)))
        self.assertGreater(positions[0], 0)
        self.assertEqual(await log.end(), positions[-1])

    async def test_duplicate(self):
        """
        A post one of whose identities is taken is a duplicate and gets no position, and claims none of its other identities.
        """
        log = (await self.storage()).log
        a, b, c = (bytes([n]) * 32 for n in range(3))
        first = await log.publish(publication(identities=(a, b)))
        self.assertIsNone(await log.publish(publication(identities=(c, b))))
        second = await log.publish(publication(identities=(c,)))
        self.assertIsNone(await log.publish(publication(identities=(a,))))
        self.assertEqual([type(first), type(second)], [int, int])
        self.assertEqual(await log.end(), second)

    async def test_duplicates_at_once(self):
        """
        Of duplicates that arrive together exactly the first is published.
        """
        log = (await self.storage()).log
        post = publication()
        answers = await gatherResults([log.publish(each) for each in (post, publication(), post, post)])
        self.assertEqual([answer is None for answer in answers], [False, False, True, True])

    async def test_chain_of_shared_identities(self):
        """
        A post whose only clash is with a duplicate that was not published is itself published.
        """
        log = (await self.storage()).log
        a, b, c = (bytes([n]) * 32 for n in range(3))
        posts = [publication(identities=each) for each in ((a,), (a, b), (b, c))]
        answers = await gatherResults([log.publish(post) for post in posts])
        self.assertEqual([answer is None for answer in answers], [False, True, False])

    async def test_read_matching(self):
        """
        A destination reads, of a range, the posts that name it, with what is needed to schedule them.
        """
        log = (await self.storage()).log
        posts = [publication(recipients=frozenset(each)) for each in ({0}, {1, 9}, (), {0, 1, 7, 8, 1000}, {9})]
        positions = [await log.publish(post) for post in posts]
        end = positions[-1]

        async def read(destination, after=0, upto=end):
            return [entry.position for entry in await log.read(destination, after, upto)]

        self.assertEqual(await read(0), [positions[0], positions[3]])
        self.assertEqual(await read(9), [positions[1], positions[4]])
        self.assertEqual(await read(1000), [positions[3]])
        self.assertEqual([await read(n) for n in (2, 15, 999, 1001, 100000)], [[]] * 5)
        self.assertEqual(await read(0, after=positions[0]), [positions[3]])
        self.assertEqual(await read(0, upto=positions[0]), [positions[0]])
        self.assertEqual([await log.pending(n, 0, end) for n in (0, 1, 2)], [2, 2, 0])
        [entry] = await log.read(0, 0, positions[0])
        self.assertEqual(entry, LogEntry(positions[0], "ada@pod.example", NOW, len(posts[0].body)))

    async def test_digest(self):
        """
        A post's short name is read with it.
        """
        log = (await self.storage()).log
        position = await log.publish(publication(recipients=frozenset({0}), digest="7f83b1657ff1"))
        [entry] = await log.read(0, position - 1, position)
        self.assertEqual(entry.digest, "7f83b1657ff1")

    async def test_range_is_bounded(self):
        """
        More than 5000 positions at a time are refused.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.read(0, 10, 5010), [])
        await self.assertFailure(log.read(0, 10, 5011), ValueError)

    async def test_bodies(self):
        """
        Bodies come back byte for byte; those that are not kept are left out.
        """
        log = (await self.storage()).log
        posts = [publication(body=bytes(range(256)) * 40), publication(), publication(recipients=frozenset())]
        positions = [await log.publish(post) for post in posts]
        bodies = await log.bodies([*positions, 4711])
        self.assertEqual(bodies, {positions[0]: posts[0].body, positions[1]: posts[1].body})
        self.assertIs(type(bodies[positions[0]]), bytes)
        self.assertEqual(await log.bodies([]), {})

    async def test_publishing_ends_the_wait(self):
        """
        What is published, or turns out to be a duplicate, no longer waits to be judged.
        """
        storage = await self.storage()
        first, second, third = [await storage.incoming.keep(arrival()) for _ in range(3)]
        post = publication(incoming=first)
        await storage.log.publish(post)
        await storage.log.publish(publication(identities=post.identities, incoming=second))
        self.assertEqual([row.id for row in await storage.incoming.claim(NOW, NOW, 9)], [third])
        self.assertEqual((await storage.incoming.usage())[0], 1)

    async def test_cancel_author(self):
        """
        Cancelling an author marks the author's posts of the last week, and theirs alone.
        """
        log = (await self.storage()).log
        old = await log.publish(publication(published_at=ago(days=8)))
        mine = [await log.publish(publication(published_at=ago(days=6))), await log.publish(publication())]
        other = await log.publish(publication(author="eve@pod.example"))
        self.assertEqual(await log.cancel(authors=["ada@pod.example"]), mine)
        marks = {entry.position: entry.cancelled for entry in await log.read(0, 0, other)}
        self.assertEqual(marks, {old: False, mine[0]: True, mine[1]: True, other: False})
        self.assertEqual(await log.cancel(authors=["ada@pod.example"]), mine)

    async def test_on_its_way(self):
        """
        A post that is being published when its author is cancelled, or erased, is cancelled, or erased, with the others.
        """
        for act in ("cancel", "erase"):
            log = (await self.storage()).log
            published = log.publish(publication())
            waiting = log.publish(publication(identities=(b"another",)))
            found = await (log.cancel(authors=["ada@pod.example"]) if act == "cancel" else log.erase(author="ada@pod.example"))
            self.assertEqual(found, [await published, await waiting])

    async def test_cancel_host(self):
        """
        Cancelling a host marks the posts of its authors and of those of its subdomains.
        """
        log = (await self.storage()).log
        hosts = ("pod.example", "a.pod.example", "notpod.example", "example", "pod_example")
        positions = [await log.publish(publication(author=f"x@{host}", author_host=host)) for host in hosts]
        self.assertEqual(await log.cancel(hosts=["pod.example"]), positions[:2])
        self.assertEqual(await log.cancel(hosts=["example"]), positions[:4])

    async def test_cancel_many(self):
        """
        Many names of several kinds are cancelled together, tags among them; each post is told of once, and retractions stay.
        """
        log = (await self.storage()).log
        posts = (
            publication(author="eve@pod.example", tags=frozenset({"cats"})),
            publication(author="x@a.bad.example", author_host="a.bad.example", tags=frozenset({"cats", "dögs"})),
            publication(tags=frozenset({"dögs"})),
            publication(tags=frozenset({"dogs"})),
            publication(author="eve@pod.example", retraction=True),
        )
        positions = [await log.publish(post) for post in posts]
        authors = {f"nobody{number}@pod.example" for number in range(100)} | {"eve@pod.example"}
        self.assertEqual(await log.cancel(authors=authors, hosts=["bad.example", "it's.example"], tags=["dögs"]), positions[:3])
        self.assertEqual([entry.cancelled for entry in await log.read(0, 0, positions[-1])], [True, True, True, False, False])

    async def test_cancel_nothing(self):
        """
        Cancelling in an empty log, or nobody in particular, marks nothing.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.cancel(hosts=["pod.example"]), [])
        await log.publish(publication())
        self.assertEqual(await log.cancel(), [])

    async def test_oldest(self):
        """
        The oldest position that can still be delivered is the one after the last that is too old.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.oldest(NOW), 0)
        old = [await log.publish(publication(published_at=ago(days=days))) for days in (9, 8)]
        await log.publish(publication())
        self.assertEqual(await log.oldest(ago(days=7)), old[-1])
        self.assertEqual(await log.oldest(ago(days=10)), 0)

    async def test_prune_keeps_what_is_pending(self):
        """
        A body that a destination has still to get is kept for a week, and so is one that is tried on its own; the others for a day.
        """
        storage = await self.storage()
        log = storage.log
        records = [await storage.destinations.open(host, "diaspora", "https://x", NOW) for host in ("a.example", "b.example")]
        everybody = frozenset(record.number for record in records)
        days = (6, 5, 4, 3, 0.5)
        positions = [await log.publish(publication(published_at=ago(days=each), recipients=everybody)) for each in days]
        tried = DeferredDelivery(records[0].number, positions[0], 1, NOW, "HTTP 400")
        await storage.destinations.save(Progress(deferred=(tried,)))
        self.assertEqual(await log.prune(NOW), 0)
        await self.move(storage, {0: positions[4], 1: positions[2]})
        self.assertEqual(await log.prune(NOW), 2)
        self.assertEqual(sorted(await log.bodies(positions)), [positions[0], positions[3], positions[4]])
        self.assertEqual(await log.oldest(ago(days=7)), positions[2])
        await self.move(storage, {1: positions[4]})
        await log.prune(NOW)
        self.assertEqual(sorted(await log.bodies(positions)), [positions[0], positions[4]])
        await log.prune(NOW + timedelta(days=1.1))
        self.assertEqual(sorted(await log.bodies(positions)), [])

    async def test_young_bodies_stay(self):
        """
        A body is kept for a day, settled or not.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        positions = [await storage.log.publish(publication(published_at=ago(hours=hours))) for hours in (23, 1)]
        await self.move(storage, {record.number: positions[-1]})
        self.assertEqual(await storage.log.prune(NOW), 0)
        self.assertEqual(sorted(await storage.log.bodies(positions)), positions)

    async def test_closed_destination_keeps_nothing(self):
        """
        A destination that is no longer subscribed keeps no bodies.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        position = await storage.log.publish(publication(published_at=ago(days=2), recipients=frozenset({record.number})))
        await storage.destinations.close(record.number)
        await storage.log.prune(NOW)
        self.assertEqual(await storage.log.bodies([position]), {})

    async def test_prune_by_size(self):
        """
        When all bodies together are too large the oldest go, pending or not, and are then too old to be delivered.
        """
        storage = await self.storage(retention=Retention(bodies_max_bytes=25_000))
        await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        bodies = [bytes([n]) * 10_000 for n in range(4)]
        positions = [await storage.log.publish(publication(body=body, published_at=NOW)) for body in bodies]
        self.assertEqual(await storage.log.prune(NOW), 2)
        self.assertEqual(sorted(await storage.log.bodies(positions)), positions[2:])
        self.assertEqual(await storage.log.oldest(ago(days=7)), positions[1])

    async def test_prune_keeps_what_is_not_accounted_for(self):
        """
        A post that waits for somebody, in order, on its own, or to be given up, stays in the log however old it is.
        """
        storage = await self.storage()
        first, second = [await storage.destinations.open(host, "diaspora", f"https://{host}/", NOW) for host in ("a.example", "b.example")]
        for _ in range(4):
            await storage.log.publish(publication(published_at=ago(days=60), recipients=frozenset({0, 1})))
        alone = DeferredDelivery(1, 1, 1, NOW, "HTTP 400")
        await storage.destinations.save(Progress((evolve(first, cursor=1), evolve(second, cursor=4)), (alone,)))
        await storage.log.prune(NOW)
        self.assertEqual(await storage.log.pending(0, 0, 9), 4)
        await storage.destinations.save(Progress(settled=((1, 1),)))
        await storage.destinations.close(0)
        await storage.log.prune(NOW)
        self.assertEqual(await storage.log.pending(0, 0, 9), 3)
        await storage.destinations.save(Progress((evolve(first, cursor=4, cancelled=3),)))
        await storage.log.prune(NOW)
        self.assertEqual(await storage.log.pending(0, 0, 9), 1)

    async def test_prune_log(self):
        """
        Posts are forgotten after a month, their identities after three.
        """
        log = (await self.storage()).log
        ages = {days: publication(published_at=ago(days=days), recipients=frozenset()) for days in (91, 89, 31, 29)}
        positions = {days: await log.publish(post) for days, post in ages.items()}
        self.assertEqual(await log.prune(NOW), 4)
        again = {days: await log.publish(publication(identities=post.identities)) for days, post in ages.items()}
        self.assertEqual([days for days, position in again.items() if position is not None], [91])
        self.assertEqual(await log.pending(0, 0, positions[29]), 0)
        self.assertEqual(await log.oldest(ago(days=30)), positions[31])

    async def test_silence(self):
        """
        However long nothing was published, the log knows its end.
        """
        log = (await self.storage()).log
        positions = [await log.publish(publication(published_at=ago(days=100))) for _ in range(2)]
        await log.prune(NOW)
        self.assertEqual(await log.end(), positions[-1])
        self.assertEqual(await log.bodies(positions), {})
        self.assertEqual(await log.oldest(ago(days=7)), positions[-1])

    async def test_find(self):
        """
        A post is found by its author and guid together, with those it names; a retraction, or another's post of that guid, never is.
        """
        log = (await self.storage()).log
        position = await log.publish(publication(guid="0" * 16, recipients=frozenset({2, 77})))
        await log.publish(publication(guid="0" * 16, author="eve@pod.example", identities=(b"e" * 32,)))
        await log.publish(publication(guid="1" * 16, retraction=True))
        found = await log.find("ada@pod.example", "0" * 16)
        self.assertEqual((found.position, set(found.recipients)), (position, {2, 77}))
        self.assertIsNone(await log.find("ada@pod.example", "1" * 16))
        self.assertIsNone(await log.find("eva@pod.example", "0" * 16))

    async def test_retraction(self):
        """
        With a retraction its target loses body and names and is cancelled, and both stay in the log for those whom they name.
        """
        log = (await self.storage()).log
        post, other = publication(recipients=frozenset({0, 3})), publication()
        target, untouched = [await log.publish(each) for each in (post, other)]
        position = await log.publish(self.retraction(post, recipients=frozenset({3}), withdraws=target))
        self.assertEqual([(entry.position, entry.author, entry.cancelled) for entry in await log.read(3, 0, position)], [
            (target, "", True), (untouched, "ada@pod.example", False), (position, "ada@pod.example", False)
        ])  # fmt: skip
        self.assertEqual([entry.position for entry in await log.read(0, 0, position)], [target, untouched])
        self.assertEqual(sorted(await log.bodies([target, untouched, position])), [untouched, position])
        self.assertIsNone(await log.find(post.author, post.guid))
        self.assertIsNone(await log.publish(evolve(post, body=b"again")))
        self.assertEqual(await log.oldest(ago(days=7)), 0)

    async def test_retraction_again(self):
        """
        A retraction that is a duplicate gets no position, and its target is withdrawn none the less.
        """
        log = (await self.storage()).log
        post, later = publication(), publication(identities=(b"l" * 32,))
        retraction = self.retraction(post, withdraws=await log.publish(post))
        await log.publish(retraction)
        target = await log.publish(later)
        self.assertIsNone(await log.publish(evolve(retraction, withdraws=target)))
        self.assertEqual([(entry.author, entry.cancelled) for entry in await log.read(0, target - 1, target)], [("", True)])

    async def test_retraction_of_a_retraction(self):
        """
        A retraction is not taken back.
        """
        log = (await self.storage()).log
        first = await log.publish(publication(retraction=True))
        await log.publish(self.retraction(publication(), withdraws=first))
        self.assertEqual([(entry.position, entry.cancelled) for entry in await log.read(0, 0, first)], [(first, False)])
        self.assertEqual(len(await log.bodies([first])), 1)

    async def test_retraction_comes_first(self):
        """
        A post that was taken back before it came is a duplicate, however often it comes; one of that guid by another author is not.
        """
        log = (await self.storage()).log
        post = publication()
        position = await log.publish(self.retraction(post, recipients=frozenset(), forestalls=post.identities))
        self.assertEqual([await log.publish(post), await log.publish(evolve(post, body=b"again"))], [None, None])
        self.assertIsNotNone(await log.publish(evolve(post, author="eve@pod.example", identities=(b"e" * 32,))))
        self.assertEqual(await log.bodies([position]), {})

    async def test_retraction_at_once(self):
        """
        Of a post and its retraction that are handed over together the first counts.
        """
        log = (await self.storage()).log
        posts = [publication(), publication()]
        retractions = [self.retraction(post, recipients=frozenset(), forestalls=post.identities) for post in posts]
        pairs = [log.publish(each) for each in (posts[0], retractions[0], retractions[1], posts[1])]
        self.assertEqual([position is None for position in await gatherResults(pairs)], [False, False, False, True])

    async def test_forestalled_for_long(self):
        """
        What a retraction takes back is remembered from then on, however long ago it was published.
        """
        log = (await self.storage()).log
        post = publication(published_at=ago(days=80), recipients=frozenset())
        target = await log.publish(post)
        await log.publish(self.retraction(post, withdraws=target, forestalls=post.identities))
        await log.prune(NOW + timedelta(days=20))
        self.assertIsNone(await log.publish(post))

    async def test_cancel_spares_retractions(self):
        """
        Neither a block nor an author's wish cancels retractions; what has a guid can be cancelled by it, whoever its author is.
        """
        log = (await self.storage()).log
        retraction = await log.publish(publication(retraction=True))
        posts = [
            await log.publish(publication(guid="2" * 16, author=who, identities=(who.encode(),))) for who in ("a@b.example", "c@d.example")
        ]
        await log.publish(publication())
        self.assertNotIn(retraction, await log.cancel(authors=["ada@pod.example"]))
        self.assertNotIn(retraction, await log.cancel(hosts=["pod.example"]))
        self.assertEqual(await log.cancel(guids=["2" * 16]), posts)
        marks = {entry.position: entry.cancelled for entry in await log.read(0, 0, posts[-1])}
        self.assertEqual(marks, {retraction: False, posts[0]: True, posts[1]: True})

    async def test_erase(self):
        """
        Erased posts have no body and no names, are cancelled, and are not relayed again; by author, by guid, and by host with its subdomains.
        """
        for name, theirs in (
            ({"author": "ada@pod.example"}, [0]),
            ({"guid": "3" * 16}, [0, 2]),
            ({"host": "pod.example"}, [0, 1]),
            ({"host": "example"}, [0, 1, 2]),
        ):
            log = (await self.storage()).log
            posts = [
                publication(author=f"{who}@{host}", author_host=host, guid=guid * 16, identities=(f"{who} {host}".encode(),))
                for who, host, guid in (("ada", "pod.example", "3"), ("bob", "a.pod.example", "4"), ("ada", "notpod.example", "3"))
            ]
            positions = [await log.publish(post) for post in posts]
            erased = [positions[n] for n in theirs]
            self.assertEqual(await log.erase(**name), erased)
            self.assertEqual(await log.erase(**name), [])
            self.assertEqual(sorted(await log.bodies(positions)), [each for each in positions if each not in erased])
            entries = await log.read(0, 0, positions[-1])
            self.assertEqual([entry.position for entry in entries if entry.cancelled and not entry.author], erased)
            self.assertEqual(len([entry for entry in entries if entry.author and not entry.cancelled]), 3 - len(erased))
            found = [await log.find(post.author, post.guid) for post in posts]
            self.assertEqual([n for n, target in enumerate(found) if target is None], theirs)
            self.assertIsNone(await log.publish(posts[0]))

    async def test_erase_nothing(self):
        """
        Of what is not known nothing is erased, in an empty log or another.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.erase(author="ada@pod.example"), [])
        await log.publish(publication())
        self.assertEqual([await log.erase(host="other.example"), await log.erase(guid="5" * 16), await log.erase()], [[], [], []])

    async def test_erase_many(self):
        """
        However many posts an author has, and however far apart they are, all are erased.
        """
        self.patch(log_module, "_ERASE_BATCH", 3)
        self.patch(log_module, "_CANCEL_RANGE", 4)
        log = (await self.storage()).log
        authors = ["ada@pod.example", "ada@pod.example", "eve@pod.example"]
        positions = await gatherResults([log.publish(publication(author=authors[n % 3])) for n in range(30)])
        self.assertEqual(await log.erase(author="eve@pod.example"), positions[2::3])
        self.assertEqual(len(await log.erase(host="pod.example")), 20)

    async def test_erase_spares_what_is_to_be_told(self):
        """
        A retraction is erased when it is settled at all whom it names, and not before.
        """
        storage = await self.storage()
        log = storage.log
        records = [await storage.destinations.open(host, "diaspora", "https://x", NOW) for host in ("a.example", "b.example", "c.example")]
        a, b = (records[n].number for n in (0, 1))
        position = await log.publish(publication(retraction=True, recipients=frozenset({a, b})))
        self.assertEqual(await log.erase(author="ada@pod.example"), [])
        await self.move(storage, {a: position})
        self.assertEqual(await log.erase(author="ada@pod.example"), [])
        tried = DeferredDelivery(b, position, 1, NOW, "HTTP 400")
        await storage.destinations.save(Progress(deferred=(tried,)))
        await self.move(storage, {b: position})
        self.assertEqual(await log.erase(author="ada@pod.example"), [])
        self.assertEqual(list(await log.bodies([position])), [position])
        await storage.destinations.save(Progress(settled=((b, position),)))
        self.assertEqual(await log.erase(author="ada@pod.example"), [position])
        self.assertEqual(await log.bodies([position]), {})

    async def test_settled_by_following(self):
        """
        What destinations that follow have come to is settled there, for erasing and for pruning.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        named = frozenset({record.number})
        post, retraction = publication(published_at=ago(days=2), recipients=named), publication(retraction=True, recipients=named)
        positions = [await storage.log.publish(each) for each in (post, retraction)]
        following = evolve(record, following=True)
        await storage.destinations.save(Progress(destinations=(following,), followed=positions[0]))
        self.assertEqual(await storage.log.prune(NOW), 1)
        self.assertEqual(await storage.log.erase(guid=retraction.guid), [])
        await storage.destinations.save(Progress(destinations=(following,), followed=positions[1]))
        self.assertEqual(await storage.log.erase(guid=retraction.guid), [positions[1]])

    async def test_settled_for_others(self):
        """
        How far those have come whom a retraction does not name is nothing to it.
        """
        storage = await self.storage()
        for host in ("a.example", "b.example"):
            record = await storage.destinations.open(host, "diaspora", "https://x", NOW)
        await storage.destinations.save(Progress(destinations=(evolve(record, following=True),)))
        position = await storage.log.publish(publication(retraction=True, recipients=frozenset({77})))
        self.assertEqual(await storage.log.erase(author="ada@pod.example"), [position])

    async def test_names_of_a_retraction(self):
        """
        The names in a retraction go with its body: when it is settled and a day old, or at once if there is nobody to tell.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        posts = [publication(published_at=ago(days=2), recipients=frozenset({record.number}), retraction=each) for each in (True, False)]
        other = [await storage.log.publish(each) for each in posts][-1]

        async def authors():
            return [entry.author for entry in await storage.log.read(record.number, 0, other)]

        await storage.log.prune(NOW)
        self.assertEqual(await authors(), ["ada@pod.example", "ada@pod.example"])
        await self.move(storage, {record.number: other})
        await storage.log.prune(NOW)
        self.assertEqual(await authors(), ["", "ada@pod.example"])
        await storage.log.publish(publication(author="eve@pod.example", recipients=frozenset(), retraction=True))
        self.assertEqual(await storage.log.erase(author="eve@pod.example"), [])

    def retraction(self, post, **changes):
        """Of a post, by its author."""
        identities = tuple(b"retraction of " + identity for identity in post.identities)
        return publication(**{"kind": "retraction", "guid": post.guid, "identities": identities, "retraction": True, **changes})

    async def move(self, storage, cursors):
        records = [evolve(record, cursor=cursors.get(record.number, record.cursor)) for record in await storage.destinations.load()]
        await storage.destinations.save(Progress(destinations=tuple(records)))


class MemoryLogTests(LogContract, InMemory):
    """In memory."""


class PostgresLogTests(LogContract, InPostgres):
    """In PostgreSQL."""

    async def test_text_that_cannot_be_stored(self):
        """
        A post with text that PostgreSQL does not take spoils only itself.
        """
        log = (await self.storage()).log
        posts = [publication(guid=guid) for guid in ("first-post-of-all", "good-one", "nul-\0-byte", "nul-too-\0", "good-two")]
        publishing = [log.publish(post) for post in posts]
        positions = [await publishing[n] for n in (0, 1, 4)]
        self.assertEqual(len(await log.read(0, 0, positions[-1])), 3)
        for n in (2, 3):
            await self.assertFailure(publishing[n], StorageError)

    async def test_all_or_nothing(self):
        """
        A retraction that PostgreSQL does not take leaves its target as it was: both are one statement.
        """
        log = (await self.storage()).log
        post = publication()
        target = await log.publish(post)
        await self.assertFailure(log.publish(self.retraction(post, kind="nul-\0", withdraws=target)), StorageError)
        self.assertEqual([(entry.author, entry.cancelled) for entry in await log.read(0, 0, target)], [(post.author, False)])
        self.assertEqual(await log.bodies([target]), {target: post.body})

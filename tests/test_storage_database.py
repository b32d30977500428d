"""The database may die, hang and come back."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.boundaries import Unavailable
from socialrelay.config import Receive
from socialrelay.scheduler.record import Progress
from socialrelay.storage.arguments import connect_arguments, resolve
from socialrelay.storage.database import Database, Limits
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.queries import OutcomeUnknown, StorageError
from tests import servers
from tests.chaos.small_disk import SmallDisk
from tests.storing import NOW, arrival, publication


def until(health, value):
    """Fires when C{health.healthy} is C{value}."""
    answer = Deferred()

    def changed(healthy):
        if healthy is value and not answer.called:
            answer.callback(None)

    health.watch(changed)
    changed(health.healthy)
    return answer


class ArgumentsTests(SynchronousTestCase):
    def test_operators_options_stay(self):
        """
        What the operator's connection string says is kept; what every connection needs is added.
        """
        arguments = connect_arguments("postgresql://me@db.example/relay?tcp_user_timeout=1&options=-c%20search_path%3Drelay")
        self.assertEqual((arguments["host"], arguments["tcp_user_timeout"], arguments["keepalives_idle"]), ("db.example", "1", "10"))
        self.assertTrue(arguments["options"].startswith("-c search_path=relay -c statement_timeout=8000"))

    def test_names_are_looked_up_before(self):
        """
        Host names get their addresses; sockets and given addresses stay as they are.
        """
        self.assertEqual(resolve({"host": "127.0.0.1"})["hostaddr"], "127.0.0.1")
        self.assertEqual(resolve({"host": "/run/x"}), {"host": "/run/x"})
        self.assertEqual(resolve({"host": "db", "hostaddr": "10.0.0.1"})["hostaddr"], "10.0.0.1")
        self.assertRaises(Unavailable, resolve, {"host": "no-such-name.invalid"})


class DatabaseTests(TestCase):
    timeout = 60

    async def database(self, **limits):
        database = Database(reactor, servers.database(), Limits(**limits))
        self.addCleanup(database.close)
        await database.start()
        return database

    async def test_one_message_is_one_transaction(self):
        """
        Of several statements in one message either all take effect or none; the rows are those of the last.
        """
        database = await self.database()
        self.assertEqual(await database.query("SELECT 1; SELECT 2, 'x'"), [(2, "x")])
        statements = "INSERT INTO identity VALUES ('a', now()); INSERT INTO identity VALUES ('a', now())"
        await self.assertFailure(database.query(statements), StorageError)
        self.assertEqual(await database.query("SELECT * FROM identity"), [])

    async def test_refused_statement(self):
        """
        A statement that the database does not take is a StorageError, and the connection goes on.
        """
        database = await self.database(connections=1)
        for statement, parameters in (("SELECT nonsense", None), ("SELECT %(x)s", {"x": "\0"}), ("SELECT %(x)s", {})):
            await self.assertFailure(database.query(statement, parameters), StorageError)
        self.assertEqual(await database.query("SELECT 1"), [(1,)])

    async def test_too_many_wait(self):
        """
        Beyond a bound, callers are refused at once.
        """
        database = await self.database(connections=1, waiting=2)
        queries = [database.query("SELECT pg_sleep(0.05)") for _ in range(3)]
        await self.assertFailure(database.query("SELECT 1"), Unavailable)
        await gatherResults(queries)

    async def test_slow_statement(self):
        """
        A statement that takes too long is ended by the server, and is Unavailable; the connection goes on.
        """
        database = await self.database(connections=1, statement=0.1)
        failure = await self.assertFailure(database.query("SELECT pg_sleep(9)"), Unavailable)
        self.assertNotIsInstance(failure, OutcomeUnknown)
        self.assertEqual(await database.query("SELECT 1"), [(1,)])

    async def test_slow_statement_is_no_silence(self):
        """
        A statement that takes long does not mean that the server is silent, whether or not another connection is idle.
        """
        for connections in (2, 1):
            database = await self.database(look=0.3, connections=connections)
            silences = []
            database.on_silence(lambda silences=silences: silences.append(1))
            await database.query("SELECT pg_sleep(2)")
            self.assertEqual((silences, database.answering), ([], True))

    async def test_full_disk(self):
        """
        That there is no room is no fault of the statement; it is known for a moment, and told once.
        """
        database = await self.database()
        with capturedLogs() as logs:
            for _ in range(2):
                no_room = database.query("DO $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$")
                await self.assertFailure(no_room, Unavailable)
        self.assertEqual((database.full, database.answering), (True, True))
        self.assertTrue(database.detail.startswith("could not extend file"))
        self.assertEqual([event["log_level"].name for event in logs if "disk is full" in event.get("log_format", "")], ["error"])
        await self.assertFailure(database.query("DO $$ BEGIN RAISE 'x' USING ERRCODE = 'internal_error'; END $$"), StorageError)

    async def test_lost_connection(self):
        """
        What only reads is done again on another connection when one is lost; what writes may have taken effect.
        """
        database = await self.database(connections=2)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()"
        reading = database.query("SELECT pg_sleep(0.2), 7", idempotent=True)
        await database.query(end)
        self.assertEqual([row[1] for row in await reading], [7])
        await deferLater(reactor, 0.2)
        writing = self.assertFailure(database.query("SELECT pg_sleep(5)"), OutcomeUnknown)
        await database.query(end)
        await writing

    async def test_idle_connection_is_lost(self):
        """
        A connection that is lost while it is idle is noticed, and replaced.
        """
        database = await self.database(connections=1)
        away = until(database, False)
        name = connect_arguments("")["application_name"]
        [(data,)] = await database.query("SELECT current_database()::text")
        servers.postgres().run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{data}' AND application_name = '{name}'"
        )
        await away
        await self.assertFailure(database.query("SELECT 1"), Unavailable)
        await until(database, True)
        self.assertEqual(await database.query("SELECT 1"), [(1,)])

    async def test_close_lets_finish(self):
        """
        Closing lets what was accepted end, and accepts nothing more.
        """
        database = await self.database(connections=1)
        queries = [database.query("SELECT pg_sleep(0.05)") for _ in range(3)]
        closed = database.close()
        await self.assertFailure(database.query("SELECT 1"), Unavailable)
        await closed
        self.assertEqual([each.called for each in queries], [True] * 3)

    async def test_no_server(self):
        """
        A server that is not there makes the start fail, and nothing is left behind.
        """
        database = Database(reactor, "host=/nonexistent dbname=x", Limits())
        await self.assertFailure(database.start(), Unavailable)
        self.assertIn("/nonexistent", database.detail)
        await database.close()


class TroubleTests(TestCase):
    """With a server that may be killed."""

    timeout = 120

    def server(self):
        server = servers.RunningPostgres()
        self.addCleanup(server.remove)
        server.start()
        return server

    async def storage(self, server, **limits):
        storage = await open_storage(reactor, server.dsn(), limits=Limits(**limits), receive=Receive(waiting_rows_per_host=10_000))
        self.addCleanup(storage.close)
        return storage

    async def publish(self, storage, posts, going):
        """Publish again and again what is refused, as a sender does."""
        positions = []
        for post in posts:
            while True:
                try:
                    positions.append(await storage.log.publish(post))
                    break
                except Unavailable:
                    going["refused"] += 1
                    await deferLater(reactor, 0.01)
        return positions

    async def test_killed_under_load(self):
        """
        When the server is killed and comes back, callers meet only Unavailable, no post is lost or doubled, and none is called a duplicate.
        """
        server = self.server()
        storage = await self.storage(server)
        going = {"refused": 0}
        posts = [[publication() for _ in range(150)] for _ in range(16)]
        publishing = gatherResults([ensureDeferred(self.publish(storage, each, going)) for each in posts])
        kept = []

        async def keep():
            for _ in range(200):
                body = arrival()
                try:
                    await storage.incoming.keep(body)
                    kept.append(body.body)
                except Unavailable:
                    await deferLater(reactor, 0.01)

        keeping = gatherResults([ensureDeferred(keep()) for _ in range(4)])
        for _ in range(2):
            await deferLater(reactor, 0.15)
            server.kill()
            await until(storage.health, False)
            server.start()
            await until(storage.health, True)
        positions = [position for each in await publishing for position in each]
        await keeping
        self.assertGreater(going["refused"], 0)
        self.assertNotIn(None, positions)
        self.assertEqual(len(set(positions)), 16 * 150)
        entries = await storage.log.read(0, 0, 5000)
        self.assertEqual(sorted(positions), [entry.position for entry in entries])
        rows = await storage.incoming.claim(NOW, NOW, 10_000)
        self.assertEqual(set(kept) - {row.body for row in rows}, set())
        self.assertEqual(await storage.incoming.usage(), (len(rows), sum(len(row.body) for row in rows)))

    async def test_hanging(self):
        """
        A server that hangs is Unavailable after a while, the reactor goes on meanwhile, and it is used again when it goes on.
        """
        server = self.server()
        storage = await self.storage(server, answer=0.5, connect=0.5)
        await storage.log.publish(publication())
        ticks = []
        ticking = LoopingCall(lambda: ticks.append(1))
        ticking.start(0.02)
        server.pause()
        published = storage.log.publish(publication())
        await gatherResults(
            [
                self.assertFailure(storage.log.end(), Unavailable),
                self.assertFailure(storage.destinations.load(), Unavailable),
                self.assertFailure(storage.incoming.keep(arrival()), Unavailable),
            ]
        )
        self.assertFalse(storage.health.healthy)
        await self.assertFailure(storage.log.publish(publication()), Unavailable)
        await deferLater(reactor, 1.2)
        self.assertFalse(storage.health.healthy)
        ticking.stop()
        self.assertGreater(len(ticks), 10)
        server.resume()
        await until(storage.health, True)
        self.assertEqual(await published, await storage.log.end())
        self.assertIsNotNone(await storage.log.publish(publication()))

    async def test_silent(self):
        """
        That a server hangs is known long before an answer is overdue: posts are refused at once until it goes on, and what was under way is
        answered then.
        """
        for connections in (4, 1):
            await self.falls_silent(connections)

    async def falls_silent(self, connections):
        """And all connections may be busy then."""
        server = self.server()
        storage = await self.storage(server, look=0.1, connections=connections)
        self.assertTrue(storage.health.answering)
        silent = Deferred()
        storage.health.on_silence(lambda: silent.callback(None))
        server.pause()
        published, end = storage.log.publish(publication()), storage.log.end()
        waiting = storage.log.publish(publication())
        await silent
        self.assertEqual((storage.health.healthy, storage.health.answering), (True, False))
        self.assertEqual(storage.health.detail, "the server does not answer")
        for refused in (waiting, storage.log.publish(publication()), storage.incoming.keep(arrival())):
            self.failureResultOf(refused, Unavailable)
        self.assertNoResult(published)
        server.resume()
        await end
        self.assertTrue(storage.health.answering)
        self.assertEqual(await published, await storage.log.end())
        self.assertIsNotNone(await storage.log.publish(publication()))

    async def test_no_file_may_grow(self):
        """
        A quota, for which PostgreSQL has no error of its own, is a disk that is full.
        """
        server = self.server()
        storage = await self.storage(server)
        await storage.log.publish(publication())
        # Longer than the files of its log ever are, which it would not survive.
        disk = SmallDisk(Path(), "without room", 20_000_000)
        disk.fill([server.pid])
        published = 0
        while not storage.health.full:
            try:
                await storage.log.publish(publication(body=os.urandom(1_000_000)))
                published += 1
            except Unavailable:
                pass
        self.assertLess(published, 20)
        disk.free([server.pid])
        await self.publish(storage, [publication(body=os.urandom(1_000_000))], {"refused": 0})

    async def test_silent_because_it_is_gone(self):
        """
        That it is gone is told as silence too, and once.
        """
        server = self.server()
        storage = await self.storage(server)
        silences = []
        storage.health.on_silence(lambda: silences.append(1))
        server.kill()
        await until(storage.health, False)
        self.assertEqual((silences, storage.health.answering), ([1], False))
        server.start()
        await until(storage.health, True)
        self.assertTrue(storage.health.answering)

    async def test_closed_while_hanging(self):
        """
        Storage can be closed while the server hangs; what was in doubt is Unavailable.
        """
        server = self.server()
        storage = await open_storage(reactor, server.dsn(), limits=Limits(answer=0.3, connect=0.3))
        server.pause()
        published = self.assertFailure(storage.log.publish(publication()), Unavailable)
        await until(storage.health, False)
        await storage.close()
        await published
        server.resume()

    async def test_killed_while_publishing(self):
        """
        A post whose answer was lost gets its position when the server is back, whether or not it had been written.
        """
        server = self.server()
        storage = await self.storage(server)
        await storage.log.publish(publication())
        server.pause()
        publishing = [storage.log.publish(publication()) for _ in range(3)]
        first, *others = publishing
        others = [self.assertFailure(each, Unavailable) for each in others]
        server.crash()
        await gatherResults(others)
        server.start()
        self.assertEqual(await first, await storage.log.end())


class ConcurrentTests(TestCase):
    """Several relays on one log."""

    timeout = 120

    async def test_order_of_positions(self):
        """
        A reader that goes from the last position it saw misses no row of six publishers, and a post that all of them publish is there once.
        """
        dsn = servers.database()
        storages = [await open_storage(reactor, dsn, limits=Limits(connections=2)) for _ in range(7)]
        for storage in storages:
            self.addCleanup(storage.close)
        *publishers, reader = storages
        common = [publication() for _ in range(20)]
        seen, done = [], []

        async def publish(storage):
            own = []
            for post in common:
                own += await gatherResults([storage.log.publish(each) for each in (post, publication(), publication())])
            return own

        async def read():
            cursor = 0
            while not done or cursor < await reader.log.end():
                end = await reader.log.end()
                seen.extend(entry.position for entry in await reader.log.read(0, cursor, end))
                cursor = end

        reading = ensureDeferred(read())
        answers = await gatherResults([ensureDeferred(publish(storage)) for storage in publishers])
        done.append(True)
        await reading
        positions = sorted(position for each in answers for position in each if position is not None)
        self.assertEqual(len(positions), 20 + 6 * 40)
        self.assertEqual(seen, positions)

    async def test_openings_at_once(self):
        """
        Destinations that are opened at once get different numbers, and start where the log ends.
        """
        dsn = servers.database()
        storage, other = [await open_storage(reactor, dsn) for _ in range(2)]
        self.addCleanup(storage.close)
        self.addCleanup(other.close)
        opening = [each.destinations.open(f"{n}.example", "diaspora", "https://x", NOW) for n in range(10) for each in (storage, other)]
        records = await gatherResults(opening)
        self.assertEqual(sorted({record.number for record in records}), list(range(10)))
        await storage.destinations.save(Progress(tuple(evolve(record, cursor=3) for record in records)))
        self.assertEqual({record.cursor for record in await other.destinations.load()}, {3})

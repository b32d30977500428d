"""The whole relay goes into one file and comes out of it again."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import SkipTest
from zipfile import ZipFile

import psycopg2
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis.strategies import binary, dictionaries, just, text
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.backup.exporting import Export, export, public_hash
from socialrelay.backup.manifest import BackupError, Manifest
from socialrelay.backup.reading import opened
from socialrelay.backup.restoring import APPLICATION, Restored, check_target, restore
from socialrelay.backup.tables import sequences_of, tables_of
from socialrelay.boundaries import BoundIdentity, BusMessage, Extent, Kept, NodeRecord, Rejection, Unavailable
from socialrelay.identity import IdentityError, read_key, write_key
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import DeferredDelivery, Gap, Progress
from socialrelay.storage.migrate import Migration, apply, known_migrations
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.queries import StorageError
from tests import servers
from tests.daemon import Daemon, command
from tests.storing import NOW, arrival, publication
from tests.test_takeover import rows

KEY = generate_private_key(65537, 2048)
OTHER_KEY = generate_private_key(65537, 2048)
ME = BoundIdentity("relay.example", "relay", "0123456789abcdef" * 2, bytes.fromhex(public_hash(KEY)))
TABLES = tables_of(known_migrations())
GIVEN = 10**9 + 4
"""The last number of the bus after a restore."""


def everything(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Each row of each table."""
    return {table: sorted(rows(dsn, f"SELECT {table}::text FROM {table}")) for table in TABLES}


async def fill(dsn: str) -> None:
    """Something of everything that a relay keeps."""
    storage = await open_storage(reactor, dsn)
    await storage.identity.bind(ME, NOW)
    for host in ("pod-a.example", "pod-b.example"):
        record = await storage.destinations.open(host, "diaspora", f"https://{host}/receive/public", NOW)
        await storage.nodes.save(
            NodeRecord(host, ("tab\tand\\backslash",), NOW, NOW, Preferences(Scope.TAGS, frozenset({"cäts"}), "https://x", 0))
        )
    for _ in range(3):
        await storage.log.publish(publication(recipients=frozenset({0, 1})))
    await storage.incoming.keep(arrival())
    await storage.rejections.record([Rejection(NOW, "bad-signature", "eve@pod.example", "f00d" * 8, "status_message")])
    late = DeferredDelivery(record.number, 2, 1, NOW + timedelta(hours=1), "HTTP 500")
    gap = Gap(record.number, 0, 1, 1, "expired", "the node is dead")
    await storage.destinations.save(Progress(destinations=(evolve(record, cursor=2),), deferred=(late,), gaps=(gap,)))
    await storage.profiles.put("ada@pod.example", "a\nkey", NOW)
    await storage.statistics.add({(NOW, "accepted", "pod.example"): 3})
    await storage.contacts.put("ada@pod.example", True, NOW)
    said = [BusMessage(f"2026-{n}", "org.example.dev.git", b'{"msg":"\\\\t","a":\t1}', "http") for n in range(3)]
    await storage.bus.add([*said, BusMessage("own", "org.example.dev.socialrelay.x", b'{"msg":{"seq":\x1f}}', "own")], NOW, 4)
    await storage.close()


class BackupTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.key = self.folder / "identity.pem"
        self.file = self.folder / "relay.zip"
        write_key(self.key, KEY)

    async def filled(self) -> str:
        dsn = servers.database()
        await fill(dsn)
        return dsn

    def export(self, dsn: str, **options: Any) -> Export:
        return export(dsn, self.key, self.file, now=NOW, **options)

    def restore(self, dsn: str, key: Path | None = None, **options: Any) -> Restored:
        with opened(self.file, known_migrations()) as found:
            return restore(found, dsn, key or self.folder / "restored.pem", known_migrations(), **options)

    def change(self, name: str, data: bytes) -> None:
        """Put other data into the export."""
        with ZipFile(self.file) as old:
            members = {each: old.read(each) for each in old.namelist()}
        with ZipFile(self.file, "w") as new:
            for each, held in {**members, name: data}.items():
                new.writestr(each, held)

    async def test_round_trip(self) -> None:
        """
        Restored into another database, each row of each table is as it was, and so are the key and the next numbers.
        """
        dsn = await self.filled()
        rows(dsn, "DELETE FROM rejected")
        before = everything(dsn)
        self.export(dsn)
        other = servers.empty_database()
        done = self.restore(other)
        after = everything(other)
        self.assertEqual(before.pop("bus_state"), [("(t,4,4,0,0,77,17)",)])
        self.assertEqual(after.pop("bus_state"), [(f"(t,{GIVEN},{GIVEN},0,0,77,17)",)])
        self.assertEqual(after, before)
        self.assertEqual(done.rows, sum(map(len, before.values())) + 1)
        self.assertEqual(public_hash(read_key(self.folder / "restored.pem")), public_hash(KEY))
        self.assertEqual(stat.S_IMODE((self.folder / "restored.pem").stat().st_mode), 0o600)
        for database in (dsn, other):
            storage = await open_storage(reactor, database)
            self.assertEqual(await storage.log.publish(publication()), 4)
            await storage.rejections.record([Rejection(NOW, "late", "", "", "")])
            await storage.close()
            self.assertEqual(rows(database, "SELECT id FROM rejected"), [(2,)])

    async def test_foreign_tables(self) -> None:
        """
        Tables of others in the same database are neither exported nor harmed.
        """
        dsn = await self.filled()
        rows(dsn, "CREATE TABLE theirs (n integer)")
        self.assertNotIn("theirs", [table.name for table in self.export(dsn).manifest.tables])
        self.restore(dsn, force=True)
        self.assertEqual(rows(dsn, "SELECT count(*) FROM theirs"), [(0,)])

    async def test_file(self) -> None:
        """
        Nobody but its owner may read the file; one that is there is only replaced on request, and none is left half-written.
        """
        dsn = await self.filled()
        self.export(dsn)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        with self.assertRaisesRegex(BackupError, "is there already"):
            self.export(dsn)
        before = self.file.read_bytes()
        self.key.unlink()
        with self.assertRaisesRegex(BackupError, "private key of relay@relay.example is missing"):
            self.export(dsn, overwrite=True)
        self.assertEqual(self.file.read_bytes(), before)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["relay.zip"])

    async def test_killed(self) -> None:
        """
        What an export that was killed left behind goes with the next one; that of one that runs stays.
        """
        dsn = await self.filled()
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        left, running = (self.folder / f".relay.zip.{number}" for number in (ended.pid, os.getppid()))
        left.touch()
        running.touch()
        self.export(dsn)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), [running.name, "identity.pem", "relay.zip"])

    async def test_encrypted(self) -> None:
        """
        A zip file with a password is refused with what to do.
        """
        self.export(await self.filled())
        data = bytearray(self.file.read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        self.file.write_bytes(data)
        with self.assertRaisesRegex(BackupError, "decrypt it first"):
            self.restore(servers.empty_database())

    async def test_interrupted(self) -> None:
        """
        Ctrl-C ends a restore as what it is, and nothing was restored.
        """

        def press(what: str, part: float) -> None:
            raise KeyboardInterrupt

        self.export(await self.filled())
        target = servers.empty_database()
        with self.assertRaises(KeyboardInterrupt):
            self.restore(target, tell=press)
        self.assertEqual(rows(target, "SELECT to_regclass('post')"), [(None,)])
        self.assertFalse((self.folder / "restored.pem").exists())

    async def test_server_lost(self) -> None:
        """
        That the server breaks off is said in words.
        """
        self.export(await self.filled())
        target = servers.empty_database()

        def end(what: str, part: float) -> None:
            rows(target, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'")

        with self.assertRaisesRegex(Unavailable, "terminating connection|broke off"):
            self.restore(target, tell=end)

    async def test_wrong_key(self) -> None:
        """
        With another key than the one that nodes know nothing is exported.
        """
        dsn = await self.filled()
        self.key.unlink()
        write_key(self.key, OTHER_KEY)
        with self.assertRaisesRegex(BackupError, "not the private key of relay@relay.example"):
            self.export(dsn)

    async def test_damaged(self) -> None:
        """
        An export that is damaged or cut off is refused before anything is changed.
        """
        self.export(await self.filled())
        whole = self.file.read_bytes()
        target = servers.empty_database()
        self.change("tables/post.copy", b"1\t2\n")
        with self.assertRaisesRegex(BackupError, r"tables/post\.copy in it is damaged"):
            self.restore(target)
        body = whole.index(b"tables/node.copy") + len("tables/node.copy")
        turned = whole[:body] + bytes(0xFF ^ byte for byte in whole[body : body + 60]) + whole[body + 60 :]
        for broken in (whole[:-40], whole[: len(whole) // 2], turned, b"", b"nothing"):
            self.file.write_bytes(broken)
            with self.assertRaisesRegex(BackupError, "no whole export"):
                self.restore(target)
        self.assertEqual(rows(target, "SELECT to_regclass('post')"), [(None,)])
        self.assertFalse((self.folder / "restored.pem").exists())

    async def test_newer(self) -> None:
        """
        An export of a newer schema or format is refused, with the version that made it.
        """
        made = self.export(await self.filled())
        self.change("manifest.json", evolve(made.manifest, schema=99).to_json())
        with self.assertRaisesRegex(StorageError, "the export is of schema 99"):
            self.restore(servers.empty_database())
        newer = {**json.loads(made.manifest.to_json()), "version": 2, "made_by": "9.9"}
        self.change("manifest.json", json.dumps(newer).encode())
        with self.assertRaisesRegex(BackupError, r"newer version of the relay, 9\.9"):
            self.restore(servers.empty_database())

    async def test_newer_database(self) -> None:
        """
        A database of a newer schema is not exported.
        """
        dsn = await self.filled()
        rows(dsn, "INSERT INTO schema_version (version, name, checksum) VALUES (99, 'later', '')")
        with self.assertRaisesRegex(StorageError, "the database has schema 99"):
            self.export(dsn)

    async def test_no_relay(self) -> None:
        """
        A database that is no relay's is not exported.
        """
        with self.assertRaisesRegex(BackupError, "no tables of a relay"):
            self.export(servers.empty_database())

    async def test_older(self) -> None:
        """
        An export of an older schema is restored with that schema, and then brought to this version's.
        """
        self.export(await self.filled())
        target = servers.empty_database()
        later = Migration(known_migrations()[-1].version + 1, "later", "UPDATE node SET poll_error = 'seen by the migration'")
        with opened(self.file, [*known_migrations(), later]) as found:
            done = restore(found, target, self.folder / "restored.pem", [*known_migrations(), later])
        self.assertEqual(done.upgraded, 1)
        self.assertEqual(rows(target, "SELECT DISTINCT poll_error FROM node"), [("seen by the migration",)])

    async def test_before_the_bus(self) -> None:
        """
        An export of a relay that knew no bus is restored, and brought up to date.
        """
        dsn = servers.empty_database()
        apply(dsn, known_migrations()[:1])
        rows(dsn, "INSERT INTO contact VALUES ('ada@pod.example', true, now())")
        for bodies in (True, False):
            self.export(dsn, bodies=bodies, overwrite=True)
            target = servers.empty_database()
            self.assertEqual(self.restore(target).upgraded, len(known_migrations()) - 1)
            self.assertEqual(rows(target, "SELECT count(*), min(last_seq) FROM contact, bus_state"), [(1, 0)])

    async def test_not_empty(self) -> None:
        """
        A database that holds something is only replaced with --force, and then entirely.
        """
        dsn = await self.filled()
        before = everything(dsn)
        self.export(dsn)
        rows(dsn, "UPDATE post SET guid = 'changed'")
        with self.assertRaisesRegex(BackupError, "the database is not empty"):
            self.restore(dsn)
        self.restore(dsn, force=True)
        self.assertEqual(everything(dsn) | {"bus_state": before["bus_state"]}, before)

    async def test_migrated_target(self) -> None:
        """
        A database with nothing but the relay's empty tables is empty.
        """
        self.export(await self.filled())
        self.assertGreater(self.restore(servers.database()).rows, 0)

    async def test_other_relay(self) -> None:
        """
        A database that belongs to another relay is never replaced, with whatever option.
        """
        self.export(await self.filled())
        target = servers.database()
        storage = await open_storage(reactor, target)
        await storage.identity.bind(evolve(ME, guid="f" * 32), NOW)
        await storage.close()
        before = everything(target)
        with self.assertRaisesRegex(BackupError, "the database belongs to relay@relay.example"):
            self.restore(target, force=True)
        self.assertEqual(everything(target), before)

    async def test_other_key(self) -> None:
        """
        A key that is there and another is never replaced, and nothing is restored beside it.
        """
        self.export(await self.filled())
        target, key = servers.empty_database(), self.folder / "there.pem"
        write_key(key, OTHER_KEY)
        with self.assertRaisesRegex(BackupError, r"there\.pem is another private key"):
            self.restore(target, key)
        self.assertEqual(rows(target, "SELECT to_regclass('post')"), [(None,)])
        self.assertEqual(public_hash(read_key(key)), public_hash(OTHER_KEY))
        with self.assertRaises(IdentityError):
            self.restore(target, self.folder / "nowhere" / "identity.pem")
        self.assertEqual(rows(target, "SELECT to_regclass('post')"), [(None,)])
        self.assertFalse(self.restore(target, self.key).key_written)

    async def test_in_use(self) -> None:
        """
        Nothing is restored into a database that a relay works with, from whatever machine.
        """
        self.export(await self.filled())
        target = servers.empty_database()
        storage = await open_storage(reactor, target)
        self.addCleanup(storage.close)
        with self.assertRaisesRegex(StorageError, "a relay is connected to the database"):
            self.restore(target)

    async def test_without_bodies(self) -> None:
        """
        Without bodies nothing that waits is in the export, and it is known that it cannot be delivered any more.
        """
        dsn = await self.filled()
        made = self.export(dsn, bodies=False)
        held = {table.name: table.rows for table in made.manifest.tables}
        self.assertEqual((held["post_body"], held["incoming"], held["bus_message"], held["post"]), (0, 0, 0, 3))
        target = servers.empty_database()
        self.restore(target)
        self.assertEqual(rows(target, "SELECT bodies_removed FROM log_state"), [(3,)])
        storage = await open_storage(reactor, target)
        self.addCleanup(storage.close)
        self.assertEqual(await storage.bus.extent(), Extent(GIVEN, GIVEN + 1, GIVEN + 1, GIVEN, 0))

    async def test_numbers(self) -> None:
        """
        Numbers that the bus gave after the export are not given again, and what was not published then is to be published.
        """
        dsn = await self.filled()
        rows(dsn, "UPDATE bus_state SET published = 2")
        self.export(dsn)
        target = servers.empty_database()
        self.restore(target)
        storage = await open_storage(reactor, target)
        self.addCleanup(storage.close)
        self.assertEqual((await storage.bus.extent()).published, 2)
        kept = await storage.bus.add([BusMessage("2026-2", "t", b"{}", "http"), BusMessage("2026-9", "t", b"{}", "http")], NOW, 2)
        self.assertEqual(kept, [Kept(3, True), Kept(GIVEN + 1, False)])
        self.assertEqual([each.seq for each in (await storage.bus.read(2, "", 9))[0]], [3, 4, GIVEN + 1])

    async def test_unbound(self) -> None:
        """
        A relay that was never bound to a name has no key to be exported.
        """
        made = self.export(servers.database())
        self.assertEqual((made.manifest.identity, made.manifest.key_file_sha256), (None, ""))
        self.assertFalse(self.restore(servers.empty_database()).key_written)

    async def test_changed_migration(self) -> None:
        """
        An export whose tables were made by another file of the same number is refused: its columns may mean something else.
        """
        made = self.export(await self.filled())
        self.change("manifest.json", evolve(made.manifest, migrations={"0001.initial.sql": "00"}).to_json())
        with self.assertRaisesRegex(BackupError, r"another 0001\.initial\.sql"):
            self.restore(servers.empty_database())

    async def test_configuration(self) -> None:
        """
        A configuration that names another relay is refused, and one that names none is told what to say.
        """
        self.export(await self.filled())
        with opened(self.file, known_migrations()) as found:
            self.assertEqual(check_target(found, "relay.example", "relay"), "")
            self.assertIn('host = "relay.example"', check_target(found, "", "relay"))
            with self.assertRaisesRegex(BackupError, "the configuration says relay@other.example"):
                check_target(found, "other.example", "relay")

    async def test_one_moment(self) -> None:
        """
        What is written meanwhile is not in the export: all its tables are of one moment.
        """
        dsn = await self.filled()

        def tell(what: str, part: float) -> None:
            if what == "post":
                rows(dsn, "INSERT INTO statistic_total (event, count) VALUES ('meanwhile', 1) ON CONFLICT DO NOTHING")

        made = self.export(dsn, tell=tell)
        with ZipFile(self.file) as archive:
            self.assertNotIn(b"meanwhile", archive.read("tables/statistic_total.copy"))
        self.assertEqual(rows(dsn, "SELECT count(*) FROM statistic_total WHERE event = 'meanwhile'"), [(1,)])
        self.assertEqual(made.manifest.schema, known_migrations()[-1].version)


class TablesTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        The tables that are exported are those that the migrations make, but for the list of migrations.
        """
        dsn = servers.database()
        found = rows(dsn, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        self.assertEqual(sorted([*TABLES, "schema_version"]), sorted(name for (name,) in found))
        connection = psycopg2.connect(dsn)
        self.addCleanup(connection.close)
        sequences = rows(dsn, "SELECT relname FROM pg_class WHERE relkind = 'S'")
        self.assertEqual(sequences_of(connection.cursor(), TABLES), sorted(name for (name,) in sequences))

    def test_dropped(self) -> None:
        """
        A table that a later migration drops is not looked for.
        """
        steps = [Migration(1, "a", "CREATE TABLE one (n int);\nCREATE TABLE two (n int);"), Migration(2, "b", "DROP TABLE one;")]
        self.assertEqual(tables_of(steps), ["two"])

    @settings(max_examples=50, deadline=None)
    @given(
        binary(max_size=100) | dictionaries(text(max_size=8), text(max_size=8)).map(lambda each: json.dumps(each).encode()) | just(b"[]")
    )
    def test_manifests(self, document: bytes) -> None:
        """
        What is no manifest is refused.
        """
        self.assertRaises(BackupError, Manifest.from_json, document)

    def test_manifest(self) -> None:
        """
        A manifest is read as it was written.
        """
        manifest = Manifest("0.1", "2026-05-17T12:00:00+00:00", 1, {"a": sha256(b"").hexdigest()}, "18", None, "", True, {"s": 4}, ())
        self.assertEqual(Manifest.from_json(manifest.to_json()), manifest)


class CommandTests(TestCase):
    """The commands, with servers of their own."""

    timeout = 120

    async def test_life(self) -> None:
        """
        A relay that runs is exported beside it; stopped, too; and restored into a state directory that is empty.
        """
        first = Daemon(reactor, 'host = "relay.example"\n[polling]\nlists = []\n[redis]\nurl = "off"\n')
        self.addCleanup(first.remove)
        second = Daemon(reactor, first.configuration)
        self.addCleanup(second.remove)
        file = first.folder / "relay.zip"
        await first.start()
        guid = (await first.view("identity"))["guid"]
        said = await first.command("export", str(file))
        self.assertEqual(said.code, 0, said.err)
        self.assertIn("is an export of relay@relay.example", said.out)
        self.assertIn("HOLDS THE RELAY'S PRIVATE KEY", said.err)
        said = await first.command("migrate")
        self.assertEqual(said.code, 1)
        self.assertIn("Another relay is running", said.err)
        said = await first.command("migrate", "--check", "--json")
        self.assertEqual((said.code, said.json["missing"]), (0, []))
        await first.terminate()
        said = await first.command("export", str(file), "--overwrite", "--json")
        self.assertEqual((said.code, said.json["identity"]), (0, "relay@relay.example"))
        said = await second.command("restore", str(file))
        self.assertEqual(said.code, 0, said.err)
        self.assertIn('set host = "relay.example"', said.out)
        self.assertEqual(sorted(each.name for each in second.state.iterdir()), ["identity.pem", "lock", "postgres", "postgres.log"])
        await second.start()
        self.assertEqual((await second.view("identity"))["guid"], guid)

    async def test_newer(self) -> None:
        """
        A database of a newer version is refused in words by the daemon and by each command.
        """
        dsn = servers.database()
        rows(dsn, "INSERT INTO schema_version (version, name, checksum) VALUES (99, 'later', '')")
        daemon = Daemon(reactor, f'[postgres]\ndsn = "{dsn}"\n[redis]\nurl = "off"\n')
        self.addCleanup(daemon.remove)
        process = daemon.launch()
        self.assertEqual(await deferToThread(process.wait), 1)
        self.assertIn("the database has schema 99, and this is socialrelay", daemon.log)
        daemon.process = None
        for words in (["migrate"], ["migrate", "--check"], ["export", str(daemon.folder / "relay.zip")]):
            said = await daemon.command("--config", str(daemon.folder / "relay.toml"), *words)
            self.assertEqual((said.code, "The database has schema 99" in said.err), (1, True), said)
        self.assertFalse((daemon.folder / "relay.zip").exists())

    async def test_nothing(self) -> None:
        """
        Without a state directory there is nothing to export, and none is made.
        """
        said = await command("--state-dir", "/nowhere/state", "export", "/nowhere/relay.zip")
        self.assertEqual(said.code, 1)
        self.assertIn("There is no database in /nowhere/state", said.err)
        self.assertFalse(Path("/nowhere").exists())

    async def test_left_to_its_owner(self) -> None:
        """
        What root restores is the user's whom the state directory belongs to, so that the daemon can be started by that user.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        owner = pwd.getpwnam("nobody")
        daemon = Daemon(reactor)
        self.addCleanup(daemon.remove)
        daemon.state.mkdir(0o750)
        os.chown(daemon.state, owner.pw_uid, owner.pw_gid)
        file, key = daemon.folder / "relay.zip", daemon.folder / "identity.pem"
        write_key(key, KEY)
        dsn = servers.database()
        await fill(dsn)
        export(dsn, key, file, now=NOW)
        said = await daemon.command("restore", str(file))
        self.assertEqual(said.code, 0, said.err)
        owners = {path.name: path.lstat().st_uid for path in daemon.state.iterdir()}
        self.assertEqual(owners, dict.fromkeys(("identity.pem", "lock", "postgres", "postgres.log"), owner.pw_uid))

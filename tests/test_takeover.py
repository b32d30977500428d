"""What an old Social-Relay kept is taken over."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from attrs import evolve
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis.strategies import binary, text
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.cli.command import main
from socialrelay.config import Config
from socialrelay.loading import load
from socialrelay.takeover.configuration import new_configuration
from socialrelay.takeover.keys import taken_key
from socialrelay.takeover.nodes import known_nodes
from socialrelay.takeover.old_config import OldConfig, TakeoverError, parse_old_config, read_old_config
from socialrelay.takeover.old_redis import read_old_redis
from socialrelay.takeover.story import Old, take_over
from socialrelay.takeover.taking import Taken
from socialrelay.takeover.zones import zone_named, zone_of_host
from tests import servers
from tests.daemon import command, new_folder
from tests.old_relay import LOCAL_CONFIG, PEM, SSH, old_database, old_files, old_redis
from tests.servers import take_away

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
CONFIG = Config(Path("/nowhere"), host="relay.example")
TEXT = LOCAL_CONFIG.format(kind="postgresql", name="social_relay", host="/run/postgresql", user="old")


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET timezone = 'UTC'")
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def everything(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that a takeover writes."""
    tables = ("node", "destination", "profile", "rule", "statistic", "statistic_hour", "takeover")
    found = {table: rows(dsn, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables}
    return {**found, "statistic_total": rows(dsn, "SELECT event, count FROM statistic_total ORDER BY 1")}


class OldConfigTests(SynchronousTestCase):
    def test_read(self) -> None:
        """
        Plain settings are read and nothing is executed; what is calculated is named.
        """
        old = parse_old_config(TEXT.encode())
        self.assertEqual((old.host, old.username), ("relay.example", "relay"))
        self.assertEqual(old.forward_to, ("https://archive.example", "relay.example", "10.0.0.1"))
        self.assertEqual(old.database, "host=/run/postgresql user=old dbname=social_relay")
        self.assertEqual((old.redis, old.unread), ("", ("REDIS_HOST",)))
        self.assertFalse(Path("/nowhere/executed").exists())

    def test_redis(self) -> None:
        """
        Where its Redis was follows from what is set; a password is written as an address wants it.
        """
        old = parse_old_config(b"REDIS_DB = 3\nREDIS_PASSWORD = 'a/b'\nREDIS_HOST: str = 'cache.example'")
        self.assertEqual(old.redis, "redis://:a%2Fb@cache.example:6379/3")
        self.assertEqual(parse_old_config(b"REDIS_DB = 3").redis, "redis://localhost:6379/3")

    def test_mysql(self) -> None:
        """
        A database that cannot be read directly is refused with what to do.
        """
        old = parse_old_config(TEXT.replace("postgresql", "mysql").encode())
        with self.assertRaisesRegex(TakeoverError, "--tables"):
            old.database  # noqa: B018

    def test_changed_setting(self) -> None:
        """
        Of a setting that is made twice the last counts.
        """
        old = parse_old_config(b"SERVER_HOST = 'a.example'\nSERVER_HOST = f()")
        self.assertEqual((old.host, old.unread), ("", ("SERVER_HOST",)))

    def test_no_file(self) -> None:
        """
        A file that is not there or is no Python is refused by name.
        """
        with self.assertRaisesRegex(TakeoverError, "/nowhere/local_config.py cannot be read"):
            read_old_config(Path("/nowhere/local_config.py"))
        with self.assertRaisesRegex(TakeoverError, "no Python module"):
            parse_old_config(b"[database]\nname = ???")

    @settings(max_examples=60, deadline=None)
    @given(binary(max_size=200) | text(alphabet="ADEHILNORSTVY_= '[](){},.\n1", max_size=80).map(str.encode))
    def test_anything(self, source: bytes) -> None:
        """
        Whatever stands in the file, it is read or refused.
        """
        try:
            old = parse_old_config(source)
        except TakeoverError:
            return
        self.assertIsInstance(old.forward_to, tuple)
        self.assertIsInstance(new_configuration(old), str)


class PartsTests(SynchronousTestCase):
    def test_keys(self) -> None:
        """
        Keys are taken over as PEM, also those of old rows that are written as OpenSSH does; what is no key or no handle is left.
        """
        taken = taken_key("ada@pod.example", PEM)
        self.assertEqual(taken, ("ada@pod.example", PEM))
        self.assertEqual(taken_key("acct:Ada@pod.example", SSH), taken)
        for identifier, key in (("ada", PEM), ("ada@pod.example", "ssh-rsa nonsense"), ("ada@pod.example", ""), ("ada@pod.example", None)):
            self.assertIsNone(taken_key(identifier, key))  # type: ignore[arg-type]

    def test_own_host(self) -> None:
        """
        The relay is no node of its own.
        """
        known = known_nodes(["relay.example", "pod.example", "POD.example."], {}, own_host="relay.example", max_tags=10)
        self.assertEqual((dict(known.nodes), known.left_out.total()), ({"pod.example": None}, 1))

    def test_configuration(self) -> None:
        """
        The configuration that corresponds is one, and names the relay anew, for nodes keep the old one's key.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        file = folder / "relay.toml"
        file.write_text(new_configuration(parse_old_config(TEXT.encode())))
        config = load(file, {"state_dir": str(folder)}, {})
        self.assertEqual((config.host, config.identity.username, config.operator.name), ("relay.example", "relay2", "Our relay"))
        self.assertEqual([each.url for each in config.polling.lists or ()], ["https://pods.example/pods.json"])

    def test_configuration_is_usable(self) -> None:
        """
        A list that the relay would not read is left to the operator, and nothing in a text steers the terminal.
        """
        given = new_configuration(
            OldConfig({"SERVER_HOST": "relay.example", "RELAY_NAME": "a\x9bb", "POD_LIST_JSON": "http://pods.example/"})
        )
        self.assertTrue(given.replace("\n", "").isprintable())
        path = Path(self.mktemp())
        path.write_text(given)
        config = load(path, {}, {})
        self.assertEqual((config.operator.name, config.polling.lists), ("a\x9bb", None))

    def test_configuration_of_nothing(self) -> None:
        """
        Without a name a place for it is left, with a word.
        """
        self.assertIn("SERVER_HOST was not set", new_configuration(OldConfig({})))
        self.assertEqual(tomllib.loads(new_configuration(OldConfig({})))["host"], "relay.example")

    def test_zones(self) -> None:
        """
        The time zone is the one that is named, else that of the host.
        """
        self.assertEqual(zone_of_host({"TZ": ":Europe/Berlin"}), "Europe/Berlin")
        link = Path(self.mktemp())
        link.symlink_to("/usr/share/zoneinfo/America/New_York")
        if link.exists():
            self.assertEqual(zone_of_host({}, link), "America/New_York")
        self.assertEqual(zone_of_host({}, Path("/nowhere")), "UTC")
        self.assertRaises(TakeoverError, zone_named, "Mars/Phobos")


class TakeoverTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.old = Old(
            config=parse_old_config(TEXT.encode()), database=old_database(), redis=read_old_redis(old_redis()), zone="Europe/Berlin"
        )
        self.dsn = servers.database()

    def take(self, old: Old | None = None, dsn: str = "", commit: bool = True, **options: Any) -> Taken:
        return take_over(old or self.old, dsn or self.dsn, CONFIG, now=NOW, commit=commit, chance=lambda: 0.5, **options)

    def test_dry_run(self) -> None:
        """
        A dry run says what would be done, and does nothing.
        """
        before = everything(self.dsn)
        dry = self.take(commit=False)
        self.assertEqual(everything(self.dsn), before)
        self.assertEqual(self.take(), dry)

    def test_nodes(self) -> None:
        """
        Nodes come with what they published, to be asked again within the interval, and what can be no node is counted.
        """
        taken = self.take()
        found = rows(self.dsn, "SELECT host, scope, tags, receive_url, first_seen, next_poll, last_answer FROM node ORDER BY host")
        soon = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)
        since = datetime(2016, 7, 1, 10, 30, tzinfo=UTC)
        self.assertEqual(
            found,
            [
                ("never.example", "none", [], "", NOW, soon, NOW),
                ("pod-a.example", "tags", ["cats", "dogs"], "https://pod-a.example/receive/public", since, soon, NOW),
                ("pod-b.example", None, [], "", since, soon, None),
                ("pod-c.example", "all", [], "https://pod-c.example/receive/public", NOW, soon, NOW),
                ("strange.example", None, [], "", NOW, soon, None),
            ],
        )
        self.assertEqual((taken.nodes, taken.subscribers), (5, 2))
        self.assertEqual(taken.left_out["no host name of another server"], 2)

    def test_history(self) -> None:
        """
        How deliveries went is taken over for nodes that were delivered to; they begin healthy, and at the log's end.
        """
        self.take()
        found = rows(self.dsn, "SELECT number, host, state, failures, delivered, last_success, subscribed FROM destination")
        self.assertEqual(found, [(0, "pod-a.example", "active", 0, 1000, datetime(2020, 3, 1, 7, 0, tzinfo=UTC), False)])

    def test_keys(self) -> None:
        """
        Keys come with an age that has them read anew as soon as a signature fails.
        """
        self.assertEqual((self.take().keys, self.take().new_keys), (2, 0))
        found = rows(self.dsn, "SELECT handle, public_key, fetched_at, used_on FROM profile ORDER BY handle")
        self.assertEqual([row[:2] for row in found], [("ada@pod-a.example", PEM), ("bob@pod-b.example", PEM)])
        for *_, fetched_at, used_on in found:
            self.assertEqual((fetched_at, used_on), (datetime(2016, 12, 31, 23, 0, tzinfo=UTC), NOW.date()))

    def test_counts(self) -> None:
        """
        Counts are summed up by hours of UTC; those older than counts are kept are in the sums of all time alone.
        """
        taken = self.take()
        self.assertEqual(taken.counts, {"accepted": 9, "delivered": 70, "failed": 30, "ignored": 1, "received": 109})
        found = rows(
            self.dsn, "SELECT hour, event, subject, count FROM statistic WHERE event IN ('received', 'delivered') ORDER BY hour, event"
        )
        self.assertEqual([row[2] for row in found], ["social-relay"] * 4)
        self.assertEqual(
            [(hour.day, hour.hour, event, count) for hour, event, _, count in found],
            [(16, 21, "received", 3), (16, 22, "received", 3), (16, 23, "received", 3), (17, 8, "delivered", 70)],
        )
        self.assertEqual(rows(self.dsn, "SELECT sum(count) FROM statistic_hour"), [(9 + 1 + 70 + 30 + 9,)])
        self.assertIn(("received", 109), rows(self.dsn, "SELECT event, count FROM statistic_total"))

    def test_odd_rows(self) -> None:
        """
        Rows without a host are left out, two names of one host are one, and hours to come only count in the sums.
        """
        statement = """
            ALTER TABLE node ALTER COLUMN host DROP NOT NULL;
            INSERT INTO node (host, created_at, last_success, total_delivered, failure_count, https) VALUES
                (NULL, '2016-07-01', NULL, 1, 0, true), ('POD-A.example.', '2015-01-01', NULL, 10, 0, true);
            INSERT INTO receivestatistic (created_at, sender_host) VALUES ('infinity', ''), ('2100-01-01', '')
        """
        rows(self.old.database, statement)
        self.take()
        found = rows(self.dsn, "SELECT delivered, created_at::text, last_success::text FROM destination WHERE host = 'pod-a.example'")
        self.assertEqual(found, [(1010, "2014-12-31 23:00:00+00", "2020-03-01 07:00:00+00")])
        self.assertEqual(rows(self.dsn, "SELECT count(*) FROM statistic WHERE hour > '2026-05-18'"), [(0,)])
        self.assertEqual(rows(self.dsn, "SELECT count FROM statistic_total WHERE event = 'received'"), [(111,)])

    def test_forwards(self) -> None:
        """
        Who was always forwarded to gets a rule; the relay itself and what is no host name get none.
        """
        self.assertEqual(self.take().forward_to, ("archive.example",))
        self.assertEqual(rows(self.dsn, "SELECT action, subject, created_by FROM rule"), [("forward", "archive.example", "social-relay")])

    def test_twice(self) -> None:
        """
        Twice gives the same as once.
        """
        self.take()
        once = everything(self.dsn)
        self.take()
        self.assertEqual(everything(self.dsn), once)

    def test_again_later(self) -> None:
        """
        Taking over once more, when both relays have worked meanwhile, adds what is new, and leaves what the new one has found out.
        """
        self.take()
        rows(self.dsn, "UPDATE destination SET delivered = delivered + 5; UPDATE statistic_total SET count = count + 5")
        rows(self.dsn, "UPDATE node SET scope = 'all', tags = '{}', last_poll = now() WHERE host = 'pod-a.example'")
        rows(self.dsn, "DELETE FROM statistic; DELETE FROM statistic_hour")
        rows(self.old.database, "UPDATE node SET total_delivered = 1002 WHERE host = 'pod-a.example'")
        rows(self.old.database, "INSERT INTO receivestatistic (created_at, sender_host) VALUES ('2026-05-17 11:00:00', '127.0.0.1')")
        self.take()
        self.assertEqual(rows(self.dsn, "SELECT delivered FROM destination"), [(1007,)])
        self.assertEqual(rows(self.dsn, "SELECT count FROM statistic_total WHERE event = 'received'"), [(109 + 5 + 1,)])
        self.assertEqual(rows(self.dsn, "SELECT scope, tags FROM node WHERE host = 'pod-a.example'"), [("all", [])])

    def test_files(self) -> None:
        """
        Files as `mysql -B` writes them give the same as the database.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        files = evolve(self.old, database="", tables=old_files(self.old.database, folder))
        other = servers.database()
        self.assertEqual(self.take(files, other), self.take())
        self.assertEqual(everything(other), everything(self.dsn))

    def test_bad_files(self) -> None:
        """
        A file that is missing, has other columns or other values is refused by name.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        files = evolve(self.old, database="", tables=old_files(self.old.database, folder))
        (folder / "node.tsv").write_text("host\tcreated_at\tlast_success\ttotal_delivered\na.example\tlong ago\tNULL\t1\n")
        with self.assertRaisesRegex(TakeoverError, r"node\.tsv cannot be read: .*long ago"):
            self.take(files)
        (folder / "node.tsv").write_text("host\n")
        with self.assertRaisesRegex(TakeoverError, "must have host, created_at, last_success, total_delivered"):
            self.take(files)
        (folder / "node.tsv").unlink()
        with self.assertRaisesRegex(TakeoverError, r"node\.tsv cannot be read: No such file"):
            self.take(files)

    def test_other_database(self) -> None:
        """
        A database that is not an old relay's is refused.
        """
        with self.assertRaisesRegex(TakeoverError, "not as Social-Relay"):
            self.take(evolve(self.old, database=servers.empty_database()))

    def test_queue(self) -> None:
        """
        While posts wait in the old relay's queue nothing is taken over, unless they may be lost.
        """
        waiting = evolve(self.old, redis=read_old_redis(old_redis(waiting=2)))
        self.assertEqual(self.take(waiting, commit=False).nodes, 5)
        with self.assertRaisesRegex(TakeoverError, "2 posts wait"):
            self.take(waiting)
        self.assertEqual(self.take(waiting, leave_queue=True).nodes, 5)

    def test_no_redis(self) -> None:
        """
        A Redis that is not there is refused with a sentence.
        """
        with self.assertRaisesRegex(TakeoverError, "the old Redis cannot be read"):
            read_old_redis("unix:///nowhere/redis.sock")


class CommandTests(TestCase):
    timeout = 120

    def test_usage(self) -> None:
        """
        Without an old relay, or with two, nothing is done, and the exit code is 2.
        """
        for words in ([], ["--database", "dbname=x", "--tables", "/tmp"]):
            said = CliRunner().invoke(main, ["--state-dir", "/nowhere/state", "import", "social-relay", *words])
            self.assertEqual(said.exit_code, 2, said.output)

    def test_refused(self) -> None:
        """
        What cannot be read of the old relay is told before anything is begun, and the exit code is 1.
        """
        for words, reason in [
            (["--local-config", "/nowhere/local_config.py"], "/nowhere/local_config.py cannot be read"),
            (["--redis", "unix:///nowhere/redis.sock"], "The old Redis cannot be read"),
            (["--database", "dbname=x", "--timezone", "Mars/Phobos"], "There is no time zone 'Mars/Phobos'"),
        ]:
            said = CliRunner().invoke(main, ["--state-dir", "/nowhere/state", "import", "social-relay", *words])
            self.assertEqual((said.exit_code, reason in said.stderr), (1, True), said.output)
        self.assertFalse(Path("/nowhere").exists())

    async def test_command(self) -> None:
        """
        The command tries, says what would be done and the new configuration, and does it when told to; its own PostgreSQL runs meanwhile.
        """
        folder = new_folder()
        self.addCleanup(take_away, folder, folder / "state")
        database = psycopg2.extensions.parse_dsn(old_database())
        local = folder / "local_config.py"
        parts = {"name": database["dbname"], "host": database["host"], "user": database["user"]}
        local.write_text(LOCAL_CONFIG.format(kind="postgresql", **parts))
        words = ["--state-dir", str(folder / "state"), "import", "social-relay", "--local-config", str(local), "--redis", old_redis()]

        said = await command(*words)
        self.assertEqual(said.code, 0, said.err)
        self.assertIn("This would be taken over:", said.out)
        self.assertIn('username = "relay2"', said.out)
        self.assertIn("REDIS_HOST in local_config.py is calculated", said.out)
        self.assertIn("say --yes to do it", said.err)
        said = await command(*words, "--yes", "--timezone", "Europe/Berlin")
        self.assertEqual((said.code, said.err), (0, ""))
        self.assertIn("Taken over:", said.out)
        self.assertIn("of 2 authors, 2 of them new", said.out)

"""
What must not be seen is not seen: no secret in anything that is told, and nothing that a remote server says changes what else is told.

Each secret is a canary: a text that is nowhere else.  The tables say which secret is put where; a place is added by a line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import SECRETS, Admin, Bus, BusToken, Config, Moderation, NodeList, Polling, Postgres, Redis, RuleList
from socialrelay.config_checks import check
from socialrelay.doctor import stores
from socialrelay.identity import IdentityError, check_key_file, read_key
from socialrelay.loading import ConfigError, load
from socialrelay.operators.rule_views import plain_set
from socialrelay.running.reloading import changes
from socialrelay.storage.arguments import connect_arguments
from socialrelay.storage.blocking import connected
from socialrelay.storage.cache import RedisAddress
from socialrelay.takeover.old_config import TakeoverError
from socialrelay.takeover.old_redis import read_old_redis
from tests.assembled import KEY
from tests.fuzzing import counts

CANARY = "c4n4ry"

WRONG_DSNS = {
    "a space in the password": f"host=db.invalid password=my {CANARY}",
    "a space and an equals sign": f"host=db.invalid password=my {CANARY}=1",
    "no end of the quotation": f"host=db.invalid password='{CANARY}",
    "a percent sign": f"postgresql://relay:{CANARY}%zz@db.invalid/relay",
    "a slash, after": f"postgresql://relay:{CANARY}/1@db.invalid/relay",
    "a slash, before": f"postgresql://relay:1/{CANARY}@db.invalid/relay",
    "an at sign": f"postgresql://relay:1@{CANARY}@db.invalid/relay",
    "a question mark and a slash": f"postgresql://relay:12?{CANARY}/1@db.invalid/relay",
    "a slash and a question mark": f"postgresql://relay:12/1?{CANARY}@db.invalid/relay",
    "an at sign and a slash": f"postgresql://relay:1@{CANARY}/1@db.invalid/relay",
    "a bracket": f"postgresql://[{CANARY}",
    "no host": f"postgresql://relay:{CANARY}",
    "in the port": f"host=/nonexistent port={CANARY}",
    "nothing else": CANARY,
}
"""Connection strings with a password that tears them."""

UNREACHABLE_DSNS = {
    "no server": f"postgresql://relay:{CANARY}@127.0.0.1:1/relay",
    "no such name": f"postgresql://relay:{CANARY}@db.invalid/relay",
    "no socket": f"host=/nonexistent password={CANARY}",
    "a question mark": f"postgresql://relay:12?{CANARY}@127.0.0.1:1/relay",
    "escaped": f"postgresql://relay:%40{CANARY}%2F@127.0.0.1:1/relay",
}

WRONG_URLS = {
    "a slash, after": f"redis://relay:{CANARY}/1@cache.invalid",
    "a slash, before": f"redis://relay:12/{CANARY}@cache.invalid",
    "a question mark": f"redis://relay:{CANARY}?1@cache.invalid",
    "a question mark, before": f"redis://relay:12?{CANARY}@cache.invalid",
    "a hash": f"redis://relay:12#{CANARY}@cache.invalid",
    "a bracket": f"redis://:[{CANARY}@cache.invalid",
    "a letter that is more than one": f"redis://:{CANARY}\u2100@cache.invalid",
    "a port that is none": f"redis://:{CANARY}@cache.invalid:port",
    "a database that is none": f"redis://:{CANARY}@cache.invalid/x",
    "no host": f"redis://:{CANARY}@",
    "a socket by a relative path": f"unix://run/r.sock?password={CANARY}",
    "another scheme": f"http://:{CANARY}@cache.invalid",
}

WRONG_TABLES = {
    "dsn as a list": f'[postgres]\ndsn = ["password={CANARY}"]',
    "dsn as a table": f'[postgres.dsn]\npassword = "{CANARY}"',
    "postgres as a text": f'postgres = "password={CANARY}"',
    "url as a list": f'[redis]\nurl = ["redis://:{CANARY}@h"]',
    "redis as a text": f'redis = "redis://:{CANARY}@h"',
    "a password that is no hash": f'[admin]\npassword = "{CANARY}"',
    "password as a list": f'[admin]\npassword = ["{CANARY}"]',
    "admin as a text": f'admin = "{CANARY}"',
    "tokens as a text": f'[bus]\ntokens = "{CANARY}"',
    "tokens as texts": f'[bus]\ntokens = ["{CANARY}"]',
    "tokens as a table": f'[bus.tokens]\nsite = "{CANARY}"',
    "a token as a list": f'[[bus.tokens]]\nname = "site"\ntoken = ["{CANARY}"]',
    "a token that is too short": f'[[bus.tokens]]\nname = "site"\ntoken = "{CANARY}"',
    "bus as a text": f'bus = "{CANARY}"',
    "another scheme": f'[redis]\nurl = "http://:{CANARY}@h"',
    "no end of the line": f'[postgres]\ndsn = "password={CANARY}',
    "no quotation marks": f"[postgres]\ndsn = {CANARY}",
}
"""Configurations that are refused."""

WRONG_VARIABLES = {
    "SOCIALRELAY_BUS__TOKENS": f'["{CANARY}"]',
    "SOCIALRELAY_REDIS__URL": f"http://:{CANARY}@h",
    "SOCIALRELAY_ADMIN__PASSWORD": CANARY,
    "SOCIALRELAY_POSTGRES": f"password={CANARY}",
}


def whole_story(error: BaseException | None) -> str:
    """Everything that a traceback would show of an error and of those that led to it."""
    told = ""
    while error is not None:
        told += f"{error} {error!r} {error.args!r} {vars(error)!r}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


class ConfiguredTests(SynchronousTestCase):
    """Secrets of the configuration, right and wrong."""

    def refusal(self, work: Any, *arguments: Any, **named: Any) -> str:
        with self.assertRaises(Exception) as caught:
            work(*arguments, **named)
        return whole_story(caught.exception)

    def test_wrong_dsn(self) -> None:
        """A connection string that cannot be read is refused without a word of it."""
        for name, dsn in WRONG_DSNS.items():
            told = self.refusal(connect_arguments, dsn)
            self.assertNotIn(CANARY, told, name)
            self.assertIn("cannot be read", told, name)

    def test_unreachable(self) -> None:
        """Nor is there one in the reason why a database cannot be reached."""
        for name, dsn in (WRONG_DSNS | UNREACHABLE_DSNS).items():
            self.assertNotIn(CANARY, self.refusal(connected(dsn, "test", 1).__enter__), name)

    def test_good_dsns(self) -> None:
        """Passwords with any characters are taken if they are written as they must be."""
        for dsn in ("postgresql://u:a%40b%2Fc%3Fd@db.example/x", "host=db.example user=u dbname=x password='a@b/c?d'"):
            arguments = connect_arguments(dsn)
            self.assertEqual((arguments["password"], arguments["host"]), ("a@b/c?d", "db.example"))
        for dsn in (
            "postgresql://u@h1:1,h2:2/x",
            "host=@relay dbname=x",
            "host=/run/x",
            "postgresql:///x?host=@relay",
            "postgresql://u:a?b@h/x",
            "",
        ):
            connect_arguments(dsn)

    def test_wrong_url(self) -> None:
        """The same holds for the address of Redis, of the relay's own and of the old relay's."""
        for name, url in WRONG_URLS.items():
            self.assertNotIn(CANARY, self.refusal(RedisAddress.parse, url), name)
            with self.assertRaises(TakeoverError) as caught:
                read_old_redis(url)
            self.assertNotIn(CANARY, whole_story(caught.exception), name)

    def test_wrong_configuration(self) -> None:
        """A configuration that is refused is told without its secrets, wherever they stand."""
        file = Path(self.mktemp())
        for name, text in WRONG_TABLES.items():
            file.write_text(text)
            with self.assertRaises(ConfigError) as caught:
                load(file, {"state_dir": "/srv/relay"}, {})
            self.assertNotIn(CANARY, whole_story(caught.exception), name)
        counts.note(configurations=len(WRONG_TABLES) + len(WRONG_VARIABLES) + len(WRONG_DSNS) + len(UNREACHABLE_DSNS) + len(WRONG_URLS))
        for variable, text in WRONG_VARIABLES.items():
            with self.assertRaises(ConfigError) as caught:
                load(None, {"state_dir": "/srv/relay"}, {variable: text})
            self.assertNotIn(CANARY, whole_story(caught.exception), variable)

    def test_of_files(self) -> None:
        """A secret that stands in a file of its own is kept as well, whether it can be used or not."""
        file = Path(self.mktemp())
        for variable, text in (
            ("SOCIALRELAY_POSTGRES__DSN", f"host=db.example password={CANARY}"),
            ("SOCIALRELAY_REDIS__URL", f"redis://:{CANARY}@h"),
        ):
            file.write_text(f"{text}\n")
            config = load(None, {"state_dir": "/srv/relay"}, {f"{variable}_FILE": str(file)})
            self.assertIn(text, (config.postgres.dsn, config.redis.url))
            self.assertNotIn(CANARY, f"{config!r} {config}")
        for variable, text in WRONG_VARIABLES.items():
            file.write_text(text)
            with self.assertRaises(ConfigError) as caught:
                load(None, {"state_dir": "/srv/relay"}, {f"{variable}_FILE": str(file)})
            self.assertNotIn(CANARY, whole_story(caught.exception), variable)
        with self.assertRaises(ConfigError) as caught:
            load(None, {"state_dir": "/srv/relay"}, {"SOCIALRELAY_POSTGRES__DSN_FILE": "/nowhere/dsn"})
        self.assertIn("/nowhere/dsn", str(caught.exception))

    def test_of_lists(self) -> None:
        """What is secret in the address of a list is not shown: name, password, token."""
        for scheme in ("http", "ftp"):
            url = f"{scheme}://{CANARY}:{CANARY}@lists.example/blocks.csv?token={CANARY}#{CANARY}"
            for table in (Polling(lists=(NodeList("own", url),)), Moderation(lists=(RuleList("own", url),))):
                faults = list(check(evolve(with_secrets(), **{type(table).__name__.lower(): table})))
                told = [text for key, text in faults if key.endswith(".lists")]
                self.assertEqual((len(told), f"{scheme}://lists.example/blocks.csv?…" in told[0]), (1, True), told)
                self.assertNotIn(CANARY, told[0])
        own = RuleList("own", f"https://{CANARY}:{CANARY}@lists.example/blocks.csv?token={CANARY}")
        self.assertNotIn(CANARY, repr(plain_set("own", None, own)))

    def test_other_values(self) -> None:
        """Of what is no secret the wrong value is shown."""
        with self.assertRaises(ConfigError) as caught:
            load(None, {"state_dir": "/srv/relay"}, {"SOCIALRELAY_POSTGRES__CONNECTIONS": '"many"'})
        self.assertIn("'many'", str(caught.exception))

    def test_doctor(self) -> None:
        """The doctor names no secret when PostgreSQL or Redis cannot be used."""
        for name, dsn in (WRONG_DSNS | UNREACHABLE_DSNS).items():
            self.assertNotIn(CANARY, repr(list(stores.database(with_secrets(postgres=Postgres(dsn))))), name)
        for name, url in (WRONG_URLS | {"no server": f"redis://:{CANARY}@127.0.0.1:1"}).items():
            self.assertNotIn(CANARY, repr(list(stores.cache(with_secrets(redis=Redis(url))))), name)

    def test_shown(self) -> None:
        """Neither the configuration nor a part of it shows a secret, and a change of one is told without it."""
        config = with_secrets()
        for each in (config, config.postgres, config.redis, config.admin, config.bus, config.bus.tokens):
            self.assertNotIn(CANARY, f"{each!r} {each!s}")
        told = [str(each) for each in changes(Config(config.state_dir), config)]
        self.assertEqual({each.partition(":")[0] for each in told}, SECRETS)
        self.assertNotIn(CANARY, "".join(told))
        address = RedisAddress.parse(config.redis.url)
        self.assertIn(CANARY, str(address.password))
        self.assertNotIn(CANARY, f"{address!r} {address!s}")


def with_secrets(**tables: Any) -> Config:
    """A configuration with a canary wherever a secret may stand."""
    values: dict[str, Any] = {
        "postgres": Postgres(f"postgresql://relay:{CANARY}-dsn@127.0.0.1:1/relay"),
        "redis": Redis(f"redis://relay:{CANARY}-url@127.0.0.1:1"),
        "admin": Admin(password=f"$argon2id${CANARY}-hash"),
        "bus": Bus(tokens=(BusToken("site", f"{CANARY}-token-0123456789"),)),
    }
    return Config(Path("/nonexistent"), **(values | tables))


class KeyFileTests(SynchronousTestCase):
    """The private key."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def test_modes(self) -> None:
        """Every mode that lets anybody but the owner at the key is refused, before the file is read."""
        for mode in range(0o1000):
            os.chmod(self.path, mode)
            if mode & 0o077:
                with self.assertRaises(IdentityError) as caught:
                    check_key_file(self.path)
                self.assertIn("chmod 600", str(caught.exception))
                self.assertRaises(IdentityError, read_key, self.path)
            else:
                check_key_file(self.path)

    def test_spoilt(self) -> None:
        """A key that cannot be used is refused without a line of it."""
        lines = self.path.read_text().splitlines()
        os.chmod(self.path, 0o600)
        for text in ("\n".join(lines[:-3]), "\n".join([*lines[:3], "%%%", *lines[4:]]), "\n".join([*lines[:3], *lines[4:]]), lines[1]):
            self.path.write_text(text)
            with self.assertRaises(IdentityError) as caught:
                read_key(self.path)
            told = whole_story(caught.exception)
            self.assertFalse([line for line in lines[1:-1] if line[:16] in told])

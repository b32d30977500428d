"""Tests for L{socialrelay.loading}, and of the sample configuration."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Config, NodeList, Postgres, Redis
from socialrelay.loading import ConfigError, keys, load

SAMPLE = Path(__file__).parent.parent / "etc" / "socialrelay.toml"


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "relay.toml"

    def load(self, text: str = "", environ: dict[str, str] | None = None, **options: object) -> Config:
        self.file.write_text(text)
        return load(self.file, {"state_dir": "/srv/relay", **options}, environ or {})

    def refused(self, text: str = "", environ: dict[str, str] | None = None, **options: object) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.load(text, environ, **options)
        return str(caught.exception).replace(str(self.file), "FILE")

    def test_defaults(self) -> None:
        """Without a file, variables and options everything is at its default, and the relay is in development."""
        config = load(None, {"state_dir": "/srv/relay"}, {})
        self.assertEqual(config, Config(state_dir=Path("/srv/relay")))
        self.assertFalse(config.production)

    def test_file(self) -> None:
        """A file sets what it names, in tables too."""
        config = self.load('host = "relay.example.org"\n[delivery]\ntimeout = 20\n')
        self.assertEqual((config.host, config.delivery.timeout, config.delivery.window), ("relay.example.org", 20.0, 5))
        self.assertTrue(config.production)

    def test_order(self) -> None:
        """A variable wins over the file, an option over both."""
        text = 'host = "file.example"\n[delivery]\ntimeout = 20\n'
        environ = {"SOCIALRELAY_HOST": "variable.example", "SOCIALRELAY_DELIVERY__TIMEOUT": "14.5", "HOME": "/root"}
        self.assertEqual(self.load(text, environ).delivery.timeout, 14.5)
        self.assertEqual(self.load(text, environ).host, "variable.example")
        self.assertEqual(self.load(text, environ, host="option.example").host, "option.example")

    def test_silent_options(self) -> None:
        """An option that was not given changes nothing."""
        self.assertEqual(self.load('host = "file.example"', host=None, listen=[]).host, "file.example")

    def test_file_by_variable(self) -> None:
        """SOCIALRELAY_CONFIG names the file if no option does."""
        self.file.write_text('host = "file.example"')
        self.assertEqual(load(None, {"state_dir": "/x"}, {"SOCIALRELAY_CONFIG": str(self.file)}).host, "file.example")

    def test_variables(self) -> None:
        """A variable holds a text as it is, everything else as TOML; a list of texts may be a single one."""
        environ = {
            "SOCIALRELAY_LISTEN": "tcp:80",
            "SOCIALRELAY_POLICY__UNINVITED": "false",
            "SOCIALRELAY_DISCOVERY__PORTS": "[443]",
            "SOCIALRELAY_OPERATOR__NAME": "42",
            "SOCIALRELAY_NETWORK__CONNECT_TO": '{"pod.example:443" = "127.0.0.1:8443"}',
        }
        config = self.load(environ=environ)
        self.assertEqual(config.listen, ("tcp:80",))
        self.assertFalse(config.policy.uninvited)
        self.assertEqual(config.discovery.ports, (443,))
        self.assertEqual(config.operator.name, "42")
        self.assertEqual(config.network.connect_to, {"pod.example:443": "127.0.0.1:8443"})

    def test_lists(self) -> None:
        """Node lists are tables of their own; none at all is another thing than the defaults."""
        config = self.load('[[polling.lists]]\nname = "mine"\nurl = "https://list.example/"')
        self.assertEqual(config.polling.lists, (NodeList("mine", "https://list.example/"),))
        self.assertEqual(self.load("[polling]\nlists = []").polling.lists, ())
        self.assertIsNone(self.load("").polling.lists)

    def test_relative_paths(self) -> None:
        """A relative path starts from the folder of the file that names it."""
        config = self.load('[identity]\nkey_file = "key.pem"')
        self.assertEqual(config.identity.key_file, str(self.folder.absolute() / "key.pem"))

    def test_unknown_key(self) -> None:
        """A key that does not exist is refused, with the one that was probably meant."""
        self.assertEqual(
            self.refused("[delivery]\ntimout = 3"), "FILE: delivery.timout: there is no such key; did you mean delivery.timeout?"
        )
        self.assertEqual(self.refused("zzz = 3"), "FILE: zzz: there is no such key")

    def test_value_in_a_file(self) -> None:
        """A variable may name a file with the value, for what should not stand in an environment; an option that is itself a file is one."""
        secret = self.folder / "dsn"
        secret.write_text("host=db.example password=x\n")
        environ = {"SOCIALRELAY_POSTGRES__DSN_FILE": str(secret), "SOCIALRELAY_IDENTITY__KEY_FILE": "/srv/key.pem"}
        config = self.load(environ=environ)
        self.assertEqual(config.postgres.dsn, "host=db.example password=x")
        self.assertEqual(config.identity.key_file, "/srv/key.pem")

    def test_value_in_no_file(self) -> None:
        """A file that cannot be read is refused, with the variable that names it."""
        message = self.refused(environ={"SOCIALRELAY_ADMIN__PASSWORD_FILE": "/nowhere"})
        self.assertEqual(message, "SOCIALRELAY_ADMIN__PASSWORD_FILE: /nowhere cannot be read: No such file or directory")

    def test_unknown_variable(self) -> None:
        """So is a variable."""
        message = self.refused(environ={"SOCIALRELAY_DELIVERY_TIMEOUT": "3"})
        self.assertEqual(message, "SOCIALRELAY_DELIVERY_TIMEOUT: there is no such option; did you mean SOCIALRELAY_DELIVERY__TIMEOUT?")

    def test_wrong_types(self) -> None:
        """A value of the wrong type is refused, and nothing is guessed."""
        for text, message in {
            '[delivery]\nwindow = "2"': "delivery.window: must be a whole number, not the text '2'",
            "[delivery]\nwindow = 2.5": "delivery.window: must be a whole number, not 2.5",
            "[policy]\nuninvited = 1": "policy.uninvited: must be true or false, not 1",
            "[delivery]\ntimeout = true": "delivery.timeout: must be a number, not true",
            'listen = "tcp:80"': "listen: must be a list, each a text, not the text 'tcp:80'",
            "listen = [80]": "listen[0]: must be a text, not 80",
            'delivery = "fast"': "delivery: must be a table, not the text 'fast'",
            "[network]\nconnect_to = []": "network.connect_to: must be a table of texts, not []",
            '[[polling.lists]]\nname = "x"': "polling.lists[0].url: is missing",
            "host = 3": "host: must be a text, not 3",
            'state_dir = ""': "state_dir: must be a path, not the text ''",
        }.items():
            self.assertEqual(self.refused(text), f"FILE: {message}")

    def test_wrong_values(self) -> None:
        """A value that makes no sense is refused, with what would be right."""
        for text, message in {
            "[delivery]\nwindow = 0": "delivery.window: must be from 1 to 5, not 0",
            "[retention]\nposts = -1": "retention.posts: must be from 0.0416667 to 36500, not -1",
            "[retention]\nkeys = nan": "retention.keys: must be from 0 to 36500, not nan",
            "[retention]\nposts = inf": "retention.posts: must be from 0.0416667 to 36500, not inf",
            "[retention]\nposts = 2": "retention.posts: must not be less than the 7 days of retention.bodies: "
            "else what is lost could not be counted",
            "[polling]\ngrace = inf": "polling.grace: must be from 0 to 3153600000, not inf",
            'log_format = "xml"': "log_format: must be one of text, json, not 'xml'",
            "listen = []": "listen: must name at least one endpoint, such as tcp:8080:interface=127.0.0.1",
            'listen = ["8080"]': "listen[0]: must be an endpoint such as tcp:8080:interface=127.0.0.1, not '8080'",
            '[redis]\nurl = "localhost"': "redis.url: must be redis://…, rediss://…, unix://…, off, or empty for the embedded server",
            '[operator]\nsource = "ask me"': "operator.source: must be the address of a web page, https://…, not 'ask me'",
            '[network]\nconnect_to = {"pod.example" = "127.0.0.1:1"}': 'network.connect_to: "pod.example" must be host:port or *.host:port',
            "[discovery]\nports = [0]": "discovery.ports: must be ports from 1 to 65535, not 0",
            "[delivery]\nprobes = 2000": "delivery.probes: must be less than delivery.in_flight, which is 1024: "
            "deferred hosts would crowd out the others",
            "[receive]\nbytes_in_hand = 4194303": "receive.bytes_in_hand: must be at least 4 times receive.max_body, which is 1048576: "
            "else the largest post never fits",
            '[[polling.lists]]\nname = "x"\nurl = "http://x"': "polling.lists: x: url must begin with https://, or be the absolute path of a file, "
            "not 'http://x'",
        }.items():
            self.assertEqual(self.refused(text), f"FILE: {message}")
        self.assertIn("receive.trusted_proxies[0]: must be an address or a network", self.refused('[receive]\ntrusted_proxies = ["proxy"]'))
        self.assertIn("identity.username", self.refused('[identity]\nusername = "The Relay"'))

    def test_host(self) -> None:
        """The host must be a public name, and an error names where it was said."""
        for host in ("localhost", "10.0.0.1", "https://relay.example.org/", "relay.example.org:443", "relay_x.example"):
            self.assertIn("--host: must be the relay's public host name", self.refused(host=host))
        self.assertIn("SOCIALRELAY_HOST: host:", self.refused(environ={"SOCIALRELAY_HOST": "localhost"}))

    def test_no_file(self) -> None:
        """A file that is not there, or that is no TOML, is refused with its name."""
        with self.assertRaises(ConfigError) as caught:
            load("/nowhere/relay.toml", {}, {})
        self.assertEqual(str(caught.exception), "/nowhere/relay.toml: cannot be read: No such file or directory")
        self.assertIn("FILE: is not TOML: ", self.refused("host = relay"))


class StateDirTests(SynchronousTestCase):
    def test_order(self) -> None:
        """An option comes first, then what the file says, then systemd's folder, then the system's or the user's place."""
        self.assertEqual(load(None, {"state_dir": "/opt/x"}, {"STATE_DIRECTORY": "/var/lib/y"}).state_dir, Path("/opt/x"))
        self.assertEqual(load(None, {}, {"STATE_DIRECTORY": "/var/lib/y:/var/lib/z"}).state_dir, Path("/var/lib/y"))
        self.patch(load.__globals__["os"], "geteuid", lambda: 0)
        self.assertEqual(load(None, {}, {}).state_dir, Path("/var/lib/socialrelay"))
        self.patch(load.__globals__["os"], "geteuid", lambda: 1000)
        self.assertEqual(load(None, {}, {"XDG_DATA_HOME": "/home/ada/data"}).state_dir, Path("/home/ada/data/socialrelay"))
        self.assertEqual(load(None, {}, {"XDG_DATA_HOME": "relative"}).state_dir, Path.home() / ".local/share/socialrelay")

    def test_relative(self) -> None:
        """A relative folder is the one seen from where the daemon was started."""
        self.assertEqual(load(None, {"state_dir": "data"}, {}).state_dir, Path.cwd() / "data")


class SampleTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """The value shown for an option is its default."""
        text = SAMPLE.read_text("utf-8")
        file = Path(self.mktemp())
        file.write_text(re.sub(r"(?m)^#(?=[a-z0-9_]+ = )", "", text), "utf-8")
        loaded = load(file, {}, {})
        self.assertEqual(attrs.evolve(loaded, state_dir=Path("/srv")), Config(state_dir=Path("/srv")))

    def test_tables(self) -> None:
        """Every key of the sample stands in the right table, and so does each key of the classes."""
        named: set[str] = set()
        table = ""
        for line in SAMPLE.read_text("utf-8").splitlines():
            if found := re.fullmatch(r"\[([a-z]+)\]", line):
                table = found[1] + "."
            elif found := re.match(r"#(?:   )?([a-z0-9_]+) = ", line):
                named.add(table + found[1])
        self.assertEqual(named, {key for key, _ in keys()})

    def test_shown_without_secrets(self) -> None:
        """Where a password may stand is left out when the configuration is shown."""
        config = Config(Path("/srv"), postgres=Postgres(dsn="password=canary"), redis=Redis(url="redis://:canary@cache.example"))
        self.assertNotIn("canary", repr(config))

    def test_as_it_is(self) -> None:
        """As it comes, the sample changes nothing."""
        self.assertEqual(load(SAMPLE, {"state_dir": "/srv"}, {}), Config(state_dir=Path("/srv")))

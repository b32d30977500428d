"""Where scripts find the bus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.finding import Place, find, reachable, read_fedmsg
from socialrelay.config import Bus
from tests.daemon import ROOT

NOWHERE = Path("/nonexistent/socialrelay.toml")


class FindingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / ".fedmsg.d").mkdir(parents=True)

    def find(self, **given: Any) -> Place:
        environ = {"HOME": str(self.folder), **given.pop("environ", {})}
        return find(**{"usual": NOWHERE, **given}, environ=environ)

    def write(self, text: str, name: str = ".fedmsg.d/base.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def test_defaults(self) -> None:
        """
        Where nothing is said, the bus is where the daemon puts it if nobody says otherwise.
        """
        place, bus = self.find(), Bus()
        self.assertEqual(
            [place.relay_ingest, place.relay_inbound, place.relay_outbound, place.topic_prefix, place.environment],
            [bus.relay_ingest, bus.relay_inbound, bus.relay_outbound, bus.topic_prefix, bus.environment],
        )
        self.assertEqual((place.found, place.passed_over), ((), ()))

    def test_configuration(self) -> None:
        """
        The daemon's configuration says all, whether it is named, in a variable, or in the usual place; then no fedmsg.d is asked.
        """
        file = self.write('[bus]\nrelay_ingest = ["tcp://127.0.0.1:9"]\ntopic_prefix = "org.example"\n', "relay.toml")
        self.write('config = {"topic_prefix": "org.other", "relay_ingest": "tcp://127.0.0.1:7"}')
        for said in ({"config": file}, {"environ": {"SOCIALRELAY_CONFIG": str(file)}}, {"usual": file}):
            place = self.find(**said)
            self.assertEqual((place.relay_ingest, place.topic_prefix), (("tcp://127.0.0.1:9",), "org.example"))
            self.assertEqual((place.found, place.passed_over), ((str(file),), ()))

    def test_variables(self) -> None:
        """
        The daemon's own variables count as they do for the daemon; another that begins so is none of its options.
        """
        place = self.find(environ={"SOCIALRELAY_BUS__ENVIRONMENT": "prod", "SOCIALRELAY_INGEST": "tcp://127.0.0.1:9"})
        self.assertEqual((place.environment, place.relay_ingest), ("prod", ("tcp://127.0.0.1:9",)))

    def test_addresses(self) -> None:
        """
        An address that is given comes before that of the variable, and that before the configuration's; they replace only relay_ingest.
        """
        file = self.write('[bus]\nrelay_ingest = ["tcp://127.0.0.1:9"]\nenvironment = "stg"\n', "relay.toml")
        environ = {"SOCIALRELAY_INGEST": "tcp://127.0.0.1:8"}
        for said, expected in (({"address": "ipc:///run/bus"}, "ipc:///run/bus"), ({}, "tcp://127.0.0.1:8")):
            place = self.find(config=file, environ=environ, **said)
            self.assertEqual((place.relay_ingest, place.environment), ((expected,), "stg"))

    def test_unreadable(self) -> None:
        """
        A configuration that cannot be read or is wrong is passed over, told, and a fedmsg.d is asked.
        """
        self.write('config = {"topic_prefix": "org.example"}')
        wrong = self.write("[bus\n", "relay.toml")
        for file, reason in ((self.folder / "none.toml", "cannot be read: No such file or directory"), (wrong, "is not TOML")):
            place = self.find(config=file)
            self.assertEqual(place.topic_prefix, "org.example")
            [told] = place.passed_over
            self.assertIn(f"{file}: {reason}", told)

    def test_folders(self) -> None:
        """
        Of several files of a fedmsg.d the later ones win, name by name; one that is no Python is passed over, and told.
        """
        (self.folder / "venv" / "etc" / "fedmsg.d").mkdir(parents=True)
        first = self.write('config = {"topic_prefix": "org.first", "environment": "stg"}')
        second = self.write('config = {"topic_prefix": "org.second"}', "venv/etc/fedmsg.d/relay.py")
        broken = self.write("config = {", ".fedmsg.d/broken.py")
        self.write("config = {}", ".fedmsg.d/empty.py")
        place = self.find(environ={"VIRTUAL_ENV": str(self.folder / "venv")})
        self.assertEqual((place.topic_prefix, place.environment), ("org.second", "stg"))
        self.assertEqual(place.found, (str(first), str(second)))
        self.assertEqual(place.passed_over, (f"{broken}: is no Python that can be read",))

    def test_named(self) -> None:
        """
        A fedmsg.d that is named, or a file, replaces those of the usual places and the daemon's configuration.
        """
        file = self.write('[bus]\nenvironment = "stg"\n', "relay.toml")
        named = self.write('config = {"environment": "prod"}', "mine.py")
        self.write('config = {"topic_prefix": "org.other"}')
        place = self.find(fedmsg=named, config=file)
        self.assertEqual((place.environment, place.topic_prefix, place.found), ("prod", "com.example", (str(named),)))

    def test_here(self) -> None:
        """
        A fedmsg.d in the current folder, which others may have made, is not looked at.
        """
        (self.folder / "fedmsg.d").mkdir()
        self.write('config = {"topic_prefix": "org.evil"}', "fedmsg.d/base.py")
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        self.assertEqual(self.find().topic_prefix, "com.example")

    def test_sample(self) -> None:
        """
        The sample that is shipped says all that a script and stock fedmsg want to know, with the daemon's ports.
        """
        sample = ROOT / "etc" / "fedmsg.d" / "socialrelay.py"
        run: dict[str, Any] = {}
        exec(sample.read_text(), run)
        config, place = run["config"], self.find(fedmsg=sample)
        self.assertEqual((place.topic_prefix, place.environment), (config["topic_prefix"], config["environment"]))
        self.assertEqual(place.relay_outbound, tuple(config["endpoints"]["relay_outbound"]))
        for name in ("relay_ingest", "relay_inbound", "relay_outbound"):
            self.assertEqual(getattr(place, name), getattr(Bus(), name))

    def test_reachable(self) -> None:
        """
        What listens everywhere is reached on this machine.
        """
        for address, expected in (
            ("tcp://*:4001", "tcp://127.0.0.1:4001"),
            ("tcp://0.0.0.0:4001", "tcp://127.0.0.1:4001"),
            ("tcp://[::]:4001", "tcp://[::1]:4001"),
            ("tcp://192.0.2.1:4001", "tcp://192.0.2.1:4001"),
            ("ipc:///run/bus", "ipc:///run/bus"),
        ):
            self.assertEqual(reachable(address), expected)


class FedmsgTests(SynchronousTestCase):
    def read(self, text: str | bytes) -> Any:
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_fedmsg(path)

    def test_literals(self) -> None:
        """
        Literals are read beside what is none, in braces and in dict(…); an address may stand alone or in a list.
        """
        self.assertEqual(
            self.read(
                """
                    |import socket
                    |host = socket.gethostname()
                    |config = dict(
                    |    topic_prefix="org.example",
                    |    environment=host,
                    |    endpoints={
                    |        "git.%s" % host: ["tcp://127.0.0.1:3000"],
                    |        "relay_outbound": ["tcp://127.0.0.1:4001", "ipc:///run/out"],
                    |    },
                    |    relay_inbound="tcp://127.0.0.1:2001",
                    |    **{"relay_ingest": "tcp://127.0.0.1:1"},
                    |)
                """.replace("                    |", "").strip()
            ),
            {
                "topic_prefix": "org.example",
                "relay_inbound": ("tcp://127.0.0.1:2001",),
                "relay_outbound": ("tcp://127.0.0.1:4001", "ipc:///run/out"),
            },
        )

    def test_never_run(self) -> None:
        """
        Nothing in the file is run.
        """
        trace = Path(self.mktemp())
        text = f'open({str(trace)!r}, "w")\nconfig = {{"environment": open({str(trace)!r}, "w"), "topic_prefix": "org.example"}}\n'
        self.assertEqual(self.read(text), {"topic_prefix": "org.example"})
        self.assertFalse(trace.exists())

    def test_other_types(self) -> None:
        """
        What is of another type than it should be is passed over.
        """
        text = 'config = {"topic_prefix": 7, "relay_inbound": [1], "relay_ingest": {}, "endpoints": {"relay_outbound": None}, 3: 4}\nconfig = []\n'
        self.assertEqual(self.read(text), {})

    def test_unreadable(self) -> None:
        """
        What is no Python, too deep or too large is refused.
        """
        for text in ("config = {", "config = " + "[" * 5000, b"\xff\x00", b"#" * (1024 * 1024 + 1)):
            with self.assertRaises(ValueError):
                self.read(text)

    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        """
        Whatever stands there, it is read or refused.
        """
        try:
            self.assertIsInstance(self.read(("config = " + text).encode("utf-8", "surrogatepass")), dict)
        except ValueError:
            pass

"""Tests for L{socialrelay.cli.access}."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from click.testing import CliRunner
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.cli.command import main
from socialrelay.web.admin.password import matches
from socialrelay.web.admin.places import Places, login_offer
from socialrelay.web.admin.sessions import Links
from socialrelay.web.control import SOCKET_NAME, ControlService
from tests.test_control import reactor, short_directory

PASSWORD = "correct horse battery"


class PasswordTests(SynchronousTestCase):
    def ask(self, *words: str, said: str = f"{PASSWORD}\n") -> Any:
        return CliRunner().invoke(main, ["password", *words], input=said)

    def test_line(self) -> None:
        """
        One line from standard input is the password; what is printed is a line for the configuration, which takes it.
        """
        told = self.ask()
        self.assertEqual(told.exit_code, 0, told.output)
        made = tomllib.loads(told.stdout)["password"]
        self.assertTrue(matches(made, PASSWORD))
        self.assertNotIn(PASSWORD, told.output)

    def test_json(self) -> None:
        """
        As JSON it is the hash alone.
        """
        self.assertTrue(matches(json.loads(self.ask("--json").stdout)["password"], PASSWORD))

    def test_blanks(self) -> None:
        """
        Blanks belong to the password, the end of the line does not.
        """
        made = tomllib.loads(self.ask(said="  twelve blanks \r\n").stdout)["password"]
        self.assertTrue(matches(made, "  twelve blanks "))

    def test_short(self) -> None:
        """
        A short one is refused, and so is none.
        """
        for said in ("short\n", ""):
            told = self.ask(said=said)
            self.assertEqual((told.exit_code, told.stdout), (1, ""))
            self.assertIn("at least 10 characters", told.stderr)


class LoginTests(TestCase):
    """Over a control socket that offers a link."""

    def setUp(self) -> None:
        self.path = short_directory(self) / SOCKET_NAME
        self.links = Links(lambda: 0.0)

    async def ask(self, places: Places, *words: str) -> str:
        login = login_offer(self.links, places, "relay.example")
        service = ControlService(reactor, self.path, {}, {"login": login}, lambda uid: succeed("ada"))
        service.startService()
        try:
            told = await deferToThread(CliRunner().invoke, main, ["--socket", str(self.path), "login", *words])
        finally:
            await service.stopService()
        self.assertEqual(told.exit_code, 0, told.output)
        return str(told.stdout)

    async def test_address(self) -> None:
        """
        Where the operators' pages have an address, the link is whole; it logs in whoever asked for it.
        """
        told = await self.ask(Places(("http://127.0.0.1:8081",), ("/run/admin.sock",)))
        self.assertIn("http://127.0.0.1:8081/admin/login?code=", told)
        self.assertIn("within 5 minutes", told)
        self.assertEqual(self.links.use(told.partition("code=")[2].strip()), "ada")

    async def test_socket(self) -> None:
        """
        Where there is only a socket, it is told how to get there.
        """
        told = await self.ask(Places((), ("/run/socialrelay/admin.sock",)))
        self.assertIn("ssh -N -L 8081:/run/socialrelay/admin.sock relay.example", told)
        self.assertIn("http://127.0.0.1:8081/admin/login?code=", told)

    async def test_unknown(self) -> None:
        """
        Where nothing is known of the place, the path is told.
        """
        self.assertIn("    /admin/login?code=", await self.ask(Places()))

    async def test_json(self) -> None:
        """
        As JSON all of it is there.
        """
        answer = json.loads(await self.ask(Places(), "--json"))
        self.assertEqual((answer["url"], answer["socket"], answer["host"], answer["seconds"]), (None, None, "relay.example", 300.0))

"""The operators' site of the real relay: where it is, and that it is nowhere else."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from tests.daemon import Daemon
from tests.servers import database

reactor: Any = installed_reactor


class OperatorsSiteTests(TestCase):
    """A relay with its site at a socket."""

    timeout = 120

    async def relay(self, configuration: str = "") -> Daemon:
        daemon = Daemon(reactor)
        servers = f'[postgres]\ndsn = "{database()}"\n[redis]\nurl = "off"\n'
        daemon.configuration = f"{configuration.format(folder=daemon.folder)}\n{servers}"
        self.addCleanup(daemon.remove)
        await daemon.start()
        return daemon

    async def test_at_its_socket(self) -> None:
        """
        Told of no place, it is at a socket beside the control socket; a link that the command prints leads in, and an act is done there as the
        command does it. The public site has nothing of it. When the relay stops, the socket is gone.
        """
        daemon = await self.relay()
        socket = (daemon.state / "run").resolve() / "admin.sock"
        self.assertEqual(socket.stat().st_mode & 0o777, 0o660)
        self.assertIn(f"The operators' site is at {socket}", daemon.log)
        for path, code in {"/admin/": 303, "/metrics": 200, "/health/ready": 200}.items():
            self.assertEqual((await daemon.ask(socket, "GET", path)).code, code, path)
        for path in ("/admin/", "/admin/login", "/metrics"):
            self.assertEqual((await daemon.request("GET", path)).code, 404, path)
        self.assertNotIn(b"detail", (await daemon.request("GET", "/health/ready")).body)

        link = (await daemon.command("login", "--json")).json
        self.assertEqual(link["socket"], str(socket))
        entered = await daemon.ask(socket, "POST", "/admin/login", data={"code": link["path"].partition("=")[2]})
        [cookie] = entered.headers.getRawHeaders("Set-Cookie")
        headers = {"Cookie": cookie.partition(";")[0], "X-Forwarded-For": "192.0.2.7"}
        page = await daemon.ask(socket, "GET", "/admin/", headers=headers)
        token = re.search(rb'name="csrf" value="([^"]+)"', page.body)
        assert token is not None
        fields = {"csrf": token[1].decode(), "subject": "bad.example", "sure": "yes"}
        done = await daemon.ask(socket, "POST", "/admin/act/block", data=fields, headers=headers)
        self.assertEqual(done.code, 303)
        self.assertRegex((await daemon.command("rules")).out, r"bad\.example .*\(link\) from 192\.0\.2\.0/24")
        await daemon.terminate()
        self.assertFalse(socket.exists())

    async def test_elsewhere(self) -> None:
        """
        With C{admin_listen} it is there, and at no socket of its own.
        """
        daemon = await self.relay('admin_listen = ["unix:{folder}/site"]')
        self.assertEqual((await daemon.ask(daemon.folder / "site", "GET", "/health/live")).code, 200)
        self.assertFalse((daemon.state / "run" / "admin.sock").exists())
        await daemon.terminate()

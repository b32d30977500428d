"""The real daemon with a canary for each secret: what it and its commands write holds none of them."""

from __future__ import annotations

import json
import signal
from urllib.parse import quote

from tests.admin import HASH, PASSWORD
from tests.end_to_end import OwnRelay
from tests.fuzzing import counts
from tests.servers import database
from tests.test_secrets import CANARY
from tests.test_secrets_told import MARK

CONFIGURATION = f"""
host = "relay.example"
log_level = "debug"
log_format = "FORMAT"
admin = {{ password = "{HASH}" }}
polling = {{ lists = [] }}
postgres = {{ dsn = "DSN password={CANARY}-dsn" }}
redis = {{ url = "redis://relay:{CANARY}-url@127.0.0.1:1" }}
[bus]
enabled = true
relay_inbound = ["ipc://FOLDER/in"]
relay_outbound = ["ipc://FOLDER/out"]
relay_ingest = ["ipc://FOLDER/ask"]
tokens = [{{ name = "site", token = "{CANARY}-token-0123456789" }}]
"""
COMMANDS = ("status", "health", "doctor", "nodes", "queue", "rules", "rejected", "bus", "reload", "export FILE")


class SecretsTests(OwnRelay):
    timeout = 120.0

    async def prepare(self) -> None:
        self.network, self.dsn = self.relay.configuration, database()
        self.configure("text")

    def configure(self, form: str) -> None:
        """@param form: of the log."""
        mine = CONFIGURATION.replace("FORMAT", form).replace("FOLDER", str(self.relay.folder)).replace("DSN", self.dsn)
        self.relay.configuration = mine + self.network
        (self.relay.folder / "relay.toml").write_text(self.relay.configuration)

    async def test_nothing(self) -> None:
        """
        After logins, acts, posts and messages, right and wrong, a doctor, an export, and a reload of a configuration that is wrong, no secret is
        in the log, as text or as JSON, nor in what was answered or printed; and each line of the log is one of printable characters.
        """
        told: dict[str, str] = {}
        secrets = {CANARY, PASSWORD, HASH, *await self.use("text", told)}
        await self.relay.terminate()
        self.configure("json")
        await self.relay.start()
        secrets |= await self.use("json", told)
        secrets |= set((self.relay.state / "identity.pem").read_text().splitlines()[1:-1])
        await self.relay.terminate()
        told["log"] = self.relay.log
        for name, text in told.items():
            for secret in secrets:
                self.assertNotIn(secret, text, name)
        counts.note(commands=len(COMMANDS))
        for line in self.relay.log.split("\n"):
            self.assertTrue(line.isprintable(), repr(line))
            self.assertFalse(line.startswith("m4rk"), line)

    async def use(self, form: str, told: dict[str, str]) -> set[str]:
        """Use it, rightly and wrongly; the secrets that came of it."""
        socket = (self.relay.state / "run").resolve() / "admin.sock"
        for given in (f"{CANARY}-guess", PASSWORD):
            entered = await self.relay.ask(socket, "POST", "/admin/login", data={"password": given})
        [cookie] = entered.headers.getRawHeaders("Set-Cookie")
        session = cookie.partition(";")[0]
        link = (await self.relay.act("login"))["path"].partition("code=")[2]
        for path in ("/admin/", "/admin/bus", "/admin/events", "/metrics", "/health/ready", f"/{quote(MARK)}"):
            answer = await self.relay.ask(socket, "GET", path, headers={"Cookie": session})
            told[f"{form} {path}"] = repr(answer.body)
        for path in ("/", "/health/ready", "/nodes", f"/check?node={quote(MARK)}", f"/{quote(MARK)}"):
            told[f"{form} public {path}"] = repr((await self.relay.request("GET", path)).body)
        node = self.node()
        await self.subscribe(node)
        alice = node.author("alice")
        for body in (alice.post("A #cat"), MARK.encode(), alice.post("x").replace(b"key_id", MARK.encode()), b"\xff\x00"):
            await self.relay.post(body)
        for token in (f"{CANARY}-token-0123456789", f"{CANARY}-wrong"):
            body = json.dumps({"topic": MARK, "msg": {}}).encode()
            headers = {"Authorization": f"Bearer {token}"}
            answer = await self.relay.ask(socket, "POST", "/bus/v1/messages", data=body, headers=headers)
            told[f"{form} bus {token[-5:]}"] = repr(answer.body)
        file = self.relay.folder / f"{form}.export"
        for command in COMMANDS:
            words = command.replace("FILE", str(file)).split()
            said = await self.relay.command("--config", str(self.relay.folder / "relay.toml"), *words)
            told[f"{form} {command}"] = said.out + said.err
            self.assertNotIn("Traceback", said.err, command)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        assert self.relay.process is not None
        (self.relay.folder / "relay.toml").write_text(f'postgres = "password={CANARY}"')
        self.relay.process.send_signal(signal.SIGHUP)
        await self.relay.logs("which is not shown", 1 if form == "text" else 2)
        return {session.partition("=")[2], link}

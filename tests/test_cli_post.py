"""Tests for L{socialrelay.cli.posting} and L{socialrelay.operators.posting}: a post from a file, over a real control socket."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import Result
from twisted.logger import capturedLogs

from socialrelay.digest import digest_of
from socialrelay.operators.terms import ActError
from socialrelay.web.receive import AWAY, BROKEN, FULL, STOPPING, WAITS, Answer
from tests.operators import MAX_BODY
from tests.test_cli import CommandCase

ANY = bytes(range(256)) + b"\0<xml/>"


class PostTests(CommandCase):
    """C{socialrelay post}."""

    def file(self, body: bytes = ANY) -> str:
        path = Path(self.mktemp())
        path.write_bytes(body)
        return str(path)

    async def refused(self, answer: Answer, *more: str) -> Result:
        self.relay.answers = answer
        result = await self.say("post", self.file(), *more)
        self.assertEqual(result.exit_code, 1, result.output)
        return result

    async def test_file(self) -> None:
        """
        What is in the file is handed in, byte for byte, and its short name is told.
        """
        self.assertIn(digest_of(ANY), await self.said("post", self.file()))
        self.assertEqual(self.relay.handed_in, [ANY])

    async def test_standard_input(self) -> None:
        """
        A dash is standard input.
        """
        result = await self.say("post", "-", input="<xml/>")
        self.assertEqual((result.exit_code, self.relay.handed_in), (0, [b"<xml/>"]))

    async def test_json(self) -> None:
        """
        The answer as JSON has HTTP's status, and how the post is called in the log.
        """
        answer = await self.json("post", self.file())
        self.assertEqual((answer["status"], answer["post"]), (202, digest_of(ANY)))

    async def test_not_an_envelope(self) -> None:
        """
        What HTTP answers with 400 is refused for the same reason.
        """
        result = await self.refused(Answer(400, "not-xml"))
        self.assertIn("not-xml", result.stderr)
        self.assertEqual(result.stdout, "")
        result = await self.refused(Answer(400, "not-xml"), "--json")
        self.assertEqual(json.loads(result.stdout)["error"]["code"], "not-xml")

    async def test_empty(self) -> None:
        """
        An empty file is handed in as well: the relay says what it is.
        """
        await self.say("post", self.file(b""))
        self.assertEqual(self.relay.handed_in, [b""])

    async def test_too_long(self) -> None:
        """
        What is longer than a body may be is handed to nobody; a body that is just as long as it may be is.
        """
        await self.said("post", self.file(b"x" * MAX_BODY))
        result = await self.say("post", self.file(b"x" * (MAX_BODY + 1)), "--json")
        self.assertEqual((result.exit_code, json.loads(result.stdout)["error"]["code"]), (1, "too-large"))
        self.assertEqual(len(self.relay.handed_in), 1)

    async def test_later(self) -> None:
        """
        What HTTP answers with 503 is refused in the same words.
        """
        for answer in (FULL, WAITS, AWAY, STOPPING):
            result = await self.refused(answer, "--json")
            self.assertEqual(json.loads(result.stdout)["error"], {"code": "unavailable", "message": answer.text})

    async def test_broken(self) -> None:
        """
        An error of ours is one for the command, too.
        """
        result = await self.refused(BROKEN, "--json")
        self.assertEqual(json.loads(result.stdout)["error"]["code"], "internal")

    async def test_no_file(self) -> None:
        """
        A file that is not there is wrong use.
        """
        result = await self.say("post", "/nonexistent")
        self.assertEqual((result.exit_code, self.relay.handed_in), (2, []))
        self.assertIn("/nonexistent", result.stderr)

    async def test_no_daemon(self) -> None:
        """
        Where no daemon runs the exit code says so.
        """
        self.path = self.path.with_name("none.sock")
        self.assertEqual((await self.say("post", self.file())).exit_code, 3)

    async def test_not_base64(self) -> None:
        """
        Another client than the command is told what is wrong with what it sends.
        """
        for text in ("PHhtbC8", "PHht bC8+", "é", "PHhtbC8+\0"):
            with self.assertRaises(ActError) as caught:
                await self.relay.operations.posting.post(text, who="ada")
            self.assertEqual(caught.exception.code, "bad-request", text)
        self.assertEqual(self.relay.handed_in, [])

    async def test_log(self) -> None:
        """
        Who brought what is logged, and nothing of its contents.
        """
        with capturedLogs() as logs:
            await self.said("post", self.file(b"secret"))
        (event,) = [event for event in logs if "post" in event and "status" in event]
        self.assertIn("ada", event["who"])
        self.assertEqual((event["post"], event["status"]), (digest_of(b"secret"), 202))
        self.assertNotIn("secret", str(event))

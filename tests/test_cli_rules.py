"""The commands about rules, against a real control socket."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from socialrelay.boundaries import Rule
from socialrelay.cli import output as cli_output
from socialrelay.cli import rule_output
from socialrelay.config import Moderation, RuleList
from tests.operators import NOW
from tests.test_cli import CommandCase

LIST = "domain,severity,public_comment\nspam.example,suspend,sends spam\nloud.example,silence,\nev*l.example,suspend,\nnonsense,suspend,\n"
URL = "https://lists.example/blocks.csv"


class RuleCommandTests(CommandCase):
    def file(self, text: str | bytes = LIST) -> str:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    async def test_acts(self) -> None:
        """
        Each act prints the sentence that says what is so now.
        """
        for words, expected in [
            (["block", "#Spam", "--until", "2d"], "No post with #spam is relayed any more, until 2026-11-23 21:30 UTC"),
            (["limit", "pod.example", "--reason", "loud"], "What comes from pod.example and its subdomains is kept and not relayed"),
            (["unblock", "#spam"], "The block rule for #spam is removed."),
            (["allow", "eve@pod.example", "--until", "2027-01-31T12:00Z"], "is on the allow list, until 2027-01-31 12:00 UTC."),
            (["forward", "archive.example", "--until", "4w"], "archive.example is sent every post, from now on, until 2026-12-19"),
            (
                ["rules", "import", "friends", self.file()],
                "The list friends is in force: 2 new, 0 removed, 0 unchanged; 1 obfuscated; 1 unusable (nonsense).",
            ),
            (["rules", "remove", "friends"], "The list friends is removed, with 2 rules."),
            (["rules", "fetch"], "No list of rules is configured"),
        ]:
            self.assertIn(expected, " ".join((await self.said(*words)).split()), words)

    async def test_show(self) -> None:
        """
        Rules are shown with their lists, and those that are looked for without them; whatever is no command's name is looked for.
        """
        self.assertIn("There are no rules", await self.said("rules"))
        await self.said("rules", "import", "friends", self.file())
        await self.said("block", "eve@pod.example", "--until", "1d", "--reason", "rude")
        said = await self.said("rules")
        for part in ("eve@pod.example", "rude", "2026-11-22 21:30", "sends spam", "friends", "taken over"):
            self.assertIn(part, said)
        for words, found in (
            (["spam"], {"spam.example"}),
            (["--action", "limit"], {"loud.example"}),
            (["--list", "-"], {"eve@pod.example"}),
            (["show", "--list", "friends", "loud"], {"loud.example"}),
            (["--limit", "1", "--offset", "1"], {"spam.example"}),
        ):
            answer = await self.json("rules", *words)
            self.assertEqual({rule["subject"] for rule in answer["rules"]}, found, words)
            self.assertNotIn("taken over", await self.said("rules", *words))
        self.assertIn("Shown: 1 of 3 rules", await self.said("rules", "--limit", "1"))
        self.assertEqual(await self.said("rules", "nobody"), "No rule matches.\n")

    async def test_import_again(self) -> None:
        """
        A list comes from a file, standard input or the web; to import it again changes nothing, and a dry run never does.
        """
        await self.said("rules", "import", "friends", self.file())
        self.relay.web.pages[URL] = LIST.encode()
        for source in (self.file("\ufeff" + LIST), URL):
            self.assertIn("0 new, 0 removed, 2 unchanged", await self.said("rules", "import", "friends", source))
        result = await self.say(
            "rules", "import", "friends", "-", "--action", "limit", "--dry-run", input="a.example # why\n# comment\n#tag\n"
        )
        self.assertIn("Nothing was changed. The list would come to: 2 new, 2 removed, 0 unchanged.", " ".join(result.stdout.split()))
        self.assertEqual(self.relay.tables.rule_lists["friends"].source, URL)

    async def test_bad_lists(self) -> None:
        """
        What cannot be read or taken over is said, and the exit code is 1.
        """
        for source, expected in (
            ("/nowhere/list.csv", "/nowhere/list.csv cannot be read: No such file or directory."),
            (self.file(b"\xff\xfe"), "not UTF-8"),
            (self.file(" \n"), "is empty"),
            (self.file(b"x" * (4 * 1024 * 1024 + 1)), "is too long"),
            (self.file("<html>"), "it is a web page"),
            (URL, "could not be fetched: HTTP 404"),
            ("http://lists.example/", "A list is fetched from https://"),
        ):
            result = await self.say("rules", "import", "friends", source)
            self.assertEqual((result.exit_code, result.stdout), (1, ""), source)
            self.assertIn(expected, " ".join(result.stderr.split()))

    async def test_large_list(self) -> None:
        """
        A list of five thousand hosts with reasons goes through the socket.
        """
        text = "".join(f"pod{number}.example # a reason that is as long as reasons are, ü\n" for number in range(5000))
        self.assertIn("5000 new", await self.said("rules", "import", "big", self.file(text)))

    async def test_export(self) -> None:
        """
        What is exported is the document and nothing else; what is not in it is said beside it.
        """
        await self.said("rules", "import", "friends", self.file())
        await self.said("block", "#spam")
        result = await self.say("rules", "export")
        self.assertEqual(
            result.stdout.splitlines()[1:], ["spam.example,suspend,false,false,sends spam,false", "loud.example,silence,false,false,,false"]
        )
        self.assertIn("Left out, because this format has no room for them: 1.", " ".join(result.stderr.split()))
        self.assertEqual(await self.said("rules", "export", "--format", "plain"), "#spam\nspam.example # sends spam\n")
        self.assertEqual(
            await self.said("rules", "export", "--format", "plain", "--list", "friends", "--action", "limit"), "loud.example\n"
        )
        self.assertEqual((await self.say("rules", "export", "--list", "nobody")).exit_code, 1)

    async def test_fetch(self) -> None:
        """
        What came of each list is told; if one was not taken over, the exit code is 1.
        """
        self.relay.rule_lists.adjust(Moderation((RuleList("one", URL),)))
        result = await self.say("rules", "fetch")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("not taken over, its rules stay: HTTP 404", " ".join(result.stdout.split()))
        self.relay.web.pages[URL] = b"a.example\nb.example\nc.example\n"
        self.assertIn("3 new", await self.said("rules", "fetch"))
        self.relay.web.pages[URL] = b"a.example\n"
        self.assertEqual((await self.say("rules", "fetch", "one")).exit_code, 1)
        self.assertIn("2 removed", await self.said("rules", "fetch", "one", "--anyway"))
        self.assertEqual((await self.say("rules", "fetch", "two")).exit_code, 1)

    async def test_node(self) -> None:
        """
        Of a node each rule about it is told, with its list and its end.
        """
        await self.said("rules", "import", "friends", self.file())
        self.relay.tables.rules["limit", "a.spam.example", ""] = Rule(
            "limit", "a.spam.example", "", NOW, "ada", ends_at=NOW + timedelta(days=1)
        )
        said = " ".join((await self.said("node", "a.spam.example")).split())
        self.assertIn("Rule: limit a.spam.example, by ada, 2026-11-21 21:30 UTC", said)
        self.assertIn("Rule: block spam.example (sends spam), of the list friends, by ada", said)
        self.assertIn(", until 2026-11-22 21:30", said)

    async def test_wrong_use(self) -> None:
        """
        Wrong use ends with exit code 2.
        """
        for words in (["limit"], ["rules", "import", "friends"], ["rules", "--action", "ban"], ["rules", "export", "--format", "xml"]):
            self.assertEqual((await self.say(*words)).exit_code, 2, words)

    def test_ended(self) -> None:
        """
        That a rule has ended is said.
        """
        plain = {
            "action": "block",
            "subject": "x.example",
            "list": "",
            "reason": "",
            "created_by": "ada",
            "created_at": "2026-11-20T12:00:00+00:00",
        }
        rule = {**plain, "ends_at": "2026-11-21T12:00:00+00:00", "ended": True}
        self.assertEqual(cli_output.until(rule, NOW), "ended 2026-11-21 12:00 (10 h ago)")
        self.assertIn("ended 2026-11-21 12:00", rule_output.rules({"rules": [rule], "total": 1, "lists": [], "subscriptions": []}, NOW))

"""The rules keep their contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from socialrelay.boundaries import Changes, InForce, ListedRule, Rule, RuleSet
from tests.storing import NOW, InMemory, InPostgres, ago

BLOCK = Rule("block", "pod.example", "spam", NOW, "root")
SPAM = ListedRule("block", "spam.example", "sends spam, 'much' of it \\ \" \n")
LOUD = ListedRule("limit", "loud.example")
TAKEN = RuleSet("friends", "https://friends.example/list.csv", "block", NOW, "ada", NOW)


class RulesContract:
    async def test_one_by_one(self):
        """
        Rules are put, replaced and removed; one subject may have several, and one of an action in each list.
        """
        rules = (await self.storage()).rules
        allow = evolve(BLOCK, action="allow", reason="")
        listed = evolve(BLOCK, list="friends", reason="also there")
        for rule in (BLOCK, allow, listed, evolve(BLOCK, reason="much spam", ends_at=NOW)):
            await rules.put(rule)
        self.assertEqual(await rules.about(["pod.example"]), [allow, evolve(BLOCK, reason="much spam", ends_at=NOW), listed])
        self.assertEqual([await rules.remove("block", "pod.example") for _ in range(2)], [True, False])
        self.assertEqual(await rules.about(["pod.example"]), [allow, listed])
        self.assertEqual([await rules.remove("block", "pod.example", name) for name in ("others", "friends")], [False, True])

    async def test_about(self):
        """
        Rules are found by the exact subject, and those of a host's authors with it.
        """
        rules = (await self.storage()).rules
        subjects = (
            "pod.example",
            "a.pod.example",
            "eve@pod.example:8443",
            "eve@a.pod.example",
            "#pod.example",
            "#x@pod.example",
            "example",
        )
        for subject in subjects:
            await rules.put(evolve(BLOCK, subject=subject))
        self.assertEqual([rule.subject for rule in await rules.about(["pod.example", "example"])], ["example", "pod.example"])
        found = await rules.about(["pod.example"], authors_of="pod.example")
        self.assertEqual([rule.subject for rule in found], ["eve@pod.example:8443", "pod.example"])
        self.assertEqual(await rules.about([]), [])

    async def test_in_force(self):
        """
        What counts is told apart by hand and of lists; what has ended does not count, and it is known what ends next.
        """
        rules = (await self.storage()).rules
        self.assertEqual(await rules.in_force(NOW), InForce({}, {}))
        for rule in (
            BLOCK,
            evolve(BLOCK, subject="#dögs"),
            evolve(BLOCK, subject="late.example", ends_at=NOW + timedelta(days=2)),
            evolve(BLOCK, subject="next.example", action="limit", ends_at=NOW + timedelta(days=1)),
            evolve(BLOCK, subject="ended.example", ends_at=NOW),
            evolve(BLOCK, list="friends"),
        ):
            await rules.put(rule)
        by_hand = {"block": frozenset({"pod.example", "#dögs", "late.example"}), "limit": frozenset({"next.example"})}
        expected = InForce(by_hand, {"block": frozenset({"pod.example"})}, NOW + timedelta(days=1))
        self.assertEqual(await rules.in_force(NOW), expected)
        self.assertEqual((await rules.in_force(ago(seconds=1))).next_end, NOW)

    async def test_page(self):
        """
        Rules are shown a page at a time, by action, list, and a part of their subject or reason in any case; wildcards mean themselves.
        """
        rules = (await self.storage()).rules
        for number in range(5):
            await rules.put(Rule("block", f"pod{number}.example", "", NOW, "root"))
        await rules.put(Rule("limit", "loud.example", "100% Advertising_", NOW, "root"))
        await rules.put(Rule("limit", "#cats", "", NOW, "root", "friends"))

        async def page(**asked):
            found, total = await rules.page(**asked)
            return [rule.subject for rule in found], total

        self.assertEqual(await page(limit=2), (["pod0.example", "pod1.example"], 7))
        self.assertEqual(await page(offset=4, limit=9), (["pod4.example", "#cats", "loud.example"], 7))
        self.assertEqual(await page(action="limit", name=""), (["loud.example"], 1))
        self.assertEqual(await page(name="friends"), (["#cats"], 1))
        self.assertEqual(await page(text="ADVERT"), (["loud.example"], 1))
        self.assertEqual([(await page(text=part))[1] for part in ("POD3", "%", "_", "pod_", "nobody")], [1, 1, 1, 0, 0])

    async def test_replace(self):
        """
        A list holds exactly what was last taken over; what stays keeps its time, and other lists stay as they are.
        """
        rules = (await self.storage()).rules
        await rules.put(evolve(BLOCK, subject="spam.example"))
        await rules.put(evolve(BLOCK, subject="spam.example", list="others"))
        self.assertEqual(await rules.compare("friends", [SPAM, LOUD]), Changes(2, 0, 0, 0))
        self.assertEqual(await rules.sets(), [])
        self.assertEqual(await rules.replace(TAKEN, [SPAM, LOUD]), Changes(2, 0, 0, 0))
        later = evolve(TAKEN, fetched_at=NOW + timedelta(days=1), fetched_by="bob", tried_at=NOW + timedelta(days=1))
        self.assertEqual(await rules.compare("friends", [SPAM, LOUD]), Changes(0, 0, 0, 2))
        self.assertEqual(await rules.replace(later, [SPAM, LOUD]), Changes(0, 0, 0, 2))
        new = [evolve(SPAM, reason="worse"), ListedRule("limit", "new.example")]
        self.assertEqual(await rules.compare("friends", new), Changes(1, 1, 1, 0))
        self.assertEqual(await rules.replace(later, new), Changes(1, 1, 1, 0))
        found, _ = await rules.page(name="friends")
        self.assertEqual(
            [(each.subject, each.reason, each.created_by) for each in found], [("spam.example", "worse", "ada"), ("new.example", "", "bob")]
        )
        self.assertEqual((await rules.page())[1], 4)
        self.assertEqual(await rules.sets(), [evolve(later, count=2)])

    async def test_reason_comes_back(self):
        """
        What is taken over comes back as it was, whatever is in it.
        """
        rules = (await self.storage()).rules
        await rules.replace(TAKEN, [SPAM, ListedRule("block", "#straße", "ß")])
        found, _ = await rules.page(name="friends")
        self.assertEqual([(each.subject, each.reason) for each in found], [("#straße", "ß"), ("spam.example", SPAM.reason)])

    async def test_empty(self):
        """
        A list may come to hold nothing, and is still a list.
        """
        rules = (await self.storage()).rules
        await rules.replace(TAKEN, [SPAM])
        self.assertEqual(await rules.replace(TAKEN, []), Changes(0, 1, 0, 0))
        self.assertEqual(await rules.sets(), [TAKEN])

    async def test_failed(self):
        """
        When a list could not be taken over, its rules and when that was last done stay; it is remembered why not.
        """
        rules = (await self.storage()).rules
        tried = evolve(TAKEN, fetched_at=None, fetched_by="", tried_at=NOW + timedelta(days=1), error="HTTP 500")
        await rules.failed(tried)
        self.assertEqual(await rules.sets(), [tried])
        await rules.replace(TAKEN, [SPAM])
        self.assertEqual(await rules.sets(), [evolve(TAKEN, count=1)])
        await rules.failed(tried)
        self.assertEqual(await rules.sets(), [evolve(TAKEN, tried_at=tried.tried_at, error="HTTP 500", count=1)])

    async def test_drop(self):
        """
        A list goes with all its rules, and nothing else goes with it; what was made by hand is no list.
        """
        rules = (await self.storage()).rules
        await rules.put(BLOCK)
        await rules.replace(TAKEN, [SPAM, LOUD])
        await rules.replace(evolve(TAKEN, name="others"), [SPAM])
        self.assertEqual([await rules.drop(name) for name in ("friends", "friends", "", "nobody")], [2, None, None, None])
        self.assertEqual((await rules.page())[1], 2)
        self.assertEqual([each.name for each in await rules.sets()], ["others"])

    async def test_forget(self):
        """
        Rules that ended long ago are forgotten.
        """
        rules = (await self.storage()).rules
        for subject, ends_at in (("a.example", ago(days=9)), ("b.example", ago(days=1)), ("c.example", None)):
            await rules.put(evolve(BLOCK, subject=subject, ends_at=ends_at))
        self.assertEqual(await rules.forget(ago(days=7)), 1)
        self.assertEqual((await rules.page())[1], 2)


class MemoryRulesTests(RulesContract, InMemory):
    """In memory."""


class PostgresRulesTests(RulesContract, InPostgres):
    """In PostgreSQL."""

"""How rules are named, when they end, what lists say, and how much is too much in an hour."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import ListedRule, Rule
from socialrelay.config import Policy
from socialrelay.diaspora.hashtags import is_tag, match_key
from socialrelay.moderation.ends import BadEnd, end_of
from socialrelay.moderation.formats import (
    MAX_ENTRIES,
    MAX_LIST,
    BadList,
    Listing,
    csv_header,
    csv_lines,
    plain_lines,
    read_rules,
    reason_line,
)
from socialrelay.moderation.hourly import HourlyLimits
from socialrelay.moderation.subjects import BadSubject, covering, is_handle, is_host, rule_subject

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n"


def tag_key(tag: str) -> str:
    return match_key(tag) if is_tag(tag) else ""


def read(text: str | bytes, action: str = "block") -> Listing:
    return read_rules(text if isinstance(text, bytes) else text.encode(), action=action, tag_key=tag_key, own_host="relay.example")


class SubjectTests(SynchronousTestCase):
    def test_understood(self) -> None:
        """Hosts, handles and tags are written as they are compared."""
        for text, subject in (
            (" Bücher.Example. ", "xn--bcher-kva.example"),
            ("@Eve@Pod.Example:8443", "eve@pod.example:8443"),
            ("eve@bücher.example", "eve@xn--bcher-kva.example"),
            ("#Straße", "#strasse"),
            ("#<3", "#<3"),
        ):
            self.assertEqual(rule_subject(text, tag_key), subject)

    def test_refused(self) -> None:
        """What is none of these is refused, with a reason."""
        for text in (
            "",
            "localhost",
            "https://pod.example/",
            "192.0.2.1",
            "@pod.example",
            "a b@pod.example",
            "eve@pod.example:x",
            "#",
            "#a b",
        ):
            with self.assertRaisesRegex(BadSubject, r"\w.*\."):
                rule_subject(text, tag_key)

    def test_covering(self) -> None:
        """A rule holds for what is below its host, and for a host's authors."""
        self.assertEqual(covering("a.pod.example"), ("a.pod.example", "pod.example", "example"))
        self.assertEqual(covering("eve@pod.example:8443"), ("eve@pod.example:8443", "pod.example", "example"))
        self.assertEqual(covering("#cats"), ("#cats",))
        self.assertEqual(
            [is_host("#a"), is_host("a@b.example"), is_host("b.example"), is_handle("a@b.example")], [False, False, True, True]
        )


class EndTests(SynchronousTestCase):
    def test_understood(self) -> None:
        """A rule ends after a length of time, or at a time; without a zone in UTC."""
        for text, end in (
            ("90m", NOW + timedelta(minutes=90)),
            ("12h", NOW + timedelta(hours=12)),
            (" 7d ", NOW + timedelta(days=7)),
            ("4w", NOW + timedelta(weeks=4)),
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
            ("2026-03-02T12:00Z", datetime(2026, 3, 2, 12, tzinfo=UTC)),
            ("2026-03-02 12:00:30+02:00", datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)),
        ):
            self.assertEqual(end_of(text, NOW), end, text)

    def test_refused(self) -> None:
        """What is no time, no such time, or not in the future, is refused, with a reason."""
        for text in ("", "soon", "7", "-7d", "7 d", "0d", "99999w99", "2026-02-30", "2026-13-01T00:00Z", "2026-03-01T12:00Z", "2025-01-01"):
            with self.assertRaisesRegex(BadEnd, r"\w.*\."):
                end_of(text, NOW)

    @given(st.text(max_size=40))
    @example("99999w")
    def test_any_text(self, text: str) -> None:
        """Any text is an end in the future, or refused."""
        try:
            self.assertGreater(end_of(text, NOW), NOW)
        except BadEnd:
            pass


class MastodonTests(SynchronousTestCase):
    """Mastodon's CSV."""

    def test_severities(self) -> None:
        """Suspend blocks, silence limits, noop does nothing; what says nothing has the list's action."""
        found = read(
            HEADER
            + 'Spam.Example,suspend,true,true,"sends, well, spam",false\nloud.example,silence,,,,\nx.example,noop,,,,\ny.example,,,,,\n',
            "limit",
        )
        self.assertEqual(
            found.entries,
            (
                ListedRule("block", "spam.example", "sends, well, spam"),
                ListedRule("limit", "loud.example"),
                ListedRule("limit", "y.example"),
            ),
        )
        self.assertEqual(found.skipped, {"noop": 1})

    def test_variants(self) -> None:
        """Columns are found by name, in any order, with or without their signs, quoted or not; other columns are passed over."""
        for text in (
            "domain,severity,public_comment\nspam.example,suspend,why\n",
            '\ufeff"#domain","#severity","#public_comment"\r\n"spam.example","suspend","why"\r\n',
            "\n#severity,#public_comment,#domain\nsuspend,why,spam.example\n",
            "domain,reason,private_comment\nspam.example,why,secret\n",
            "Domain,Severity,Comment\n\n# a comment,,\nspam.example,Suspend,why\n",
        ):
            self.assertEqual(read(text).entries, (ListedRule("block", "spam.example", "why"),), text)
        self.assertEqual(read("#domain\nspam.example\n").entries, (ListedRule("block", "spam.example"),))

    def test_passed_over(self) -> None:
        """Obfuscated names, the relay itself, and what is no host are counted; the first of the last are named."""
        rows = [
            "ev*l.example,suspend",
            "relay.example,suspend",
            "a.relay.example,suspend",
            "x.example,maybe",
            "eve@pod.example,suspend",
            "#cats,suspend",
        ]
        found = read("domain,severity\n" + "\n".join(rows + [f"host{number},suspend" for number in range(9)]))
        self.assertEqual(found.entries, ())
        self.assertEqual(found.skipped, {"obfuscated": 1, "own": 2, "unusable": 11})
        self.assertEqual(found.unusable, ("x.example,maybe", "eve@pod.example", "host0", "host1", "host2"))

    def test_twice(self) -> None:
        """Of two entries for one host the stricter counts."""
        rows = ["a.example,silence", "a.example,suspend", "b.example,suspend", "b.example,silence"]
        found = read("domain,severity\n" + "\n".join(rows))
        self.assertEqual([(each.action, each.subject) for each in found.entries], [("block", "a.example"), ("block", "b.example")])

    def test_broken(self) -> None:
        """A quote that is never closed would swallow what follows: the list is refused, with the line."""
        with self.assertRaisesRegex(BadList, "line 3 is no CSV"):
            read('domain,public_comment\na.example,"why\nb.example,\n')

    def test_written(self) -> None:
        """What is written is Mastodon's, and has no room for authors, tags, and what is allowed."""
        rules = [
            Rule(action, subject, "why, then", NOW, "ada")
            for action in ("block", "limit", "allow")
            for subject in ("a.example", "#a", "a@b.example")
        ]
        lines = 'a.example,suspend,false,false,"why, then",false\na.example,silence,false,false,"why, then",false\n'
        self.assertEqual(csv_header() + csv_lines(rules), HEADER + lines)

    def test_formulas(self) -> None:
        """A reason that a spreadsheet would calculate is written as text, and read as it was."""
        reasons = ['=HYPERLINK("https://evil.example")', "+1", "-1", "@SUM(A1)", "'=1", "'quoted'"]
        rules = [Rule("block", f"{number}.example", reason, NOW, "ada") for number, reason in enumerate(reasons)]
        written = csv_header() + csv_lines(rules)
        cells = [row[4] for row in csv.reader(written.splitlines()[1:])]
        self.assertEqual([cell[:2] for cell in cells], ["'=", "'+", "'-", "'@", "''", "'q"])
        self.assertEqual([each.reason for each in read(written).entries], reasons)


class PlainTests(SynchronousTestCase):
    """One subject a line."""

    def test_lines(self) -> None:
        """Hosts, handles and tags; a sign and a blank begin a comment, a sign alone a tag, and a sign after a blank the reason."""
        found = read("# My list\n#\n\nspam.example\n@Eve@pod.example # sends spam\n#Cats\n#dogs #too many\n  x.example\t#why\r\n", "limit")
        self.assertEqual(
            [(each.subject, each.reason) for each in found.entries],
            [("spam.example", ""), ("eve@pod.example", "sends spam"), ("#cats", ""), ("#dogs", "too many"), ("x.example", "why")],
        )
        self.assertEqual(({each.action for each in found.entries}, found.skipped), ({"limit"}, {}))

    def test_unusable(self) -> None:
        """A line of several words is no entry, nor are addresses, paths and wildcards."""
        found = read("#Last updated: today\nspam.example bad people\n192.0.2.1\nhttps://pod.example/\n*.pod.example\n")
        self.assertEqual((found.entries, found.skipped), ((), {"unusable": 4, "obfuscated": 1}))
        self.assertEqual(found.unusable[0], "#Last updated: today")

    def test_no_lists(self) -> None:
        """A web page, another encoding, and what is too long are refused."""
        for body in (
            b" <!doctype html>",
            "a.example\n".encode("utf-16"),
            b"\xff\xfe",
            b"x" * (MAX_LIST + 1),
            b"\n".join(b"h%d.example" % n for n in range(MAX_ENTRIES + 1)),
        ):
            with self.assertRaisesRegex(BadList, r"^it "):
                read(body)


_SUBJECTS = (
    st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){1,2}", fullmatch=True)
    | st.from_regex(r"#[a-z]{1,9}", fullmatch=True)
    | st.from_regex(r"[a-z]{1,5}@[a-z]{1,5}\.[a-z]{2,5}", fullmatch=True)
)
_ENTRIES = st.dictionaries(_SUBJECTS, st.text(max_size=30).map(reason_line), max_size=8)


class AnyListTests(SynchronousTestCase):
    @settings(deadline=None)  # the first to name a tag waits for its regular expression
    @given(st.binary(max_size=200) | st.text(alphabet='#@.*,"\n\r\t aä1<', max_size=80).map(str.encode))
    @example(b'"')
    @example(b"domain,\n\x00")
    @example(b"#domain,severity\n,,\n")
    def test_any_document(self, body: bytes) -> None:
        """Any document is read or refused in one line, and what is read are subjects of rules."""
        try:
            found = read(body)
        except BadList as error:
            self.assertEqual(len(str(error).splitlines()), 1)
        else:
            for entry in found.entries:
                self.assertEqual(rule_subject(entry.subject, tag_key), entry.subject)
                self.assertEqual(reason_line(entry.reason), entry.reason)

    @given(_ENTRIES)
    def test_plain_round_trip(self, reasons: dict[str, str]) -> None:
        """A plain list that was written is read as it was, but for signs before a reason."""
        rules = [Rule("block", subject, reason.lstrip("# "), NOW, "ada") for subject, reason in reasons.items()]
        expected = [(rule.subject, rule.reason) for rule in rules]
        self.assertEqual([(each.subject, each.reason) for each in read(plain_lines(rules)).entries], expected)

    @given(_ENTRIES, st.sampled_from(["block", "limit"]))
    def test_csv_round_trip(self, reasons: dict[str, str], action: str) -> None:
        """So is a CSV."""
        rules = [Rule(action, subject, reason, NOW, "ada") for subject, reason in reasons.items() if is_host(subject)]
        expected = [ListedRule(action, rule.subject, rule.reason) for rule in rules]
        self.assertEqual(list(read(csv_header() + csv_lines(rules)).entries), expected)

    @given(st.text(max_size=600))
    def test_reasons(self, text: str) -> None:
        """A reason is one short line of what can be printed, and stays as it is when it is made one again."""
        reason = reason_line(text)
        self.assertTrue(reason.isprintable() and len(reason) <= 500 and reason == reason.strip())
        self.assertEqual(reason_line(reason), reason)


class HourlyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seconds = 0.0
        self.policy = Policy(posts_per_author=2, posts_per_host=3)
        self.limits = HourlyLimits(self.policy, lambda: self.seconds)

    def test_unlimited(self) -> None:
        """Without limits nothing is too much, and nothing is remembered."""
        limits = HourlyLimits(Policy(), lambda: self.seconds)
        self.assertEqual({limits.take("eve@pod.example") for _ in range(1000)}, {""})

    def test_author(self) -> None:
        """As many posts of an author as may come in an hour come at once, and then others at that pace; other hosts' do not matter."""
        self.assertEqual([self.limits.take("eve@pod.example") for _ in range(3)], ["", "", "too-many-by-author"])
        self.assertEqual(self.limits.take("eve@other.example"), "")
        self.seconds += 1801
        self.assertEqual([self.limits.take("eve@pod.example") for _ in range(2)], ["", "too-many-by-author"])

    def test_host(self) -> None:
        """All authors of a host share its limit, whatever their port; what it refuses does not count against the author."""
        authors = ("a@pod.example", "b@pod.example:8443", "c@pod.example", "d@pod.example")
        self.assertEqual([self.limits.take(author) for author in authors], ["", "", "", "too-many-by-host"])
        self.seconds += 1201
        self.assertEqual(self.limits.take("d@pod.example"), "")
        self.seconds += 1201
        self.assertEqual(self.limits.take("d@pod.example"), "")

    def test_given_back(self) -> None:
        """What was not relayed after all does not count."""
        for _ in range(5):
            self.assertEqual(self.limits.take("eve@pod.example"), "")
            self.limits.give_back("eve@pod.example")
        self.limits.give_back("nobody@pod.example")
        self.assertEqual([self.limits.take("eve@pod.example") for _ in range(3)], ["", "", "too-many-by-author"])

    def test_adjusted(self) -> None:
        """Other limits hold at once; the same ones change nothing."""
        for _ in range(2):
            self.limits.take("eve@pod.example")
        self.limits.adjust(evolve(self.policy, max_tags=7))
        self.assertEqual(self.limits.take("eve@pod.example"), "too-many-by-author")
        self.limits.adjust(Policy(posts_per_host=1))
        self.assertEqual([self.limits.take("eve@pod.example") for _ in range(2)], ["", "too-many-by-host"])

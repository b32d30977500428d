"""Hashtags, as pods find and the relay compares them."""

from __future__ import annotations

import re
import unicodedata
from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.hashtags import is_tag, match_key, tag_keys


class TagTests(SynchronousTestCase):
    def test_where(self) -> None:
        """
        A tag begins a line or follows ASCII white space, nothing else.
        """
        for before in ("", "\n", " ", "x\t", "x\r", "x\v", "x\f"):
            self.assertEqual(tag_keys(f"{before}#cats"), {"cats"}, repr(before))
        for before in ("x", "(", ">", "#", '"', "`", "\u00a0", "\u3000", "\u2028", "\x1c", "\x85", "/"):
            self.assertEqual(tag_keys(f"{before}#cats"), frozenset(), repr(before))

    def test_what(self) -> None:
        """
        A tag is made of letters with their marks, digits, hyphens and connectors, or is C{<3}.
        """
        for text, tag in {
            "#a-b_c.d": "a-b_c",
            "#हिन्दी!": "हिन्दी",
            "#e\u0301te\u0301": "été",
            "#日本、": "日本",
            "#\u24b6": "\u24d0",
            "#x\u00b2": "x",
            "#1\u00bd": "1",
            "#<3<3": "<3",
            "#a#b": "a",
            "#\U00020000": "\U00020000",
        }.items():
            self.assertEqual(tag_keys(text), {tag}, text)
        for text in ("#", "# x", "##", "#<4", "#.", "#\u00b2", "#\U0001f600"):
            self.assertEqual(tag_keys(text), frozenset(), text)

    def test_class(self) -> None:
        """
        Which characters belong to a tag is what Unicode says of them.
        """
        strange = "\u055b\u055c\u055e\u058a-"
        circled = [*range(0x24B6, 0x24EA), *range(0x1F130, 0x1F14A), *range(0x1F150, 0x1F16A), *range(0x1F170, 0x1F18A)]
        for number in [*range(0, 0x20000, 7), *range(0x250), *circled]:
            character = chr(number)
            category = unicodedata.category(character)
            expected = category[0] in "LM" or category in ("Nd", "Nl", "Pc") or number in circled or character in strange
            self.assertEqual(is_tag(character), expected, hex(number))

    def test_length(self) -> None:
        """
        A tag of more than 255 characters is none.
        """
        self.assertEqual(tag_keys("#" + "x" * 255 + " #" + "y" * 256), {"x" * 255})
        self.assertTrue(is_tag("x" * 255))
        self.assertFalse(is_tag("x" * 256))

    def test_directions(self) -> None:
        """
        Directional marks around a tag are no part of it.
        """
        self.assertEqual(tag_keys("\u202b#\u200fعربي\u202c"), {"عربي"})

    def test_match_key(self) -> None:
        """
        Spellings that pods' lower-casing makes one are one.
        """
        for spellings in (("Straße", "strasse", "STRASSE"), ("ΟΔΟΣ", "οδος", "οδοσ"), ("École", "e\u0301cole"), ("İ", "i\u0307")):
            self.assertEqual(len(set(map(match_key, spellings))), 1, spellings)

    @settings(deadline=None)
    @given(st.text(max_size=30))
    def test_keys_are_keys(self, text: str) -> None:
        """
        The key of a key is the key, and every tag found is one that could be asked for.
        """
        key = match_key(text)
        self.assertEqual(match_key(key), key)
        for found in tag_keys(f"#{text}"):
            self.assertTrue(any(match_key(part) == found for part in re.findall(r"(?=#(\S+))", f"#{text}") for part in _prefixes(part)))

    @settings(max_examples=300, deadline=None)
    @given(st.text("#a\u0301-<3\n \u00a0.\r", max_size=20))
    def test_as_pods_do(self, text: str) -> None:
        """
        The tags found are those that pods' own pattern finds.
        """
        pattern = re.compile("(?:^|[ \\t\\n\\v\\f\\r])#([a\u03013-]+|<3)", re.MULTILINE)
        self.assertEqual(tag_keys(text), set(map(match_key, pattern.findall(text))))

    @settings(max_examples=300, deadline=None)
    @given(st.text(st.one_of(st.sampled_from("## \n<3-_.\u0301\u00b2"), st.characters()), max_size=30))
    def test_one_by_one(self, text: str) -> None:
        """
        The tags found are those that looking at each character finds.
        """
        found = set()
        for start in (n for n, character in enumerate(text) if character == "#" and (n == 0 or text[n - 1] in " \t\n\v\f\r")):
            tag = "".join(takewhile(is_tag, text[start + 1 :])) or ("<3" if text.startswith("<3", start + 1) else "")
            found.add(match_key(tag))
        self.assertEqual(tag_keys(text), found - {""})

    def test_worst_cases(self) -> None:
        """
        Texts made to keep a naive search busy for minutes are searched.
        """
        size = 65535
        for unit, tags in {
            "\u202b#\u200f": 0,
            "\u202b#\u200fx": 0,
            "#": 0,
            " #": 0,
            "\n#\u202c": 0,
            "#<": 0,
            "\u202a": 0,
            "#x ": 1,
        }.items():
            self.assertEqual(len(tag_keys((unit * size)[:size])), tags, repr(unit))
        self.assertEqual(tag_keys("#" + "x" * (size - 1)), frozenset())
        self.assertEqual(tag_keys("\u202b#\u200f" + "x" * (size - 3)), frozenset())


def _prefixes(text: str) -> list[str]:
    return [text[:end] for end in range(1, len(text) + 1)]

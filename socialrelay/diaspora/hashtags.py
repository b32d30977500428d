"""
Hashtags as diaspora* pods find them, and the form in which they are compared.

A tag that a pod finds and the relay does not is a post that never arrives, so the rule is diaspora*'s and not Python's: C{\\w} lacks
combining marks (which Devanagari, Thai and decomposed accents need) and has superscripts; C{\\s} is wider than the white space after which
a tag may begin.  Friendica drops relayed posts silently when it finds no tag that it asked for.

@see: diaspora:/lib/diaspora/taggable.rb, diaspora:/config/initializers/acts_as_taggable_on.rb
"""

from __future__ import annotations

import re
from functools import cache
from unicodedata import category, normalize

LONGEST_TAG = 255

_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"})
_CIRCLED = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189))
_BEYOND = "\U00020000-\U0003ffff\U000e0100-\U000e01ef"  # rare ideographs, assigned or not yet, and variation selectors
_BEFORE = " \t\n\v\f\r"
_NEVER_FIRST = r"\x00-,./:;=-@[-^`{-\x7f"  # of ASCII, what no tag begins with
_PUNCTUATION = "\u055b\u055c\u055e\u058a-"

# Directional marks around a tag are no part of it. Inside, the marks are excluded although diaspora* allows them: with them a text of
# nothing but marks takes quadratic time.
_WRAPPED = re.compile("[\u202a\u202b]#[\u200e\u200f\u202d\u202e]([^ \\t\\n\\v\\f\\r\u202a-\u202e]+)\u202c")


@cache
def _tag_class() -> str:
    """The characters of a tag, as the inside of a regular expression's class.  Some 20 ms, once."""
    flags = bytearray(category(character) in _CATEGORIES for character in map(chr, range(0x20000)))
    for first, last in _CIRCLED:
        flags[first : last + 1] = b"\x01" * (last + 1 - first)
    runs = re.finditer(b"\x01+", flags)
    return "".join(f"\\U{run.start():08x}-\\U{run.end() - 1:08x}" for run in runs) + _BEYOND + _PUNCTUATION


@cache
def _tag() -> re.Pattern[str]:
    return re.compile(f"[{_tag_class()}]+|<3")


@cache
def _tag_in_text() -> re.Pattern[str]:
    # Begins with a plain character, for which the search is fast; two cheap looks around spare the large class for what may be.
    return re.compile(f"#(?=[^{_NEVER_FIRST}])(?<![^{_BEFORE}]#)([{_tag_class()}]+|<3)")


def match_key(tag: str) -> str:
    """
    The form in which tags are compared: composed and case-folded, so that C{Straße} and C{STRASSE} are one.

    It may bring together a few tags that pods keep apart, and never keeps apart what pods' lower-casing brings together.
    """
    return tag.lower() if tag.isascii() else normalize("NFC", normalize("NFC", tag).casefold())


def is_tag(text: str) -> bool:
    """Whether a text, without C{#}, could be a tag of some post."""
    return len(text) <= LONGEST_TAG and _tag().fullmatch(text) is not None


def tag_keys(text: str) -> frozenset[str]:
    """
    The match keys of the tags in a post's text.

    Markdown is not considered: pods do not either.
    """
    if not text.isascii():
        text = _WRAPPED.sub(r"#\1", text)
    return frozenset(match_key(tag) for tag in set(_tag_in_text().findall(text)) if len(tag) <= LONGEST_TAG)

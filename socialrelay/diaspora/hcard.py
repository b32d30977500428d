"""
The key in an hCard.

An hCard is a page of HTML of which one element matters, so the page is cut into its tags and texts and no tree is made of it.  Each piece
is looked at once, whatever a stranger wrote; and nothing is kept of it, while lxml keeps all names (see L{socialrelay.diaspora.xml}).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from attrs import frozen

_TAG = re.compile(r"""<(/?)([a-z][^\s/>]*+)((?:[^>"']++|"[^"]*+"|'[^']*+')*+)>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([^\s"'=/>]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?""")
_RAW_ENDS = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "textarea", "title")}  # inside is no markup

MOST_TAGS = 20_000
"""C{<} that are looked at, some 50 ms of them."""


@frozen
class _Tag:
    """
    A tag; a comment or declaration has no name.

    @ivar before: the text between the tag before and this one, as it stands there.
    """

    before: str
    closing: bool
    name: str
    attributes: str


def key_text(page: str) -> str | None:
    """
    The text of the first element of which C{key} is a class.

    @return: without white space around it; C{None} if there is no such element, or the page breaks off before its end.
    """
    name, texts = "", []
    for tag in _tags(page):
        if name:
            texts.append(tag.before)
            if tag.closing and tag.name == name:
                return unescape("".join(texts)).strip()
        elif not tag.closing and "key" in _classes(tag.attributes):
            name = tag.name
    return None


def _tags(page: str) -> Iterator[_Tag]:
    done = position = 0
    for _ in range(MOST_TAGS):
        position = page.find("<", position)
        following = page[position + 1 : position + 2]
        if position < 0:
            return
        if following in ("!", "?"):
            mark = "-->" if page.startswith("<!--", position) else ">"
            end = page.find(mark, position)
            if end < 0:
                return
            yield _Tag(page[done:position], closing=False, name="", attributes="")
            done = position = end + len(mark)
        elif following == "/" or following.isalpha():
            match = _TAG.match(page, position)
            if match is None:
                return
            name = match[2].lower()
            yield _Tag(page[done:position], bool(match[1]), name, match[3])
            done = position = match.end()
            if name in _RAW_ENDS and not match[1]:
                end_tag = _RAW_ENDS[name].search(page, done)
                if end_tag is None:
                    return
                position = end_tag.start()
        else:
            position += 1


def _classes(attributes: str) -> list[str]:
    for match in _ATTRIBUTE.finditer(attributes):
        if match[1].lower() == "class":
            return unescape(match[2] or match[3] or match[4] or "").split()
    return []

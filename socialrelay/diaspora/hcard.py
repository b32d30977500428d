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
_RAW = frozenset({"script", "style", "textarea", "title"})  # what is in these is no markup


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
    lower = page.lower() if page.isascii() else re.sub("[A-Z]+", lambda match: match[0].lower(), page)
    done = position = 0
    while (position := page.find("<", position)) >= 0:
        following = page[position + 1 : position + 2]
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
            if name in _RAW and not match[1]:
                position = lower.find(f"</{name}", done)
                if position < 0:
                    return
        else:
            position += 1


def _classes(attributes: str) -> list[str]:
    for match in _ATTRIBUTE.finditer(attributes):
        if match[1].lower() == "class":
            return unescape(match[2] or match[3] or match[4] or "").split()
    return []

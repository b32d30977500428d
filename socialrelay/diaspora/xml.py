"""
XML from strangers, read two levels deep.

An envelope and an entity are a root with children that hold text; what is nested deeper is never looked at.  So no tree is built: expat
reports, and the texts of the root's direct children are kept.  lxml would serve too, but it keeps every element and attribute name that
it ever met in a table of the thread, for good: whoever sends documents with made-up names makes the process grow by about their size
(lxml 6.1: 90 MB after 100 MB).  An expat parser takes its names with it.

Nothing is fetched, no entity is known but the five of XML, and a document type declaration ends the reading where it begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple
from xml.parsers import expat

MOST_ATTRIBUTES = 10_000
"""What looks like an attribute with its value, in a document: expat needs most of a microsecond for each."""

_ATTRIBUTE = re.compile(rb"""=[ \t\r\n]*["']""")


class Malformed(Exception):
    """
    The document is not to be read.

    @ivar reason: C{not-xml}, C{doctype} or C{oversized}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Child(NamedTuple):
    """
    A direct child of the root.

    @ivar name: see L{qualified}.
    @ivar text: its own text, without that of elements inside it.
    @ivar plain: there is nothing but text in it: no element, comment or processing instruction.
    """

    name: str
    attributes: Mapping[str, str]
    text: str
    plain: bool


class Document(NamedTuple):
    """A root and its direct children, in order."""

    name: str
    children: list[Child]


def qualified(namespace: str, local: str, prefix: str = "") -> str:
    """
    An element's name as it stands in a L{Document}.

    One that is in no namespace is its local name alone.  The prefix is the written one; none for a default namespace.
    """
    return _SEPARATOR.join((namespace, local, prefix) if prefix else (namespace, local))


def split(name: str) -> tuple[str, str]:
    """Namespace, empty for none, and local name."""
    parts = name.split(_SEPARATOR)
    return (parts[0], parts[1]) if len(parts) > 1 else ("", name)


def read_document(body: bytes, *, most_tags: int) -> Document:
    """
    Read a document, as UTF-8 whatever it begins with.

    @param most_tags: how many C{<} it may contain.
    @raise Malformed: see there.
    """
    if body.count(b"<") > most_tags or _has_many_attributes(body):
        raise Malformed("oversized")
    if b"\0" in body:
        raise Malformed("not-xml")  # UTF-16, which expat detects by itself
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", _SEPARATOR)
    parser.namespace_prefixes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.CommentHandler = parser.ProcessingInstructionHandler = reader.markup
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.XmlDeclHandler = _check_declaration
    try:
        parser.Parse(body.decode("utf-8"), True)
    except (UnicodeDecodeError, expat.ExpatError) as error:
        raise Malformed("not-xml") from error
    return Document(reader.root, reader.children)


def _has_many_attributes(body: bytes) -> bool:
    return body.count(b"=") > MOST_ATTRIBUTES and next(islice(_ATTRIBUTE.finditer(body), MOST_ATTRIBUTES, None), None) is not None


_SEPARATOR = "\n"  # stands in no name, and in no namespace: white space in attribute values is read as a space


_ENCODINGS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})  # an envelope, which is ASCII, reads the same in all of them


def _check_declaration(version: str, encoding: str | None, standalone: int) -> None:
    """
    Refuse what nodes' parsers would not read, or not as we do.

    Nobody signs the declaration: with another one a stranger could hand in a genuine post before its author's node does, which the relay
    would take and its subscribers refuse, and the genuine one would be the duplicate.
    """
    if version != "1.0" or (encoding is not None and encoding.lower() not in _ENCODINGS):
        raise Malformed("not-xml")


def _refuse_doctype(*declaration: object) -> None:
    raise Malformed("doctype")


class _Reader:
    """Keeps what expat reports of the first two levels."""

    def __init__(self) -> None:
        self.root = ""
        self.children: list[Child] = []
        self._depth = 0
        self._attributes: dict[str, str] = {}
        self._plain = True
        self._text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 1:
            self._attributes, self._plain = attributes, True
        elif self._depth:
            self._plain = False
        else:
            self.root = name
        self._depth += 1

    def end(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 1:
            self.children.append(Child(name, self._attributes, "".join(self._text), self._plain))
            self._text.clear()

    def characters(self, text: str) -> None:
        if self._depth == 2:
            self._text.append(text)

    def markup(self, *_: object) -> None:
        if self._depth == 2:
            self._plain = False

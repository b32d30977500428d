"""
XML from strangers, read two levels deep.

An envelope and an entity are a root with children that hold text; what is nested deeper is never looked at.  So no tree is built: expat
reports, and the texts of the root's direct children are kept.  lxml would serve too, but it keeps every element and attribute name that
it ever met in a table of the thread, for good: whoever sends documents with made-up names makes the process grow by about their size
(lxml 6.1: 90 MB after 100 MB).  An expat parser takes its names with it.

Nothing is fetched, no entity is known but the five of XML, and a document type declaration ends the reading where it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.parsers import expat

from attrs import define, frozen


class Malformed(Exception):
    """
    The document is not to be read.

    @ivar reason: C{not-xml}, C{doctype} or C{oversized}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class Name:
    """
    An element's name.

    @ivar namespace: the URI; empty for none.
    @ivar prefix: as written; empty for none.
    """

    local: str
    namespace: str = ""
    prefix: str = ""


@frozen
class Child:
    """
    A direct child of the root.

    @ivar text: its own text, without that of elements inside it.
    @ivar plain: there is nothing but text in it: no element, comment or processing instruction.
    """

    name: Name
    attributes: Mapping[str, str]
    text: str
    plain: bool


@frozen
class Document:
    """A root and its direct children, in order."""

    name: Name
    children: tuple[Child, ...]

    def named(self, local: str) -> Iterator[Child]:
        """The children of that name that are in no namespace."""
        return (child for child in self.children if child.name == Name(local))


def read_document(body: bytes, *, most_tags: int) -> Document:
    """
    Read a document, as UTF-8 whatever it declares or begins with.

    @param most_tags: how many C{<} it may contain.
    @raise Malformed: see there.
    """
    if body.count(b"<") > most_tags:
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
    try:
        parser.Parse(body.decode("utf-8"), True)
    except (UnicodeDecodeError, expat.ExpatError) as error:
        raise Malformed("not-xml") from error
    return reader.document()


_SEPARATOR = "\n"  # stands in no name, and in no namespace: white space in attribute values is read as a space


def _refuse_doctype(*declaration: object) -> None:
    raise Malformed("doctype")


def _name(text: str) -> Name:
    parts = text.split(_SEPARATOR)
    if len(parts) == 1:
        return Name(text)
    return Name(parts[1], parts[0], parts[2] if len(parts) > 2 else "")


@define
class _Open:
    name: str
    attributes: dict[str, str]
    plain: bool = True


class _Reader:
    """Keeps what expat reports of the first two levels."""

    def __init__(self) -> None:
        self._depth = 0
        self._root = ""
        self._child = _Open("", {})
        self._text: list[str] = []
        self._children: list[Child] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 1:
            self._child = _Open(name, attributes)
        elif self._depth:
            self._child.plain = False
        else:
            self._root = name
        self._depth += 1

    def end(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 1:
            child = self._child
            self._children.append(Child(_name(name), child.attributes, "".join(self._text), child.plain))
            self._text.clear()

    def characters(self, text: str) -> None:
        if self._depth == 2:
            self._text.append(text)

    def markup(self, *_: object) -> None:
        if self._depth == 2:
            self._child.plain = False

    def document(self) -> Document:
        return Document(_name(self._root), tuple(self._children))

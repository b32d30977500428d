"""
Documents made to harm or to deceive whoever reads them.

Each kind turns a genuine document, an envelope or an entity, into one that has to be refused, whatever the number that makes it larger or
puts it elsewhere, and whoever signed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

from socialrelay.diaspora import entity, envelope, xml
from tests.fuzzing.genuine import CONTACT, PAYLOADS, private, signed

Hostile = Callable[[bytes, int], bytes]
"""A genuine document, and a number from 0 on -> a hostile one."""

FILES = ("file:///etc/passwd", "file:///proc/self/environ", "/etc/hostname", "http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "php://filter/x")
_READ = re.compile(
    rb"<((?:me:)?(?:data|encoding|alg|sig|author|guid|public|text|target_guid|target_type|recipient|sharing))([^>]*)>([^<]*)</\1>"
)
_PROLOG = re.compile(rb"\s*<\?xml[^>]*\?>\s*")
_ROOT = re.compile(rb"<([a-z_:]+)([^>]*)>(.*)</\1>\s*\Z", re.DOTALL)


def _read(document: bytes, number: int) -> re.Match[bytes]:
    """One of the elements that are read."""
    found = list(_READ.finditer(document))
    return found[number % len(found)]


def _inside(document: bytes, number: int, markup: bytes) -> bytes:
    """Markup somewhere in the text of an element that is read."""
    match = _read(document, number)
    place = match.start(3) + number % (len(match[3]) + 1)
    return document[:place] + markup + document[place:]


def _beside(document: bytes, markup: bytes) -> bytes:
    """Markup behind the root's last child."""
    end = document.rindex(b"</")
    return document[:end] + markup + document[end:]


def _typed(document: bytes, subset: bytes, reference: bytes = b"", number: int = 0) -> bytes:
    """With a document type, and a reference to what it declares."""
    body = _inside(document, number, reference) if reference else document
    match = _PROLOG.match(body)
    end = match.end() if match else 0
    return body[:end] + b"<!DOCTYPE x " + subset + b">" + body[end:]


def _entities(levels: int, fold: int) -> bytes:
    declared = b'<!ENTITY e0 "ha">'
    for level in range(1, levels + 1):
        declared += b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * fold)
    return b"[" + declared + b"]"


def _encoded(codec: str, declared: str = "") -> Hostile:
    """In another encoding, which is said or not; numbers that are odd keep quiet."""

    def hostile(document: bytes, number: int) -> bytes:
        body = document[match.end() :] if (match := _PROLOG.match(document)) else document
        if number % 2 == 0:
            body = f'<?xml version="1.0" encoding="{declared or codec}"?>'.encode() + body
        return body.decode("utf-8", "replace").encode(codec, "replace")

    return hostile


def _declared(*names: str) -> Hostile:
    """Said to be in an encoding that it is not in."""

    def hostile(document: bytes, number: int) -> bytes:
        body = document[match.end() :] if (match := _PROLOG.match(document)) else document
        return f'<?xml version="1.0" encoding="{names[number % len(names)]}"?>'.encode() + body

    return hostile


def _most(document: bytes) -> int:
    """Tags that it may have."""
    return envelope.MOST_TAGS if b"<me:env" in document else entity.MOST_TAGS


def _deep(document: bytes, number: int) -> bytes:
    levels = _most(document) + 1 + number * 10
    return _beside(document, b"<a>" * levels + b"</a>" * levels)


def _many(document: bytes, number: int) -> bytes:
    return _beside(document, b"<a/>" * (_most(document) + number))


def _doubled(document: bytes, number: int) -> bytes:
    """A second one of an element that is read, the same or another, before it or behind it."""
    match = _read(document, number)
    copy = match[0] if number % 3 == 0 else match[0].replace(b">" + match[3], b">" + match[3][::-1], 1)
    place = match.start() if number % 2 else match.end()
    return document[:place] + copy + document[place:]


def _wrapped(document: bytes, number: int) -> bytes:
    """The genuine content one level deeper: found by who looks for it anywhere, and not where it belongs."""
    match = _ROOT.search(document)
    assert match is not None
    inner = match[0].strip() if number % 2 else b"<x>" + match[3] + b"</x>"
    return document[: match.start()] + b"<" + match[1] + match[2] + b">" + inner + b"</" + match[1] + b">"


def _attributes(document: bytes, number: int) -> bytes:
    many = b"".join(b' a%d=""' % n for n in range(xml.MOST_ATTRIBUTES + 1 + number))
    return _beside(document, b"<x" + many + b"/>")


def _twice_the_attribute(document: bytes, number: int) -> bytes:
    match = _read(document, number)
    again = (match[2] or b' a="1"') if number % 2 else b' a="1" a="2"'
    return document[: match.end(2)] + (again if match[2] else again * 2) + document[match.end(2) :]


def _in_another_namespace(document: bytes, number: int) -> bytes:
    match = _ROOT.search(document)
    assert match is not None
    if match[1] == b"me:env":
        return document.replace(b"http://salmon-protocol.org/ns/magic-env", b"urn:x%d" % number)
    return document.replace(b"<" + match[1], b'<%s xmlns="urn:x%d"' % (match[1], number), 1)


def _forged_ahead(document: bytes, number: int) -> bytes:
    """An element that is read, with other text, in a comment's or another element's disguise."""
    match = _read(document, number)
    decoys = (b"<!--%s-->", b"<?x %s?>", b"<x>%s</x>", b'<x xmlns="">%s</x>')
    decoy = decoys[number % len(decoys)] % match[3]
    return document[: match.start(3)] + decoy + document[match.start(3) :]


_CHARACTERS = (
    b"\0",
    b"\x01",
    b"\x1b",
    b"\xed\xa0\x80",
    b"\xed\xb2\x80",
    b"\xc0\x80",
    b"\xc0\xbc",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"\xef\xbf\xbf",
)
_REFERENCES = (b"&#0;", b"&#1;", b"&#xD800;", b"&#xDFFF;", b"&#x110000;", b"&#xFFFFFFFFFF;", b"&#-1;", b"&#;", b"&;", b"&x", b"&x;")

KINDS: Mapping[str, Hostile] = {
    "laughs": lambda document, number: _typed(document, _entities(2 + number % 60, 10), b"&e%d;" % (2 + number % 60), number),
    "laughs-elsewhere": lambda document, number: _beside(_typed(document, _entities(9, 10)), b"<x>&e9;</x>"),
    "laughs-in-attribute": lambda document, number: _beside(_typed(document, _entities(9, 2 + number % 20)), b'<x y="&e9;"/>'),
    "quadratic": lambda document, number: _typed(
        document, b'[<!ENTITY a "' + b"a" * (100 + number) + b'">]', b"&a;" * (100 + number % 200), number
    ),
    "endless": lambda document, number: _typed(document, b'[<!ENTITY a "&b;"><!ENTITY b "&a;">]', b"&a;", number),
    "parameters": lambda document, number: _typed(document, b"[<!ENTITY %% a SYSTEM %r> %%a;]" % FILES[number % 6]),
    "file": lambda document, number: _typed(document, b"[<!ENTITY a SYSTEM %r>]" % FILES[number % 6], b"&a;", number),
    "file-public": lambda document, number: _typed(document, b"[<!ENTITY a PUBLIC 'x' %r>]" % FILES[number % 6], b"&a;", number),
    "file-unused": lambda document, number: _typed(document, b"[<!ENTITY a SYSTEM %r NDATA b>]" % FILES[number % 6]),
    "dtd": lambda document, number: _typed(document, b"SYSTEM %r" % FILES[number % 6]),
    "dtd-public": lambda document, number: _typed(document, b"PUBLIC '-//X//X' %r" % FILES[number % 6]),
    "dtd-empty": lambda document, number: _typed(document, (b"", b"[]", b"[<!-- -->]", b"[<!ELEMENT x ANY>]")[number % 4]),
    "dtd-defaults": lambda document, number: _typed(document, b"[<!ATTLIST me:data type CDATA 'application/xml'>]"),
    "dtd-lower-case": lambda document, number: _typed(document, b"SYSTEM %r" % FILES[number % 6]).replace(b"DOCTYPE", b"doctype"),
    "dtd-unended": lambda document, number: _typed(document, b"[<!ENTITY a '" + b"x" * number),
    "utf-16": _encoded("utf-16"),
    "utf-16-le": _encoded("utf-16-le", "utf-16"),
    "utf-16-be": _encoded("utf-16-be", "utf-16"),
    "utf-32": _encoded("utf-32"),
    "utf-7": lambda document, number: _encoded("utf-7")(_inside(document, number, "é".encode()), 0),
    "ebcdic": _encoded("cp037", "ebcdic-cp-us"),
    "said-to-be": _declared(
        "utf-7", "utf-16", "utf-32", "cp037", "x-none", "shift_jis", "utf-16le", "ucs-4", "iso-2022-jp", "gb18030", "hz"
    ),
    "version": lambda document, number: (
        b'<?xml version="1.%d"?>' % (1 + number) + document[m.end() if (m := _PROLOG.match(document)) else 0 :]
    ),
    "late-declaration": lambda document, number: b" " * (1 + number) + b'<?xml version="1.0"?>' + document,
    "deep": _deep,
    "deep-inside": lambda document, number: _inside(document, number, b"<a>" * (1 + number) + b"</a>" * (1 + number)),
    "deep-unended": lambda document, number: document + b"<a>" * (1 + number),
    "many": _many,
    "doubled": _doubled,
    "two-roots": lambda document, number: document + b"\n" * number + document[m.end() if (m := _PROLOG.match(document)) else 0 :],
    "comment": lambda document, number: _inside(document, number, b"<!--" + b"x" * (number % 99) + b"-->"),
    "comment-unended": lambda document, number: _inside(document, number, b"<!-" + b"-" * number),
    "instruction": lambda document, number: _inside(document, number, b"<?php " + b"x" * (number % 99) + b"?>"),
    "include": lambda document, number: _inside(
        document, number, b"<i:include xmlns:i='http://www.w3.org/2001/XInclude' parse='text' href=%r/>" % FILES[number % 6]
    ),
    "decoy": _forged_ahead,
    "wrapped": _wrapped,
    "attributes": _attributes,
    "attribute-twice": _twice_the_attribute,
    "namespace": _in_another_namespace,
    "no-namespace": lambda document, number: _beside(document, b"<q%d:x/>" % number),
    "characters": lambda document, number: _inside(document, number, _CHARACTERS[number % len(_CHARACTERS)]),
    "references": lambda document, number: _inside(document, number, _REFERENCES[number % len(_REFERENCES)]),
    "cut": lambda document, number: document.rstrip()[: -1 - number % (len(document) - 2)],
    "mixed-up": lambda document, number: document.replace(b"</", b"<//", 1 + number % 3),
}
"""Name -> what it does."""

ENTRANCES: Mapping[str, Callable[[bytes], bytes]] = {
    "body": lambda body: body,
    "form": lambda body: b"xml=" + quote_plus(body).encode(),
    "form-twice": lambda body: b"xml=" + quote(quote(body)).encode(),
}
"""Ways for an envelope to come in public."""


def hostile_envelope(kind: str, number: int, payload: int = 0, inner: str | None = None) -> bytes:
    """
    A genuine envelope, after which somebody came.

    @param inner: what is the matter with the entity in it, if that is hostile too.
    """
    document = PAYLOADS[payload % len(PAYLOADS)]
    return KINDS[kind](signed(KINDS[inner](document, number) if inner else document), number)


def hostile_entity(kind: str, number: int, payload: int = 0) -> bytes:
    """An envelope that is as it should be, around something that is not: the author is the attacker."""
    return signed(KINDS[kind](PAYLOADS[payload % len(PAYLOADS)], number))


def hostile_message(kind: str, number: int, *, inside: bool) -> bytes:
    """The same, encrypted for the relay: the envelope, or what is in it."""
    return private(signed(KINDS[kind](CONTACT, number)) if inside else KINDS[kind](signed(CONTACT), number))

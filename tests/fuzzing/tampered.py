"""
Genuine envelopes that were tampered with on their way.

Each kind changes an envelope at a place; some changes leave its meaning, most do not.  Nobody who has not the author's key can do more than
what is listed here, one after the other.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

from tests.fuzzing.genuine import ALICE, ANOTHER, BOB, CAROL
from tests.fuzzing.hostile import KINDS as HOSTILE

Tampering = Callable[[bytes, int], bytes]
"""An envelope, and a number that says where and with what -> another one."""

PARTS = (b"data", b"encoding", b"alg", b"sig")
_ELEMENTS = re.compile(rb"<me:(data|encoding|alg|sig)([^>]*)>([^<]*)</me:\1>")
_PIECES = (
    b"<!--x-->",
    b"<?x y?>",
    b"<![CDATA[x]]>",
    b"<![CDATA[]]>",
    b"&amp;",
    b"&#65;",
    b"&#x41;",
    b"&x;",
    b"<me:data>",
    b"</me:data>",
    b"<me:env>",
    b"</me:env>",
    b"<x/>",
    b"<!DOCTYPE x>",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"=",
    b"==",
    b"-",
    b"_",
    b"+",
    b"/",
    b"\n",
    b" ",
    b"\t",
    b"\r\n",
    b"\x0b",
    b"\xc2\xa0",
    b"\xe2\x80\x8b",
    b"'",
    b'"',
    b">",
    b"<",
    b"A",
)


def _at(body: bytes, number: int) -> int:
    """A place: numbers beside one another lead far apart, and each place is reached."""
    return number * 7919 % (len(body) + 1)


def _element(body: bytes, number: int) -> re.Match[bytes] | None:
    found = list(_ELEMENTS.finditer(body))
    return found[number % len(found)] if found else None


def _on_element(change: Callable[[re.Match[bytes], int], bytes]) -> Tampering:
    """A change of one of the four elements; nothing where there is none."""

    def tampering(body: bytes, number: int) -> bytes:
        match = _element(body, number)
        return body if match is None else body[: match.start()] + change(match, number // 4) + body[match.end() :]

    return tampering


def _on_text(change: Callable[[bytes, int], bytes], *parts: bytes) -> Tampering:
    """A change of the text of an element."""

    def tampering(body: bytes, number: int) -> bytes:
        found = [match for match in _ELEMENTS.finditer(body) if match[1] in (parts or PARTS)]
        if not found:
            return body
        match = found[number % len(found)]
        return body[: match.start(3)] + change(match[3], number // len(found)) + body[match.end(3) :]

    return tampering


def _flip(body: bytes, number: int) -> bytes:
    place = _at(body, number // 8) % max(1, len(body))
    return body[:place] + bytes((body[place] ^ 1 << number % 8,)) + body[place + 1 :] if body else body


def _insert(body: bytes, number: int) -> bytes:
    place = _at(body, number // len(_PIECES))
    return body[:place] + _PIECES[number % len(_PIECES)] + body[place:]


def _replace(body: bytes, number: int) -> bytes:
    place = _at(body, number // len(_PIECES))
    piece = _PIECES[number % len(_PIECES)]
    return body[:place] + piece + body[place + len(piece) :]


def _delete(body: bytes, number: int) -> bytes:
    place = _at(body, number // 16)
    return body[:place] + body[place + 1 + number % 16 :]


def _repeat(body: bytes, number: int) -> bytes:
    place = _at(body, number // 64)
    end = place + 1 + number % 64
    return body[:end] + body[place:end] + body[end:]


def _swap(body: bytes, number: int) -> bytes:
    one, other = sorted((_at(body, number), _at(body, number // 3 + 1)))
    return body[one:other] + body[:one] + body[other:]


def _move(body: bytes, number: int) -> bytes:
    match = _element(body, number)
    if match is None:
        return body
    rest = body[: match.start()] + body[match.end() :]
    places = [each.start() for each in re.finditer(b"<", rest)]
    place = places[number // 4 % len(places)] if places else 0
    return rest[:place] + match[0] + rest[place:]


def _copy(body: bytes, number: int) -> bytes:
    """A second one, whole or with another's text, anywhere between elements."""
    match = _element(body, number)
    if match is None:
        return body
    other = _element(ANOTHER, number)
    assert other is not None
    copy = match[0] if number // 4 % 2 else other[0]
    places = [each.start() for each in re.finditer(b"<", body)]
    place = places[number // 8 % len(places)]
    return body[:place] + copy + body[place:]


def _of_another(match: re.Match[bytes], number: int) -> bytes:
    """Somebody else's element, its text, or its attributes."""
    other = next(each for each in _ELEMENTS.finditer(ANOTHER) if each[1] == match[1])
    attributes, text = (other[2], match[3]) if number % 3 == 0 else (match[2], other[3]) if number % 3 == 1 else (other[2], other[3])
    return b"<me:%s%s>%s</me:%s>" % (match[1], attributes, text, match[1])


def _decoded(text: bytes) -> bytes:
    try:
        return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return b""


def _other_data(text: bytes, number: int) -> bytes:
    """The payload itself is changed, and encoded as it should be."""
    return urlsafe_b64encode(_flip(_decoded(text), number) if number % 2 else _insert(_decoded(text), number))


def _hostile_data(text: bytes, number: int) -> bytes:
    kinds = sorted(HOSTILE)
    try:
        return urlsafe_b64encode(HOSTILE[kinds[number % len(kinds)]](_decoded(text), number))
    except (ZeroDivisionError, ValueError, AssertionError):  # there is no entity any more
        return text


def _base64(text: bytes, number: int) -> bytes:
    """What lax decoders take for the same."""
    ways = (
        lambda: text.rstrip(b"="),
        lambda: text + b"=",
        lambda: text + b"==",
        lambda: text.rstrip(b"=") + b"=" * (number % 7),
        lambda: text.replace(b"-", b"+").replace(b"_", b"/"),
        lambda: re.sub(rb"(.{60})", rb"\1\n", text),
        lambda: b" " + text,
        lambda: text + b"\n",
        lambda: (
            text.rstrip(b"=")[:-1] + bytes((text.rstrip(b"=")[-1] ^ 1,)) + b"=" * (-len(text.rstrip(b"=")) % 4)
            if text.strip(b"=")
            else text
        ),
        lambda: text[:40] + b"!" + text[40:],
        lambda: text[:40] + b"=" + text[40:],
        lambda: text + b"AAAA",
        lambda: text.replace(b"A", b"%41"),
        lambda: text.replace(b"A", b"&#65;"),
        lambda: b"<![CDATA[" + text + b"]]>",
        lambda: text[: len(text) // 2] + b"<!---->" + text[len(text) // 2 :],
        lambda: urlsafe_b64encode(text),
    )
    return ways[number % len(ways)]()


def _literal(text: bytes, number: int) -> bytes:
    ways = (text.lower(), text.upper(), text + b" ", b"\n" + text, b"", b"none", b"base64", b"RSA-SHA1", b"HMAC-SHA256", b"RSA-SHA256,none")
    return ways[number % len(ways)]


def _attribute(match: re.Match[bytes], number: int) -> bytes:
    """Other attributes, or the same ones written otherwise."""
    sender = urlsafe_b64encode((CAROL, BOB, ALICE)[number % 3].encode())
    attributes = match[2]
    ways = (
        attributes.replace(b'"', b"'"),
        attributes.replace(b"=", b" = ", 1),
        attributes + b' x="y"',
        attributes + attributes,
        b"",
        attributes.upper(),
        b' key_id="' + sender + b'"',
        b' key_id="' + sender.rstrip(b"=") + b'" type="application/xml"',
        attributes + b' xmlns:y="urn:y" y:key_id="' + sender + b'"',
        attributes.replace(b"application/xml", b"Application/XML"),
        attributes.replace(b"application/xml", b" application/xml "),
        attributes.replace(b"application/xml", b"application&#47;xml"),
        attributes.replace(b'"', b'"\n', 1),
    )
    return b"<me:%s%s>%s</me:%s>" % (match[1], ways[number // 3 % len(ways)], match[3], match[1])


def _namespace(body: bytes, number: int) -> bytes:
    uri = b"http://salmon-protocol.org/ns/magic-env"
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: body.replace(b"me:", b"m:").replace(b":me=", b":m="),
        lambda: body.replace(b"me:", b"").replace(b"xmlns:me=", b"xmlns="),
        lambda: body.replace(uri, uri + b"/"),
        lambda: body.replace(uri, b"http&#58;" + uri[5:]),
        lambda: body.replace(b"xmlns:me=", b'xmlns="urn:x" xmlns:me='),
        lambda: body.replace(b"<me:data", b'<me:data xmlns:me="' + uri + b'"'),
        lambda: body.replace(b"<me:data", b'<me:data xmlns:me="urn:x"'),
        lambda: body.replace(b"<me:sig", b'<n:sig xmlns:n="' + uri + b'"').replace(b"</me:sig>", b"</n:sig>"),
        lambda: body.replace(b"me:data", b"me:Data"),
    )
    return ways[number % len(ways)]()


def _form(body: bytes, number: int) -> bytes:
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: b"xml=" + quote_plus(body).encode(),
        lambda: b"xml=" + quote(quote(body)).encode(),
        lambda: b"xml=" + body,
        lambda: b"xml=" + quote_plus(body).encode() + b"&xml=" + quote_plus(ANOTHER).encode(),
        lambda: b"a=b&xml=" + quote_plus(body).encode(),
        lambda: b"xml=%25" + quote_plus(body).encode(),
    )
    return ways[number % len(ways)]()


KINDS: Mapping[str, Tampering] = {
    "flip": _flip,
    "insert": _insert,
    "replace": _replace,
    "delete": _delete,
    "repeat": _repeat,
    "swap": _swap,
    "element-moved": _move,
    "element-copied": _copy,
    "element-gone": _on_element(lambda match, number: b""),
    "element-empty": _on_element(lambda match, number: b"<me:%s%s/>" % (match[1], match[2])),
    "element-of-another": _on_element(_of_another),
    "element-wrapped": _on_element(lambda match, number: (b"<x>%s</x>", b"<me:x>%s</me:x>", b"<me:env>%s</me:env>")[number % 3] % match[0]),
    "attribute": _on_element(_attribute),
    "text": _on_text(_insert),
    "base64": _on_text(_base64, b"data", b"sig"),
    "literal": _on_text(_literal, b"encoding", b"alg"),
    "other-data": _on_text(_other_data, b"data"),
    "hostile-data": _on_text(_hostile_data, b"data"),
    "namespace": _namespace,
    "form": _form,
    "white-space": lambda body, number: body.replace(b"><", b">" + (b"\n", b"\t ", b"\r\n", b" " * (number % 99))[number % 4] + b"<"),
    "squeezed": lambda body, number: re.sub(rb">\s+<", b"><", body),
    "said-to-be": lambda body, number: body.replace(
        b"UTF-8", (b"utf-8", b"US-ASCII", b"ISO-8859-1", b"UTF-16", b"UTF-7", b"cp037")[number % 6]
    ),
    "marked": lambda body, number: (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0")[number % 4] + body,
    "stretched": lambda body, number: body.replace(b"</me:env>", b"<x>" + b"x" * (number * 9) + b"</x></me:env>"),
}
"""Name -> what it does."""


def tampered(body: bytes, steps: tuple[tuple[str, int], ...]) -> bytes:
    """An envelope after all of these, one after the other."""
    for kind, number in steps:
        body = KINDS[kind](body, number)
    return body

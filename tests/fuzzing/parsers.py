"""Whatever reads what strangers send: one line for each parser, with what it may raise and what holds of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from socialrelay.bus.ingest import _query_of
from socialrelay.bus.message import MAX_DEPTH, Malformed, Message, read_frames
from socialrelay.bus.query import BadQuery, Query, read_texts
from socialrelay.bus.topics import is_topic
from socialrelay.diaspora.discovery import DiscoveryFault, hcard_key, hcard_url
from socialrelay.diaspora.entity import judge_entity
from socialrelay.diaspora.envelope import MagicEnvelope, open_envelope, read_any, read_usual
from socialrelay.diaspora.handle import is_handle
from socialrelay.diaspora.hashtags import is_tag, match_key, tag_keys
from socialrelay.diaspora.keys import LARGEST, SMALLEST, BadKey, read_public_key
from socialrelay.diaspora.preferences import InvalidPreferences, ReadPreferences, read_preferences
from socialrelay.diaspora.private import open_private
from socialrelay.diaspora.xml import Document, read_document
from socialrelay.diaspora.xml import Malformed as MalformedXML
from socialrelay.federation import NotAnEnvelope, Refused, Ruling, Verdict
from socialrelay.jsontext import NotJSON, read_object
from socialrelay.moderation.formats import BadList as BadRules
from socialrelay.moderation.formats import Listing, read_rules, reason_line
from socialrelay.network.texts import retry_after
from socialrelay.nodes.lists import BadList, NodeListing, read_list
from socialrelay.operators.offers import Offer, checked
from socialrelay.operators.terms import ActError
from socialrelay.routing.hosts import BadHost, host_of, is_host, node_host, within
from socialrelay.web.addresses import parse_address
from tests.envelopes import Author, preferences
from tests.fuzzing.genuine import CAROL, ENVELOPES, GUID, PAYLOADS, PRIVATE_KEYS, RELAY, VECTORS, private, signed

HOST = "pod-a.example"
MOST = 3
"""Tags and hosts."""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

XML = (
    b"<a>",
    b"</a>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"<?x?>",
    b"&amp;",
    b"&#65;",
    b"&x;",
    b"<!DOCTYPE a>",
    b"\0",
    b' a="b"',
    b"=",
)
JSON = (b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"true", b"-1", b"1e999", b"NaN", b'"\\ud800"', b'"\\u0000"', b"\\", b"9" * 5000)
HTML = (
    b"<pre class=key>",
    b"</pre>",
    b"<script>",
    b"</script>",
    b"<!--",
    b"-->",
    b"class=",
    b"'",
    b'"',
    b"&amp;",
    b"<",
    b">",
    b"key",
    b"<!",
)
TEXT = (
    b"\n",
    b",",
    b'"',
    b"#",
    b"*",
    b"@",
    b".",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff",
    b"=cmd()",
    "ſ".encode(),
    b"xn--",
    b" # ",
    "\u2028".encode(),
)


@frozen
class Parser:
    """
    One that reads what strangers send.

    @ivar errors: what it may raise.
    @ivar holds: whether its answer to a text is in order.
    @ivar seeds: what it reads, and what it just does not.
    @ivar pieces: what is of significance to it.
    """

    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    holds: Callable[[bytes, Any], bool]
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...]

    def answer(self, body: bytes) -> bool:
        """
        Read, and look at what comes of it.

        @return: whether it was read.
        @raise AssertionError: the answer is not in order.
        """
        try:
            found = self.read(body)
        except self.errors:
            return False
        assert self.holds(body, found), (body[:1000], found)
        return True


def clean(text: str) -> bool:
    """Whether it can be stored: UTF-8 has no halves of pairs, and PostgreSQL no NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _envelope(body: bytes, found: MagicEnvelope) -> bool:
    return is_handle(found.sender) and bool(found.payload) and bool(found.signature) and (body.startswith(b"xml=") or found.body is body)


def _both_ways(body: bytes) -> MagicEnvelope:
    """The quick way and the long way have to agree."""
    envelope, quick = read_any(body), read_usual(body)
    assert quick is None or quick == envelope
    return envelope


def _document(body: bytes, found: Document) -> bool:
    texts = [found.name, *(child.name + child.text for child in found.children)]
    return all(clean(text) for text in texts) and len(found.children) < body.count(b"<") and sum(map(len, texts)) <= 100 + len(body) * 4


_GUID = re.compile("[0-9A-Za-z_@.:-]{16,255}")


def _verdict(body: bytes, found: Verdict) -> bool:
    in_order = not found.guid or _GUID.fullmatch(found.guid) is not None
    tags = in_order and all(is_tag(tag) and clean(tag) and match_key(tag) == tag for tag in found.tags)
    taken = found.ruling in (Ruling.RELAY, Ruling.RETRACT)
    return tags and clean(found.kind + found.guid) and (found.author == CAROL if taken else bool(found.reason) and not found.identities)


def _url(body: bytes, found: str) -> bool:
    parts = urlsplit(found)
    return (
        parts.scheme == "https" and is_host(parts.netloc.partition(":")[0]) and parts.port != 0 and found.isascii() and found.isprintable()
    )


def _preferences(body: bytes, found: ReadPreferences) -> bool:
    of = found.preferences
    tags = len(of.tags) <= MOST and all(is_tag(tag) and clean(tag) for tag in of.tags)
    return (
        tags
        and of.receive_url.startswith(f"https://{HOST}/" if of.receive_url else "")
        and all(f.isascii() and len(f) < 1000 for f in found.faults)
    )


def _hosts(body: bytes, found: NodeListing) -> bool:
    return 0 < len(found.hosts) <= MOST and len(set(found.hosts)) == len(found.hosts) and all(map(is_host, found.hosts))


def _rules(body: bytes, found: Listing) -> bool:
    subjects = [entry.subject for entry in found.entries]
    in_order = all(
        clean(each.subject) and each.reason == reason_line(each.reason) and each.action in ("block", "limit") for each in found.entries
    )
    return (
        in_order
        and len(set(subjects)) == len(subjects)
        and not any(within(host_of(subject), HOST) for subject in subjects)
        and all(line.isprintable() for line in found.unusable)
    )


def _message(body: bytes, found: Message) -> bool:
    said = json.loads(found.body)
    return (
        said["topic"] == found.topic and "msg" in said and is_topic(found.topic) and found.msg_id.isascii() and 0 < len(found.msg_id) <= 255
    )


def _query(body: bytes, found: Query) -> bool:
    return clean(found.topic) and (found.since is None or 0 <= found.since < 2**63) and 1 <= found.limit <= 1000 and 0 <= found.wait <= 30


async def _never() -> None:
    raise AssertionError


OFFER = Offer(_never, {"host": str, "reason": str, "limit": int, "everything": bool, "tags": list}, ("host",))  # type: ignore[arg-type]


def _said(body: bytes, found: Mapping[str, Any]) -> bool:
    texts = [text for value in found.values() for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    return bool(found["host"]) and set(found) <= set(OFFER.fields) and all(map(clean, texts))


def _files(folder: str, pattern: str = "*") -> tuple[bytes, ...]:
    found = tuple(body for body in (path.read_bytes() for path in sorted((VECTORS / folder).glob(pattern))) if len(body) < 20_000)
    assert found
    return found


def _frames(lenient: bool) -> Callable[[bytes], Message]:
    return lambda body: read_frames(body.split(b"\0", 1), 100_000, lenient=lenient)


_BUS = (
    b'org.example.dev.a.b\0{"i": 1, "msg": {"a": [1, 2.5, null, "x"]}, "msg_id": "2026-1", "topic": "org.example.dev.a.b"}',
    b'a\0{"msg": {}, "topic": "a"}',
    b"a\0plain",
    b'a\0{"msg": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b', "topic": "a"}',
)
_QUERY = (b'{"since": 5, "topic": "org.example", "limit": 10, "wait": 1.5}', b"{}", b'{"topic": "\\ud800"}')
_ACT = (
    b'{"host": "pod-a.example", "reason": "x", "limit": 5, "everything": true, "tags": ["a", "b"]}',
    b'{"host": "a", "tags": ["\\ud800"]}',
)
_RULES = (
    b'#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\nbad.example,suspend,true,true,"a, ""b""",false\n*.x.example,silence\n',
    b"bad.example # spam\nuser@bad.example\n#tag\n# comment\n",
    b"domain,comment\nbad.example,=cmd()\n",
    b"pod-a.example\nwww.pod-a.example\nuser@pod-a.example\nPOD-A.example.\nbad.example\n",
)
_AUTHOR = Author(CAROL)
_PEM = (_AUTHOR.pem.encode(), *_files("diaspora/keys", "*.public*.pem"))
_XML_FILES = (*ENVELOPES, *(body for body in _files("diaspora/public", "*.xml") if len(body) < 3000))
_HREFS = (
    "http://pod-c.example/",
    "https://127.0.0.1/",
    "https://a@pod-c.example/",
    "https://pod-c.example:0/",
    "https://pod-c.example/\n",
    "https://pod-c/",
    "file:///etc/passwd",
    "https://pod-c.example/é",
)
_JRD = (
    _AUTHOR.webfinger(),
    *_files("diaspora/discovery", "*webfinger*"),
    *(_AUTHOR.webfinger().replace(_AUTHOR.hcard_url().encode(), json.dumps(href)[1:-1].encode()) for href in _HREFS),
)
_BAD_GUIDS = ("short", "x" * 256, "0123456789abcdef/../", "0123456789abcde\u200b")
_ENTITIES = (*PAYLOADS, *(payload.replace(GUID.encode(), guid.encode()) for payload in PAYLOADS for guid in _BAD_GUIDS))
_READ_QUERY = (b"since=5&topic=org.example&limit=10&wait=1.5", b"since=99999999999999999999", b"wait=\xef\xbc\x91", b"topic=%00")

PARSERS: Mapping[str, Parser] = {
    "envelope": Parser(open_envelope, (NotAnEnvelope, Refused), _envelope, (*_XML_FILES, *_files("diaspora/public", "*.txt")), XML),
    "envelope_both_ways": Parser(_both_ways, (NotAnEnvelope, Refused), _envelope, _XML_FILES, XML),
    "document": Parser(lambda body: read_document(body, most_tags=100), (MalformedXML,), _document, _XML_FILES, XML),
    "entity": Parser(lambda body: judge_entity(body, CAROL, reshares=True), (), _verdict, _ENTITIES, XML),
    "private": Parser(
        lambda body: open_private(body, PRIVATE_KEYS[RELAY]),
        (Refused,),
        lambda _, found: is_handle(found.sender),
        (*_files("diaspora/private"), private(signed(PAYLOADS[0]))),
        JSON,
    ),
    "webfinger": Parser(
        lambda body: hcard_url(body, CAROL),
        (DiscoveryFault,),
        _url,
        _JRD,
        JSON,
    ),
    "hcard": Parser(
        hcard_key, (DiscoveryFault,), lambda _, key: _key(key), (_AUTHOR.hcard(), *_files("diaspora/discovery", "*hcard*")), HTML
    ),
    "key": Parser(read_public_key, (BadKey,), lambda _, key: _key(key), _PEM, (b"-----BEGIN PUBLIC KEY-----", b"\n", b"=", b"A", b"-----")),
    "preferences": Parser(
        lambda body: read_preferences(body, HOST, max_tags=MOST),
        (InvalidPreferences,),
        _preferences,
        (*_files("x-social-relay", "*.json"), preferences("a", "b", "c", "d", "e")),
        JSON,
    ),
    "node_list": Parser(lambda body: read_list(body, most=MOST), (BadList,), _hosts, _files("node-lists"), (*JSON, *TEXT)),
    "rule_list": Parser(
        lambda body: read_rules(body, action="block", tag_key=lambda tag: match_key(tag) if is_tag(tag) else "", own_host=HOST),
        (BadRules,),
        _rules,
        _RULES,
        TEXT,
    ),
    "bus_message": Parser(_frames(lenient=False), (Malformed,), _message, _BUS, JSON),
    "bus_message_of_fedmsg": Parser(_frames(lenient=True), (Malformed,), _message, _BUS, JSON),
    "bus_query": Parser(_query_of, (BadQuery,), _query, _QUERY, JSON),
    "bus_query_in_url": Parser(
        lambda body: read_texts(dict(parse_qsl(body.decode("utf-8", "replace")))), (BadQuery,), _query, _READ_QUERY, TEXT
    ),
    "control_socket": Parser(lambda body: checked(OFFER, read_object(body)), (NotJSON, ActError), _said, _ACT, JSON),
    "host": Parser(
        lambda body: node_host(body.decode("utf-8", "replace")),
        (BadHost,),
        lambda _, host: is_host(host),
        (b"pod-a.example", "münchen.example".encode()),
        TEXT,
    ),
    "hashtags": Parser(
        lambda body: tag_keys(body.decode("utf-8", "replace")),
        (),
        lambda _, tags: all(is_tag(tag) for tag in tags),
        (b"Hello #cats, #dogs", b"#a#b"),
        TEXT,
    ),
    "forwarded_for": Parser(
        lambda body: parse_address(body.decode("iso-8859-1")),
        (),
        lambda _, found: True,
        (b"[::1]:80", b"192.0.2.1:80", b"fe80::1%eth0"),
        TEXT,
    ),
    "retry_after": Parser(
        lambda body: retry_after(body.decode("iso-8859-1"), NOW),
        (),
        lambda _, found: found is None or found >= 0,
        (b"120", b"Sun, 01 Mar 2026 12:00:30 GMT", b"Sun, 06 Nov 9999 08:49:37 -9999"),
        TEXT,
    ),
}
"""
Name -> parser.

The relay reads no host-meta and no nodeinfo, and webfinger not as XML: a document of that kind is refused as no JSON.
"""


def _key(key: RSAPublicKey) -> bool:
    return SMALLEST <= key.key_size <= LARGEST and key.public_numbers().e == 65537

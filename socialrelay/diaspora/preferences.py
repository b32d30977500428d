"""
What a node publishes about itself at C{/.well-known/x-social-relay}.

Liberal in form, strict in consent: the shapes that real nodes send are all read, and nothing is sent to a node that does not clearly ask.
The faults are for the node's administrator, who sees them when asking the relay what it read.

@see: social-relay:/docs/relays.md, friendica:/src/Module/WellKnown/XSocialRelay.php; shapes in C{tests/vectors/x-social-relay/}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from attrs import frozen

from socialrelay.diaspora.hashtags import LONGEST_TAG, is_tag, match_key
from socialrelay.jsontext import NotJSON, read_object
from socialrelay.routing.subscription import Preferences, Scope

PATH = "/.well-known/x-social-relay"
RECEIVE_PATH = "/receive/public"
PROTOCOL = "diaspora"

MOST_ENTRIES = 20_000
"""Entries of C{tags} that are looked at; the rest counts as dropped."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,499}")


class InvalidPreferences(ValueError):
    """The document is of no use, and says neither yes nor no; the message is a sentence for the node's administrator."""


@frozen
class ReadPreferences:
    """
    @ivar faults: sentences for the node's administrator, the worst first; foreign text in them is ASCII and short.
    """

    preferences: Preferences
    faults: tuple[str, ...] = ()


def read_preferences(body: bytes, host: str, *, max_tags: int) -> ReadPreferences:
    """
    Read the answer of a node that was asked for its preferences.

    @param body: of an answer 200, at most 1 MiB.
    @param host: the node that was asked.
    @param max_tags: how many tags it may have; what is above is cut off.
    @raise InvalidPreferences: it is no answer; the last good one stays valid.
    """
    try:
        document = read_object(body)
    except NotJSON as error:
        raise InvalidPreferences(f"The document is {error}.") from error
    faults: list[str] = []
    scope = _scope(document, faults)
    url = _receive_url(document.get("protocols"), host, faults)
    if scope is Scope.NONE or not url:
        return ReadPreferences(Preferences(Scope.NONE), tuple(faults))
    if scope is Scope.ALL:
        return ReadPreferences(Preferences(scope, receive_url=url), tuple(faults))
    tags, dropped = _tags(document.get("tags"), max_tags, faults)
    return ReadPreferences(Preferences(scope, tags, url, dropped), tuple(faults))


def _scope(document: dict[str, object], faults: list[str]) -> Scope:
    consent, scope = document.get("subscribe"), document.get("scope")
    if not _agrees(consent):
        if "subscribe" not in document:
            faults.append("subscribe is missing, so nothing is sent: it has to be true.")
        elif not _declines(consent):
            faults.append(f"subscribe is {_shown(consent)}, so nothing is sent: it has to be true.")
        return Scope.NONE
    word = scope.strip().casefold() if isinstance(scope, str) else ""
    if word in ("all", "tags"):
        return Scope(word)
    what = "missing" if "scope" not in document else _shown(scope)
    faults.append(f'scope is {what}, so nothing is sent: it has to be "all" or "tags".')
    return Scope.NONE


def _agrees(value: object) -> bool:
    return value is True or _is_number(value, 1) or (isinstance(value, str) and value.strip().casefold() in _TRUE)


def _declines(value: object) -> bool:
    return value is False or _is_number(value, 0) or (isinstance(value, str) and value.strip().casefold() in _FALSE)


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def _receive_url(protocols: object, host: str, faults: list[str]) -> str:
    """Where to deliver; empty if the node does not speak this protocol."""
    usual = f"https://{host}{RECEIVE_PATH}"
    if not isinstance(protocols, (dict, list)):
        if protocols is not None:
            faults.append(f"protocols is {_shown(protocols)}: it is passed over, it has to be an object.")
        return usual
    if PROTOCOL not in protocols:
        faults.append(f"protocols does not name {PROTOCOL}, so nothing is sent.")
        return ""
    entry = protocols[PROTOCOL] if isinstance(protocols, dict) else None
    wanted = entry.get("receive") if isinstance(entry, dict) else entry
    if wanted is None:
        return usual
    url = _own_url(wanted, host)
    if not url:
        faults.append(
            f"protocols.{PROTOCOL} names {_shown(wanted)}; used instead: {usual}. "
            f"It has to begin with https://{host}/ and to have no user name, port, query or fragment."
        )
    return url or usual


def _own_url(url: object, host: str) -> str:
    """The URL, if it is one of that host; empty otherwise."""
    if not isinstance(url, str):
        return ""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme.lower() != "https" or authority.lower() not in (host, f"{host}:443") or not _PATH.fullmatch(slash + path):
        return ""
    return f"https://{host}/{path}"


def _tags(value: object, most: int, faults: list[str]) -> tuple[frozenset[str], int]:
    """Match keys, and how many entries gave none."""
    entries = _entries(value, faults)
    tags: dict[str, None] = {}
    strange: list[object] = []
    looked_at = 0
    for entry in islice(entries, MOST_ENTRIES):
        if len(tags) >= most:
            break
        looked_at += 1
        tag = _tag(entry)
        if tag is None:
            strange.append(entry)
        elif tag:
            tags[tag] = None
    beyond = len(entries) - looked_at
    if beyond:
        faults.append(f"tags: the last {_many(beyond)} left out: a node may have {most} tags.")
    if strange:
        shown = ", ".join(map(_shown, strange[:5])) + (", ..." if len(strange) > 5 else "")
        faults.append(
            f"tags: {_many(len(strange))} left out, being no tags: {shown}. "
            f"A tag is a word of at most {LONGEST_TAG} letters, digits, hyphens and underscores."
        )
    if not tags:
        faults.append("tags has no tags, so nothing matches.")
    return frozenset(tags), beyond + len(strange)


def _entries(value: object, faults: list[str]) -> Sequence[object]:
    if isinstance(value, dict):  # what PHP makes of a list with gaps
        return list(value.values())
    if isinstance(value, str):
        return [word for word in re.split(r"[,\s]+", value) if word]
    if isinstance(value, list):
        return value
    if value is not None:
        faults.append(f"tags is {_shown(value)}: it has to be an array of strings.")
    return ()


def _tag(entry: object) -> str | None:
    """The match key of an entry; empty for an empty one, C{None} for what is no tag."""
    if isinstance(entry, int) and not isinstance(entry, bool):
        entry = str(entry)
    if not isinstance(entry, str):
        return None
    tag = entry.strip().removeprefix("#")
    return match_key(tag) if is_tag(tag) else None if tag else ""


def _many(count: int) -> str:
    return "entry was" if count == 1 else f"{count} entries were"


def _shown(value: object) -> str:
    """A foreign value, short and harmless."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value[:60] if isinstance(value, str) else value).replace("'", '"')
    return text if len(text) <= 62 else text[:60] + '..."'

"""
What becomes of a verified entity.

The list is one of what is relayed, not of what is not: an entity that does not exist yet must not pass.  Comments, likes and the like are
never relayed: who received a post subscribes to its thread at the author's node, and a relay that passed them on once turned one comment
into 20 000 messages.

Only direct children of the payload's root are read, since nested elements reuse the same names; and of a child that occurs twice nodes
would take different ones, so it is refused.
"""

from __future__ import annotations

import re
from hashlib import sha256

from attrs import define

from socialrelay.diaspora.hashtags import tag_keys
from socialrelay.diaspora.xml import Document, Malformed, read_document
from socialrelay.federation import Ruling, Verdict

MOST_TAGS = 4000
"""C{<} in a payload. A post with a hundred photos has some 2 600."""

LONGEST_TEXT = 65535
"""Characters; pods refuse more."""

POST = "status_message"
RESHARE = "reshare"
RETRACTION = "retraction"
CONTACT = "contact"

_RELAYABLE = frozenset({"comment", "like", "poll_participation", "event_participation"})

_IGNORED = {
    "participation": "participation",
    "photo": "photo",
    "profile": "profile",
    "account_deletion": "account",
    "account_migration": "account",
    CONTACT: "private-only",
    "conversation": "private-only",
    "message": "private-only",
}

# Targets of retractions, but for posts. Person is the old form of unsharing, which is private.
_RETRACTIONS_IGNORED = {
    "Comment": "retraction-of-relayable",
    "Like": "retraction-of-relayable",
    "PollParticipation": "retraction-of-relayable",
    "EventParticipation": "retraction-of-relayable",
    "Photo": "photo",
    "Person": "private-only",
}

_READ = frozenset(
    {
        "author",
        "guid",
        "public",
        "text",
        "target_guid",
        "target_type",
        "recipient",
        "following",
        "sharing",
        "blocking",
    }
)

_GUID = re.compile(r"[0-9A-Za-z_@.:-]{15,254}[0-9A-Za-z]")
_KIND = re.compile(r"[A-Za-z_]{1,40}")


class Rejected(Exception):
    """
    The entity is not one that its sender may have sent.

    @ivar reason: as in L{Verdict}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@define
class Entity:
    """
    The head of an entity.

    @ivar kind: its name; C{other} if that is too strange to be shown or counted by.
    """

    kind: str
    _document: Document

    def fields(self, sender: str) -> dict[str, str]:
        """
        The texts that the relay reads, of an entity that only its author may send.

        @raise Rejected: one of them is there twice or holds more than text, or the author is not the sender.
        """
        fields: dict[str, str] = {}
        for child in self._document.children:
            if child.name not in _READ:
                continue
            if child.name in fields:
                raise Rejected("duplicate-element")
            if not child.plain:
                raise Rejected("nested-markup")
            fields[child.name] = child.text
        if fields.get("author") != sender:
            raise Rejected("sender-mismatch")
        return fields

    def texts(self, name: str) -> list[str]:
        """The texts of the children of a name, unchecked."""
        return [child.text for child in self._document.children if child.name == name]

    def guid(self) -> str:
        """The guid, if it is one, for the operator's eyes only."""
        return next(filter(_GUID.fullmatch, self.texts("guid")), "")


def read_entity(payload: bytes) -> Entity:
    """
    Read the head of an entity.

    @raise Rejected: it cannot be read.
    """
    try:
        document = read_document(payload, most_tags=MOST_TAGS)
    except Malformed as error:
        raise Rejected(f"payload-{error.reason}") from error
    return Entity(document.name if _KIND.fullmatch(document.name) else "other", document)


def judge_entity(payload: bytes, sender: str, *, reshares: bool = False) -> Verdict:
    """
    Say what becomes of an entity whose envelope was verified.

    @param sender: whose signature that was.
    @param reshares: relay these too; they have no tags.
    @return: for a retraction C{RETRACT}, which says no more than that its author wishes it: whether the target was relayed, and was this
        author's, is for the log to say.
    """
    kind = ""
    try:
        entity = read_entity(payload)
        kind = entity.kind
        if kind == POST:
            return _post(entity.fields(sender), payload)
        if kind == RETRACTION:
            return _retraction(entity, sender, payload)
        if kind == RESHARE:
            return _reshare(entity.fields(sender), payload, wanted=reshares)
        if kind in _RELAYABLE:  # signed by the author of the thread, who is not the author of this
            return Verdict(Ruling.IGNORE, "relayable", kind, sender, entity.guid())
        reason = _IGNORED.get(kind, "unsupported-entity")
        if kind in _IGNORED:
            entity.fields(sender)
        return Verdict(Ruling.IGNORE, reason, kind, sender, entity.guid())
    except Rejected as rejection:
        return Verdict(Ruling.REJECT, rejection.reason, kind, sender)


def _post(fields: dict[str, str], payload: bytes) -> Verdict:
    author, guid, text = fields["author"], _guid(fields, "guid"), fields.get("text")
    if fields.get("public") != "true":
        raise Rejected("not-public")
    if text is None:
        raise Rejected("no-text")
    if len(text) > LONGEST_TEXT:
        raise Rejected("text-too-long")
    identities = post_identity(author, guid), sha256(payload).digest()
    return Verdict(Ruling.RELAY, kind=POST, author=author, guid=guid, tags=tag_keys(text), identities=identities)


def _reshare(fields: dict[str, str], payload: bytes, *, wanted: bool) -> Verdict:
    author, guid = fields["author"], _guid(fields, "guid")
    if not wanted:
        return Verdict(Ruling.IGNORE, "reshare", RESHARE, author, guid)
    return Verdict(Ruling.RELAY, kind=RESHARE, author=author, guid=guid, identities=(post_identity(author, guid), sha256(payload).digest()))


def _retraction(entity: Entity, sender: str, payload: bytes) -> Verdict:
    # Read first: the retraction of a comment may come from the author of the thread.
    types = entity.texts("target_type")
    if len(types) == 1 and types[0] != "Post":
        return Verdict(Ruling.IGNORE, _RETRACTIONS_IGNORED.get(types[0], "unsupported-entity"), RETRACTION, sender)
    fields = entity.fields(sender)
    if "target_type" not in fields:
        return Verdict(Ruling.IGNORE, "unsupported-entity", RETRACTION, sender)
    author, target = fields["author"], _guid(fields, "target_guid")
    identities = retraction_identity(author, target), sha256(payload).digest()
    return Verdict(Ruling.RETRACT, kind=RETRACTION, author=author, guid=target, identities=identities, target=post_identity(author, target))


def _guid(fields: dict[str, str], name: str) -> str:
    guid = fields.get(name, "")
    if not _GUID.fullmatch(guid):
        raise Rejected("bad-guid")
    return guid


def post_identity(author: str, guid: str) -> bytes:
    """The hash under which a post is remembered: no second one of that name is relayed."""
    return sha256(f"post:{author}:{guid}".encode()).digest()


def retraction_identity(author: str, target: str) -> bytes:
    """The same for the retraction of a post."""
    return sha256(f"retraction:{author}:{target}".encode()).digest()

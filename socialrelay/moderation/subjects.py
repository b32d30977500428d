"""What a rule may be about: a host, an author's handle, or a tag."""

from __future__ import annotations

import re
from collections.abc import Callable

from socialrelay.routing.hosts import BadHost, host_of, node_host

_USER = re.compile(r"[a-z0-9._-]{1,64}")


class BadSubject(ValueError):
    """That is nothing that a rule could be about; the message says why, in one sentence without the offered text."""


def rule_subject(text: str, tag_key: Callable[[str], str]) -> str:
    """
    The subject that a person or a list means.

    @param text: C{host.example}, C{user@host.example} (with C{@} before it or not, with a port or not), or C{#tag}.
    @param tag_key: a hashtag without C{#} as tags are compared; empty for what can be none.
    @return: as L{socialrelay.boundaries.Rule} has it.
    @raise BadSubject: it is none of these.
    """
    text = text.strip()
    if text.startswith("#"):
        key = tag_key(text[1:])
        if not key:
            raise BadSubject("That can be no hashtag.")
        return f"#{key}"
    user, at, address = text.lower().rpartition("@")
    if not at:
        return _host(text)
    user = user.removeprefix("@")
    name, colon, port = address.partition(":")
    if not _USER.fullmatch(user) or (colon and not (port.isascii() and port.isdecimal())):
        raise BadSubject("A handle looks like user@host.example.")
    host = _host(name)
    return f"{user}@{host}:{port}" if port else f"{user}@{host}"


def _host(text: str) -> str:
    try:
        return node_host(text)
    except BadHost as error:
        raise BadSubject(str(error)) from error


def is_tag(subject: str) -> bool:
    """Whether the subject is a tag."""
    return subject.startswith("#")


def is_handle(subject: str) -> bool:
    """Whether the subject is an author."""
    return "@" in subject


def is_host(subject: str) -> bool:
    """Whether the subject is a host."""
    return not is_tag(subject) and not is_handle(subject)


def covering(subject: str) -> tuple[str, ...]:
    """The subjects whose rules hold for this one: itself, of a handle its host, and of a host every domain above it."""
    if is_tag(subject):
        return (subject,)
    first = (subject,) if is_handle(subject) else ()
    labels = host_of(subject).split(".")
    return (*first, *(".".join(labels[start:]) for start in range(len(labels))))

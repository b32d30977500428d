"""Host names as the relay compares them: lower case, A-labels, no final dot."""

from __future__ import annotations

import re

import idna

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z)(?!0x[0-9a-f]*\Z){_LABEL}")


class BadHost(ValueError):
    """That is no host name of a node; the message says why, in one sentence without the offered text."""


def is_host(text: str) -> bool:
    """Whether a text is a host name in the form in which the relay compares them: at least two labels, the last one no number."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def node_host(text: str) -> str:
    """
    The host name that a person or a node list means.

    The rules are strict, because the name will be connected to: a name and nothing else.  It says nothing of where the name leads.

    @return: lower case, A-labels, without final dot.
    @raise BadHost: with a sentence for whoever wrote it.
    """
    name = text.strip().lower().removesuffix(".")
    if not name:
        raise BadHost("The host name is empty.")
    if len(name) > 253:
        raise BadHost("The host name is longer than 253 characters.")
    for mark, what in _FOREIGN:
        if mark in name:
            raise BadHost(f"A host name alone is wanted, without {what}.")
    if not name.isascii():
        name = _a_labels(name)
    if not is_host(name):
        raise BadHost(_fault(name))
    return name


_FOREIGN = (
    ("://", "https:// or another scheme"),
    ("/", "a path"),
    ("@", "a user name"),
    ("[", "an IP address"),
    (":", "a port or an IP address"),
)


def _a_labels(name: str) -> str:
    try:
        return idna.encode(name, uts46=True).decode("ascii").removesuffix(".")
    except (idna.IDNAError, UnicodeError) as error:  # idna's own error does not cover all that it raises
        raise BadHost("The host name has characters that no internationalised name may have.") from error


def _fault(name: str) -> str:
    labels = name.split(".")
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        return "That is a number or an IP address, not a host name."
    if len(labels) < 2:
        return "The host name has no dot: a public name is wanted."
    if any(len(label) > 63 for label in labels):
        return "A part of the host name is longer than 63 characters."
    return "The host name may contain letters, digits, dots and hyphens; no part may be empty, or begin or end with a hyphen."


def host_of(handle: str) -> str:
    """The host of a handle, without its port."""
    return handle.rpartition("@")[2].partition(":")[0]


def within(host: str, domain: str) -> bool:
    """Whether C{host} is C{domain} or below it."""
    return host == domain or host.endswith("." + domain)

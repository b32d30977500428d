"""Counts in sentences, and sentences."""

from __future__ import annotations


def counted(count: float, one: str, many: str = "") -> str:
    """
    A number and what it counts: C{1 post}, C{2 posts}.

    @param many: what all but one are called, if not C{one} with an C{s}.
    """
    number = int(count) if count == int(count) else count
    return f"{number} {one if count == 1 else many or f'{one}s'}"


def sentence(words: object) -> str:
    """What is said in the middle of one, as one of its own; addresses and names in it stay as they are."""
    text = str(words)
    return f"{text[:1].upper()}{text[1:]}."


def shown_url(url: str) -> str:
    """
    A URL as others may see it: without a name and a password, and without its query, which may be a token. A path of a file stays as it is.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest, query, _ = rest.partition("#")[0].partition("?")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}{'?…' if query else ''}"

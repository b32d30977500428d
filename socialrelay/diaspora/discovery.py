"""
Finding an author's key: webfinger, then hCard.

Only the URLs and the documents; fetching them is another's work, who has to vet every host, since all of them are named by strangers.

@see: diaspora_federation:/docs/discovery/
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from socialrelay.diaspora.handle import authority_of
from socialrelay.diaspora.hcard import key_text
from socialrelay.diaspora.keys import BadKey, read_public_key
from socialrelay.jsontext import NotJSON, read_object
from socialrelay.routing.hosts import is_host

HCARD = "http://microformats.org/profile/hcard"
JRD_ACCEPT = "application/jrd+json, application/json;q=0.9"
HCARD_ACCEPT = "text/html"

_URL = re.compile(r"https://[!#-;=?-\[\]_a-z~]{1,2000}")


class DiscoveryFault(Exception):
    """
    The documents do not yield the author's key.

    @ivar reason: C{not-json}, C{subject-mismatch}, C{no-hcard-link}, C{bad-hcard-link}, C{no-key} or C{bad-key}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def webfinger_url(handle: str) -> str:
    """Where the node of a handle says who that is. The port is part of a handle, and counts."""
    return f"https://{authority_of(handle)}/.well-known/webfinger?resource=acct:{handle}"


def hcard_url(jrd: bytes, handle: str) -> str:
    """
    Read a webfinger document.

    @param jrd: JSON, at most 1 MiB.
    @return: the https URL of the hCard; its host may be any.
    @raise DiscoveryFault: see there.
    """
    try:
        document = read_object(jrd)
    except NotJSON as error:
        raise DiscoveryFault("not-json") from error
    subject = document.get("subject")
    if not isinstance(subject, str) or subject.lower().removeprefix("acct:") != handle:
        raise DiscoveryFault("subject-mismatch")
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == HCARD and link.get("href"):
            return _vetted(link["href"])
    raise DiscoveryFault("no-hcard-link")


def hcard_key(html: bytes) -> RSAPublicKey:
    """
    Read an hCard.

    @param html: UTF-8, at most 1 MiB.
    @return: the key in the first element of the class C{key}.
    @raise DiscoveryFault: see there.
    """
    text = key_text(html.decode("utf-8", "replace"))
    if text is None:
        raise DiscoveryFault("no-key")
    try:
        return read_public_key(text)
    except BadKey as error:
        raise DiscoveryFault("bad-key") from error


def _vetted(href: object) -> str:
    if isinstance(href, str) and _URL.fullmatch(href):
        try:
            parts = urlsplit(href)
            port = parts.port
        except ValueError:
            raise DiscoveryFault("bad-hcard-link") from None
        if is_host((parts.hostname or "").removesuffix(".")) and "@" not in parts.netloc and port != 0:
            return href.partition("#")[0]
    raise DiscoveryFault("bad-hcard-link")

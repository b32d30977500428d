"""The operator's rules and the authors' wishes, applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from types import MappingProxyType

from attrs import frozen

from socialrelay.routing.hosts import host_of
from socialrelay.routing.subscription import Effective, Preferences, Scope, Subscription

_NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})


def _names(subjects: AbstractSet[str], host: str) -> bool:
    """Whether a host or a domain above it is among the subjects."""
    while host:
        if host in subjects:
            return True
        host = host.partition(".")[2]
    return False


@frozen
class RuleBook:
    """
    What the operator decided. A rule for a host holds for its subdomains, but for C{forward}.

    @ivar blocked: hosts and handles from which nothing is taken and to which nothing is sent.
    @ivar blocked_tags: match keys of tags: no post with one of them is relayed.
    @ivar limited: hosts and handles whose posts are kept and not relayed.
    @ivar limited_tags: likewise, posts with one of these.
    @ivar allowed: if this is not C{None}, the only hosts and handles that are served.
    @ivar forward: hosts that are sent every post.
    """

    blocked: frozenset[str] = frozenset()
    blocked_tags: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    limited_tags: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    forward: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        by_hand: Mapping[str, Collection[str]],
        of_lists: Mapping[str, Collection[str]] = _NOTHING,
        *,
        allow_list: bool = False,
    ) -> RuleBook:
        """
        Of several rules for one subject the strictest counts; but what was allowed by hand is taken out of the lists.

        @param by_hand: action (C{block}, C{limit}, C{allow}, C{forward}) -> subjects; a tag is written with C{#}.
        @param of_lists: likewise, for what others decided: C{block} and C{limit}.
        @param allow_list: whether only who is allowed is served.
        """
        allowed = frozenset(by_hand.get("allow", ()))
        blocked, blocked_tags = _sorted(by_hand.get("block", ()), of_lists.get("block", ()), allowed)
        limited, limited_tags = _sorted(by_hand.get("limit", ()), of_lists.get("limit", ()), allowed)
        forward = frozenset(by_hand.get("forward", ()))
        return cls(blocked, blocked_tags, limited, limited_tags, allowed if allow_list else None, forward)

    def refuses_host(self, host: str) -> str:
        """Why nothing passes between the relay and this host; empty if it may."""
        if self.blocked and _names(self.blocked, host):
            return "blocked"
        if self.allowed is not None and not _names(self.allowed, host):
            return "not-allowed"
        return ""

    def refuses_author(self, author: str) -> str:
        """Why nothing of this author is relayed; empty if it may be."""
        if author in self.blocked:
            return "blocked"
        if self.allowed is not None and author in self.allowed:
            return "blocked" if _names(self.blocked, host_of(author)) else ""
        return self.refuses_host(host_of(author))

    def refuses_tags(self, tags: AbstractSet[str]) -> str:
        """Why no post with these match keys is relayed; empty if it may be."""
        return "" if self.blocked_tags.isdisjoint(tags) else "blocked-tag"

    def decides_anew(self, host: str, before: RuleBook) -> bool:
        """Whether these rules may say something else of what a host is subscribed to than earlier ones."""
        if (self.allowed is None) != (before.allowed is None) or (host in self.forward) != (host in before.forward):
            return True
        return self.refuses_host(host) != before.refuses_host(host)

    def limits(self, author: str, tags: AbstractSet[str]) -> bool:
        """Whether an author's post with these match keys is kept and not relayed."""
        if not self.limited_tags.isdisjoint(tags):
            return True
        return bool(self.limited) and (author in self.limited or _names(self.limited, host_of(author)))


def _sorted(by_hand: Collection[str], of_lists: Collection[str], allowed: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Hosts and handles, and the keys of tags."""
    subjects = frozenset(by_hand).union(frozenset(of_lists) - allowed)
    tags = frozenset(subject for subject in subjects if subject[0] == "#")
    return subjects - tags, frozenset(tag[1:] for tag in tags)


_NO_TAGS: frozenset[str] = frozenset()
"""One for all who have none: each empty set of its own takes 216 bytes."""


def effective(
    host: str,
    rules: RuleBook,
    published: Preferences | None,
    manual: Subscription | None,
    default_url: str,
    gone_until: datetime | None = None,
) -> Effective:
    """
    What a host is subscribed to.

    A published refusal ends every subscription, also the operator's: consent is the node's. Otherwise the operator's word counts before
    the node's own.

    @param gone_until: its deliveries were answered 410 Gone for more than a day; until then it gets nothing, whoever asks for it.
    """
    wish = _wish(host, rules, published, manual, default_url)
    if wish.wanted and gone_until is not None:
        return Effective(Scope.NONE, why="it answers 410 Gone to deliveries", until=gone_until)
    return wish


def _wish(host: str, rules: RuleBook, published: Preferences | None, manual: Subscription | None, default_url: str) -> Effective:
    refused = rules.refuses_host(host)
    if refused:
        return Effective(Scope.NONE, why="blocked by the operator" if refused == "blocked" else "not on the operator's allow list")
    if published is not None and published.scope is Scope.NONE:
        return Effective(Scope.NONE, why="the node publishes that it wants nothing")
    url = published.receive_url if published is not None and published.receive_url else default_url
    if host in rules.forward:
        return Effective(Scope.ALL, url=url, why="the operator forwards everything to it")
    if manual is not None:
        return Effective(manual.scope, manual.tags or _NO_TAGS, url, "subscribed by the operator")
    if published is not None:
        return Effective(published.scope, published.tags or _NO_TAGS, url, "the node publishes it")
    return Effective(Scope.NONE, why="it neither publishes a subscription nor was it subscribed by the operator")

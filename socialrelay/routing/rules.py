"""The operator's rules and the authors' wishes, applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from attrs import frozen

from socialrelay.routing.hosts import host_of
from socialrelay.routing.subscription import Effective, Preferences, Scope, Subscription


def _names(host: str) -> Iterator[str]:
    """A host and every domain above it."""
    while host:
        yield host
        host = host.partition(".")[2]


@frozen
class RuleBook:
    """
    What the operator decided. A rule for a host holds for its subdomains, but for C{forward}.

    @ivar blocked: hosts and handles from which nothing is taken and to which nothing is sent.
    @ivar allowed: if this is not C{None}, the only hosts and handles that are served.
    @ivar forward: hosts that are sent every post.
    """

    blocked: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    forward: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rules: Iterable[tuple[str, str]], allow_list: bool) -> RuleBook:
        """@param rules: pairs of action (C{block}, C{allow}, C{forward}) and subject."""
        by_action: dict[str, set[str]] = {"block": set(), "allow": set(), "forward": set()}
        for action, subject in rules:
            by_action[action].add(subject)
        return cls(
            frozenset(by_action["block"]),
            frozenset(by_action["allow"]) if allow_list else None,
            frozenset(by_action["forward"]),
        )

    def refuses_host(self, host: str) -> str:
        """Why nothing passes between the relay and this host; empty if it may."""
        if any(name in self.blocked for name in _names(host)):
            return "blocked"
        if self.allowed is not None and not any(name in self.allowed for name in _names(host)):
            return "not-allowed"
        return ""

    def refuses_author(self, author: str) -> str:
        """Why nothing of this author is relayed; empty if it may be."""
        if author in self.blocked:
            return "blocked"
        if self.allowed is not None and author in self.allowed:
            return "blocked" if any(name in self.blocked for name in _names(host_of(author))) else ""
        return self.refuses_host(host_of(author))


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

"""Which nodes come of what the old relay knew. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from attrs import Factory, frozen

from socialrelay.diaspora.preferences import InvalidPreferences, read_preferences
from socialrelay.routing.hosts import BadHost, node_host, within
from socialrelay.routing.subscription import Preferences, Scope


@frozen
class Known:
    """
    @ivar nodes: host -> what it published; C{None} if the old relay had read nothing of it.
    @ivar left_out: why names were left out -> how many.
    """

    nodes: Mapping[str, Preferences | None]
    left_out: Counter[str] = Factory(Counter)

    def wanting(self) -> int:
        """How many ask for posts."""
        return sum(1 for wish in self.nodes.values() if wish is not None and wish.scope is not Scope.NONE)


def known_nodes(
    hosts: Iterable[str],
    preferences: Mapping[str, bytes],
    *,
    own_host: str,
    max_tags: int,
    told: Callable[[float], None] = lambda part: None,
) -> Known:
    """
    @param hosts: names of C{node} and C{pods}, as they stand there.
    @param preferences: name -> document, as the old relay last read it.
    @param max_tags: of one node.
    """
    nodes: dict[str, Preferences | None] = {}
    left_out: Counter[str] = Counter()
    for name in dict.fromkeys(hosts):
        host = usable_host(name, own_host)
        if host:
            nodes.setdefault(host, None)
        else:
            left_out["no host name of another server"] += 1
    for index, (name, document) in enumerate(preferences.items()):
        told(index / len(preferences))
        host = usable_host(name, own_host)
        if not host:
            left_out["no host name of another server"] += name not in nodes
            continue
        nodes.setdefault(host, None)
        try:
            nodes[host] = read_preferences(document, host, max_tags=max_tags).preferences
        except InvalidPreferences:
            left_out["preferences that cannot be read; the node itself is taken over, and asked again"] += 1
    return Known(nodes, left_out)


def usable_host(name: str, own_host: str) -> str:
    """The host as the relay writes it; empty if it is none, or the relay's own."""
    try:
        host = node_host(name)
    except BadHost:
        return ""
    return "" if own_host and within(host, own_host) else host

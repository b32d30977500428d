"""What the relay asks of others, as metrics: preferences, node lists, keys, names."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from prometheus_client.metrics_core import Metric

from socialrelay.discovery.keyring import DiscoveringKeyring
from socialrelay.metrics.families import counters, gauge, gauges
from socialrelay.moderation.lists import RuleLists
from socialrelay.network.resolver import Resolver
from socialrelay.nodes.directory import NodeDirectory
from socialrelay.nodes.poller import NodePoller
from socialrelay.subscribers import Subscribers

NAMES = ("found", "refused", "no-such-name", "no-answer")
POLLS = ("published", "gone", "missing", "failed", "unreadable")
KEYS = ("stored", "found", "none", "failed", "not-asked")


@frozen(eq=False)
class AskingMetrics:
    """Poller, node lists, keyring and resolver; and the rules."""

    poller: NodePoller
    directory: NodeDirectory
    keyring: DiscoveringKeyring
    resolver: Resolver
    subscribers: Subscribers
    rule_lists: RuleLists

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        yield from self._nodes()
        yield from self._keys()
        yield counters("name_lookups", "Look-ups of host names, by result.", "result", self.resolver.results, NAMES)
        yield from self._subscriptions()

    def _nodes(self) -> Iterator[Metric]:
        poller = self.poller
        yield counters("polls", "Polls of nodes' preferences, by result.", "result", poller.results, POLLS)
        yield gauges("polls_under_way", "Polls under way, by cause.", ["cause"], ((("due",), poller.due), (("asked",), poller.asked)))
        lists = self.directory.standing
        failing = [((name,), float(bool(each.fault))) for name, each in lists.items()]
        yield gauges("node_list_failing", "Whether the last attempt to read a node list failed.", ["list"], failing)
        hosts = [((name,), each.hosts) for name, each in lists.items()]
        yield gauges("node_list_hosts", "Hosts that a node list named when it was last read.", ["list"], hosts)

    def _keys(self) -> Iterator[Metric]:
        keyring = self.keyring
        yield gauge("key_lookups_under_way", "Authors' nodes that are being asked for keys.", keyring.under_way)
        yield counters("key_lookups", "Look-ups of authors' keys that were not in memory, by result.", "result", keyring.results, KEYS)

    def _subscriptions(self) -> Iterator[Metric]:
        count = self.subscribers.count()
        wants = (("all",), count.everything), (("tags",), count.tagged)
        yield gauges("subscribers", "Nodes that are subscribed, by scope.", ["scope"], wants)
        yield gauge("tags", "Distinct tags that are wanted.", count.tags)
        lists = [((name,), float(bool(fault))) for name, fault in self.rule_lists.faults.items()]
        yield gauges("rule_list_failing", "Whether the last attempt to fetch a list of rules failed.", ["list"], lists)
        rules = self.subscribers.rules
        found = {
            "block": len(rules.blocked) + len(rules.blocked_tags),
            "limit": len(rules.limited) + len(rules.limited_tags),
            "allow": len(rules.allowed or ()),
            "forward": len(rules.forward),
        }
        yield gauges(
            "rules", "Subjects that rules are in force for, by action.", ["action"], (((key,), many) for key, many in found.items())
        )

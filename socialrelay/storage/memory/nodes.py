"""Nodes and the operator's wishes, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries import Contacts, ManualSubscription, NodeRecord, Nodes, PollNote, Subscriptions
from socialrelay.boundaries.nodes import POLLS_KEPT
from socialrelay.storage.memory.tables import MemoryTables, answering


@frozen
class MemoryNodes:
    """L{Nodes} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def get(self, host: str) -> NodeRecord | None:
        """See L{Nodes.get}."""
        return self._tables.nodes.get(host)

    @answering
    def named(self, hosts: Collection[str]) -> list[NodeRecord]:
        """See L{Nodes.named}."""
        return [self._tables.nodes[host] for host in hosts if host in self._tables.nodes]

    @answering
    def listed(self, source: str, hosts: Mapping[str, datetime], now: datetime) -> int:
        """See L{Nodes.listed}."""
        nodes = self._tables.nodes
        new = 0
        for host, first_poll in hosts.items():
            node = nodes.get(host)
            if node is None:
                new += 1
                nodes[host] = NodeRecord(host, (source,), now, first_poll, last_listed=now)
            else:
                sources = node.sources if source in node.sources else (*node.sources, source)
                nodes[host] = evolve(node, sources=sources, last_listed=now)
        return new

    @answering
    def save(self, node: NodeRecord, poll: PollNote | None = None) -> None:
        """See L{Nodes.save}."""
        self._tables.nodes[node.host] = node
        if poll is not None:
            before = [each for each in self._tables.polls.get(node.host, []) if each.at != poll.at]
            self._tables.polls[node.host] = [poll, *before][:POLLS_KEPT]

    @answering
    def polls(self, host: str) -> list[PollNote]:
        """See L{Nodes.polls}."""
        return list(self._tables.polls.get(host, []))

    @answering
    def due(self, now: datetime, limit: int) -> list[NodeRecord]:
        """See L{Nodes.due}."""
        due = [node for node in self._tables.nodes.values() if node.next_poll <= now]
        return sorted(due, key=lambda node: (node.next_poll, node.host))[:limit]

    @answering
    def subscribers(self) -> list[NodeRecord]:
        """See L{Nodes.subscribers}."""
        return [node for _, node in sorted(self._tables.nodes.items()) if node.preferences is not None]

    @answering
    def page(self, after: str, limit: int) -> list[NodeRecord]:
        """See L{Nodes.page}."""
        return [node for host, node in sorted(self._tables.nodes.items()) if host > after][:limit]

    @answering
    def count(self) -> int:
        """See L{Nodes.count}."""
        return len(self._tables.nodes)

    @answering
    def forget(self, unlisted_since: datetime) -> int:
        """See L{Nodes.forget}."""

        def stale(node: NodeRecord) -> bool:
            signs = (node.first_seen, node.last_listed, node.last_answer)
            quiet = all(sign is None or sign < unlisted_since for sign in signs)
            return quiet and node.preferences is None and node.host not in self._tables.subscriptions

        gone = [host for host, node in self._tables.nodes.items() if stale(node)]
        for host in gone:
            del self._tables.nodes[host]
            self._tables.polls.pop(host, None)
        return len(gone)


@frozen
class MemorySubscriptions:
    """L{Subscriptions} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def all(self) -> list[ManualSubscription]:
        """See L{Subscriptions.all}."""
        return [entry for _, entry in sorted(self._tables.subscriptions.items())]

    @answering
    def put(self, entry: ManualSubscription) -> None:
        """See L{Subscriptions.put}."""
        self._tables.subscriptions[entry.host] = entry

    @answering
    def remove(self, host: str) -> bool:
        """See L{Subscriptions.remove}."""
        return self._tables.subscriptions.pop(host, None) is not None


@frozen
class MemoryContacts:
    """L{Contacts} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def all(self) -> dict[str, bool]:
        """See L{Contacts.all}."""
        return dict(self._tables.contacts)

    @answering
    def put(self, handle: str, wishes: bool, now: datetime) -> None:
        """See L{Contacts.put}."""
        self._tables.contacts[handle] = wishes

    @answering
    def remove(self, handle: str) -> None:
        """See L{Contacts.remove}."""
        self._tables.contacts.pop(handle, None)


_conforms_nodes: type[Nodes] = MemoryNodes
_conforms_subscriptions: type[Subscriptions] = MemorySubscriptions
_conforms_contacts: type[Contacts] = MemoryContacts

"""
What an operator may see of the running relay, whoever asks: the command today, a web page tomorrow.

Every view answers a plain dictionary; L{socialrelay.operators.plain} says what stands in its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import define, frozen

from socialrelay import __version__
from socialrelay.boundaries import (
    Condition,
    Destinations,
    DestinationStatus,
    Incoming,
    Membership,
    NodeRecord,
    Nodes,
    Overview,
    Queue,
    Rejections,
    Rule,
    Rules,
    Statistics,
    Subscriptions,
    Unavailable,
)
from socialrelay.config import Config
from socialrelay.identity import RelayIdentity
from socialrelay.operators.plain import (
    Plain,
    plain_condition,
    plain_destination,
    plain_effective,
    plain_gap,
    plain_manual,
    plain_node,
    plain_rejection,
    plain_rule,
    plain_time,
)
from socialrelay.routing.hosts import host_of, node_host, within
from socialrelay.routing.subscription import Effective, Scope
from socialrelay.scheduler.record import State

MAX_ROWS = 1000
SCANNED_NODES = 20_000
GAPS = 20


class ActError(Exception):
    """
    The act was not done, or there is nothing to show.

    @ivar code: C{bad-request}, C{bad-host}, C{bad-tags}, C{refused}, C{unknown-node}, C{not-subscribed}, C{no-rule} or C{unavailable}.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Conditions(Protocol):
    """How the relay's parts are."""

    def conditions(self) -> Sequence[Condition]: ...


class Stores(Protocol):
    """What operators look into and change."""

    @property
    def nodes(self) -> Nodes: ...

    @property
    def destinations(self) -> Destinations: ...

    @property
    def subscriptions(self) -> Subscriptions: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def incoming(self) -> Incoming: ...

    @property
    def rejections(self) -> Rejections: ...

    @property
    def statistics(self) -> Statistics: ...


@frozen(kw_only=True)
class About:
    """
    The running relay, as told to its operator.

    @ivar host: its public name; empty in development mode.
    @ivar key_fingerprint: SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal.
    @ivar provisional: the identity is not bound yet.
    @ivar allow_list: only who is on the allow list is relayed.
    """

    version: str
    host: str
    production: bool
    handle: str
    guid: str
    key_fingerprint: str
    provisional: bool
    started_at: datetime
    pid: int
    state_dir: str
    listen: tuple[str, ...]
    allow_list: bool = False

    @classmethod
    def of(cls, config: Config, identity: RelayIdentity, *, started_at: datetime, pid: int) -> About:
        """What configuration and identity say."""
        return cls(
            version=__version__,
            host=config.host,
            production=config.production,
            handle=identity.handle,
            guid=identity.guid,
            key_fingerprint=identity.key_hash.hex(),
            provisional=identity.provisional,
            started_at=started_at,
            pid=pid,
            state_dir=str(config.state_dir),
            listen=config.listen,
            allow_list=config.policy.allow_list,
        )


def checked_host(text: str) -> str:
    """
    A node's host as the relay writes it.

    @raise ActError: C{bad-host}.
    """
    try:
        return node_host(text)
    except ValueError as error:
        raise ActError("bad-host", f"{text[:253]!r} is no host of a node. {error}") from error


def covers(rule_subject: str, subject: str) -> bool:
    """Whether a block or allow rule is about this host or handle."""
    return rule_subject == subject or ("@" not in rule_subject and within(host_of(subject), rule_subject))


def served_by(membership: Membership) -> Callable[[str], bool]:
    """Whether a host is among those that are served though it is not subscribed: it would be, if it did not answer 410 Gone."""
    return lambda host: membership.effective(host).until is not None


@define(kw_only=True, eq=False)
class Views:
    """The operators' views."""

    about: About
    stores: Stores
    membership: Membership
    queue: Queue
    health: Conditions
    overview: Overview
    now: Callable[[], datetime]

    async def status(self) -> Plain:
        """
        How the relay is: C{version}, C{host}, C{mode}, C{pid}, C{started_at}, C{uptime}, C{state_dir}, C{listen}, C{ready}, C{conditions},
        C{incoming} (C{rows}, C{bytes}) and C{stats} (as L{RelayOverview.stats}).  While storage is away the last two are C{None}.
        """
        about = self.about
        answer: Plain = {
            "version": about.version,
            "host": about.host,
            "mode": "production" if about.production else "development",
            "pid": about.pid,
            "started_at": plain_time(about.started_at),
            "uptime": max(0, int((self.now() - about.started_at).total_seconds())),
            "state_dir": about.state_dir,
            "listen": list(about.listen),
            "incoming": None,
            "stats": None,
        }
        try:
            rows, size = await self.stores.incoming.usage()
            answer["incoming"] = {"rows": rows, "bytes": size}
            answer["stats"] = await self.overview.stats()
        except Unavailable:
            pass  # that is what the conditions say
        return answer | await self.conditions()  # asked last: that storage is away may have been found out just now

    async def conditions(self) -> Plain:
        """C{ready}: it accepts posts; C{degraded}: it does so, but something is amiss; C{conditions}, each with its C{detail}."""
        conditions = list(self.health.conditions())
        ready = all(condition.well for condition in conditions if condition.essential)
        return {
            "ready": ready,
            "degraded": ready and not all(condition.well for condition in conditions),
            "conditions": [plain_condition(condition) for condition in conditions],
        }

    async def nodes(self, *, text: str = "", which: str = "all", after: str = "", limit: int = 100) -> Plain:
        """
        Known nodes by host.  Keys: C{nodes}, each with C{subscription} (as it is now), and C{next}: the host to go on after, or C{None}.
        In development C{next_poll} of a node is C{None}.

        @param text: a part of the host.
        @param which: C{all}, C{subscribed}, C{refusing} (publish that they want nothing) or C{failing} (the last poll failed).
        """
        if which not in _KINDS_OF_NODES:
            raise ActError("bad-request", f"There is no kind of nodes {which!r}; there are: {', '.join(_KINDS_OF_NODES)}.")
        limit = min(max(limit, 1), MAX_ROWS)
        shown: list[Plain] = []
        scanned = 0
        while scanned < SCANNED_NODES:
            page = await self.stores.nodes.page(after, MAX_ROWS)
            for node in page:
                after = node.host
                effective = self.membership.effective(node.host)
                if text.lower() in node.host and _KINDS_OF_NODES[which](node, effective):
                    shown.append({**self._node(node), "subscription": plain_effective(effective)})
                    if len(shown) == limit:
                        return {"nodes": shown, "next": after}
            scanned += len(page)
            if len(page) < MAX_ROWS:
                return {"nodes": shown, "next": None}
        return {"nodes": shown, "next": after}

    async def node(self, host: str) -> Plain:
        """
        All that is known of one node: C{host}, C{known} (as L{plain_node}), C{subscription}, C{manual}, C{rules}, C{deliveries},
        C{gaps} (as L{plain_gap}, the latest L{GAPS} of them first) and C{counts}: events of 30 days, as author's host and as destination.
        """
        host = checked_host(host)
        known = await self.stores.nodes.get(host)
        manual = next((entry for entry in await self.stores.subscriptions.all() if entry.host == host), None)
        rules = [rule for rule in await self.stores.rules.all() if _concerns(rule, host)]
        destination = self.queue.destination(host)
        if known is None and manual is None and destination is None and not rules:
            raise ActError("unknown-node", f"The relay has never heard of {host}. `socialrelay poll {host}` asks it for its preferences.")
        return {
            "host": host,
            "known": None if known is None else self._node(known),
            "subscription": plain_effective(self.membership.effective(host)),
            "manual": plain_manual(manual),
            "rules": [plain_rule(rule) for rule in rules],
            "deliveries": None if destination is None else plain_destination(destination),
            "gaps": await self._gaps(destination),
            "counts": await self.stores.statistics.of_subject(host, self.now() - timedelta(days=30)),
        }

    async def _gaps(self, destination: DestinationStatus | None) -> list[Plain]:
        if destination is None:
            return []
        return [plain_gap(found) for found in await self.stores.destinations.gaps(destination.record.number, GAPS)]

    def _node(self, node: NodeRecord) -> Plain:
        """In development nobody makes the next poll."""
        plain = plain_node(node)
        return plain if self.about.production else {**plain, "next_poll": None}

    async def queued(self, *, state: str = "", limit: int = 100) -> Plain:
        """
        Destinations that do not follow the log happily, those with most behind them first.  Keys: C{destinations}, C{left_out} (how many
        more there are), C{states} (state -> how many of all).

        @param state: show all destinations of this state.
        """
        names = [each.value for each in State]
        if state and state not in names:
            raise ActError("bad-request", f"There is no state {state!r}; there are: {', '.join(names)}.")
        served = served_by(self.membership)
        chosen, left_out = self.queue.worst(State(state) if state else None, min(max(limit, 1), MAX_ROWS), served)
        found = self.queue.summary(served)
        return {
            "destinations": [plain_destination(each) for each in chosen],
            "left_out": left_out,
            "states": {name: found[name] for name in names},
        }

    async def rejected(self, *, limit: int = 50) -> Plain:
        """What was refused lately, the newest first: C{rejected}; and C{reasons}: how many of these for each reason."""
        rejections = await self.stores.rejections.recent(min(max(limit, 1), MAX_ROWS))
        return {
            "rejected": [plain_rejection(each) for each in rejections],
            "reasons": dict(Counter(each.reason for each in rejections).most_common()),
        }

    async def rules(self) -> Plain:
        """The operator's rules and the manual subscriptions: C{rules}, C{subscriptions}."""
        manual = await self.stores.subscriptions.all()
        return {
            "rules": [plain_rule(rule) for rule in await self.stores.rules.all()],
            "subscriptions": [{"host": entry.host, **(plain_manual(entry) or {})} for entry in manual],
        }

    async def identity(self) -> Plain:
        """Who the relay is to others: C{handle}, C{host}, C{guid}, C{key_fingerprint}, C{provisional}, C{allow_list}."""
        about = self.about
        return {
            "handle": about.handle,
            "host": about.host,
            "guid": about.guid,
            "key_fingerprint": about.key_fingerprint,
            "provisional": about.provisional,
            "allow_list": about.allow_list,
        }


_KINDS_OF_NODES: dict[str, Callable[[NodeRecord, Effective], bool]] = {
    "all": lambda node, effective: True,
    "subscribed": lambda node, effective: effective.scope is not Scope.NONE,
    "refusing": lambda node, effective: node.preferences is not None and node.preferences.scope is Scope.NONE,
    "failing": lambda node, effective: node.poll_failures > 0,
}


def _concerns(rule: Rule, host: str) -> bool:
    """Whether a rule is about this host, one above it, or an author there."""
    if rule.action == "forward":
        return rule.subject == host
    return covers(rule.subject, host) or ("@" in rule.subject and host_of(rule.subject) == host)

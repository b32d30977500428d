"""
What an operator may see of the running relay, whoever asks: the command today, a web page tomorrow.

Every view answers a plain dictionary; L{socialrelay.operators.plain} says what stands in its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import define

from socialrelay.boundaries import (
    Condition,
    DestinationStatus,
    Membership,
    NodeRecord,
    Overview,
    Queue,
    Unavailable,
)
from socialrelay.boundaries.node_table import KINDS, ORDERS, NodeQuery
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.history import History
from socialrelay.operators.plain import (
    Plain,
    plain_conditions,
    plain_destination,
    plain_effective,
    plain_gap,
    plain_manual,
    plain_node,
    plain_rejection,
    plain_row,
    plain_time,
)
from socialrelay.operators.rule_views import RuleViews
from socialrelay.operators.terms import About, ActError, Stores, checked_host, served_by
from socialrelay.scheduler.record import State

MAX_ROWS = 1000
MAX_OFFSET = 1_000_000
GAPS = 20


class Conditions(Protocol):
    """How the relay's parts are."""

    def conditions(self) -> Sequence[Condition]: ...


@define(kw_only=True, eq=False)
class Views:
    """
    The operators' views.

    @ivar allow_list: whether only who is allowed is relayed.
    @ivar bus: as L{BusView.short<socialrelay.operators.bus.BusView.short>}; C{None} where there is none.
    """

    about: About
    stores: Stores
    membership: Membership
    queue: Queue
    health: Conditions
    overview: Overview
    rules: RuleViews
    backlog: Backlog
    history: History
    allow_list: Callable[[], bool]
    now: Callable[[], datetime]
    bus: Callable[[], Plain | None] = lambda: None

    async def status(self) -> Plain:
        """
        How the relay is: C{version}, C{host}, C{mode}, C{pid}, C{started_at}, C{uptime}, C{state_dir}, C{listen}, C{ready}, C{conditions},
        C{bus} (C{None} if it is off), C{incoming} (C{rows}, C{bytes}) and C{stats} (as L{RelayOverview.stats}).  While storage is away the
        last two are C{None}.
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
            "bus": self.bus(),
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
        return plain_conditions(self.health.conditions())

    async def nodes(
        self, *, text: str = "", which: str = "all", sort: str = "host", descending: bool = False, offset: int = 0, limit: int = 100
    ) -> Plain:
        """
        Nodes that the relay has heard of: C{nodes} (as L{plain_row}), C{total} (how many there are without C{offset} and C{limit}),
        C{offset}.  In development C{next_poll} of a node is C{None}.

        @param text: a part of the host.
        @param which: one of L{KINDS<socialrelay.boundaries.node_table.KINDS>}.
        @param sort: one of L{ORDERS<socialrelay.boundaries.node_table.ORDERS>}; equals by host, and who has no such value last.
        @param limit: at most L{MAX_ROWS}.
        """
        if which not in KINDS:
            raise ActError("bad-request", f"There is no kind of nodes {which!r}; there are: {', '.join(KINDS)}.")
        if sort not in ORDERS:
            raise ActError("bad-request", f"Nodes are not sorted by {sort!r}, but by: {', '.join(ORDERS)}.")
        offset, limit = min(max(offset, 0), MAX_OFFSET), min(max(limit, 1), MAX_ROWS)
        query = NodeQuery(text=text.strip(), which=which, sort=sort, descending=descending, offset=offset, limit=limit)
        rows, total = await self.stores.node_table.page(query)
        shown = [plain_row(row, self.membership.effective(row.host), polled=self.about.production) for row in rows]
        return {"nodes": shown, "total": total, "offset": offset}

    async def node(self, host: str) -> Plain:
        """
        All that is known of one node: C{host}, C{known} (as L{plain_node}), C{subscription}, C{manual}, C{rules}, C{deliveries},
        C{gaps} (as L{plain_gap}, the latest L{GAPS} of them first) and C{counts}: events of 30 days, as author's host and as destination;
        and what L{History.of} adds.
        """
        host = checked_host(host)
        known = await self.stores.nodes.get(host)
        manual = next((entry for entry in await self.stores.subscriptions.all() if entry.host == host), None)
        rules = list(await self.rules.about(host))
        destination = self.queue.destination(host)
        if known is None and manual is None and destination is None and not rules:
            raise ActError("unknown-node", f"The relay has never heard of {host}. `socialrelay poll {host}` asks it for its preferences.")
        return {
            "host": host,
            "known": None if known is None else self._node(known),
            "subscription": plain_effective(self.membership.effective(host)),
            "manual": plain_manual(manual),
            "rules": rules,
            "deliveries": None if destination is None else plain_destination(destination),
            "gaps": await self._gaps(destination),
            "counts": await self.stores.statistics.of_subject(host, self.now() - timedelta(days=30)),
            **await self.history.of(host, destination, self.now()),
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

    async def identity(self) -> Plain:
        """Who the relay is to others: C{handle}, C{host}, C{guid}, C{key_fingerprint}, C{provisional}, C{allow_list}."""
        about = self.about
        return {
            "handle": about.handle,
            "host": about.host,
            "guid": about.guid,
            "key_fingerprint": about.key_fingerprint,
            "provisional": about.provisional,
            "allow_list": self.allow_list(),
        }

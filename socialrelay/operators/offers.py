"""
The operators' views and acts by name, with what may be said to each: one catalogue for the control socket and for the operators' pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import frozen

from socialrelay.operators.bus import BusView, no_bus
from socialrelay.operators.operations import Operations
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError
from socialrelay.operators.views import Views


@frozen
class Offer:
    """
    A view or an act as it is asked for.

    @ivar fields: name -> type of what may be said; C{list} means a list of texts.
    @ivar required: without these there is no sense.
    """

    run: Callable[..., Coroutine[Any, Any, Plain]]
    fields: Mapping[str, type] = {}
    required: tuple[str, ...] = ()


def view_offers(views: Views) -> dict[str, Offer]:
    """The views by name."""
    return {
        "status": Offer(views.status),
        "health": Offer(views.conditions),
        "nodes": Offer(views.nodes, {"text": str, "which": str, "sort": str, "descending": bool, "offset": int, "limit": int}),
        "node": Offer(views.node, {"host": str}, ("host",)),
        "queue": Offer(views.queued, {"state": str, "limit": int}),
        "bounced": Offer(views.backlog.bounced, {"host": str, "limit": int}, ("host",)),
        "deferred": Offer(views.backlog.deferred, {"limit": int}),
        "waiting": Offer(views.backlog.waiting),
        "quarantine": Offer(views.backlog.quarantine, {"limit": int}),
        "rejected": Offer(views.rejected, {"limit": int}),
        "rules": Offer(views.rules.overview, {"text": str, "action": str, "list": str, "offset": int, "limit": int}),
        "rules-export": Offer(views.rules.export, {"list": str, "format": str, "action": str}),
        "identity": Offer(views.identity),
    }


def bus_offers(bus: BusView | None) -> dict[str, Offer]:
    """The view of the message bus."""
    return {"bus": Offer(no_bus if bus is None else bus.all)}


def act_offers(operations: Operations) -> dict[str, Offer]:
    """The acts by name."""
    rules = operations.rules
    host, subject = {"host": str}, {"subject": str}
    rule = {**subject, "reason": str, "until": str}
    listed = {"name": str, "text": str, "url": str, "action": str, "source": str, "dry_run": bool}
    return {
        "subscribe": Offer(operations.subscribe, {**host, "tags": list, "everything": bool}, ("host",)),
        "unsubscribe": Offer(operations.unsubscribe, host, ("host",)),
        "block": Offer(rules.block, rule, ("subject",)),
        "limit": Offer(rules.limit, rule, ("subject",)),
        "allow": Offer(rules.allow, rule, ("subject",)),
        "unblock": Offer(rules.unblock, subject, ("subject",)),
        "forward": Offer(rules.forward, {**host, "off": bool, "reason": str, "until": str}, ("host",)),
        "rules-import": Offer(rules.rules_import, listed, ("name",)),
        "rules-remove": Offer(rules.rules_remove, {"name": str}, ("name",)),
        "rules-fetch": Offer(rules.rules_fetch, {"name": str, "anyway": bool}),
        "poll": Offer(operations.poll, host, ("host",)),
        "lists-fetch": Offer(operations.lists_fetch),
        "wake": Offer(operations.wake, host, ("host",)),
        "suspend": Offer(operations.suspend, host, ("host",)),
        "resume": Offer(operations.resume, host, ("host",)),
        "requeue": Offer(operations.repairs.requeue, {**host, "position": int, "everything": bool}, ("host",)),
        "quarantine-retry": Offer(operations.repairs.quarantine_retry, {"id": int}, ("id",)),
        "quarantine-drop": Offer(operations.repairs.quarantine_drop, {"id": int}, ("id",)),
        "forget-key": Offer(operations.repairs.forget_key, {"handle": str}, ("handle",)),
        "erase": Offer(operations.erase, {"handle": str, "guid": str, "host": str}),
        "post": Offer(operations.posting.post, {"body": str}),
    }


def checked(offer: Offer, said: Mapping[str, object]) -> dict[str, object]:
    """
    Hold what was said against what may be said.

    @raise ActError: C{bad-request}, naming the field.
    """
    for name, value in said.items():
        kind = offer.fields.get(name)
        if kind is None:
            known = ", ".join(offer.fields) or "none"
            raise ActError("bad-request", f"There is no field {name[:100]!r} here; there are: {known}.")
        fits = all(isinstance(each, str) for each in value) if kind is list and isinstance(value, list) else type(value) is kind
        if not fits:
            raise ActError("bad-request", f"The field {name!r} must be {_KINDS[kind]}.")
        if any(_UNWRITABLE.search(text) for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
            raise ActError("bad-request", f"The field {name!r} holds a NUL or half of a surrogate pair, which no text has.")
    for name in offer.required:
        if not said.get(name):
            raise ActError("bad-request", f"The field {name!r} is missing.")
    return dict(said)


_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""JSON can say it; PostgreSQL cannot keep the one, nor UTF-8 the other."""

_KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}

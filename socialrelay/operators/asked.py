"""What operators name: hosts, authors and tags, checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from socialrelay.boundaries import NodeRecord, Nodes
from socialrelay.moderation.subjects import BadSubject, is_tag, rule_subject
from socialrelay.operators.terms import ActError, checked_host
from socialrelay.routing.hosts import host_of, within
from socialrelay.routing.subscription import Scope


def other_host(text: str, own_host: str) -> str:
    """
    The host of a node that is not the relay itself.

    @raise ActError: C{bad-host}.
    """
    host = checked_host(text)
    if host == own_host:
        raise ActError("bad-host", f"{host} is this relay itself.")
    return host


def checked_subject(text: str, own_host: str, tag_key: Callable[[str], str]) -> str:
    """
    A host, a handle or a C{#tag} as rules have it.

    @raise ActError: C{bad-host}, C{bad-tags}.
    """
    try:
        subject = rule_subject(text, tag_key)
    except BadSubject as error:
        tag, handle = text.strip().startswith("#"), "@" in text
        kind = "tag" if tag else "handle; one looks like user@host.example" if handle else "host of a node"
        why = "" if str(error).startswith(("A handle", "That can")) else f" {error}"
        raise ActError("bad-tags" if tag else "bad-host", f"{text[:253]!r} is no {kind}.{why}") from error
    if not is_tag(subject) and within(host_of(subject), own_host):
        raise ActError("bad-host", f"{subject} is this relay itself.")
    return subject


async def check_consent(nodes: Nodes, host: str) -> None:
    """@raise ActError: C{refused}: the node publishes that it wants nothing."""
    node = await nodes.get(host)
    if node is not None and node.preferences is not None and node.preferences.scope is Scope.NONE:
        raise ActError(
            "refused",
            f"{host} publishes that it wants nothing from relays, and that decides. "
            f"When its administrator has changed it, `socialrelay poll {host}` reads it again.",
        )


async def make_known(nodes: Nodes, host: str, now: datetime) -> None:
    """Let a node be known of which the relay has not heard but from the operator."""
    # A node that is known stays as the poller left it: writing it here could undo what a poll reads meanwhile.
    if await nodes.get(host) is None:
        await nodes.save(NodeRecord(host, sources=("operator",), first_seen=now, next_poll=now))

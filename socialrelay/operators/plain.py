"""
Values as operators and nodes' administrators get them: plain dictionaries that JSON can hold.

Times are ISO 8601 in UTC, or C{None}; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from socialrelay.boundaries import Condition, DatedGap, DestinationStatus, ManualSubscription, NodeRecord, PollReport, Rejection, Rule
from socialrelay.boundaries.node_table import NodeRow
from socialrelay.routing.subscription import Effective, Preferences, Scope

Plain = dict[str, Any]


def plain_time(moment: datetime | None) -> str | None:
    """ISO 8601, UTC, to the second."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def scope_in_words(scope: Scope, tags: Collection[str], shown: int = 10) -> str:
    """
    What a subscription covers, as part of a sentence.

    @param shown: how many tags are named.
    """
    if scope is Scope.ALL:
        return "all public posts"
    if scope is Scope.NONE or not tags:
        return "nothing"
    named = sorted(tags)[:shown]
    rest = len(tags) - len(named)
    more = f" and {rest} more" if rest else ""
    return f"{'the tag' if len(tags) == 1 else 'the tags'} {', '.join(named)}{more}"


def plain_effective(effective: Effective) -> Plain:
    """C{scope}, C{tags}, C{url}, C{why}, C{until}."""
    return {
        "scope": effective.scope.value,
        "tags": sorted(effective.tags),
        "url": effective.url,
        "why": effective.why,
        "until": plain_time(effective.until),
    }


def plain_preferences(preferences: Preferences | None) -> Plain | None:
    """C{scope}, C{tags}, C{receive_url}, C{dropped_tags}."""
    if preferences is None:
        return None
    return {
        "scope": preferences.scope.value,
        "tags": sorted(preferences.tags),
        "receive_url": preferences.receive_url,
        "dropped_tags": preferences.dropped_tags,
    }


def plain_manual(entry: ManualSubscription | None) -> Plain | None:
    """C{scope}, C{tags}, C{created_at}, C{created_by}."""
    if entry is None:
        return None
    return {
        "scope": entry.subscription.scope.value,
        "tags": sorted(entry.subscription.tags),
        "created_at": plain_time(entry.created_at),
        "created_by": entry.created_by,
    }


def plain_rule(rule: Rule, now: datetime) -> Plain:
    """The rule's own fields (C{list} is empty if it was made by hand), and C{ended}: it does not count any more."""
    return {
        "action": rule.action,
        "subject": rule.subject,
        "list": rule.list,
        "reason": rule.reason,
        "created_at": plain_time(rule.created_at),
        "created_by": rule.created_by,
        "ends_at": plain_time(rule.ends_at),
        "ended": rule.ended(now),
    }


def plain_node(node: NodeRecord) -> Plain:
    """The record's own fields."""
    return {
        "host": node.host,
        "sources": list(node.sources),
        "first_seen": plain_time(node.first_seen),
        "last_listed": plain_time(node.last_listed),
        "last_poll": plain_time(node.last_poll),
        "last_answer": plain_time(node.last_answer),
        "next_poll": plain_time(node.next_poll),
        "poll_failures": node.poll_failures,
        "poll_error": node.poll_error,
        "missing_since": plain_time(node.missing_since),
        "preferences": plain_preferences(node.preferences),
    }


def plain_row(row: NodeRow, effective: Effective, *, polled: bool = True) -> Plain:
    """
    A row of the table of nodes: the row's own fields (C{scope}: what it publishes), and C{subscription}: what it gets, C{scope}, C{tags}
    (how many), C{why}, C{until}.

    @param polled: nodes are polled by themselves; else there is no C{next_poll}.
    """
    return {
        "host": row.host,
        "sources": list(row.sources),
        "first_seen": plain_time(row.first_seen),
        "last_poll": plain_time(row.last_poll),
        "last_answer": plain_time(row.last_answer),
        "next_poll": plain_time(row.next_poll) if polled else None,
        "poll_failures": row.poll_failures,
        "poll_error": row.poll_error,
        "scope": row.scope,
        "tags": row.tags,
        "subscription": {
            "scope": effective.scope.value,
            "tags": len(effective.tags),
            "why": effective.why,
            "until": plain_time(effective.until),
        },
        "state": row.state,
        "behind": row.behind,
        "delivered": row.delivered,
        "last_success": plain_time(row.last_success),
        "last_reason": row.last_reason,
        "next_attempt": plain_time(row.next_attempt),
    }


def plain_destination(status: DestinationStatus) -> Plain:
    """What the scheduler knows of a destination; C{behind} counts positions of the log."""
    record = status.record
    return {
        "host": record.host,
        "protocol": record.protocol,
        "url": record.url,
        "state": record.state.value,
        "subscribed": record.subscribed,
        "following": status.following,
        "behind": status.behind,
        "waiting": status.waiting,
        "in_flight": status.in_flight,
        "deferred_posts": status.deferred_posts,
        "window": status.window,
        "timeout": round(status.timeout, 1),
        "failures": record.failures,
        "failing_since": plain_time(record.failing_since),
        "next_attempt": plain_time(record.next_attempt),
        "last_success": plain_time(record.last_success),
        "last_reason": record.last_reason,
        "delivered": record.delivered,
        "bounced": record.bounced - record.requeued,
        "requeued": record.requeued,
        "expired": record.expired,
        "cancelled": record.cancelled,
        "last_bounce": record.last_bounce,
    }


def plain_gap(found: DatedGap) -> Plain:
    """C{after}, C{upto} (positions of the log), C{since}, C{until} (when its posts were published), C{posts}, C{outcome}, C{reason}."""
    gap = found.gap
    return {
        "after": gap.after,
        "upto": gap.upto,
        "since": plain_time(found.since),
        "until": plain_time(found.until),
        "posts": gap.posts,
        "outcome": gap.outcome,
        "reason": gap.reason,
    }


def plain_poll(report: PollReport) -> Plain:
    """C{host}, C{url}, C{at}, C{faults}, C{preferences}."""
    return {
        "host": report.host,
        "url": report.url,
        "at": plain_time(report.at),
        "faults": list(report.faults),
        "preferences": plain_preferences(report.preferences),
    }


def plain_rejection(rejection: Rejection) -> Plain:
    """The rejection's own fields."""
    return {
        "rejected_at": plain_time(rejection.rejected_at),
        "reason": rejection.reason,
        "author": rejection.author,
        "guid": rejection.guid,
        "kind": rejection.kind,
    }


def plain_condition(condition: Condition) -> Plain:
    """The condition's own fields."""
    return {"name": condition.name, "well": condition.well, "essential": condition.essential, "detail": condition.detail}


def plain_conditions(conditions: Sequence[Condition]) -> Plain:
    """C{ready}: it does its work; C{degraded}: it does so, but something is amiss; C{conditions}, each as L{plain_condition}."""
    ready = all(condition.well for condition in conditions if condition.essential)
    return {
        "ready": ready,
        "degraded": ready and not all(condition.well for condition in conditions),
        "conditions": [plain_condition(condition) for condition in conditions],
    }

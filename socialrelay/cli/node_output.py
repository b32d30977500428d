"""Nodes and deliveries to them, as an operator reads them; as L{socialrelay.cli.output}."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from socialrelay.cli.output import Answer, details, paragraphs, prose, scope, table, until, when
from socialrelay.words import counted


def nodes(answer: Answer, now: datetime) -> str:
    """Known nodes."""
    if not answer["nodes"]:
        return "No node matches."
    listing = table(
        ["host", "gets", "deliveries", "last answer (UTC)", "trouble"],
        [(node["host"], _gets(node), _standing(node), when(node["last_answer"], now, zone=""), _trouble(node)) for node in answer["nodes"]],
    )
    first, total = answer["offset"], answer["total"]
    last = first + len(answer["nodes"])
    more = f"These are {first + 1} to {last} of {total}." if total > last - first else ""
    return paragraphs(listing, f"{more} Go on with --offset {last}." if last < total else more)


def _gets(node: Answer) -> str:
    if node["scope"] == "none":
        return "refuses relays"
    subscription = node["subscription"]
    return counted(subscription["tags"], "tag") if subscription["scope"] == "tags" else scope(subscription)


def _standing(node: Answer) -> str:
    if node["state"] is None:
        return "–"
    return f"{node['state']}, {node['behind']} behind" if node["behind"] else str(node["state"])


def _trouble(node: Answer) -> str:
    return str(node["last_reason"] if node["state"] in ("deferred", "dead", "gone") else node["poll_error"])


def node(answer: Answer, now: datetime) -> str:
    """One node."""
    subscription, known = answer["subscription"], answer["known"]
    parts = [
        details(
            [
                ("host", answer["host"]),
                ("gets", scope(subscription, 100)),
                ("because", subscription["why"]),
                ("left alone until", _until(answer, now)),
                ("at", subscription["url"]),
                *(_known(known, now) if known else [("polled", "never: the relay has not heard of it but from you")]),
            ]
        )
    ]
    if answer["manual"]:
        manual = answer["manual"]
        parts.append(prose(f"Subscribed by {manual['created_by']} to {scope(manual, 100)}, {when(manual['created_at'], now)}."))
    parts += [_rule(rule, now) for rule in answer["rules"]]
    if answer["deliveries"]:
        parts.append("Deliveries\n" + _destination(answer["deliveries"], now))
    if answer["gaps"]:
        parts.append("Never sent, the latest first\n" + _gaps(answer["gaps"]))
    if answer["counts"]:
        parts.append("Counted in 30 days\n" + details((_COUNTED.get(name, name), many) for name, many in sorted(answer["counts"].items())))
    return paragraphs(*parts)


_COUNTED = {"bounced": "refused", "failed": "times deferred"}
"""What is counted, where another word says it better."""


def _until(answer: Answer, now: datetime) -> str | None:
    until = answer["subscription"]["until"]
    return f"{when(until, now)}, or until you say `socialrelay wake {answer['host']}`" if until else None


def _known(known: Answer, now: datetime) -> list[tuple[str, object]]:
    preferences = known["preferences"]
    dropped = preferences["dropped_tags"] if preferences else 0
    return [
        ("publishes", _publishes(known)),
        ("unusable tags", dropped or None),
        ("known from", ", ".join(known["sources"])),
        ("known since", when(known["first_seen"], now)),
        ("last polled", when(known["last_poll"], now) if known["last_poll"] else None),
        ("last answer", when(known["last_answer"], now) if known["last_poll"] else None),
        ("next poll", when(known["next_poll"], now) if known["next_poll"] else None),
        ("failed polls", f"{known['poll_failures']} in a row: {known['poll_error']}" if known["poll_failures"] else None),
    ]


def _publishes(known: Answer) -> str:
    if known["preferences"]:
        return f"wants {scope(known['preferences'], 100)}"
    return "no preferences that could be read" if known["last_poll"] else "not polled yet"


def _rule(rule: Answer, now: datetime) -> str:
    """A rule in a sentence."""
    reason = f" ({rule['reason']})" if rule["reason"] else ""
    of = f", of the list {rule['list']}" if rule["list"] else ""
    end = f", {'' if rule['ended'] else 'until '}{until(rule, now)}" if rule["ends_at"] else ""
    return prose(f"Rule: {rule['action']} {rule['subject']}{reason}{of}, by {rule['created_by']}, {when(rule['created_at'], now)}{end}.")


def _destination(record: Answer, now: datetime) -> str:
    return details(
        [
            ("state", record["state"]),
            ("to", record["url"]),
            ("behind", None if record["following"] else f"up to {counted(record['behind'], 'post')}"),
            ("now", _under_way(record)),
            ("time for each", f"{record['timeout']:g} s" if record["state"] not in ("gone", "suspended") else None),
            ("tried on their own", record["deferred_posts"] or None),
            ("last success", when(record["last_success"], now)),
            ("failures in a row", f"{record['failures']}, since {when(record['failing_since'], now)}" if record["failures"] else None),
            ("next attempt", _attempt(record, now)),
            ("last failure", record["last_reason"]),
            ("delivered", record["delivered"]),
            ("refused", f"{record['bounced']}, the last with {record['last_bounce']}" if record["bounced"] else None),
            ("expired", record["expired"] or None),
            ("cancelled", record["cancelled"] or None),
        ]
    )


def _under_way(record: Answer) -> str | None:
    """What goes on between the relay and it; of one that takes nothing only what is still under way."""
    if record["state"] == "active":
        return f"{record['in_flight']} of at most {record['window']} in flight, {record['waiting']} waiting in memory"
    return f"{record['in_flight']} in flight" if record["in_flight"] else None


def _attempt(record: Answer, now: datetime, zone: str = " UTC") -> str | None:
    """When it is tried next: if the time has come and there is nothing to try it with, the next post is the attempt."""
    at = record["next_attempt"]
    if at is None:
        return None
    due = datetime.fromisoformat(at) <= now
    return "with the next post for it" if due and not record["behind"] and not record["in_flight"] else when(at, now, zone=zone)


def _gaps(gaps: Sequence[Answer]) -> str:
    return table(
        [".from (UTC)", ".to (UTC)", ">posts", "what", "why"],
        [(_minute(gap["since"]), _minute(gap["until"]), gap["posts"], gap["outcome"], gap["reason"]) for gap in gaps],
    )


def _minute(text: str | None) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M}" if text else "?"


def queue(answer: Answer, now: datetime) -> str:
    """Destinations that need a look."""
    states = ", ".join(f"{count} {state}" for state, count in answer["states"].items() if count)
    if not states:
        return "There are no destinations: nobody is subscribed."
    summary = f"Destinations: {states}."
    if not answer["destinations"]:
        return paragraphs(summary, "None to show: no destination of this kind.")
    listing = table(
        ["host", ".state", ">behind", ">failed", ">given up", "next attempt (UTC)", "last failure"],
        [
            (
                each["host"],
                each["state"],
                each["behind"],
                each["failures"],
                each["expired"] + each["cancelled"],
                _attempt(each, now, zone="") or "",
                each["last_reason"],
            )
            for each in answer["destinations"]
        ],
    )
    more = f"Not shown: {answer['left_out']}; --limit shows more." if answer["left_out"] else ""
    return paragraphs(listing, summary, more)

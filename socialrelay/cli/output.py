"""
The relay's answers as an operator reads them.

Every function takes an answer of L{socialrelay.operators.views} or L{socialrelay.operators.operations} and the time, and gives text.  On a
terminal it fits the terminal's width; in a pipe each row is one line.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

from socialrelay.words import counted

# Rich is imported where it draws: the daemon, which a command starts, would else carry two megabytes of it for its whole life.
if TYPE_CHECKING:
    from rich.table import Table

Answer = dict[str, Any]
Show = Callable[[Answer, datetime], str]

UNLIMITED = 5000
TAGS_SHOWN = 8


def clean(value: object) -> str:
    """Text without what could steer a terminal: most of it was written by strangers."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


def width() -> int:
    """Columns to fill at most."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return UNLIMITED


def rendered(table: Table) -> str:
    """A table as text, without blanks at the ends of its lines."""
    from rich.console import Console

    file = StringIO()
    console = Console(file=file, width=width(), force_terminal=sys.stdout.isatty(), no_color=True, highlight=False, emoji=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headings; a heading that begins with C{>} has numbers below it, one with C{.} is never wrapped."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        built.add_column(column.lstrip(">."), justify="right" if column[0] == ">" else "left", no_wrap=column[0] in ">.", overflow="fold")
    for row in rows:
        built.add_row(*(Text(clean(cell)) for cell in row))
    return rendered(built)


def details(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one below the other; what is C{None} or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    built.add_column(no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            built.add_row(Text(name), Text(clean(value)))
    return rendered(built)


def duration(seconds: float) -> str:
    """About how long, in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def when(text: str | None, now: datetime, *, zone: str = " UTC") -> str:
    """C{2026-11-21 21:30 UTC (3 min ago)}; C{never} for no time."""
    if text is None:
        return "never"
    moment = datetime.fromisoformat(text).astimezone(UTC)
    past = (now - moment).total_seconds()
    distance = f"{duration(past)} ago" if past >= 0 else f"in {duration(-past)}"
    return f"{moment:%Y-%m-%d %H:%M}{zone} ({distance})"


def size(count: int) -> str:
    """Bytes, in a unit that suits."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def tags(names: Sequence[str], shown: int = TAGS_SHOWN) -> str:
    """The first of them, and how many more."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def scope(subscription: Answer | None, shown: int = TAGS_SHOWN) -> str:
    """What somebody is subscribed to, or wants."""
    if subscription is None:
        return "unknown"
    if subscription["scope"] == "tags":
        return f"tags: {tags(subscription['tags'], shown)}" if subscription["tags"] else "tags: none"
    return {"all": "all posts", "none": "nothing"}[subscription["scope"]]


def prose(text: str) -> str:
    """Sentences, broken where the lines end; host names and commands stay whole."""
    return textwrap.fill(clean(text), width(), break_long_words=False, break_on_hyphens=False)


def paragraphs(*parts: str) -> str:
    """Parts with an empty line between them; empty ones left out."""
    return "\n\n".join(part for part in parts if part)


def status(answer: Answer, now: datetime) -> str:
    """How the relay is."""
    well = "degraded: it works, but something is amiss" if answer["degraded"] else "ready"
    head = details(
        [
            ("relay", answer["host"] or "(no public name)"),
            ("state", well if answer["ready"] else "NOT READY"),
            ("mode", answer["mode"]),
            ("version", answer["version"]),
            ("running since", f"{when(answer['started_at'], now)}, process {answer['pid']}"),
            ("listens at", ", ".join(answer["listen"])),
            ("data", answer["state_dir"]),
        ]
    )
    conditions = table(
        [".condition", ".is", "detail"],
        [(each["name"], _condition(each), each["detail"]) for each in answer["conditions"]],
    )
    if answer["stats"] is None:
        return paragraphs(head, conditions, "The counts cannot be shown: the database cannot be reached now.")
    return paragraphs(head, conditions, _numbers(answer["stats"]), _sums(answer))


def _condition(each: Answer) -> str:
    return "well" if each["well"] else "FAILED" if each["essential"] else "amiss"


def _numbers(stats: Answer) -> str:
    periods = ["24h", "7d", "30d", "total"]
    names = {"posts": "posts", "deliveries": "deliveries", "bounced": "refused", "expired": "expired", "cancelled": "cancelled"}
    return table(
        [".relayed", ">24 hours", ">7 days", ">30 days", ">ever"],
        [
            (shown, *(stats[name][period] for period in periods))
            for name, shown in names.items()
            if name in ("posts", "deliveries") or stats[name]["total"]
        ],
    )


def _sums(answer: Answer) -> str:
    stats, queue, incoming = answer["stats"], answer["stats"]["queue"], answer["incoming"]
    subscribers = stats["subscribers"]
    states = ", ".join(f"{queue[state]} {state}" for state in ("active", "deferred", "dead", "gone", "suspended") if queue[state])
    return details(
        [
            ("subscribers", f"{subscribers['total']}: {subscribers['all']} to all posts, {subscribers['tags']} to tags"),
            ("tags", counted(stats["tags"], "different one")),
            ("known nodes", stats["nodes"]),
            ("destinations", f"{queue['destinations']}{': ' + states if states else ''}"),
            ("deliveries", f"{queue['in_flight']} in flight, {queue['waiting']} waiting in memory, {queue['paced']} spread over time"),
            ("behind", f"{queue['behind']} of the destinations" if queue["behind"] else None),
            ("to be judged", f"{counted(incoming['rows'], 'body', 'bodies')}, {size(incoming['bytes'])}"),
        ]
    )


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


def until(rule: Answer, now: datetime) -> str:
    """When a rule ends, or that it has."""
    if rule["ends_at"] is None:
        return ""
    at = when(rule["ends_at"], now, zone="")
    return f"ended {at}" if rule["ended"] else at


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


def rejected(answer: Answer, now: datetime) -> str:
    """What was refused lately."""
    if not answer["rejected"]:
        return "Nothing was rejected in the last days."
    listing = table(
        ["when (UTC)", ".reason", "author", "kind", "guid"],
        [
            (when(each["rejected_at"], now, zone=""), each["reason"], each["author"], each["kind"], each["guid"])
            for each in answer["rejected"]
        ],
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in answer["reasons"].items())
    return paragraphs(listing, prose(f"Of these: {reasons}."))


def identity(answer: Answer, now: datetime) -> str:
    """Who the relay is to others."""
    rows = details(
        [
            ("handle", answer["handle"]),
            ("host", answer["host"]),
            ("guid", answer["guid"]),
            ("key (SHA-256)", answer["key_fingerprint"]),
            ("authors", "only those on the allow list" if answer["allow_list"] else "all who are not blocked"),
        ]
    )
    if answer["provisional"]:
        return paragraphs(rows, prose("This identity is provisional: it is bound for good when the relay is first started with a host."))
    return paragraphs(rows, prose("This identity is bound: nodes remember it, so host, guid and key must never change."))


def act(answer: Answer, now: datetime) -> str:
    """What is so now."""
    return prose(answer["message"])


def erased(answer: Answer, now: datetime) -> str:
    """What was erased, and what was not."""
    return paragraphs(act(answer, now), "\n".join(prose(f"- {note}") for note in answer["notes"]))


def poll(answer: Answer, now: datetime) -> str:
    """What was read, and each fault."""
    report = answer["report"]
    untold = report["faults"] if report["preferences"] else report["faults"][1:]
    faults = "\n".join(prose(f"- {fault}") for fault in untold)
    return paragraphs(act(answer, now), details([("read at", report["url"])]), faults)


def lists(answer: Answer, now: datetime) -> str:
    """What came of each node list."""
    return paragraphs(act(answer, now), details(answer["lists"].items()) if answer["lists"] else "")

"""The message bus, as an operator reads it; as L{socialrelay.cli.output}."""

from __future__ import annotations

from datetime import datetime

from socialrelay.cli.output import Answer, details, paragraphs, size, table, when
from socialrelay.words import counted

SOURCES = {"legacy": "relay_inbound", "ingest": "relay_ingest", "http": "HTTP", "own": "the relay itself"}
COUNTS = ("received", "kept", "published", "duplicates", "refused")


def bus(answer: Answer, now: datetime) -> str:
    """All of it."""
    condition, waiting = answer["condition"], answer["waiting"]
    head = details(
        [
            ("bus", f"{'well' if condition['well'] else 'NOT WELL'}: {condition['detail']}"),
            ("publishers connect to", ", ".join(answer["inbound"])),
            ("listeners connect to", f"{', '.join(answer['outbound'])} ({counted(answer['subscriptions'], 'subscription')})"),
            ("acknowledged at", ", ".join(answer["ingest"])),
            ("topics", f"{answer['topics']}.…"),
            ("without acknowledgement", "kept, too" if answer["store_legacy"] else "passed on, and not kept"),
            ("waiting", f"{counted(waiting['messages'], 'message')}, {size(waiting['bytes'])} of {size(waiting['bytes_limit'])}"),
            ("senders that wait", f"{waiting['unacknowledged']} of {waiting['unacknowledged_limit']}"),
            ("readers that wait", f"{answer['readers']} of {answer['readers_limit']}"),
        ]
    )
    return paragraphs(head, _counts(answer), _troubles(answer), _kept(answer, now))


def line(short: Answer) -> str:
    """The bus in the relay's status."""
    if not short["well"]:
        return f"NOT WELL: {short['detail']}"
    return (
        f"number {short['last_seq']}, {counted(short['waiting'], 'message')} waiting, {counted(short['subscriptions'], 'subscription')}; "
        f"in at {', '.join(short['inbound'])}, out at {', '.join(short['outbound'])}, acknowledged at {', '.join(short['ingest'])}"
    )


def _counts(answer: Answer) -> str:
    return table(
        [".since the start", *(f">{name}" for name in COUNTS)],
        [(shown, *(answer[name].get(source, 0) for name in COUNTS)) for source, shown in SOURCES.items()],
    )


def _troubles(answer: Answer) -> str:
    return details(
        [
            ("not taken", ", ".join(f"{many} {reason}" for reason, many in sorted(answer["invalid"].items()))),
            ("own ones given up", ", ".join(f"{many} {event}" for event, many in sorted(answer["own_dropped"].items()))),
            ("listeners too slow", counted(answer["overflows"], "time") if answer["overflows"] else None),
        ]
    )


def _kept(answer: Answer, now: datetime) -> str:
    if answer["bytes"] is None:
        return "What is kept cannot be shown: the database cannot be reached now."
    first = answer["oldest_at"]
    numbers = f"{min(answer['oldest_seq'], answer['oldest_own_seq'])} to {answer['last_seq']}" if first else "none"
    return details(
        [
            ("kept numbers", numbers),
            ("published", f"up to {answer['published_seq']}" if answer["published_seq"] < answer["last_seq"] else "all of them"),
            ("the oldest came", when(first, now) if first else None),
            ("the last came", when(answer["last_at"], now) if first else None),
            ("they take", f"{size(answer['bytes'])} of {size(answer['bytes_limit'])}, for {answer['keep_days']:g} days at most"),
        ]
    )

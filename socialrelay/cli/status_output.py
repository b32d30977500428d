"""How the relay is, as an operator reads it; as L{socialrelay.cli.output}."""

from __future__ import annotations

from datetime import datetime

from socialrelay.cli import bus_output
from socialrelay.cli.output import Answer, details, paragraphs, size, table, when
from socialrelay.words import counted


def status(answer: Answer, now: datetime) -> str:
    """How the relay is."""
    well = "degraded: it works, but something is amiss" if answer["degraded"] else "ready"
    head = details(
        [
            ("relay", answer["host"] or ("(none: the bridge of the bus alone)" if answer["mode"] == "bridge" else "(no public name)")),
            ("state", well if answer["ready"] else "NOT READY"),
            ("mode", answer["mode"]),
            ("version", answer["version"]),
            ("running since", f"{when(answer['started_at'], now)}, process {answer['pid']}"),
            ("listens at", ", ".join(answer.get("listen", ()))),
            ("bus", bus_output.line(answer["bus"]) if answer["bus"] else None),
            ("data", answer["state_dir"]),
        ]
    )
    conditions = table(
        [".condition", ".is", "detail"],
        [(each["name"], _condition(each), each["detail"]) for each in answer["conditions"]],
    )
    if answer["mode"] == "bridge":
        return paragraphs(head, conditions)
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

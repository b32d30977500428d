"""What waits, was put aside or refused, as an operator reads it; as L{socialrelay.cli.output}."""

from __future__ import annotations

from datetime import datetime

from socialrelay.cli.node_output import node as known
from socialrelay.cli.output import Answer, clean, details, paragraphs, prose, size, table, when
from socialrelay.words import counted


def bounced(answer: Answer, now: datetime) -> str:
    """Posts that a node refused."""
    host = clean(answer["host"])
    if not answer["bounced"]:
        of_all = f"; of {counted(answer['total'], 'post')} that it refused nothing more is known" if answer["total"] else ""
        return prose(f"No post is listed as refused by {host}{of_all}.")
    again = any(not each["why_not"] for each in answer["bounced"])
    return paragraphs(
        prose(f"Refused by {host}: {answer['total']}. The latest first:"),
        bounces(answer, now),
        prose("`socialrelay requeue HOST POST` tries one of them once more, and with --all all that can be.") if again else "",
    )


def bounces(answer: Answer, now: datetime) -> str:
    """The same as a table."""
    return table(
        [">post", "when (UTC)", "answer", "author", "not again because"],
        [
            (each["position"], when(each["bounced_at"], now, zone=""), each["reason"], each["author"], each["why_not"])
            for each in answer["bounced"]
        ],
    )


def waiting(answer: Answer, now: datetime) -> str:
    """What waits to be judged."""
    aside = counted(answer["quarantine"], "body", "bodies")
    quarantine = f"In quarantine: {aside}. `socialrelay quarantine` lists them." if answer["quarantine"] else ""
    if not answer["rows"]:
        return paragraphs("Nothing waits to be judged.", quarantine)
    rows = [(each["host"], each["rows"], size(each["bytes"]), when(each["oldest"], now, zone="")) for each in answer["hosts"]]
    return paragraphs(
        details([("waiting", f"{answer['rows']}, {size(answer['bytes'])}"), ("the first since", when(answer["oldest"], now))]),
        table(["most of", ">bodies", ">size", "the first since (UTC)"], rows),
        quarantine,
    )


def quarantine(answer: Answer, now: datetime) -> str:
    """What could not be judged."""
    if not answer["quarantine"]:
        return "Nothing is in quarantine."
    shown = len(answer["quarantine"])
    rows = [
        (
            each["id"],
            when(each["quarantined_at"], now, zone=""),
            "a private message" if each["private"] else each["sender"],
            size(each["size"]) if each["size"] else "",
            each["reason"],
        )
        for each in answer["quarantine"]
    ]
    return paragraphs(
        table([">id", "when (UTC)", "from", ">size", "why"], rows),
        f"Shown: {shown} of {answer['total']}; --limit shows more." if shown < answer["total"] else "",
        prose(
            "The relay broke on each of them three times. `socialrelay quarantine retry ID` judges one again, "
            "`socialrelay quarantine drop ID` drops it."
        ),
    )


def deferred(answer: Answer, now: datetime) -> str:
    """Posts that are tried on their own."""
    if not answer["deferred"]:
        return "No post is tried on its own."
    shown = len(answer["deferred"])
    rows = [
        (each["host"], each["position"], each["attempts"], when(each["next_attempt"], now, zone=""), each["reason"])
        for each in answer["deferred"]
    ]
    return paragraphs(
        table([".host", ">post", ">tried", "again (UTC)", "last answer"], rows),
        f"Shown: {shown} of {answer['total']}; --limit shows more." if shown < answer["total"] else "",
    )


def node(answer: Answer, now: datetime) -> str:
    """One node, and what happened between the relay and it lately."""
    parts = [known(answer, now)]
    if answer["cursor"] and answer["cursor"]["posts"]:
        cursor = answer["cursor"]
        parts.append(prose(f"Waiting for it: {counted(cursor['posts'], 'post')}, the first since {when(cursor['since'], now)}."))
    if any(each["outcome"] != "delivered" for each in answer["outcomes"]):
        rows = [(when(each["at"], now, zone=""), each["outcome"], each["position"] or "", each["reason"]) for each in answer["outcomes"]]
        parts.append("How the last attempts ended\n" + table(["when (UTC)", "came to", ">post", "answer"], rows))
    if answer["bounces"] and answer["bounces"]["bounced"]:
        parts.append("Posts that it refused, the latest first\n" + bounces(answer["bounces"], now))
    if answer["polls"]:
        rows = [(when(each["at"], now, zone=""), each["outcome"], _published(each), each["error"]) for each in answer["polls"]]
        parts.append("How the last polls ended\n" + table(["when (UTC)", "came to", "wants", "because"], rows))
    received = answer["received"]
    if received["30d"]["received"] or received["30d"]["accepted"] or received["refused"]:
        parts.append("What came from its authors\n" + _received(received, now))
    return paragraphs(*parts)


def _published(poll: Answer) -> str:
    if poll["scope"] == "tags":
        return counted(poll["tags"], "tag")
    return {"all": "all posts", "none": "nothing"}.get(poll["scope"] or "", "")


def _received(received: Answer, now: datetime) -> str:
    day, month = received["24h"], received["30d"]
    refused = ", ".join(f"{reason} {many}" for reason, many in received["refused"].items())
    return details(
        [
            ("relayed", f"{day['accepted']} in 24 h, {month['accepted']} in 30 days"),
            ("known already", f"{day['duplicate']} in 24 h, {month['duplicate']} in 30 days"),
            ("the last in the hour from", when(received["last"], now) if received["last"] else None),
            ("not relayed lately", refused),
        ]
    )

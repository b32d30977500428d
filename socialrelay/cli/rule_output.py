"""Rules and lists as an operator reads them; as L{socialrelay.cli.output}."""

from __future__ import annotations

from datetime import datetime

from socialrelay.cli.context import say
from socialrelay.cli.output import Answer, act, details, paragraphs, scope, table, until, when
from socialrelay.words import counted


def rules(answer: Answer, now: datetime) -> str:
    """What operators decided."""
    made = table(
        [".what", "whom", ".list", "by", "when (UTC)", "until (UTC)", "reason"],
        [
            (
                rule["action"],
                rule["subject"],
                rule["list"],
                rule["created_by"],
                when(rule["created_at"], now, zone=""),
                until(rule, now),
                rule["reason"],
            )
            for rule in answer["rules"]
        ],
    )
    manual = table(
        ["subscribed by hand", ".by", "when (UTC)", "to"],
        [(each["host"], each["created_by"], when(each["created_at"], now, zone=""), scope(each)) for each in answer["subscriptions"]],
    )
    shown = len(answer["rules"])
    more = f"Shown: {shown} of {counted(answer['total'], 'rule')}; --limit and --offset show more." if shown < answer["total"] else ""
    parts = (
        made if answer["rules"] else "",
        more,
        _lists(answer, now) if answer["lists"] else "",
        manual if answer["subscriptions"] else "",
    )
    return paragraphs(*parts) or "There are no rules and no subscriptions made by hand."


def chosen_rules(answer: Answer, now: datetime) -> str:
    """Some of it: without the lists."""
    if not answer["rules"] and not answer["subscriptions"]:
        return "No rule matches."
    return rules({**answer, "lists": []}, now)


def _lists(answer: Answer, now: datetime) -> str:
    return table(
        ["list", ">rules", ".action", "taken over (UTC)", "from", "trouble"],
        [
            (each["name"], each["count"], each["action"], when(each["fetched_at"], now, zone=""), each["url"], _trouble(each, now))
            for each in answer["lists"]
        ],
    )


def _trouble(each: Answer, now: datetime) -> str:
    return f"{when(each['tried_at'], now, zone='')}: {each['error']}" if each["error"] else ""


def imported(answer: Answer, now: datetime) -> str:
    """What came of a list."""
    return paragraphs(act(answer, now), details([("with another reason", answer["changed"] or None)]))


def exported(answer: Answer, now: datetime) -> str:
    """The list itself; what is not in it is said beside it."""
    if answer["left_out"]:
        say(f"Left out, because this format has no room for them: {answer['left_out']}. `--format plain` has authors and tags, too.")
    return str(answer["text"]).rstrip("\n")

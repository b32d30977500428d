"""What an operator should look at now: one line each, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from socialrelay.web.admin.events import Entry
from socialrelay.words import counted


@frozen
class Matter:
    """
    Something to look at.

    @ivar kind: C{bad}: posts are lost, or soon will be; C{warm}: something is amiss; C{quiet}: worth knowing.
    @ivar link: a page that says more; empty if none does.
    """

    kind: str
    title: str
    text: str = ""
    link: str = ""


def matters(
    status: Mapping[str, Any], waiting: Mapping[str, Any], rules: Mapping[str, Any], errors: Sequence[Entry] = (), *, answerable: bool
) -> list[Matter]:
    """
    All of them.

    @param status: as L{socialrelay.operators.views.Views.status} gives it.
    @param waiting: as L{socialrelay.operators.backlog.Backlog.waiting} gives it; empty if it is not known.
    @param rules: as L{socialrelay.operators.rule_views.RuleViews.overview}; likewise.
    @param errors: of the log, the oldest first; those of the last day count.
    @param answerable: the relay's pages say whom to ask, or where its source is.
    """
    found = [*_conditions(status), *_queue(status), *_quarantine(waiting), *_lists(rules), *_logged(status, errors)]
    if status["mode"] == "production" and not answerable:
        text = "Set operator.contact, and operator.source, in the configuration: its licence wants that users find the source code."
        found.append(Matter("warm", "The relay's pages name nobody who answers for it", text))
    return sorted(found, key=lambda matter: ("bad", "warm", "quiet").index(matter.kind))


def _conditions(status: Mapping[str, Any]) -> Iterator[Matter]:
    for condition in status["conditions"]:
        if not condition["well"]:
            kind = "bad" if condition["essential"] else "warm"
            title = f"{condition['name']} is not well"
            yield Matter(kind, title[:1].upper() + title[1:], condition["detail"])


def _queue(status: Mapping[str, Any]) -> Iterator[Matter]:
    queue = (status["stats"] or {}).get("queue", {})
    if number := queue.get("dead"):
        text = "They failed for a week; their posts expire. They are tried once a week, and when they show a sign of life."
        yield Matter("quiet", f"{counted(number, 'node')} {'is' if number == 1 else 'are'} dead", text, "/admin/queue?state=dead")
    if number := queue.get("suspended"):
        text = "Their posts wait until deliveries are resumed, or expire."
        yield Matter("warm", f"Deliveries to {counted(number, 'node')} are suspended", text, "/admin/queue?state=suspended")
    deferred, everybody = queue.get("deferred", 0), queue.get("destinations", 0)
    if deferred >= 3 and deferred > everybody / 2:
        text = "When so many fail at once, the reason is often here: the network, the resolver, the clock."
        yield Matter("warm", f"{deferred} of {everybody} nodes do not take posts", text, "/admin/queue?state=deferred")


def _quarantine(waiting: Mapping[str, Any]) -> Iterator[Matter]:
    if number := waiting.get("quarantine"):
        text = "The relay broke on them three times: that is an error of the relay, and its log says which."
        title = f"{counted(number, 'body', 'bodies')} could not be judged"
        yield Matter("warm", title, text, "/admin/queue#quarantine")


def _logged(status: Mapping[str, Any], errors: Sequence[Entry]) -> Iterator[Matter]:
    if not errors:
        return
    since = datetime.fromisoformat(status["started_at"]) + timedelta(seconds=status["uptime"], days=-1)
    if late := [entry for entry in errors if datetime.fromisoformat(entry.at) >= since]:
        title = f"{counted(len(late), 'error')} in the log since yesterday"
        yield Matter("warm", title, f"The last: {late[-1].text}", "/admin/events?level=error")


def _lists(rules: Mapping[str, Any]) -> Iterator[Matter]:
    for each in rules.get("lists", ()):
        if each["error"]:
            yield Matter("warm", f"The list {each['name']} could not be taken over; its rules stay", each["error"], "/admin/rules#lists")

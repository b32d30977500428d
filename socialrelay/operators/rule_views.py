"""The rules as operators see them, and as they may take them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from attrs import define

from socialrelay.boundaries import BY_HAND, Rules, RuleSet, Subscriptions
from socialrelay.config import RuleList
from socialrelay.moderation.formats import csv_header, csv_lines, plain_lines
from socialrelay.moderation.subjects import covering, is_host
from socialrelay.operators.plain import Plain, plain_manual, plain_rule, plain_time
from socialrelay.operators.terms import ActError
from socialrelay.words import shown_url

MAX_ROWS = 1000
ACTIONS = ("block", "limit", "allow", "forward")
NO_LIST = "-"
"""How operators name what is of no list."""
_AT_ONCE = 2000


@define(kw_only=True, eq=False)
class RuleViews:
    """
    The operators' views of rules.

    @ivar configured: the lists that the configuration subscribes to.
    """

    rules: Rules
    subscriptions: Subscriptions
    configured: Callable[[], Sequence[RuleList]]
    now: Callable[[], datetime]

    async def overview(self, *, text: str = "", action: str = "", list: str = "", offset: int = 0, limit: int = 100) -> Plain:
        """
        Rules by action and subject, and the lists.  Keys: C{rules} (as L{plain_rule}), C{total} (how many there are), C{offset}; C{lists}
        (as L{plain_set}, all of them, by name); C{subscriptions}: those made by hand, each with C{host}, C{scope}, C{tags}, C{created_at},
        C{created_by}, if neither action nor list is asked for.

        @param text: a part of the subject or the reason.
        @param action: C{block}, C{limit}, C{allow} or C{forward}; empty: all.
        @param list: name of a list; C{-}: made by hand; empty: all.
        @param limit: at most 1000.
        """
        if action and action not in ACTIONS:
            raise ActError("bad-request", f"There is no action {action[:20]!r}; there are: {', '.join(ACTIONS)}.")
        name = None if not list else BY_HAND if list == NO_LIST else list
        found, total = await self.rules.page(
            text=text.strip().lower(), action=action, name=name, offset=max(0, offset), limit=min(max(limit, 1), MAX_ROWS)
        )
        now = self.now()
        manual = [] if action or list else await self.subscriptions.all()
        return {
            "rules": [plain_rule(rule, now) for rule in found],
            "total": total,
            "offset": max(0, offset),
            "lists": await self._lists(),
            "subscriptions": [{"host": each.host, **(plain_manual(each) or {})} for each in manual if text.lower() in each.host],
        }

    async def _lists(self) -> Sequence[Plain]:
        configured = {each.name: each for each in self.configured()}
        known = {each.name: each for each in await self.rules.sets()}
        return [plain_set(name, known.get(name), configured.get(name)) for name in sorted({*configured, *known})]

    async def about(self, host: str) -> Sequence[Plain]:
        """The rules about a host, the domains above it, and its authors; as L{plain_rule}."""
        now = self.now()
        found = await self.rules.about(covering(host), authors_of=host)
        return [plain_rule(rule, now) for rule in found if rule.action != "forward" or rule.subject == host]

    async def export(self, *, list: str = "", format: str = "csv", action: str = "") -> Plain:
        """
        Rules that have not ended, as a document.  Keys: C{text}, C{format}, C{count} (rules in it), C{left_out} (rules that this format has
        no room for).

        @param list: name of a list; C{-}: made by hand; empty: all. A subject that is named several times is there once.
        @param format: C{csv}: Mastodon's; it has hosts that are blocked or limited. C{plain}: one subject a line, all of one action.
        @param action: of the rules; of a plain list C{block} if none is named.
        """
        if format not in ("csv", "plain"):
            raise ActError("bad-request", f"There is no format {format[:20]!r}; there are: csv, plain.")
        if action and action not in ACTIONS:
            raise ActError("bad-request", f"There is no action {action[:20]!r}; there are: {', '.join(ACTIONS)}.")
        name = None if not list else BY_HAND if list == NO_LIST else list
        if name and all(each.name != name for each in await self.rules.sets()):
            raise ActError("no-list", f"There is no list {name[:64]!r}; `socialrelay rules` names those that there are.")
        plain = format == "plain"
        action = action or ("block" if plain else "")
        parts = ["" if plain else csv_header()]
        count = left_out = offset = 0
        before: tuple[str, str] | None = None
        while page := (await self.rules.page(action=action, name=name, offset=offset, limit=_AT_ONCE))[0]:
            offset += len(page)
            fresh = []
            for rule in page:
                if (rule.action, rule.subject) != before and not rule.ended(self.now()):
                    before = (rule.action, rule.subject)
                    fresh.append(rule)
            fitting = fresh if plain else [rule for rule in fresh if rule.action in ("block", "limit") and is_host(rule.subject)]
            parts.append(plain_lines(fitting) if plain else csv_lines(fitting))
            count, left_out = count + len(fitting), left_out + len(fresh) - len(fitting)
        return {"text": "".join(parts), "format": format, "count": count, "left_out": left_out}


def plain_set(name: str, known: RuleSet | None, configured: RuleList | None) -> Plain:
    """
    C{name}, C{count} (rules), C{action} (of entries that do not say it), C{url} (URL or file that it came from; may be empty),
    C{configured} (the configuration subscribes to it), C{fetched_at} (taken over last), C{fetched_by}, C{tried_at}, C{error} (why it could
    not be taken over then).
    """
    return {
        "name": name,
        "count": known.count if known else 0,
        "action": configured.action if configured else known.action if known else "block",
        "url": shown_url(configured.url) if configured else known.source if known else "",
        "configured": configured is not None,
        "fetched_at": plain_time(known.fetched_at) if known else None,
        "fetched_by": known.fetched_by if known else "",
        "tried_at": plain_time(known.tried_at) if known else None,
        "error": known.error if known else "",
    }

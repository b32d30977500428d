"""
What an operator may decide about hosts, authors and tags, by hand or with lists that others keep.

Every act answers as those of L{socialrelay.operators.operations}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.boundaries import BY_HAND, FetchFailed, Membership, Nodes, Rule, Rules
from socialrelay.config import RuleList
from socialrelay.moderation.ends import BadEnd, end_of
from socialrelay.moderation.formats import MAX_REASON, BadList, reason_line
from socialrelay.moderation.importing import Taken
from socialrelay.moderation.lists import Fetched
from socialrelay.moderation.subjects import covering, is_handle, is_tag
from socialrelay.operators.asked import check_consent, checked_subject, make_known, other_host
from socialrelay.operators.plain import Plain, scope_in_words
from socialrelay.operators.terms import ActError
from socialrelay.routing.subscription import Scope
from socialrelay.words import counted

LIST_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Importer(Protocol):
    """Takes lists over (L{socialrelay.moderation.importing.Importer})."""

    def take_over(self, body: bytes, *, name: str, source: str, action: str, who: str, dry_run: bool = False) -> Deferred[Taken]: ...


class Lists(Protocol):
    """Lists of the configuration (L{socialrelay.moderation.lists.RuleLists})."""

    @property
    def configured(self) -> tuple[RuleList, ...]: ...

    def fetch(self, name: str = "", *, who: str, anyway: bool = False) -> Deferred[list[Fetched]]: ...

    async def read(self, url: str) -> bytes: ...


@define(kw_only=True, eq=False)
class RuleActs:
    """
    The operators' acts about rules.

    @ivar own_host: the relay's.
    @ivar allow_list: whether only who is allowed is relayed.
    @ivar tag_key: a hashtag without C{#} as subscriptions compare it; empty for what can be none.
    """

    own_host: str
    allow_list: Callable[[], bool]
    rules: Rules
    nodes: Nodes
    membership: Membership
    importer: Importer
    lists: Lists
    now: Callable[[], datetime]
    tag_key: Callable[[str], str]

    _log = Logger()

    # One by one

    async def block(self, subject: str, *, who: str, reason: str = "", until: str = "") -> Plain:
        """
        Relay nothing from and nothing to a host and its subdomains, nothing of an author, or no post with a tag; what is queued is
        cancelled.

        @param subject: C{host.example}, C{user@host.example} or C{#tag}.
        @param until: when it ends by itself: as L{end_of} reads it; empty: never.
        """
        rule = await self._put("block", subject, reason, until, who)
        return self._done(who, "block", rule.subject, _BLOCKED[_kind(rule.subject)].format(subject=rule.subject, end=_until(rule)))

    async def limit(self, subject: str, *, who: str, reason: str = "", until: str = "") -> Plain:
        """
        Keep, and do not relay, what comes from a host and its subdomains, from an author, or with a tag. A limited host is sent posts as
        before.

        @param subject: as for L{block}.
        @param until: likewise.
        """
        rule = await self._put("limit", subject, reason, until, who)
        message = _LIMITED[_kind(rule.subject)].format(subject=rule.subject, end=_until(rule))
        return self._done(who, "limit", rule.subject, message + await self._still(rule.subject, ("block",)))

    async def allow(self, subject: str, *, who: str, reason: str = "", until: str = "") -> Plain:
        """
        Put a host (with its subdomains) or a handle on the allow list, which counts only if the configuration says so; and take exactly it
        out of the lists of others.

        @param until: as for L{block}.
        """
        checked = self._subject(subject)
        if is_tag(checked):
            raise ActError("bad-host", "A tag cannot be put on the allow list, only a host or an author.")
        rule = await self._put("allow", checked, reason, until, who)
        message = f"{checked} is on the allow list{_until(rule)}."
        if not self.allow_list():
            message += " The list is not in use: everybody is relayed who is not blocked, unless the configuration sets policy.allow_list."
        rules = await self._in_force(checked)
        if any(each.subject == checked and each.list != BY_HAND for each in rules):
            message += " Lists neither block nor limit it any more."
        return self._done(who, "allow", checked, message + _still(checked, rules, ("block", "limit")))

    async def unblock(self, subject: str, *, who: str) -> Plain:
        """Remove the block, limit and allow rules that were made by hand for exactly this subject."""
        subject = self._subject(subject)
        gone = [action for action in ("block", "limit", "allow") if await self.rules.remove(action, subject)]
        rules = await self._in_force(subject)
        if not gone:
            listed = sorted({each.list for each in rules if each.subject == subject and each.list != BY_HAND})
            more = f" It is on the list {listed[0]}; `socialrelay allow {subject}` takes it out of the lists." if listed else ""
            raise ActError("no-rule", f"There is no block, limit or allow rule made by hand for {subject}.{more}")
        await self.membership.rules_changed()
        named = " and ".join(f"the {action} rule" for action in gone)
        message = f"{named[0].upper()}{named[1:]} for {subject} {'are' if len(gone) > 1 else 'is'} removed."
        return self._done(who, "unblock", subject, message + _still(subject, rules, ("block", "limit")))

    async def forward(self, host: str, *, who: str, off: bool = False, reason: str = "", until: str = "") -> Plain:
        """
        Send a host every post that is relayed, or no longer.

        @param until: as for L{block}.
        @raise ActError: also if the node publishes that it wants nothing.
        """
        host = other_host(host, self.own_host)
        if off:
            if not await self.rules.remove("forward", host):
                raise ActError("no-rule", f"There is no forward rule for {host}.")
            await self.membership.rules_changed()
            effective = self.membership.effective(host)
            message = f"The forward rule is removed; {host} gets {scope_in_words(effective.scope, effective.tags)} now."
            return self._done(who, "forward off", host, message)
        await check_consent(self.nodes, host)
        await make_known(self.nodes, host, self.now())
        rule = await self._put("forward", host, reason, until, who)
        effective = await self.membership.take_up(host)
        if effective.scope is Scope.ALL:
            message = f"{host} is sent every post, from now on{_until(rule)}, at {effective.url}."
        else:
            message = f"The forward rule for {host} is kept, but not in force: {effective.why}."
        return self._done(who, "forward", host, message)

    # Lists

    async def rules_import(
        self,
        name: str,
        *,
        who: str,
        text: str = "",
        url: str = "",
        action: str = "block",
        source: str = "",
        dry_run: bool = False,
    ) -> Plain:
        """
        Make a list hold what a document says: Mastodon's CSV, or a host, handle or C{#tag} a line.  Keys: C{new}, C{removed}, C{changed}
        (their reason is another one), C{unchanged}; C{skipped}: C{noop}, C{obfuscated}, C{own} (the relay itself), C{unusable} -> how many
        entries; C{unusable}: the first few of these; C{dry_run}.

        @param name: of the list: lower-case letters, digits, C{._-}.
        @param text: the document; or
        @param url: where it is, https.
        @param action: C{block} or C{limit}: of entries that do not say it.
        @param source: where a text came from, such as the name of a file, for whoever looks at the list later.
        @param dry_run: only say what would change.
        @raise ActError: C{bad-list}, C{not-fetched}, C{bad-request}; C{refused}: the configuration keeps a list of this name.
        """
        self._check_name(name)
        if action not in ("block", "limit"):
            raise ActError("bad-request", f"The action of a list is block or limit, not {action[:20]!r}.")
        if bool(text) == bool(url):
            raise ActError("bad-request", "Say exactly one: the list's text or its url; an empty list cannot be imported.")
        body = await self._read(url) if url else text.encode("utf-8", "replace")
        try:
            taken = await self.importer.take_over(
                body, name=name, source=reason_line(url or source), action=action, who=who, dry_run=dry_run
            )
        except BadList as error:
            raise ActError("bad-list", f"The list was not taken over: {error}.") from error
        message = f"{'Nothing was changed. The list would come to' if dry_run else f'The list {name} is in force'}: {_told(taken)}."
        answer = {**_plain_taken(taken), "list": name, "dry_run": dry_run}
        return {"message": message, **answer} if dry_run else self._done(who, "import", name, message, **answer)

    async def rules_remove(self, name: str, *, who: str) -> Plain:
        """Remove a list with all its rules: C{removed}: how many those were. What else names the same subjects stays."""
        self._check_name(name)
        removed = await self.rules.drop(name)
        if removed is None:
            raise ActError("no-list", f"There is no list {name}; `socialrelay rules` names those that there are.")
        await self.membership.rules_changed()
        return self._done(who, "remove", name, f"The list {name} is removed, with {counted(removed, 'rule')}.", removed=removed)

    async def rules_fetch(self, *, who: str, name: str = "", anyway: bool = False) -> Plain:
        """
        Fetch the lists of the configuration now: C{lists}: name -> what came of it; C{failed}: the names of those that were not taken over.

        @param name: only this one.
        @param anyway: also if it has lost more than half of its entries.
        @raise ActError: C{no-list}: the configuration has no list of this name.
        """
        names = [each.name for each in self.lists.configured]
        if name and name not in names:
            raise ActError("no-list", f"moderation.lists has no list {name[:64]!r}; there are: {', '.join(names) or 'none'}.")
        if not names:
            return self._done(who, "fetch", "lists of rules", "No list of rules is configured, so none was fetched.", lists={}, failed=[])
        fetched = await self.lists.fetch(name, who=who, anyway=anyway)
        told = {each.name: _told(each.taken) if each.taken else f"not taken over, its rules stay: {each.fault}" for each in fetched}
        failed = [each.name for each in fetched if each.taken is None]
        message = f"{'The list' if len(fetched) == 1 else f'{len(fetched)} lists'} of rules {'was' if len(fetched) == 1 else 'were'} asked."
        return self._done(who, "fetch", "lists of rules", message, lists=told, failed=failed)

    # What the acts share

    def _done(self, who: str, act: str, subject: str, message: str, **facts: object) -> Plain:
        self._log.info("{who} asked: {act} {subject}. {result}", who=who, act=act, subject=subject, result=message)
        return {"message": message, **facts}

    def _subject(self, text: str) -> str:
        return checked_subject(text, self.own_host, self.tag_key)

    async def _put(self, action: str, subject: str, reason: str, until: str, who: str) -> Rule:
        if len(reason) > MAX_REASON:
            raise ActError("bad-request", f"The reason is too long; it may have {MAX_REASON} characters.")
        try:
            end = end_of(until, self.now()) if until.strip() else None
        except BadEnd as error:
            raise ActError("bad-request", str(error)) from error
        rule = Rule(action, self._subject(subject), reason_line(reason), self.now(), who, ends_at=end)
        await self.rules.put(rule)
        await self.membership.rules_changed()
        return rule

    async def _in_force(self, subject: str) -> list[Rule]:
        now = self.now()
        return [rule for rule in await self.rules.about(covering(subject)) if not rule.ended(now)]

    async def _still(self, subject: str, actions: tuple[str, ...]) -> str:
        return _still(subject, await self._in_force(subject), actions)

    def _check_name(self, name: str) -> None:
        if not LIST_NAME.fullmatch(name):
            raise ActError("bad-request", f"{name[:64]!r} is no name of a list: lower-case letters, digits, '.', '_' and '-', at most 64.")
        if any(each.name == name for each in self.lists.configured):
            raise ActError("refused", f"The configuration keeps the list {name} (moderation.lists): change it there.")

    async def _read(self, url: str) -> bytes:
        if not url.startswith("https://"):
            raise ActError("bad-request", f"A list is fetched from https://…, not {url[:100]!r}.")
        try:
            return await self.lists.read(url)
        except FetchFailed as error:
            raise ActError("not-fetched", f"{url[:200]} could not be fetched: {error}.") from error


def _kind(subject: str) -> str:
    return "tag" if is_tag(subject) else "author" if is_handle(subject) else "host"


_BLOCKED = {
    "host": "Nothing from or to {subject} and its subdomains is relayed any more{end}, and what was waiting is cancelled.",
    "author": "Nothing by {subject} is relayed any more{end}, and what was waiting of it is cancelled.",
    "tag": "No post with {subject} is relayed any more{end}, and what was waiting of them is cancelled.",
}
_LIMITED = {
    "host": "What comes from {subject} and its subdomains is kept and not relayed{end}; it is sent posts as before.",
    "author": "What comes from {subject} is kept and not relayed{end}.",
    "tag": "Posts with {subject} are kept and not relayed{end}.",
}


def _until(rule: Rule) -> str:
    return "" if rule.ends_at is None else f", until {rule.ends_at:%Y-%m-%d %H:%M} UTC"


def _still(subject: str, rules: list[Rule], actions: tuple[str, ...]) -> str:
    """A sentence about the strictest of the rules that hold for a subject, but for those of lists that it was taken out of."""
    allowed = any(rule.action == "allow" and rule.subject == subject and rule.list == BY_HAND for rule in rules)
    counting = [rule for rule in rules if not (allowed and rule.subject == subject and rule.list != BY_HAND)]
    for action in actions:
        for rule in counting:
            if rule.action == action:
                of = f" of the list {rule.list}" if rule.list else ""
                return f" It is still {action}ed by the rule for {rule.subject}{of}."
    return ""


def _told(taken: Taken) -> str:
    changes, listing = taken.changes, taken.listing
    parts = [f"{changes.new} new, {changes.removed} removed, {changes.unchanged + changes.changed} unchanged"]
    parts += [f"{many} {_SKIPPED[what]}" for what, many in listing.skipped.items() if what != "unusable"]
    if listing.unusable:
        more = ", …" if listing.skipped["unusable"] > len(listing.unusable) else ""
        parts.append(f"{listing.skipped['unusable']} unusable ({', '.join(listing.unusable)}{more})")
    return "; ".join(parts)


_SKIPPED = {"noop": "without effect (noop)", "obfuscated": "obfuscated", "own": "about the relay itself"}
"""Entries that were passed over."""


def _plain_taken(taken: Taken) -> Mapping[str, object]:
    changes = taken.changes
    return {
        "new": changes.new,
        "removed": changes.removed,
        "changed": changes.changed,
        "unchanged": changes.unchanged,
        "skipped": dict(taken.listing.skipped),
        "unusable": list(taken.listing.unusable),
    }

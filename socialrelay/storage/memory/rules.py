"""Rules, in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries import BY_HAND, Changes, InForce, ListedRule, Rule, Rules, RuleSet
from socialrelay.routing.hosts import host_of
from socialrelay.storage.memory.tables import MemoryTables, answering


@frozen
class MemoryRules:
    """L{Rules} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def put(self, rule: Rule) -> None:
        """See L{Rules.put}."""
        self._tables.rules[rule.action, rule.subject, rule.list] = rule

    @answering
    def remove(self, action: str, subject: str, name: str = BY_HAND) -> bool:
        """See L{Rules.remove}."""
        return self._tables.rules.pop((action, subject, name), None) is not None

    @answering
    def in_force(self, now: datetime) -> InForce:
        """See L{Rules.in_force}."""
        rules = [rule for rule in self._tables.rules.values() if not rule.ended(now)]
        ends = (rule.ends_at for rule in rules if rule.ends_at is not None)
        by_hand = _by_action([rule for rule in rules if rule.list == BY_HAND])
        return InForce(by_hand, _by_action([rule for rule in rules if rule.list != BY_HAND]), min(ends, default=None))

    @answering
    def about(self, subjects: Collection[str], authors_of: str = "") -> list[Rule]:
        """See L{Rules.about}."""

        def meant(subject: str) -> bool:
            author = "@" in subject and not subject.startswith("#")
            return subject in subjects or (author and bool(authors_of) and host_of(subject) == authors_of)

        found = [rule for rule in self._tables.rules.values() if meant(rule.subject)]
        return sorted(found, key=lambda rule: (rule.list, rule.action, rule.subject))

    @answering
    def page(
        self, *, text: str = "", action: str = "", name: str | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[list[Rule], int]:
        """See L{Rules.page}."""
        part = text.lower()
        found = [
            rule
            for rule in self._tables.rules.values()
            if action in ("", rule.action) and name in (None, rule.list) and (part in rule.subject or part in rule.reason.lower())
        ]
        found.sort(key=lambda rule: (rule.action, rule.subject, rule.list))
        return found[offset : offset + limit], len(found)

    @answering
    def compare(self, name: str, entries: Sequence[ListedRule]) -> Changes:
        """See L{Rules.compare}."""
        return self._compared(name, entries)

    @answering
    def replace(self, taken: RuleSet, entries: Sequence[ListedRule]) -> Changes:
        """See L{Rules.replace}."""
        assert taken.fetched_at is not None
        changes = self._compared(taken.name, entries)
        before = self._of(taken.name)
        for rule in before.values():
            del self._tables.rules[rule.action, rule.subject, rule.list]
        for entry in entries:
            new = Rule(entry.action, entry.subject, entry.reason, taken.fetched_at, taken.fetched_by, taken.name)
            old = before.get((entry.action, entry.subject))
            self._tables.rules[entry.action, entry.subject, taken.name] = evolve(old, reason=entry.reason) if old else new
        self._tables.rule_lists[taken.name] = evolve(taken, error="", count=0)
        return changes

    def _compared(self, name: str, entries: Sequence[ListedRule]) -> Changes:
        before = self._of(name)
        given = {(entry.action, entry.subject): entry.reason for entry in entries}
        same = sum(before[key].reason == reason for key, reason in given.items() if key in before)
        kept = len(before.keys() & given.keys())
        return Changes(len(given) - kept, len(before) - kept, kept - same, same)

    def _of(self, name: str) -> dict[tuple[str, str], Rule]:
        return {(rule.action, rule.subject): rule for rule in self._tables.rules.values() if rule.list == name}

    @answering
    def failed(self, tried: RuleSet) -> None:
        """See L{Rules.failed}."""
        before = self._tables.rule_lists.get(tried.name)
        at, by = (None, "") if before is None else (before.fetched_at, before.fetched_by)
        self._tables.rule_lists[tried.name] = evolve(tried, fetched_at=at, fetched_by=by, count=0)

    @answering
    def sets(self) -> list[RuleSet]:
        """See L{Rules.sets}."""
        return [evolve(each, count=len(self._of(name))) for name, each in sorted(self._tables.rule_lists.items())]

    @answering
    def drop(self, name: str) -> int | None:
        """See L{Rules.drop}."""
        gone = self._of(name) if name else {}
        for action, subject in gone:
            del self._tables.rules[action, subject, name]
        known = self._tables.rule_lists.pop(name, None)
        return len(gone) if gone or known is not None else None

    @answering
    def forget(self, ended_before: datetime) -> int:
        """See L{Rules.forget}."""
        gone = [key for key, rule in self._tables.rules.items() if rule.ends_at is not None and rule.ends_at < ended_before]
        for key in gone:
            del self._tables.rules[key]
        return len(gone)


def _by_action(rules: Collection[Rule]) -> dict[str, frozenset[str]]:
    return {action: frozenset(rule.subject for rule in rules if rule.action == action) for action in {rule.action for rule in rules}}


_conforms: type[Rules] = MemoryRules

"""What operators decided about hosts, authors and tags, and the lists that they took over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

BY_HAND = ""
"""The name of the list of all rules that are of no list."""


@frozen
class Rule:
    """
    A row of C{rule}.

    @ivar action: C{"block"}, C{"limit"}, C{"allow"} or C{"forward"}.
    @ivar subject: a host, a handle, or a tag: its match key after C{#}.
    @ivar reason: in one line.
    @ivar list: the list that it is of; L{BY_HAND} if somebody made it.
    @ivar ends_at: when it lapses; C{None}: never.
    """

    action: str
    subject: str
    reason: str
    created_at: datetime
    created_by: str
    list: str = BY_HAND
    ends_at: datetime | None = None

    def ended(self, now: datetime) -> bool:
        """Whether it has lapsed."""
        return self.ends_at is not None and self.ends_at <= now


@frozen
class ListedRule:
    """
    An entry of a list.

    @ivar action: C{"block"} or C{"limit"}.
    @ivar subject: as in L{Rule}.
    @ivar reason: in one line.
    """

    action: str
    subject: str
    reason: str = ""


@frozen
class RuleSet:
    """
    A row of C{rule_list}: a list that was taken over, or was to be.

    @ivar source: the URL or the file that it came from; empty if it was handed over as a text.
    @ivar action: of entries that do not say it.
    @ivar fetched_at: when it was last taken over; C{None}: never.
    @ivar fetched_by: who did that.
    @ivar tried_at: when that was last tried.
    @ivar error: why it could not be done then, in one line; empty if it could.
    @ivar count: how many rules it has.
    """

    name: str
    source: str
    action: str
    fetched_at: datetime | None
    fetched_by: str
    tried_at: datetime
    error: str = ""
    count: int = 0


@frozen
class Changes:
    """
    What taking over a list changes, or would change.

    @ivar changed: entries whose reason is another one now.
    """

    new: int
    removed: int
    changed: int
    unchanged: int


@frozen
class InForce:
    """
    The rules that have not ended, without their reasons.

    @ivar by_hand: action -> subjects.
    @ivar of_lists: likewise.
    @ivar next_end: when the first of them ends.
    """

    by_hand: Mapping[str, frozenset[str]]
    of_lists: Mapping[str, frozenset[str]]
    next_end: datetime | None = None


class Rules(Protocol):
    """The rules. Of one action a subject may have one in each list, and one made by hand."""

    def put(self, rule: Rule) -> Deferred[None]:
        """Insert or replace."""

    def remove(self, action: str, subject: str, name: str = BY_HAND) -> Deferred[bool]:
        """@param name: of the list."""

    def in_force(self, now: datetime) -> Deferred[InForce]:
        """What counts now; quickly, however many they are."""

    def about(self, subjects: Collection[str], authors_of: str = "") -> Deferred[list[Rule]]:
        """
        The rules for exactly one of these subjects, those by hand first.

        @param authors_of: also those for authors of this host.
        """

    def page(
        self, *, text: str = "", action: str = "", name: str | None = None, offset: int = 0, limit: int = 100
    ) -> Deferred[tuple[list[Rule], int]]:
        """
        Rules by action, subject and list, and how many there are in all.

        @param text: a part of the subject or of the reason, in any case.
        @param name: only of this list; C{None}: of all.
        """

    def compare(self, name: str, entries: Sequence[ListedRule]) -> Deferred[Changes]:
        """What L{replace} would change. No entry names action and subject of another one."""

    def replace(self, taken: RuleSet, entries: Sequence[ListedRule]) -> Deferred[Changes]:
        """
        Make a list hold exactly these entries, and remember where it came from, in one statement.

        @param taken: with C{fetched_at} and C{fetched_by}, which also its new rules get.
        """

    def failed(self, tried: RuleSet) -> Deferred[None]:
        """A list could not be taken over: its rules, and when and by whom it was last taken over, stay. The rest is remembered."""

    def sets(self) -> Deferred[list[RuleSet]]:
        """All lists, by name."""

    def drop(self, name: str) -> Deferred[int | None]:
        """Remove a list with its rules: how many those were; C{None}: there was no such list."""

    def forget(self, ended_before: datetime) -> Deferred[int]:
        """Remove rules that ended long ago; how many."""

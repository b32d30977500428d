"""
Lists of rules as others write them, and as the relay writes its own.

I{Mastodon's CSV}: a first line that names the columns, C{domain} among them, with or without C{#} before each name; C{severity} is
C{suspend}, C{silence} or C{noop}.  I{Plain}: one host, handle or C{#tag} a line; after a blank, C{#} begins the reason.  A line that begins
with C{#} and a blank is a comment; without the blank it is a tag.

@see: mastodon:app/controllers/admin/export_domain_blocks_controller.rb for the names of the columns
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import StringIO

from attrs import frozen

from socialrelay.boundaries import ListedRule, Rule
from socialrelay.moderation.subjects import BadSubject, is_host, rule_subject
from socialrelay.routing.hosts import host_of, within

MAX_LIST = 4 * 1024 * 1024
"""Bytes of a list."""
MAX_ENTRIES = 100_000
MAX_REASON = 500
SHOWN = 5
"""So many of the entries that cannot be used are named."""

COLUMNS = ("#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment", "#obfuscate")
_SEVERITIES = {"suspend": "block", "block": "block", "silence": "limit", "limit": "limit", "noop": "", "none": ""}
_COMMENTS = ("public_comment", "comment", "reason")
_FORMULA = re.compile("'*[=+@-]")
"""What a spreadsheet would calculate, in a stranger's list to the reader's harm: it is written with C{'} before it, and read without."""
_QUOTED = re.compile("\\A'(?='*[=+@-])")


class BadList(ValueError):
    """The document is no list of rules; the message says why in one line."""


@frozen
class Listing:
    """
    What a list says.

    @ivar entries: each subject once.
    @ivar skipped: how many entries were passed over: C{noop}, C{obfuscated}, C{own} (the relay itself), C{unusable}.
    @ivar unusable: the first of these, as they stand there.
    """

    entries: tuple[ListedRule, ...]
    skipped: Mapping[str, int]
    unusable: tuple[str, ...] = ()


def reason_line(text: str) -> str:
    """A reason as it is kept: one line of what can be printed, at most L{MAX_REASON} characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_REASON].rstrip()


def read_rules(body: bytes, *, action: str, tag_key: Callable[[str], str], own_host: str) -> Listing:
    """
    Read a list of any of the known formats.  Of two entries for one subject the stricter counts.

    @param action: of entries that do not say it.
    @param tag_key: as for L{rule_subject}.
    @param own_host: the relay's, which no list can name.
    @raise BadList: it is no such list; one that names nobody is.
    """
    reading = _Reading(action, tag_key, own_host)
    text = _text(body)
    if (columns := _columns(text)) is not None:
        reading.take_table(text, columns)
    else:
        reading.take_lines(text)
    return reading.listing()


def _text(body: bytes) -> str:
    if len(body) > MAX_LIST:
        raise BadList(f"it is longer than {MAX_LIST // 1024 // 1024} MiB")
    if body.lstrip()[:1] == b"<":
        raise BadList("it is a web page")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadList("it is not UTF-8") from None


def _columns(text: str) -> dict[str, int] | None:
    """Name of a column -> its place, if the first line names them."""
    first = text.lstrip().partition("\n")[0].strip()
    if first.startswith("# ") and "," not in first:
        return None
    names = [cell.strip().removeprefix("#").strip().lower() for cell in first.replace('"', "").split(",")]
    return {name: place for place, name in enumerate(names)} if "domain" in names else None


class _Reading:
    """A list while it is read."""

    def __init__(self, action: str, tag_key: Callable[[str], str], own_host: str) -> None:
        self._action = action
        self._tag_key = tag_key
        self._own_host = own_host
        self._entries: dict[str, ListedRule] = {}
        self._skipped: Counter[str] = Counter()
        self._unusable: list[str] = []

    def listing(self) -> Listing:
        return Listing(tuple(self._entries.values()), dict(self._skipped), tuple(self._unusable))

    def take_table(self, text: str, columns: Mapping[str, int]) -> None:
        rows = csv.reader(StringIO(text.lstrip(), newline=""), strict=True)
        try:
            next(rows)
            for row in rows:
                cells = {name: row[place].strip() for name, place in columns.items() if place < len(row)}
                domain = cells.get("domain", "")
                if domain and not domain.startswith("#"):
                    self._take_row(domain, cells)
        except csv.Error as error:
            raise BadList(f"line {rows.line_num} is no CSV: {error}") from error

    def _take_row(self, domain: str, cells: Mapping[str, str]) -> None:
        severity = cells.get("severity", "").lower()
        action = _SEVERITIES.get(severity) if severity else self._action
        if action == "":
            self._skipped["noop"] += 1
        elif action is None:
            self._refuse(f"{domain},{severity}")
        else:
            comment = next((cells[name] for name in _COMMENTS if cells.get(name)), "")
            self._take(domain, action, _QUOTED.sub("", comment), hosts_only=True)

    def take_lines(self, text: str) -> None:
        for line in text.splitlines():
            words = line.split(maxsplit=1)
            if not words or words[0] == "#":
                continue
            rest = words[1] if len(words) > 1 else ""
            if rest and not rest.startswith("#"):
                self._refuse(line)
            else:
                self._take(words[0], self._action, rest.removeprefix("#"))

    def _take(self, name: str, action: str, reason: str, hosts_only: bool = False) -> None:
        if "*" in name:
            self._skipped["obfuscated"] += 1
            return
        try:
            subject = rule_subject(name, self._tag_key)
        except BadSubject:
            subject = ""
        if not subject or (hosts_only and not is_host(subject)):
            self._refuse(name)
        elif not subject.startswith("#") and within(host_of(subject), self._own_host):
            self._skipped["own"] += 1
        elif subject not in self._entries or (action == "block" and self._entries[subject].action == "limit"):
            self._entries[subject] = ListedRule(action, subject, reason_line(reason))
            if len(self._entries) > MAX_ENTRIES:
                raise BadList(f"it has more than {MAX_ENTRIES} entries")

    def _refuse(self, entry: str) -> None:
        self._skipped["unusable"] += 1
        if len(self._unusable) < SHOWN:
            self._unusable.append(reason_line(entry)[:100])


def csv_header() -> str:
    """The first line of Mastodon's CSV."""
    return ",".join(COLUMNS) + "\n"


def csv_lines(rules: Iterable[Rule]) -> str:
    """Rules as lines of Mastodon's CSV. It has no room for others than C{block} and C{limit} of hosts: those are left out."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    severities = {"block": "suspend", "limit": "silence"}
    for rule in rules:
        if rule.action in severities and is_host(rule.subject):
            reason = f"'{rule.reason}" if _FORMULA.match(rule.reason) else rule.reason
            writer.writerow((rule.subject, severities[rule.action], "false", "false", reason, "false"))
    return file.getvalue()


def plain_lines(rules: Iterable[Rule]) -> str:
    """Rules as lines of a plain list, which does not say their action."""
    return "".join(_plain(rules))


def _plain(rules: Iterable[Rule]) -> Iterator[str]:
    for rule in rules:
        yield f"{rule.subject} # {rule.reason}\n" if rule.reason else f"{rule.subject}\n"

"""
A month in the life of a relay with ten thousand nodes, all of it made up: what its pages have to show.

Chance is seeded, so two runs show the same, but for the time of day.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import psycopg2
from attrs import frozen
from psycopg2.extras import execute_values

from tests.envelopes import Author, pem

NODES = 10_240
SUBSCRIBERS = 640
LOG = 2_000
"""Posts in the log."""

LIST, LISTED = "friends-blocks", 130
"""A list of rules, and how many there are in it."""

HOURS = 30 * 24
_FIRST = (
    "amber", "autumn", "bitter", "blue", "bright", "brisk", "calm", "cedar", "clear", "copper", "crooked", "distant", "dusty", "early",
    "eastern", "ember", "fern", "foggy", "gentle", "golden", "green", "hazel", "hidden", "hollow", "humble", "ivory", "juniper", "kind",
    "late", "linden", "little", "lonely", "maple", "mellow", "merry", "misty", "mossy", "nimble", "northern", "olive", "open", "pale",
    "patient", "pine", "plain", "quiet", "red", "rocky", "rowan", "rusty", "salty", "sandy", "scarlet", "silver", "sleepy", "slow",
    "small", "sunny", "tall", "tidal", "upper", "velvet", "warm", "western", "wild", "willow", "windy", "winter", "wooden", "yellow",
)  # fmt: skip
_SECOND = (
    "anchor", "atlas", "attic", "barn", "bay", "beacon", "birch", "boat", "bridge", "brook", "cabin", "canal", "castle", "cellar", "coast",
    "corner", "cove", "creek", "dale", "delta", "dune", "field", "forest", "forge", "garden", "gate", "glade", "grove", "harbour", "haven",
    "heath", "hill", "hut", "island", "kettle", "lake", "lane", "lantern", "loft", "meadow", "mill", "moor", "nest", "oak", "orchard",
    "path", "pier", "pond", "porch", "quarry", "reef", "ridge", "river", "shed", "shore", "spring", "square", "stone", "stream", "tower",
    "trail", "tree", "valley", "village", "well", "wharf", "window", "woods", "workshop", "yard",
)  # fmt: skip
_PREFIXES = ("", "social.", "pod.")
_TAGS = (
    "photography", "gardening", "art", "music", "caturday", "books", "linux", "nature", "cycling", "cooking", "history", "birds", "science",
    "poetry", "hiking", "fediverse", "politics", "coffee", "astronomy", "film", "freesoftware", "trains", "maps", "vegan", "knitting",
    "climate", "games", "mushrooms", "blackandwhite", "architecture", "philosophy", "travel", "dogs", "sailing", "typography", "bread",
)  # fmt: skip
_PARTS = ("macro", "street", "urban", "winter", "night", "home", "slow", "vintage", "daily", "analog", "digital", "local", "open", "wild")
_REASONS = ("bad-signature", "unknown-key", "not-a-post", "author-mismatch", "malformed", "bad-signature", "unknown-key", "unknown-key")
_TROUBLES = (
    "connection refused", "no answer within 15 s", "HTTP 503", "HTTP 502", "certificate not valid: it has expired",
    "name does not resolve", "HTTP 429", "connection closed without an answer", "HTTP 404",
)  # fmt: skip

_DELAYS = {"0.01": 0.06, "0.02": 0.2, "0.05": 0.34, "0.1": 0.2, "0.2": 0.1, "0.5": 0.05, "1.0": 0.03, "2.0": 0.015, "5.0": 0.005}
"""Upper bounds in seconds, and which part of the posts took so long."""


@frozen
class Member:
    """
    A node that is subscribed.

    @ivar number: of its destination.
    """

    host: str
    number: int
    scope: str
    tags: list[str]
    state: str


def hosts() -> list[str]:
    """The names of the nodes; those that are subscribed first."""
    names = [f"{prefix}{first}-{second}.example" for prefix, first, second in product(_PREFIXES, _FIRST, _SECOND)]
    random.Random(3).shuffle(names)
    return names[:NODES]


def tag_names() -> list[str]:
    """Tags, the popular ones first."""
    return [*_TAGS, *(f"{part}{tag}" for part, tag in product(_PARTS, _TAGS))]


def members(chance: random.Random) -> list[Member]:
    """
    Who is subscribed.  Nobody whom the relay would try to reach wants all posts, so that those which tests send go to nobody here.
    """
    states = ["deferred"] * 46 + ["dead"] * 21 + ["gone"] * 5 + ["suspended"] * 3
    states += ["active"] * (SUBSCRIBERS - len(states))
    tags = tag_names()
    weights = [1 / (place + 4) for place in range(len(tags))]
    found = []
    for number, (host, state) in enumerate(zip(hosts(), states, strict=False)):
        wanted = sorted(set(chance.choices(tags, weights, k=chance.choice((1, 2, 4, 6, 9, 15, 40)))))
        scope = "all" if state != "active" and number % 3 else "tags"
        found.append(Member(host, number, scope, wanted if scope == "tags" else [], state))
    return found


def fill(dsn: str, now: datetime | None = None) -> None:
    """
    Put it all into an empty database with the relay's schema.

    @param now: until when it goes; if none is given, until this moment.
    """
    now = now or datetime.now(UTC)
    chance = random.Random(11)
    everybody = members(chance)
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            _nodes(cursor, everybody, now, chance)
            _destinations(cursor, everybody, now, chance)
            _log(cursor, everybody, now, chance)
            _statistics(cursor, everybody, now, chance)
            _refused(cursor, now, chance)
            _profiles(cursor, now)
            _rules(cursor, now)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    finally:
        connection.close()


def _insert(cursor: Any, table: str, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    rows = list(rows)
    columns = list(rows[0])
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES %s"
    execute_values(cursor, statement, [tuple(row[column] for column in columns) for row in rows], page_size=1000)


def _nodes(cursor: Any, everybody: list[Member], now: datetime, chance: random.Random) -> None:
    subscribed = {member.host: member for member in everybody}

    def rows() -> Iterator[dict[str, Any]]:
        for host in hosts():
            member = subscribed.get(host)
            failing = member is None and chance.random() < 0.3
            answered = None if failing and chance.random() < 0.6 else now - timedelta(minutes=chance.uniform(2, 55 if member else 1400))
            scope = member.scope if member else ("none" if answered and chance.random() < 0.2 else None)
            yield {
                "host": host,
                "sources": chance.choice((["fediverse"], ["the-federation"], ["fediverse", "the-federation"], ["operator"], ["check"])),
                "first_seen": now - timedelta(days=chance.uniform(1, 900)),
                "last_listed": now - timedelta(hours=chance.uniform(1, 24)),
                "scope": scope,
                "tags": member.tags if member else [],
                "last_poll": now - timedelta(minutes=chance.uniform(1, 55 if member else 1400)),
                "last_answer": answered,
                "next_poll": now + timedelta(hours=chance.uniform(12, 24)),
                "poll_failures": chance.randint(1, 40) if failing else 0,
                "poll_error": chance.choice(_TROUBLES) if failing else "",
            }

    _insert(cursor, "node", rows())


def _destinations(cursor: Any, everybody: list[Member], now: datetime, chance: random.Random) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for member in everybody:
            well = member.state == "active"
            failing = None if well else now - timedelta(hours=chance.uniform(1, 160 if member.state == "deferred" else 900))
            yield {
                "number": member.number,
                "host": member.host,
                "protocol": "diaspora",
                "url": f"https://{member.host}/receive/public",
                "state": member.state,
                "cursor": LOG if well else chance.randrange(LOG // 2, LOG),
                "failures": 0 if well or member.state == "suspended" else chance.randint(3, 18),
                "failing_since": None if member.state == "suspended" else failing,
                "next_attempt": now + timedelta(hours=chance.uniform(3, 11)) if member.state in ("deferred", "dead") else None,
                "last_success": failing or now - timedelta(minutes=chance.uniform(0.2, 90)),
                "last_reason": ""
                if well or member.state == "suspended"
                else "HTTP 410"
                if member.state == "gone"
                else chance.choice(_TROUBLES),
                "delivered": int(chance.lognormvariate(9, 1.2)),
                "bounced": chance.choice((0, 0, 0, 2, 17)),
                "expired": chance.randint(100, 4000) if member.state == "dead" else 0,
                "created_at": now - timedelta(days=chance.uniform(30, 700)),
            }

    _insert(cursor, "destination", rows())


def _log(cursor: Any, everybody: list[Member], now: datetime, chance: random.Random) -> None:
    authors = _authors()
    tags = tag_names()
    weights = [1 / (place + 4) for place in range(len(tags))]
    troubled = [member.number for member in everybody if member.state != "active"]

    def rows() -> Iterator[dict[str, Any]]:
        for position in range(1, LOG + 1):
            at = now - timedelta(seconds=(LOG - position) * 43.2)
            names = {*chance.sample(troubled, 30), *chance.sample(range(SUBSCRIBERS), 60)}
            author, host = chance.choice(authors)
            yield {
                "position": position,
                "received_at": at - timedelta(milliseconds=chance.uniform(4, 400)),
                "published_at": at,
                "protocol": "diaspora",
                "kind": "status_message",
                "author": author,
                "author_host": host,
                "guid": f"{chance.getrandbits(128):032x}",
                "tags": sorted(set(chance.choices(tags, weights, k=chance.randint(0, 4)))),
                "recipients": sum(1 << number for number in names).to_bytes((max(names) + 8) // 8, "little"),
                "recipient_count": len(names),
                "size": int(chance.lognormvariate(7.6, 0.4)),
                "publication": position,
            }

    _insert(cursor, "post", rows())
    for sequence in (("post", "position"),):
        cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (*sequence, LOG))


def _statistics(cursor: Any, everybody: list[Member], now: datetime, chance: random.Random) -> None:
    sources = hosts()[:200]
    takers = [member.host for member in everybody if member.state == "active"]
    hour = now.replace(minute=0, second=0, microsecond=0)
    totals: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for back in range(HOURS):
            at = hour - timedelta(hours=back)
            part = max(0.03, (now - hour).total_seconds() / 3600) if back == 0 else 1.0
            for event, subject, count in _of_an_hour(at, part, sources, takers, chance):
                totals[event] += count
                yield {"hour": at, "event": event, "subject": subject, "count": count}

    _insert(cursor, "statistic", rows())
    cursor.execute("INSERT INTO statistic_hour (hour, event, count) SELECT hour, event, sum(count) FROM statistic GROUP BY hour, event")
    _insert(cursor, "statistic_total", [{"event": event, "count": count * 23} for event, count in totals.items()])


def _of_an_hour(at: datetime, part: float, sources: list[str], takers: list[str], chance: random.Random) -> Iterator[tuple[str, str, int]]:
    """What is counted in one hour: few at night, most in the evening, and one bad night three days ago."""
    day = 1 + 0.75 * math.sin((at.hour - 13) / 24 * math.tau) + (0.2 if at.weekday() >= 5 else 0.0)
    posts = 62 * day * chance.uniform(0.85, 1.15) * part
    origins, destinations = chance.sample(sources, 10), chance.sample(takers, 10)
    trouble = 6.0 if timedelta(hours=60) < datetime.now(UTC) - at < timedelta(hours=66) else 1.0
    yield from _shared("received", origins, posts * 1.22)
    yield from _shared("accepted", origins, posts)
    yield from _shared("rejected", origins[:2], posts * 0.05)
    yield from _shared("ignored", origins[2:4], posts * 0.09)
    yield from _shared("duplicate", origins[4:6], posts * 0.08)
    yield from _shared("delivered", destinations, posts * 96)
    yield from _shared("bounced", destinations[:2], posts * 0.4)
    yield from _shared("failed", destinations[:3], posts * 0.7 * trouble)
    yield from _shared("expired", destinations[3:4], posts * 1.1)
    yield from _shared("cancelled", destinations[4:5], posts * 0.2)
    for bound, share in _DELAYS.items():
        yield from _shared("delay", [bound], posts * share)


def _shared(event: str, subjects: list[str], count: float) -> Iterator[tuple[str, str, int]]:
    each, rest = divmod(round(count), len(subjects))
    for place, subject in enumerate(subjects):
        if many := each + (place < rest):
            yield event, subject, many


def _refused(cursor: Any, now: datetime, chance: random.Random) -> None:
    authors = _authors()

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(140, 0, -1):
            author, _ = chance.choice(authors)
            reason = chance.choice(_REASONS)
            yield {
                "rejected_at": now - timedelta(minutes=number * 37),
                "reason": reason,
                "author": "" if reason == "malformed" else author,
                "guid": "" if reason == "malformed" else f"{chance.getrandbits(128):032x}",
                "kind": "" if reason in ("malformed", "unknown-key") else "status_message",
            }

    _insert(cursor, "rejected", rows())
    _insert(
        cursor,
        "quarantine",
        [
            {
                "id": number,
                "received_at": now - timedelta(days=number),
                "quarantined_at": now - timedelta(days=number, minutes=-2),
                "protocol": "diaspora",
                "private": False,
                "sender": authors[number][0],
                "body": b"<me:env/>",
                "reason": "RecursionError: while reading the entity",
            }
            for number in range(1, 4)
        ],
    )


def _profiles(cursor: Any, now: datetime) -> None:
    key = pem(Author(_authors()[0][0]).public_key)
    rows = [
        {"handle": handle, "public_key": key, "fetched_at": now - timedelta(days=number % 60), "used_on": now.date()}
        for number, (handle, _) in enumerate(_authors())
    ]
    _insert(cursor, "profile", rows)


def _rules(cursor: Any, now: datetime) -> None:
    """What the operator decided, and a list of somebody else's."""
    by_hand = [
        ("block", "coins.example", "advertises coins, every minute"),
        ("block", "mallory@quiet-porch.example", "impersonates others"),
        ("limit", "#giveaway", "chain letters"),
        ("limit", "loud.example", "ten posts a minute; they know of it"),
        ("allow", "small.example", "on a list by mistake"),
        ("forward", "archive.example", "keeps a public archive"),
    ]
    rows = [
        {
            "action": action,
            "subject": subject,
            "list": "",
            "reason": reason,
            "created_at": now - timedelta(days=9 * place),
            "created_by": "ada",
        }
        for place, (action, subject, reason) in enumerate(by_hand, 1)
    ]
    rows += [
        {"action": "block", "subject": f"spam-{number}.example", "list": LIST, "reason": "spam", "created_at": now, "created_by": "ada"}
        for number in range(LISTED)
    ]
    _insert(cursor, "rule_list", [{"name": LIST, "source": "", "action": "block", "fetched_at": now, "fetched_by": "ada", "tried_at": now}])
    _insert(cursor, "rule", rows)


def _authors() -> list[tuple[str, str]]:
    """Handles, each with its host."""
    names = ("ada", "ben", "clara", "dilan", "emre", "fatima", "george", "hana", "ivo", "jun")
    return [(f"{name}@{host}", host) for host in hosts()[:60] for name in names]

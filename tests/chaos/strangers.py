"""What strangers send: hostile documents, addresses that are not public, and forgeries."""

from __future__ import annotations

import time
from itertools import product

from benchmarks.figures import percentile
from tests.chaos import trials
from tests.chaos.finding import Finding
from tests.fuzzing.genuine import ENVELOPES, GENUINE, taken
from tests.fuzzing.hostile import ENTRANCES, KINDS, hostile_entity, hostile_envelope
from tests.fuzzing.tampered import KINDS as CHANGES
from tests.fuzzing.tampered import tampered

P99 = 0.020
DOCUMENTS = 10_000
"""Of either kind: hostile ones, and envelopes that were changed."""
_SOME_DOCUMENTS = tuple(f"tests.test_fuzzing.{name}" for name in ("HostileTests.test_many", "TamperedTests.test_many", "WatchedTests"))
_SOME_ADDRESSES = tuple(f"tests.test_address_matrix.{name}" for name in ("MatrixTests.test_spellings", "MatrixTests.test_names"))
_SOME_FORGERIES = tuple(f"tests.test_forgery.{name}" for name in ("MatrixTests.test_author", "LookupTests"))
"""The whole of each is part of the test suite."""


def documents(full: bool) -> Finding:
    """Hostile documents, and envelopes that were changed on their way."""
    done = trials.run(*(("tests.test_fuzzing",) if full else _SOME_DOCUMENTS), full=full)
    counts = done.counts
    times, wrong = _timed(60 if full else 6)
    p99, longest = percentile(times, 0.99), max(times)
    watched = counts["watched"]
    enough = min(counts["hostile"], counts["tampered"]) >= (DOCUMENTS if full else 1) and watched > 0
    return Finding(
        done=f"{counts['hostile']} hostile documents of {counts['kinds']} kinds, {counts['tampered']} envelopes with changes of "
        f"{counts['changes']} kinds, {watched} documents watched by strace, {len(times)} timed",
        figure=f"{wrong} taken of those that were timed; {_failed(done)}{': none taken, no error, no file, no connection' if done.held else ''}; "
        f"{p99 * 1000:.1f} ms for a document (p99), {longest * 1000:.1f} ms at most",
        held=done.held and enough and not wrong and p99 <= (P99 if full else 3 * P99),
        figures={"hostile": counts["hostile"], "tampered": counts["tampered"], "taken": wrong, "document_p99_ms": p99 * 1000},
        remark=done.trouble,
    )


def _timed(each: int) -> tuple[list[float], int]:
    """How long each document took; and how many were taken that should not be."""
    times: list[float] = []
    wrong = 0

    def read(body: bytes, *genuine: object) -> None:
        nonlocal wrong
        began = time.perf_counter()
        answer = taken(body)
        times.append(time.perf_counter() - began)
        wrong += answer not in (None, *genuine)

    for kind, number in product(KINDS, range(each)):
        for body in (hostile_envelope(kind, number, number), hostile_entity(kind, number, number)):
            for entrance in ENTRANCES.values():
                read(entrance(body))
    for kind, number in product(CHANGES, range(each)):
        read(tampered(ENVELOPES[number % len(ENVELOPES)], ((kind, number),)), *GENUINE)
    return times, wrong


def _failed(done: trials.Trial) -> str:
    return f"{done.others} of {done.passed + done.others} tests failed"


def addresses(full: bool) -> Finding:
    """Addresses that are not public, by each way by which a stranger can name one."""
    from tests.test_address_matrix import ADDRESSES, HOSTS, OF_URLS, URLS, WAYS

    done = trials.run(*(("tests.test_address_matrix",) if full else _SOME_ADDRESSES), full=full)
    tried = done.counts["tries"]
    return Finding(
        done=f"{len(HOSTS)} spellings and {len(ADDRESSES)} addresses by {len(WAYS)} ways, {len(URLS)} URLs by {len(OF_URLS)}, rebinding, "
        f"redirects, and a resolver that lies: {tried} tries",
        figure=("0 connections to an address that is not public; " if done.held else "") + _failed(done),
        held=done.held and tried > len(WAYS) * len(ADDRESSES),
        figures={"tries": tried, "ways": len(WAYS), "failed": done.others},
        remark=done.trouble,
    )


def forgeries(full: bool) -> Finding:
    """Posts, retractions, keys and documents that pretend."""
    from tests.test_forgery import DOCUMENTS, GENUINE, KEYS, PRIVATE, ROTATION, TABLES, WAYS

    done = trials.run(*(("tests.test_forgery",) if full else _SOME_FORGERIES), full=full)
    counts = done.counts
    cases = sum(map(len, TABLES.values())) + len(PRIVATE)
    others = len(KEYS) + len(DOCUMENTS) + len(ROTATION)
    unknown, fetches, seconds = counts["unknown"], counts["fetches"], counts["seconds"]
    within = unknown >= 10_000 and fetches <= 11 + seconds
    return Finding(
        done=f"{cases} forgeries, each with {len(WAYS)} states of the key; {others} hostile keys, documents and rotations; {len(GENUINE)} "
        f"genuine neighbours; {unknown} unknown authors of one host",
        figure=f"{counts['forgeries']} tried{', 0 taken; at most 1 look-up for each author and hour' if done.held else ''}; {fetches} look-ups at "
        f"the host in {seconds} s; {_failed(done)}",
        held=done.held and within and counts["forgeries"] >= (cases * len(WAYS) if full else len(TABLES["author"]) * len(WAYS)),
        figures={"forgeries": counts["forgeries"], "fetches_of_host": fetches, "fetching_seconds": seconds, "failed": done.others},
        remark=done.trouble,
    )

"""What operators see of the message bus: the view, the command, the page."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import BusMessage, Condition
from socialrelay.boundaries.bus import LEGACY, OWN
from socialrelay.bus.counts import Counts
from socialrelay.bus.figures import BusFigures
from socialrelay.cli import bus_output
from socialrelay.operators.bus import BusView, no_bus
from socialrelay.operators.offers import bus_offers
from socialrelay.operators.terms import ActError
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.admin import Browser, Operators

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOPIC = "org.example.prod.git.receive"
FIGURES = BusFigures(
    inbound=("tcp://127.0.0.1:2003",),
    outbound=("tcp://127.0.0.1:4001", "ipc:///run/bus/out"),
    ingest=("tcp://127.0.0.1:2004",),
    counts=Counts(),
    own_dropped=Counter(),
    ingest_events={},
    waiting=17,
    waiting_bytes=2048,
    waiting_bytes_limit=1024 * 1024,
    unacknowledged=3,
    unacknowledged_limit=10_000,
    announcements=2,
    readers=1,
    readers_limit=100,
    last_seq=4711,
    published_seq=4710,
    extent=None,
    bytes_limit=1024 * 1024 * 1024,
    keep_days=7,
    subscriptions=5,
    overflows=0,
    commits=40,
    commit_seconds=0.5,
    probe_age=12.0,
    probe_failures=0,
)


class BusCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.tables = MemoryTables()
        self.store = memory_storage(self.tables).bus
        self.figures = evolve(FIGURES, counts=Counts())
        self.condition = Condition("bus", well=True, essential=False, detail="a message went in and one came out 12 s ago")
        self.view = BusView(
            figures=lambda: self.figures,
            condition=lambda: self.condition,
            store=self.store,
            topics="org.example.prod",
            store_legacy=True,
        )

    def keep(self, number: int, source: str = LEGACY, ago: timedelta = timedelta()) -> None:
        message = BusMessage(f"2026-{number}", TOPIC, b"{}", source)
        self.successResultOf(self.store.add([message], NOW - ago, 0))

    def answer(self) -> dict[str, Any]:
        return self.successResultOf(Deferred.fromCoroutine(self.view.all()))

    def said(self) -> str:
        """What the command prints."""
        return bus_output.bus(self.answer(), NOW)


class ViewTests(BusCase):
    def test_numbers(self) -> None:
        """It has all figures, by the names that metrics have for them."""
        self.figures.counts.received[LEGACY] = 8
        answer = self.answer()
        self.assertEqual(answer["outbound"], ["tcp://127.0.0.1:4001", "ipc:///run/bus/out"])
        self.assertEqual((answer["received"], answer["last_seq"], answer["published_seq"]), ({"legacy": 8}, 4711, 4710))
        self.assertEqual(answer["waiting"]["messages"], 17)
        self.assertEqual(answer["condition"]["well"], True)

    def test_kept(self) -> None:
        """It says from where on messages are kept, and when the first and the last of them came."""
        self.keep(1, OWN, timedelta(hours=5))
        self.keep(2, LEGACY, timedelta(hours=1))
        answer = self.answer()
        self.assertEqual((answer["oldest_at"], answer["last_at"]), ("2026-11-22T07:00:00+00:00", "2026-11-22T11:00:00+00:00"))
        self.assertEqual((answer["oldest_seq"], answer["oldest_own_seq"], answer["bytes"]), (1, 1, 4))

    def test_empty(self) -> None:
        """Of a bus on which nothing was said yet it gives no times."""
        answer = self.answer()
        self.assertEqual((answer["oldest_at"], answer["last_at"], answer["bytes"]), (None, None, 0))

    def test_away(self) -> None:
        """While storage is away the rest can be seen."""
        self.tables.go_away()
        answer = self.answer()
        self.assertEqual((answer["last_seq"], answer["bytes"], answer["oldest_seq"]), (4711, None, None))

    def test_off(self) -> None:
        """Where there is no bus, it is said how there would be one."""
        error = self.failureResultOf(Deferred.fromCoroutine(no_bus()), ActError).value
        self.assertIn("set bus.enabled", str(error))
        self.assertIs(bus_offers(None)["bus"].run, no_bus)


class CommandTests(BusCase):
    def test_shown(self) -> None:
        """Addresses, counts and what is kept can be read at a glance; what did not happen is left out."""
        self.keep(1, OWN, timedelta(hours=5))
        self.keep(2, LEGACY, timedelta(hours=1))
        self.figures.counts.received[LEGACY] = 1234
        said = self.said()
        self.assertIn("publishers connect to    tcp://127.0.0.1:2003\n", said)
        self.assertIn("listeners connect to     tcp://127.0.0.1:4001, ipc:///run/bus/out (5 subscriptions)", said)
        self.assertRegex(said, r"(?m)^relay_inbound +1234 +0 +0 +0 +0$")
        self.assertIn("published        up to 4710", said)
        self.assertIn("the oldest came  2026-11-22 07:00 UTC (5 h ago)", said)
        self.assertNotIn("not taken", said)
        self.assertNotIn("too slow", said)

    def test_troubles(self) -> None:
        """What was not taken, what was dropped, and who was too slow is said if there is any."""
        counts = Counts()
        counts.invalid.update({"not-json": 2, "topic": 1})
        self.figures = evolve(FIGURES, counts=counts, own_dropped=Counter({"payload.rejected": 9}), overflows=1)
        self.condition = Condition("bus", well=False, essential=False, detail="nothing came out of tcp://127.0.0.1:4001 within 5 s")
        said = self.said()
        self.assertRegex(said, r"not taken +2 not-json, 1 topic\n")
        self.assertRegex(said, r"own ones given up +9 payload\.rejected\n")
        self.assertRegex(said, r"listeners too slow +1 time\n")
        self.assertRegex(said, r"\Abus +NOT WELL: nothing came out of tcp://127\.0\.0\.1:4001 within 5 s\n")

    def test_away(self) -> None:
        """While storage is away the rest is shown."""
        self.tables.go_away()
        self.assertIn("the database cannot be reached now", self.said())

    def test_line(self) -> None:
        """In the relay's status it is one line, which says what is wrong if something is."""
        self.assertEqual(
            bus_output.line(self.view.short()),
            "number 4711, 17 messages waiting, 5 subscriptions; in at tcp://127.0.0.1:2003, "
            "out at tcp://127.0.0.1:4001, ipc:///run/bus/out, acknowledged at tcp://127.0.0.1:2004",
        )
        self.condition = Condition("bus", well=False, essential=False, detail="it could not be tried")
        self.assertEqual(bus_output.line(self.view.short()), "NOT WELL: it could not be tried")


class PageTests(BusCase):
    def page(self) -> str:
        operators = Operators(views=bus_offers(self.view))
        browser = Browser(self, operators)
        browser.log_in()
        answer = browser.get("/admin/bus")
        self.assertEqual(answer.code, 200)
        return answer.text

    def test_shown(self) -> None:
        """The page has the same numbers, and is named in the head of each page."""
        self.keep(1, LEGACY, timedelta(hours=1))
        shown = self.page()
        self.assertIn('<a href="/admin/bus" aria-current="page">Bus</a>', shown)
        for text in ("tcp://127.0.0.1:2003", "4\u202f711", "published up to 4\u202f710", "2.0 KiB of 1.0 MiB", "2026-11-22 11:00"):
            self.assertIn(text, shown)
        self.assertNotIn("What was not taken", shown)

    def test_troubles(self) -> None:
        """What was not taken is on it, too."""
        counts = Counts()
        counts.invalid["not-json"] = 2
        self.figures = evolve(FIGURES, counts=counts, own_dropped=Counter({"payload.rejected": 9}))
        shown = self.page()
        self.assertIn("<dt>not-json</dt><dd>2</dd>", shown)
        self.assertIn("<dt>own: payload.rejected</dt><dd>9</dd>", shown)

    def test_away(self) -> None:
        """While storage is away it can be looked at all the same."""
        self.tables.go_away()
        self.assertIn("the database cannot be reached now", self.page())

    def test_none(self) -> None:
        """Where there is no bus there is no such page, and none is named."""
        browser = Browser(self, Operators())
        self.assertNotIn("/admin/bus", browser.log_in().text)
        self.assertEqual(browser.get("/admin/bus").code, 404)

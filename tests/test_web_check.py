"""Tests for L{socialrelay.web.check}."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import SelfService, Unavailable
from socialrelay.scheduler.outcome import Trouble
from socialrelay.web.check import IN_ALL, PER_CLIENT, PER_DOMAIN, SHOWN_TAGS, CheckPage, remedy, typed_host, verdict
from tests.test_web_pages import outline_faults
from tests.web_requests import Answer, ask, config, introduction


def report(**changes: object) -> dict[str, object]:
    """What a check of a healthy node says."""
    values: dict[str, object] = {
        "host": "pod.example",
        "url": "https://pod.example/.well-known/x-social-relay",
        "at": "2026-11-21T21:00:00+00:00",
        "faults": [],
        "preferences": {"scope": "tags", "tags": ["cats"], "receive_url": "https://pod.example/receive/public", "dropped_tags": 0},
        "subscription": {"scope": "tags", "tags": ["cats"], "why": "the node asks for it"},
        "deliveries": None,
    }
    return values | changes


@define
class FakeSelfService:
    """Gives a fixed report, or an error, and remembers who was checked."""

    report: dict[str, object] = field(factory=report)
    error: Exception | None = None
    checked: list[str] = field(factory=list)

    def check(self, host: str) -> Deferred[dict[str, object]]:
        self.checked.append(host)
        return succeed(self.report) if self.error is None else fail(self.error)


_self_service: type[SelfService] = FakeSelfService


@define
class Counts:
    """A cache that only counts, in windows that do not end."""

    counts: dict[str, int] = field(factory=dict)

    def count(self, key: str, seconds: float) -> Deferred[int]:
        self.counts[key] = self.counts.get(key, 0) + 1
        return succeed(self.counts[key])

    def get(self, key: str) -> Deferred[bytes | None]:
        return succeed(None)

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]:
        return succeed(None)

    def delete(self, key: str) -> Deferred[None]:
        return succeed(None)


class CheckPageTests(SynchronousTestCase):
    """A node's administrator asks."""

    def setUp(self) -> None:
        self.service = FakeSelfService()
        self.cache = Counts()
        self.page = CheckPage(self.service, self.cache, config(), introduction())

    def ask(self, path: str, method: str = "GET", **options: object) -> Answer:
        return ask(self, self.page.app.resource(), path, method, **options)

    def test_form(self) -> None:
        """
        Without a node there is a form, and nobody is checked.
        """
        found = self.ask("/check")
        self.assertEqual((found.code, self.service.checked, outline_faults(found.text)), (200, [], []))
        self.assertIn('name="node"', found.text)

    def test_result(self) -> None:
        """
        The page says what was read, and what follows from it.
        """
        found = self.ask("/check?node=pod.example")
        self.assertEqual((found.code, self.service.checked, outline_faults(found.text)), (200, ["pod.example"], []))
        for text in (
            "Subscribed to 1 hashtag. All is well.",
            "The node asks for it.",
            "#cats",
            "https://pod.example/receive/public",
            "Nothing has been sent",
        ):
            self.assertIn(text, found.text)

    def test_faults(self) -> None:
        """
        Each fault is shown as text, whatever a stranger's document put into it.
        """
        self.service.report = report(
            preferences=None,
            subscription={"scope": "none", "tags": [], "why": "its document cannot be read"},
            faults=["<script>alert(1)</script> is no JSON."],
        )
        page = self.ask("/check?node=pod.example").text
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt; is no JSON.", page)
        self.assertIn("Not subscribed.", page)
        self.assertNotIn("<script", page)

    def test_deliveries(self) -> None:
        """
        A node that is in trouble learns what trouble, and when it is tried again.
        """
        trouble = {"state": "deferred", "delivered": 5, "last_success": None, "last_reason": "connection refused", "behind": 3}
        self.service.report = report(deliveries=trouble | {"next_attempt": "2026-11-21T22:00:00+00:00"})
        page = self.ask("/check?node=pod.example").text
        for text in ("does not take posts at the moment", "connection refused", "21 November 2026, 22:00 UTC", "none yet"):
            self.assertIn(text, page)

    def test_times(self) -> None:
        """
        Times are marked up for programs, too.
        """
        well = {"state": "active", "delivered": 1, "last_success": "2026-11-21T20:00:00+00:00", "last_reason": "", "behind": 0}
        self.service.report = report(deliveries=well | {"next_attempt": None})
        page = self.ask("/check?node=pod.example").text
        for time in ("2026-11-21T20:00:00+00:00", "2026-11-21T21:00:00+00:00"):
            self.assertIn(f'<time datetime="{time}">', page)
        self.assertIn("1 post<", page)

    def test_many_tags(self) -> None:
        """
        Many hashtags are folded, and all of them are there.
        """
        tags = [f"tag{number:03}" for number in range(SHOWN_TAGS + 5)]
        self.service.report = report(subscription={"scope": "tags", "tags": tags, "why": "the node asks for it"})
        seen, folded = self.ask("/check?node=pod.example").text.split("<details")
        self.assertEqual((seen.count("#tag"), folded.count("#tag"), "Show 5 more" in folded), (SHOWN_TAGS, 5, True))

    def test_remedy(self) -> None:
        """
        Beside a fault stands what to do about it, if that is known.
        """
        self.service.report = report(faults=["It could not be read: name does not resolve.", "A fault that is new."])
        page = self.ask("/check?node=pod.example").text
        self.assertEqual((page.count("→"), "A or AAAA record" in page), (1, True))
        self.assertEqual(outline_faults(page), [])

    def test_refused_in_words(self) -> None:
        """
        Who checks too often reads on the page why, and that nothing is lost.
        """
        self.cache.counts["check:all"] = IN_ALL
        found = self.ask("/check?node=pod.example")
        self.assertEqual((found.code, outline_faults(found.text)), (429, []))
        for text in ("Many nodes are being checked", "once an hour by itself", 'role="alert"', 'value="pod.example"'):
            self.assertIn(text, found.text)

    def test_json(self) -> None:
        """
        A program gets the report as JSON, by asking for it or by accepting nothing else.
        """
        self.assertEqual(self.ask("/check?node=pod.example&format=json").json, report())
        self.assertEqual(self.ask("/check?node=pod.example", headers={b"Accept": b"application/json"}).json, report())
        browser = self.ask("/check?node=pod.example", headers={b"Accept": b"text/html,application/json;q=0.9"})
        self.assertEqual(browser.header(b"Content-Type"), "text/html; charset=utf-8")
        self.assertEqual(self.ask("/check?format=json").code, 400)

    def test_no_host(self) -> None:
        """
        A host that is none is answered with the sentence that says why.
        """
        self.service.error = ValueError("The host name pod has no dot.")
        page, document = self.ask("/check?node=pod"), self.ask("/check?node=pod&format=json")
        self.assertEqual((page.code, document.code, document.json), (400, 400, {"error": "The host name pod has no dot."}))
        self.assertIn("The host name pod has no dot.", page.text)

    def test_storage_away(self) -> None:
        """
        When the relay cannot look, it says so.
        """
        self.service.error = Unavailable()
        self.assertEqual(self.ask("/check?node=pod.example").code, 503)

    def test_head(self) -> None:
        """
        A preview of a link sets nothing to work.
        """
        self.assertEqual((self.ask("/check?node=pod.example", "HEAD").code, self.service.checked), (200, []))

    def test_limit_per_client(self) -> None:
        """
        A client may check so often and no more.
        """
        codes = [self.ask("/check?node=pod.example").code for _ in range(PER_CLIENT + 1)]
        self.assertEqual((codes.count(200), codes[-1], len(self.service.checked)), (PER_CLIENT, 429, PER_CLIENT))

    def test_limit_in_all(self) -> None:
        """
        All clients together may check so often and no more; those who were refused do not count.
        """
        self.cache.counts["check:all"] = IN_ALL
        found = self.ask("/check?node=pod.example&format=json")
        self.assertEqual((found.code, found.header(b"Retry-After"), self.service.checked), (429, "60", []))

    def test_limit_per_domain(self) -> None:
        """
        Whoever has a domain cannot have any number of names below it checked; other domains are not concerned.
        """
        self.cache.counts["check:domain:evil.example"] = PER_DOMAIN
        for name in ("evil.example", "a.evil.example", "b.c.evil.example"):
            found = self.ask(f"/check?node={name}&format=json")
            self.assertEqual((found.code, found.header(b"Retry-After"), self.service.checked), (429, "3600", []), name)
        self.assertEqual(self.ask("/check?node=pod.example").code, 200)

    def test_typed(self) -> None:
        """
        A host is found in what people paste.
        """
        for typed in (
            "pod.example",
            " Pod.Example ",
            "https://pod.example",
            "https://pod.example/",
            "HTTPS://POD.example/users/sign_in?x=y#z",
            "https://pod.example:443/",
            "//pod.example/x",
            "pod.example/stream",
            "ada@pod.example",
            "@ada@pod.example",
            "acct:ada@pod.example",
            "https://ada:secret@pod.example/",
        ):
            self.assertEqual(typed_host(typed), "pod.example", typed)
        self.assertEqual(typed_host("https://pod.example/@ada"), "pod.example")
        self.assertEqual([typed_host(""), typed_host("https://"), typed_host("pod.example:8443")], ["", "", "pod.example:8443"])

    @given(st.text(alphabet="ab.:/?#@[] \t%é", max_size=30))
    def test_any_text(self, text: str) -> None:
        """
        Anything can be typed, and no scheme, path or space is left of it.
        """
        self.assertFalse(set(typed_host(text)) & set("/?# \t"))


class VerdictTests(SynchronousTestCase):
    """Whether all is well, at one glance."""

    def judge(self, state: str | None = None, scope: str = "all", **changes: object) -> tuple[str, str]:
        deliveries = None if state is None else {"state": state}
        found = verdict(report(subscription={"scope": scope, "tags": ["a", "b"], "why": "because"}, deliveries=deliveries, **changes))
        return found.kind, found.title

    def test_well(self) -> None:
        """
        A node that is subscribed and takes posts is well, also before the first one.
        """
        self.assertEqual(self.judge(), ("good", "Subscribed to all public posts. All is well."))
        self.assertEqual(self.judge("active", scope="tags"), ("good", "Subscribed to 2 hashtags. All is well."))

    def test_faults(self) -> None:
        """
        A fault that leaves the subscription is worth a look.
        """
        self.assertEqual(self.judge(faults=["tags: one was left out."])[0], "warm")

    def test_deliveries(self) -> None:
        """
        A node that takes no posts is in trouble, the more so if nobody tries much longer.
        """
        states = ("deferred", "suspended", "dead", "gone")
        self.assertEqual([self.judge(state)[0] for state in states], ["warm", "warm", "bad", "bad"])
        self.assertEqual(self.judge("deferred")[1], "Subscribed to all public posts. Posts do not arrive.")

    def test_not_subscribed(self) -> None:
        """
        A node that says that it wants nothing has what it wants; one that cannot be read has not.
        """
        refusal = {"scope": "none", "tags": [], "receive_url": "", "dropped_tags": 0}
        self.assertEqual(self.judge(scope="none", preferences=refusal), ("", "Not subscribed."))
        self.assertEqual(self.judge(scope="none", preferences=None), ("bad", "Not subscribed."))

    def test_remedies(self) -> None:
        """
        There is advice for the troubles that a node's administrator can end.
        """
        helpless = {Trouble.PROTOCOL, Trouble.TOO_LARGE, Trouble.CLOSED, Trouble.BROKEN}
        self.assertEqual({trouble for trouble in Trouble if not remedy(trouble.value)}, helpless)
        for reason in ("HTTP 404", "HTTP 403", "HTTP 503", "HTTP 301 to https://www.pod.example/"):
            self.assertNotEqual(remedy(reason), "", reason)
        self.assertEqual(remedy("who knows"), "")

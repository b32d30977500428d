"""Tests for the operators' pages and acts: L{socialrelay.web.admin.pages}, C{acts}, C{consequences}, C{look}, C{paging}, C{attention}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LIST_FAILED, Condition, Full, Rejection
from socialrelay.operators.offers import Offer
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import Bounce, Progress, State
from socialrelay.web.admin.acts import back
from socialrelay.web.admin.attention import matters
from socialrelay.web.admin.events import Entry
from socialrelay.web.admin.forms import Form
from socialrelay.web.admin.look import Look, ago, coded, size
from socialrelay.web.admin.paging import Column, Paging, address, headings, page_number
from tests.admin import Browser, Operators, text_of
from tests.operators import EVERYTHING, NOW
from tests.storing import publication
from tests.test_web_pages import outline_faults
from tests.web_requests import Answer

PAGES = ("", "nodes", "nodes/pod.example", "queue", "queue?state=deferred", "rejected", "rules", "events", "nothing")


class Pages(SynchronousTestCase):
    """A relay with some nodes, and an operator who has logged in."""

    def setUp(self) -> None:
        self.operators = Operators()
        self.relay = self.operators.relay
        self.browser = Browser(self, self.operators)
        self.wait(self.relay.publishes("pod.example", EVERYTHING))
        self.wait(self.relay.publishes("cats.example", Preferences(Scope.TAGS, frozenset({"cats", "<b>"}))))
        self.wait(self.relay.publishes("shy.example", Preferences(Scope.NONE)))
        self.browser.log_in()

    def wait(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def read(self, path: str, code: int = 200) -> str:
        """What a reader sees of a page."""
        answer = self.browser.get(f"/admin/{path}")
        self.assertEqual(answer.code, code, path)
        return text_of(answer.text)


class ViewTests(Pages):
    """What there is to see."""

    def test_structure(self) -> None:
        """
        Each page has one heading of the first level, landmarks, names for all that needs one, and nothing from elsewhere.
        """
        self.browser.act("block", subject="bad.example", sure="yes")
        for path in PAGES:
            page = self.browser.get(f"/admin/{path}").text
            # The page of events may have a script of ours, and a node's page leads to the node.
            faults = [fault for fault in outline_faults(page) if fault not in ("script", "https://pod.example/")]
            self.assertEqual(faults, [], path)

    def test_overview(self) -> None:
        """
        The overview says how the relay is, in numbers and in words.
        """
        page = self.read("")
        self.assertIn("✓ ready for 3 h", page)
        self.assertIn("All is well.", page)
        self.assertIn("Subscribers 2 1 to all posts, 1 to tags", page)

    def test_attention(self) -> None:
        """
        What needs attention stands at the top of the overview, with a link to more.
        """
        self.relay.health.watch("redis", lambda: Condition("redis", False, essential=False, detail="no answer"))
        self.relay.queue.becomes("pod.example", State.SUSPENDED)
        self.relay.seconds += 60  # the numbers may be a few seconds old
        page = self.read("")
        self.assertIn("works, but something is amiss", page)
        self.assertIn("! Redis is not well no answer", page)
        self.assertIn("! Deliveries to 1 node are suspended", page)
        self.assertNotIn("All is well", page)

    def test_nodes(self) -> None:
        """
        Nodes are found by a part of their name and by kind.
        """
        self.assertIn("3 nodes.", self.read("nodes"))
        self.assertIn("1 node with “cat” in the name.", self.read("nodes?text=cat"))
        self.assertIn("cats.example 2 tags", self.read("nodes?text=CAT"))
        page = self.read("nodes?which=refusing")
        self.assertIn("shy.example", page)
        self.assertNotIn("pod.example ", page.partition("Trouble")[2].partition("Another node")[0])

    def test_sorted(self) -> None:
        """
        A column's head sorts by it, and sorts the other way when it is sorted by that already.
        """
        page = self.browser.get("/admin/nodes").text
        self.assertIn('aria-sort="ascending"><a href="/admin/nodes?which=all&amp;sort=host&amp;desc=1">Node</a>', page)
        turned = self.browser.get("/admin/nodes?which=all&sort=host&desc=1").text
        self.assertIn('aria-sort="descending"', turned)
        self.assertLess(turned.index("shy.example"), turned.index("cats.example"))

    def test_sorted_without_heads(self) -> None:
        """
        A phone shows no heads: the form sorts, too, the way that a first click on the head does; it keeps what the table is sorted by.
        """
        page = self.browser.get("/admin/nodes?text=&which=all&sort=behind").text
        self.assertIn('aria-sort="descending"><a href="/admin/nodes?which=all&amp;sort=behind&amp;desc=0">Behind</a>', page)
        self.assertIn('<option value="behind" selected>Behind</option>', page)
        self.assertIn('aria-sort="ascending"', self.browser.get("/admin/nodes?which=all&sort=behind&desc=0").text)

    def test_pages(self) -> None:
        """
        Long lists are in pages, which keep what was asked for.
        """
        for number in range(120):
            self.successResultOf(self.relay.stores.nodes.listed("list", {f"n{number:03}.example": NOW}, NOW))
        page = self.browser.get("/admin/nodes?text=n&page=2").text
        self.assertIn("Page 2 of 3", text_of(page))
        self.assertIn('href="/admin/nodes?text=n&amp;which=all&amp;sort=host&amp;desc=0&amp;page=3"', page)
        self.assertIn("n050.example", page)
        self.assertNotIn("n049.example", page)

    def test_wrong_question(self) -> None:
        """
        What cannot be asked is answered in a sentence; a page beyond the last is empty.
        """
        self.assertIn("There is no kind of nodes 'x'", self.read("nodes?which=x", 400))
        self.assertIn("There is no state 'x'", self.read("queue?state=x", 400))
        self.assertIn("There is no such page", self.read("nowhere", 404))
        self.assertIn("3 nodes.", self.read("nodes?page=99"))
        for page in ("-1", "x", "9" * 30, ""):
            self.assertIn("pod.example", self.read(f"nodes?page={page}"))

    def test_node(self) -> None:
        """
        A node's page says what it gets and why, and how deliveries fare.
        """
        self.relay.queue.becomes("pod.example", State.DEFERRED, behind=7, failures=3, last_reason="TLS <failed>", next_attempt=NOW)
        answer = self.browser.get("/admin/nodes/pod.example")
        page = text_of(answer.text)
        self.assertIn("Gets all public posts", page)
        self.assertIn("↻ deferred 3 failures in a row", page)
        self.assertIn("7 positions behind the end of the log", page)
        self.assertIn("TLS &lt;failed&gt;", answer.text)
        self.assertIn("Try again now", page)

    def test_unknown_node(self) -> None:
        """
        Of a node that nobody knows the page says so, and how to ask it.
        """
        self.assertIn("never heard of new.example. socialrelay poll new.example asks it", self.read("nodes/new.example", 404))
        self.assertIn("is no host of a node", self.read("nodes/10.0.0.1", 400))

    def test_queue(self) -> None:
        """
        The queue shows whom posts do not reach, and what can be done.
        """
        self.assertIn("Every node takes what it is sent.", self.read("queue"))
        self.relay.queue.becomes("pod.example", State.DEFERRED, behind=7, last_reason="no answer in time")
        page = self.read("queue")
        self.assertIn("pod.example ↻ deferred 7", page)
        self.assertIn("Try now pod.example", page)
        self.assertIn("No node is dead.", self.read("queue?state=dead"))

    def test_rejected(self) -> None:
        """
        What was rejected is shown with its reason, and what strangers wrote as text.
        """
        self.relay.tables.rejected.append(Rejection(NOW, "bad-signature", "<i>@pod.example", "g<u>id", "status_message"))
        answer = self.browser.get("/admin/rejected")
        self.assertIn("bad-signature 1", text_of(answer.text))
        self.assertIn("&lt;i&gt;@pod.example", answer.text)

    def test_storage_away(self) -> None:
        """
        While storage is away the overview says so, and other pages that they cannot be shown now.
        """
        self.relay.tables.go_away()
        self.assertIn("Conditions", self.read(""))
        answer = self.browser.get("/admin/nodes")
        self.assertEqual((answer.code, answer.header(b"Retry-After")), (503, "30"))
        self.assertIn("The database is away", answer.text)

    def test_fault_of_ours(self) -> None:
        """
        An error of the relay is logged, and answered without what it was.
        """
        self.operators.views["rejected"] = Offer(lambda **_: 1 / 0, {"limit": int})  # type: ignore[arg-type]
        answer = self.browser.get("/admin/rejected")
        self.assertEqual((answer.code, "ZeroDivision" in answer.text), (500, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ActTests(Pages):
    """What there is to do: the same as with the command."""

    def rules(self) -> list[tuple[str, str, str]]:
        return [(rule.action, rule.subject, rule.created_by) for rule in self.relay.tables.rules.values()]

    def upload(self, act: str, file: str, content: bytes, **fields: str) -> Answer:
        """Send a form with a file in its field C{text}, as a browser does."""
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
        parts.append(f'name="text"; filename="{file}"\r\nContent-Type: text/csv\r\n\r\n'.encode() + content)
        body = b"".join(b"--xyz\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--xyz--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
        return self.browser.request("POST", f"/admin/act/{act}", data=body, headers=headers)

    def test_done(self) -> None:
        """
        An act is done in the name of whoever is logged in, and its answer shown on the page that it was asked from, once.
        """
        answer = self.browser.post("/admin/act/limit", {"subject": "bad.example", "reason": "spam", "back": "/admin/rules?text=bad"})
        self.assertEqual((answer.code, answer.header(b"Location")), (303, "/admin/rules?text=bad"))
        self.assertEqual(self.rules(), [("limit", "bad.example", "admin from 127.0.0.1")])
        page = self.read("rules?text=bad")
        self.assertIn("What comes from bad.example and its subdomains is kept and not relayed", page)
        self.assertNotIn("is kept and not relayed", self.read("rules?text=bad"))

    def test_every_act_of_a_node(self) -> None:
        """
        What a node's page offers is done.
        """
        for act, fields, said in [
            ("poll", {}, "pod.example could not be read"),
            ("suspend", {}, "are suspended"),
            ("resume", {}, "go on"),
            ("wake", {}, "is not waiting"),
            ("subscribe", {"tags": "cats, #dogs birds"}, "pod.example is subscribed to"),
            ("unsubscribe", {}, "The subscription made by hand is gone"),
            ("forward", {}, "is sent every post"),
            ("forward", {"off": "yes"}, "The forward rule is removed"),
        ]:
            self.assertIn(said, self.browser.act(act, host="pod.example", **fields), act)
        self.assertEqual([act for act, _ in self.relay.queue.asked], ["suspend", "resume"])

    def test_fields(self) -> None:
        """
        A box that is ticked is true, a list stands between blanks and commas, and what is left empty is not said.
        """
        self.browser.act("subscribe", host="new.example", tags="", everything="yes")
        self.browser.act("subscribe", host="other.example", tags="Cats,  #dogs\nbirds")
        subscriptions = self.relay.tables.subscriptions
        self.assertEqual(subscriptions["new.example"].subscription.scope, Scope.ALL)
        self.assertEqual(subscriptions["other.example"].subscription.tags, frozenset({"cats", "dogs", "birds"}))

    def test_refused(self) -> None:
        """
        An act that is refused says why, and changes nothing.
        """
        for act, fields, said in [
            ("subscribe", {"host": "shy.example", "everything": "yes"}, "publishes that it wants nothing"),
            ("subscribe", {"host": "10.0.0.1", "everything": "yes"}, "is no host of a node"),
            ("suspend", {"host": "nobody.example"}, "Nothing was ever delivered"),
            ("unblock", {"subject": "pod.example"}, "There is no block"),
            ("wake", {}, "The field 'host' is missing."),
            ("quarantine-drop", {"id": "x"}, "must be a whole number"),
        ]:
            page = self.browser.act(act, **fields)
            self.assertIn("Log out ✕ ", page)
            self.assertIn(said, page, act)
        self.assertEqual((self.rules(), self.relay.tables.subscriptions), ([], {}))

    def test_nothing_to_be_had(self) -> None:
        """
        An act that was done and had nothing for it, for which the command ends with 1, is no success; of lists each is told.
        """
        self.assertIn("Log out ✕ The preferences of pod.example could not be read", self.browser.act("poll", host="pod.example"))
        self.relay.lists.results = {"one": "640 nodes", "other": f"{LIST_FAILED}: HTTP 404"}
        page = self.browser.act("lists-fetch")
        self.assertIn(f"Log out ✕ 2 node lists were asked. one: 640 nodes other: {LIST_FAILED}: HTTP 404", page)
        del self.relay.lists.results["other"]
        self.assertIn("Log out ✓ The node list was asked. one: 640 nodes", self.browser.act("lists-fetch"))

    def test_refused_posts(self) -> None:
        """
        Posts that a node refused are sent again one by one, and all at once if any can be.
        """
        for number in (1, 2):
            post = publication(guid=f"post-{number}", recipients=frozenset({0}), published_at=NOW)
            self.successResultOf(self.relay.stores.log.publish(post))
        self.successResultOf(
            self.relay.stores.destinations.save(Progress(bounces=tuple(Bounce(0, each, "HTTP 403", NOW) for each in (1, 2))))
        )
        self.relay.queue.becomes("pod.example", State.ACTIVE, bounced=2)
        page = self.read("nodes/pod.example")
        self.assertIn("HTTP 403 Send it again post-1", page)
        self.assertIn("Send all of them again", page)
        self.relay.tables.bodies.clear()
        page = self.read("nodes/pod.example")
        self.assertIn("Its body is not kept any more.", page)
        self.assertNotIn("Send all of them again", page)

    def test_who_is_no_field(self) -> None:
        """
        No form says who does it.
        """
        self.browser.act("allow", subject="pod.example", who="eve")
        self.assertEqual(self.rules(), [("allow", "pod.example", "admin from 127.0.0.1")])

    def test_unknown_act(self) -> None:
        """
        What is no act of the catalogue is none here, and a link to log in is the command's alone.
        """
        for name in ("nothing", "login", "status"):
            self.assertEqual(self.browser.post(f"/admin/act/{name}").code, 404)

    def test_asked_before(self) -> None:
        """
        What cannot be undone is asked for once more, with what follows, and nothing is done until then.
        """
        fields = {"subject": "bad.example", "reason": 'sp"am', "until": "7d", "back": "/admin/rules"}
        question = self.browser.post("/admin/act/block", fields)
        self.assertEqual((question.code, self.rules()), (200, []))
        self.assertIn("Block bad.example?", question.text)
        self.assertIn("What waits to be delivered is cancelled", question.text)
        self.assertIn('name="reason" value="sp&#34;am"', question.text)
        self.assertEqual(outline_faults(question.text), [])
        self.assertIn("until 2026-11-28 21:30 UTC", self.browser.act("block", **fields, sure="yes"))

    def test_whom_it_concerns(self) -> None:
        """
        Before a block the page names those who would get nothing more: the host and its subdomains.
        """
        self.wait(self.relay.publishes("sub.pod.example", EVERYTHING))
        self.wait(self.relay.publishes("otherpod.example", EVERYTHING))
        question = text_of(self.browser.post("/admin/act/block", {"subject": "Pod.example"}).text)
        self.assertIn("2 nodes that are subscribed now would get nothing: pod.example, sub.pod.example.", question)
        for subject in ("#cats", "eve@pod.example", "shy.example", "no host"):
            question = text_of(self.browser.post("/admin/act/block", {"subject": subject}).text)
            self.assertIn(f"Block {subject}?", question)
            self.assertNotIn("subscribed now", question)

    def test_erase(self) -> None:
        """
        Erasing is asked for once more, and says what it does not do.
        """
        self.assertIn("Say exactly one: a handle, a guid, or a host.", self.browser.act("erase", handle="a@b.example", guid="x"))
        question = self.browser.post("/admin/act/erase", {"handle": "eve@pod.example"})
        self.assertIn("It cannot be brought back.", question.text)
        self.assertEqual(self.relay.eraser.asked, [])
        self.assertIn("The relay knows nothing of eve@pod.example.", self.browser.act("erase", handle="eve@pod.example", sure="yes"))
        self.assertEqual(self.relay.eraser.asked, [{"author": "eve@pod.example", "guid": "", "host": ""}])

    def test_list(self) -> None:
        """
        A list is imported from a file or from text, shown, exported, and removed as a set after a question.
        """
        rows = b"#domain,#severity,#public_comment\nbad.example,suspend,spam\nworse.example,silence,\n"
        answer = self.upload("rules-import", "blocks.csv", rows, csrf=self.browser.token, name="friends", action="block", text="")
        self.assertEqual(answer.code, 303, answer.text)
        page = self.read("rules")
        self.assertIn("The list friends is in force", page)
        self.assertIn("friends 2 block blocks.csv", page)
        exported = self.browser.get("/admin/rules/export?list=friends")
        self.assertEqual(exported.header(b"Content-Disposition"), 'attachment; filename="friends.csv"')
        self.assertIn("bad.example,suspend", exported.text)
        question = self.browser.post("/admin/act/rules-remove", {"name": "friends"})
        self.assertEqual((question.code, len(self.rules())), (200, 2))
        self.assertIn("2 rules that came with it end", question.text)
        self.assertIn("The list friends is removed", self.browser.act("rules-remove", name="friends", sure="yes"))
        self.browser.act("rules-import", name="mine", action="limit", text="bad.example\nworse.example\n", url="")
        self.assertEqual([action for action, _, _ in self.rules()], ["limit", "limit"])

    def test_storage_away(self) -> None:
        """
        While storage is away an act says that nothing was changed.
        """
        self.relay.tables.go_away()
        self.assertIn("nothing was changed", self.browser.act("allow", subject="pod.example"))

    def test_busy(self) -> None:
        """
        An act for which there is no room says so.
        """

        async def full(*, who: str) -> Any:
            raise Full("10 polls are under way")

        self.operators.acts["lists-fetch"] = Offer(full)
        self.assertIn("too busy now: 10 polls are under way", self.browser.act("lists-fetch"))

    def test_finished_without_asker(self) -> None:
        """
        An act that was begun is finished, though the browser goes away; what it says is shown on the next page.
        """
        self.relay.poller.waiting = Deferred()
        with self.assertRaises(self.failureException):  # there is no answer yet
            self.browser.post("/admin/act/poll", {"host": "pod.example"})
        self.relay.poller.waiting.callback(None)
        self.assertEqual(self.relay.poller.asked, [("pod.example", "operator")])
        self.assertIn("could not be read", self.read(""))


class BackTests(SynchronousTestCase):
    def test_ours(self) -> None:
        """
        After an act the browser is led to a page of ours, whatever the form says.
        """
        for said, expected in [
            ("/admin/rules?text=a&page=2", "/admin/rules?text=a&page=2"),
            ("/admin/nodes/pod.example", "/admin/nodes/pod.example"),
            ("https://evil.example/", "/admin/"),
            ("//evil.example/admin/", "/admin/"),
            ("/admin//evil.example", "/admin/"),
            ("/admin/\r\nSet-Cookie: x=1", "/admin/"),
            ("/elsewhere", "/admin/"),
            ("", "/admin/"),
        ]:
            self.assertEqual(back(Form({"back": [said]})), expected, said)


class LookTests(SynchronousTestCase):
    """L{Look}."""

    def test_compiled(self) -> None:
        """
        All templates are compiled before the first visitor comes.
        """
        operators = Operators()
        environment = Look.of(operators.config, operators.identity, operators.views)._environment
        assert environment.cache is not None
        compiled = {str(key[1]) for key in list(environment.cache)}
        self.assertEqual({name for name in environment.list_templates() if name.startswith("admin/")} - compiled, set())


class AttentionTests(SynchronousTestCase):
    """L{matters}."""

    def status(self, *conditions: dict[str, object], mode: str = "production", **queue: int) -> dict[str, Any]:
        return {"conditions": list(conditions), "mode": mode, "stats": {"queue": {"destinations": 10, **queue}}}

    def titles(self, status: dict[str, Any], waiting: dict[str, Any] | None = None, *, answerable: bool = True) -> list[tuple[str, str]]:
        return [(matter.kind, matter.title) for matter in matters(status, waiting or {}, {}, answerable=answerable)]

    def test_well(self) -> None:
        """
        Of a relay that is well there is nothing to say.
        """
        well = {"name": "postgres", "well": True, "essential": True, "detail": ""}
        self.assertEqual(self.titles(self.status(well, active=8, deferred=2)), [])

    def test_worst_first(self) -> None:
        """
        What loses posts stands first, and what is merely worth knowing last.
        """
        conditions = [
            {"name": "redis", "well": False, "essential": False, "detail": "gone"},
            {"name": "postgres", "well": False, "essential": True, "detail": "gone"},
        ]
        found = self.titles(self.status(*conditions, dead=2))
        self.assertEqual(found, [("bad", "Postgres is not well"), ("warm", "Redis is not well"), ("quiet", "2 nodes are dead")])

    def test_many_deferred(self) -> None:
        """
        When most nodes fail the reason is looked for here.
        """
        self.assertEqual(self.titles(self.status(deferred=5)), [])
        self.assertEqual(self.titles(self.status(deferred=6)), [("warm", "6 of 10 nodes do not take posts")])

    def test_others(self) -> None:
        """
        Suspended nodes, bodies that could not be judged, and pages that name nobody are told.
        """
        found = self.titles(self.status(suspended=1), {"quarantine": 2}, answerable=False)
        self.assertEqual(
            found,
            [
                ("warm", "Deliveries to 1 node are suspended"),
                ("warm", "2 bodies could not be judged"),
                ("warm", "The relay's pages name nobody who answers for it"),
            ],
        )
        self.assertEqual(self.titles(self.status(mode="development"), answerable=False), [])

    def test_list(self) -> None:
        """
        A list of rules that could not be taken over is told, with the reason.
        """
        lists = [{"name": "friends", "error": "HTTP 404"}, {"name": "others", "error": ""}]
        [found] = matters(self.status(), {}, {"lists": lists}, answerable=True)
        self.assertEqual((found.title, found.text), ("The list friends could not be taken over; its rules stay", "HTTP 404"))

    def test_errors(self) -> None:
        """
        Errors of the last day are told, with the last one's text.
        """
        status = {**self.status(), "started_at": "2026-11-20T12:00:00Z", "uptime": 86400.0}
        at = ("2026-11-20T11:59:59+00:00", "2026-11-20T12:00:00+00:00", "2026-11-21T04:30:00+00:00")
        errors = [Entry(number, each, "error", "relay", f"error {number}") for number, each in enumerate(at)]
        [found] = matters(status, {}, {}, errors, answerable=True)
        self.assertEqual((found.title, found.text), ("2 errors in the log since yesterday", "The last: error 2"))
        self.assertEqual(matters(status, {}, {}, errors[:1], answerable=True), [])

    def test_numbers_away(self) -> None:
        """
        While there are no numbers, nothing is said of them.
        """
        self.assertEqual(self.titles({"conditions": [], "mode": "production", "stats": None}), [])


class PagingTests(SynchronousTestCase):
    def test_pages(self) -> None:
        """
        An empty list has one page, and a full page is one.
        """
        self.assertEqual([Paging("/x", {}, 1, total, 50).pages for total in (0, 1, 50, 51)], [1, 1, 1, 2])
        self.assertEqual(Paging("/x", {}, 1, 0).before_number, "/x?page=")
        self.assertEqual(Paging("/x", {"q": "a b"}, 1, 0).before_number, "/x?q=a+b&page=")

    def test_number(self) -> None:
        """
        What is no number of a page means the first.
        """
        self.assertEqual([page_number(text) for text in ("", "0", "3", "-1", "x", "9" * 50, "²")], [1, 1, 3, 1, 1, 1, 1])

    def test_address(self) -> None:
        """
        What is empty does not stand in an address.
        """
        self.assertEqual(address("/x", {"a": "", "b": None, "c": "1&2"}), "/x?c=1%262")

    def test_headings(self) -> None:
        """
        Whoever sorts by a number first wants the largest first.
        """
        columns = (Column("Node", "host"), Column("Behind", "behind", downwards=True), Column("Trouble"))
        found = headings(columns, "/x", {}, "behind", descending=True)
        self.assertEqual([each.sorted for each in found], ["", "descending", ""])
        self.assertEqual([each.link for each in found], ["/x?sort=host&desc=0", "/x?sort=behind&desc=0", ""])


class WordsTests(SynchronousTestCase):
    def test_ago(self) -> None:
        """
        A span of time is in the unit that fits.
        """
        self.assertEqual([ago(seconds) for seconds in (0, 119, 120, 7200, 200_000, None)], ["0 s", "119 s", "2 min", "2 h", "2 d", "–"])

    def test_size(self) -> None:
        """
        So is a number of bytes.
        """
        found = [size(number) for number in (0, 1023, 1024, 20 * 1024, 3 * 1024**2, 5 * 1024**3, None)]
        self.assertEqual(found, ["0 B", "1023 B", "1.0 KiB", "20 KiB", "3.0 MiB", "5.0 GiB", "–"])

    def test_code(self) -> None:
        """
        What stands between backticks is code, and everything is text; a single backtick is one.
        """
        self.assertEqual(coded("Say `a <b>` & go."), "Say <code>a &lt;b&gt;</code> &amp; go.")
        self.assertEqual(coded("It's ` <so>."), "It&#39;s ` &lt;so&gt;.")

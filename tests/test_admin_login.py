"""Tests for the way into the operators' pages: L{socialrelay.web.admin.login}, C{gate}, C{visits}, C{sessions}, C{throttle}, C{password}."""

from __future__ import annotations

import re
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full
from socialrelay.web.admin.gate import COOKIE
from socialrelay.web.admin.login import RESULTS
from socialrelay.web.admin.password import WAITING, Passwords, matches, password_hash
from socialrelay.web.admin.sessions import LINK_LIFETIME, LINKS, LONGEST, Links, Sessions
from socialrelay.web.admin.throttle import IN_ALL, PER_CLIENT, WINDOW, Throttle
from tests.admin import HASH, PASSWORD, Browser, Operators, at_once, text_of


class LoginTests(SynchronousTestCase):
    """With the password, a link, or a proxy's word."""

    def setUp(self) -> None:
        self.operators = Operators()
        self.browser = Browser(self, self.operators)

    def test_stranger(self) -> None:
        """
        Whoever is not known is sent to the page to log in, and no form of theirs is taken.
        """
        for path in (
            "/admin/",
            "/admin",
            "/admin/nodes",
            "/admin/nodes/pod.example",
            "/admin/rules/export",
            "/admin/events/stream",
            "/admin/x",
        ):
            answer = self.browser.get(path)
            self.assertEqual((answer.code, answer.header(b"Location")), (303, "/admin/login"), path)
        answer = self.browser.post("/admin/act/block", {"subject": "pod.example", "sure": "yes"})
        self.assertEqual((answer.code, self.operators.relay.tables.rules), (403, {}))

    def test_password(self) -> None:
        """
        The password leads to the overview, which says once that it did.
        """
        first = self.browser.log_in()
        self.assertEqual(first.code, 200)
        self.assertIn("You are logged in.", first.text)
        self.assertNotIn("You are logged in.", self.browser.get("/admin/").text)

    def test_wrong_password(self) -> None:
        """
        Another password leads nowhere, and the page says so without saying more.
        """
        for wrong in ("correct horse batter", "", PASSWORD.upper(), "x" * 100_000):
            answer = self.browser.request("POST", "/admin/login", data={"password": wrong})
            self.assertIn(answer.code, (403, 413), wrong[:20])
            self.assertEqual(self.browser.cookies, {})
        self.assertEqual(self.browser.get("/admin/").code, 303)

    def test_counted(self) -> None:
        """
        Each try is counted by how it ended: monitoring sees who is guessing.
        """
        self.browser.request("POST", "/admin/login", data={"password": "wrong"}, headers={"Sec-Fetch-Site": "cross-site"})
        self.browser.request("POST", "/admin/login", data={"code": "wrong"})
        self.browser.log_in()
        browser = Browser(self, self.operators)
        for _ in range(5):
            browser.request("POST", "/admin/login", data={"password": "wrong"})
        counts = {"other-site": 1, "wrong-link": 1, "password": 1, "wrong-password": 4, "too-many": 1}
        self.assertEqual(self.operators.admin.logins, counts)
        self.assertLessEqual(set(counts), set(RESULTS))

    def test_no_password(self) -> None:
        """
        Where no password is set none is right, and the page says how to get in.
        """
        browser = Browser(self, Operators(password=""))
        page = browser.get("/admin/login").text
        self.assertIn("socialrelay password", page)
        self.assertIn("socialrelay login", page)
        self.assertNotIn('type="password"', page)
        self.assertEqual(browser.request("POST", "/admin/login", data={"password": ""}).code, 403)

    def test_cookie(self) -> None:
        """
        The cookie is out of reach of scripts and other sites; over https it is for https, this host and all paths alone.
        """
        answer = self.browser.request("POST", "/admin/login", data={"password": PASSWORD})
        self.assertRegex(answer.header(b"Set-Cookie"), rf"\A{COOKIE}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict\Z")
        by_https = Browser(self, self.operators, "https").request("POST", "/admin/login", data={"password": PASSWORD})
        behind = {"X-Forwarded-Proto": "https"}
        behind_proxy = self.browser.request("POST", "/admin/login", data={"password": PASSWORD}, headers=behind)
        for answer in (by_https, behind_proxy):
            self.assertRegex(answer.header(b"Set-Cookie"), rf"\A__Host-{COOKIE}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict; Secure\Z")

    def test_new_session(self) -> None:
        """
        Logging in makes a new session: one that somebody knew before is worth nothing.
        """
        self.browser.log_in()
        before = dict(self.browser.cookies)
        self.browser.post("/admin/logout")
        self.browser.cookies = dict(before)
        self.assertEqual(self.browser.get("/admin/").code, 303)
        self.browser.log_in()
        self.assertNotEqual(self.browser.cookies, before)

    def test_logout(self) -> None:
        """
        Logging out ends the session here, not only in the browser.
        """
        self.browser.log_in()
        kept = dict(self.browser.cookies)
        answer = self.browser.post("/admin/logout")
        self.assertEqual((answer.code, answer.header(b"Location")), (303, "/admin/login"))
        self.assertEqual(self.browser.cookies, {})
        self.browser.cookies = kept
        self.assertEqual(self.browser.get("/admin/").code, 303)

    def test_expiry(self) -> None:
        """
        A session ends when it was not used for its lifetime; each use prolongs it.
        """
        self.browser.log_in()
        lifetime = self.operators.config.admin.session
        for _ in range(3):
            self.operators.clock.advance(lifetime - 1)
            self.assertEqual(self.browser.get("/admin/").code, 200)
        self.operators.clock.advance(lifetime + 1)
        self.assertEqual(self.browser.get("/admin/").code, 303)

    def test_end(self) -> None:
        """
        However much it is used, a session ends after thirty days.
        """
        self.browser.log_in()
        step = self.operators.config.admin.session
        for _ in range(int(LONGEST // step)):
            self.operators.clock.advance(step)
            self.assertEqual(self.browser.get("/admin/").code, 200)
        self.operators.clock.advance(1)
        self.assertEqual(self.browser.get("/admin/").code, 303)

    def test_throttle(self) -> None:
        """
        After five wrong passwords nothing is tried for a minute, not even the right one; the answer says how long to wait.
        """
        for _ in range(PER_CLIENT):
            self.assertEqual(self.browser.request("POST", "/admin/login", data={"password": "wrong"}).code, 403)
            self.operators.clock.advance(1)
        answer = self.browser.request("POST", "/admin/login", data={"password": PASSWORD})
        self.assertEqual((answer.code, answer.header(b"Retry-After"), self.browser.cookies), (429, "55", {}))
        self.assertIn("Try again in 55 seconds", answer.text)
        self.operators.clock.advance(55)
        self.assertEqual(self.browser.log_in().code, 200)

    def test_elsewhere(self) -> None:
        """
        Nobody is logged in by a form of another site.
        """
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            answer = self.browser.request("POST", "/admin/login", data={"password": PASSWORD}, headers=headers)
            self.assertEqual((answer.code, self.browser.cookies), (403, {}), headers)
        for headers in ({"Origin": "http://operators.example"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {}):
            self.browser.cookies.clear()
            self.assertEqual(self.browser.request("POST", "/admin/login", data={"password": PASSWORD}, headers=headers).code, 303, headers)

    def test_headers(self) -> None:
        """
        No page is kept by a cache, found by a search engine, framed, or lets anything from elsewhere in.
        """
        for path in ("/admin/login", "/admin/"):
            self.browser.log_in() if path == "/admin/" else None
            answer = self.browser.get(path)
            self.assertEqual((answer.header(b"Cache-Control"), answer.header(b"X-Frame-Options")), ("no-store", "DENY"))
            self.assertIn("noindex", answer.header(b"X-Robots-Tag"))
            policy = answer.header(b"Content-Security-Policy")
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)


class LinkTests(SynchronousTestCase):
    """A link that C{socialrelay login} prints."""

    def setUp(self) -> None:
        self.operators = Operators(password="")
        self.browser = Browser(self, self.operators)

    def link(self) -> str:
        answer = self.successResultOf(Deferred.fromCoroutine(self.operators.login.run(who="ada (command)")))
        self.assertEqual(answer["url"], f"http://127.0.0.1:8081{answer['path']}")
        return str(answer["path"])

    def use(self, path: str) -> Any:
        return self.browser.request("POST", "/admin/login", data={"code": path.rpartition("=")[2]})

    def test_link(self) -> None:
        """
        Looking at the link, as a chat's preview does, shows a button and uses nothing up; the button logs in who asked for it.
        """
        path = self.link()
        for _ in range(2):
            page = self.browser.get(path)
            self.assertEqual((page.code, self.browser.cookies), (200, {}))
        self.assertIn('name="code"', page.text)
        self.assertEqual(self.use(path).code, 303)
        self.assertIn("You are ada (link).", text_of(self.browser.get("/admin/").text))

    def test_once(self) -> None:
        """
        A link works once.
        """
        path = self.link()
        self.use(path)
        self.browser.cookies.clear()
        self.assertEqual((self.use(path).code, self.browser.cookies), (403, {}))
        self.assertIn("used up", self.browser.get(path).text)

    def test_late(self) -> None:
        """
        A link works for five minutes.
        """
        paths = [self.link(), self.link()]
        self.operators.clock.advance(LINK_LIFETIME)
        self.assertEqual(self.use(paths[0]).code, 303)
        self.operators.clock.advance(1)
        self.browser.cookies.clear()
        self.assertEqual((self.use(paths[1]).code, self.browser.cookies), (403, {}))

    def test_guess(self) -> None:
        """
        What is no link is none.
        """
        for code in ("x", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "0" * 43):
            self.assertEqual((self.use(f"={code}").code, self.browser.cookies), (403, {}))

    def test_throttle(self) -> None:
        """
        Wrong codes count as wrong passwords do; a right one is taken all the same.
        """
        answers = [self.use(f"={number}").code for number in range(PER_CLIENT + 1)]
        self.assertEqual(answers, [403] * PER_CLIENT + [429])
        self.assertEqual(self.use(self.link()).code, 303)

    def test_bounded(self) -> None:
        """
        Of many links only the last are kept.
        """
        links = Links(lambda: 0.0)
        codes = [links.make("ada") for _ in range(LINKS + 1)]
        self.assertEqual([links.use(codes[0]), links.use(codes[1])], [None, "ada"])


class ProxyTests(SynchronousTestCase):
    """A proxy that authenticates."""

    def test_header(self) -> None:
        """
        Whom the proxy names is in, without a page to log in, under that name.
        """
        operators = Operators(user_header="X-Remote-User")
        browser = Browser(self, operators, X_Remote_User="ada")
        self.assertIn("You are ada (proxy).", text_of(browser.get("/admin/").text))
        self.assertEqual(browser.get("/admin/login").code, 303)
        self.assertIn("is on the allow list", browser.act("allow", subject="pod.example"))
        self.assertEqual(operators.relay.tables.rules["allow", "pod.example", ""].created_by, "ada (proxy) from 127.0.0.1")

    def test_not_configured(self) -> None:
        """
        The header says nothing where the configuration does not name it.
        """
        browser = Browser(self, Operators(), X_Remote_User="ada")
        self.assertEqual((browser.get("/admin/").code, browser.cookies), (303, {}))

    def test_two_names(self) -> None:
        """
        Two names are none, and nor is an empty one: one of them is the client's.
        """
        operators = Operators(user_header="X-Remote-User")
        for names in (["ada", "eve"], [""]):
            browser = Browser(self, operators)
            browser.headers = {"X-Remote-User": names}  # type: ignore[dict-item]
            self.assertEqual((browser.get("/admin/").code, browser.cookies), (303, {}))

    def test_each_request(self) -> None:
        """
        The proxy vouches for each request: its session alone leads nowhere, and another name is another session.
        """
        operators = Operators(user_header="X-Remote-User")
        browser = Browser(self, operators, X_Remote_User="ada")
        browser.get("/admin/")
        browser.headers = {}
        self.assertEqual(browser.get("/admin/").code, 303)
        browser.headers = {"X-Remote-User": "eve"}
        self.assertIn("You are eve (proxy).", text_of(browser.get("/admin/").text))

    def test_token(self) -> None:
        """
        Also behind a proxy a form needs its session's token: the browser sends the proxy's password with whatever another site wants.
        """
        operators = Operators(user_header="X-Remote-User")
        browser = Browser(self, operators, X_Remote_User="ada")
        browser.get("/admin/")
        browser.token = ""
        self.assertEqual(browser.post("/admin/act/allow", {"subject": "pod.example"}).code, 403)
        self.assertEqual(operators.relay.tables.rules, {})


class TokenTests(SynchronousTestCase):
    """Forms of this session, and of no other."""

    def setUp(self) -> None:
        self.operators = Operators()
        self.browser = Browser(self, self.operators)
        self.browser.log_in()

    def refused(self, **options: Any) -> None:
        answer = self.browser.post("/admin/act/allow", {"subject": "pod.example"}, **options)
        self.assertEqual(answer.code, 403)
        self.assertIn("Nothing was done", answer.text)
        self.assertEqual(self.operators.relay.tables.rules, {})

    def test_missing(self) -> None:
        """
        A form without the token is refused.
        """
        self.browser.token = ""
        self.refused()

    def test_wrong(self) -> None:
        """
        So is one with another token, of whatever letters.
        """
        for token in ("x", self.browser.token[:-1], f"{self.browser.token}x", "\u2603"):
            self.browser.token = token
            self.refused()

    def test_other_session(self) -> None:
        """
        So is one with the token of another session.
        """
        other = Browser(self, self.operators)
        other.log_in()
        self.browser.token = other.token
        self.refused()

    def test_elsewhere(self) -> None:
        """
        So is one that the browser says another site made it send, token or not.
        """
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            token = self.browser.token
            self.refused(headers=headers)
            self.browser.token = token

    def test_right(self) -> None:
        """
        With the token it is taken, also if the browser says that it comes from here.
        """
        for number, headers in enumerate([{}, {"Origin": "http://operators.example"}, {"Sec-Fetch-Site": "same-origin"}]):
            answer = self.browser.post("/admin/act/allow", {"subject": f"pod-{number}.example"}, headers=headers)
            self.assertEqual(answer.code, 303)
        self.assertEqual(len(self.operators.relay.tables.rules), 3)

    def test_too_long(self) -> None:
        """
        A form of more than it may have is refused.
        """
        self.assertEqual(self.browser.post("/admin/act/allow", {"subject": "x" * 70_000}).code, 413)
        self.assertEqual(self.browser.post("/admin/act/allow", {f"f{number}": "x" for number in range(60)}).code, 413)

    def test_reading_changes_nothing(self) -> None:
        """
        No page that is looked at changes anything: acts are no pages.
        """
        before = repr(self.operators.relay.tables)
        paths = ["", "nodes", "nodes/pod.example", "queue", "rejected", "rules", "rules/export", "events", "logout", "login", "act/block"]
        for path in [*paths, *(f"act/{name}" for name in self.operators.acts)]:
            for method in ("GET", "HEAD"):
                query = "?subject=pod.example&host=pod.example&everything=yes&sure=yes&handle=ada@pod.example&name=x&id=1"
                answer = self.browser.request(method, f"/admin/{path}{query}")
                self.assertIn(answer.code, (200, 303, 404, 405), path)
        self.assertEqual(repr(self.operators.relay.tables), before)
        self.assertEqual(
            (self.operators.relay.queue.asked, self.operators.relay.poller.asked, self.operators.relay.eraser.asked), ([], [], [])
        )
        self.assertEqual(self.browser.get("/admin/").code, 200)


class SessionsTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """
        With one session too many, the one that was not used for longest is over.
        """
        sessions = Sessions(3600.0, lambda: 0.0, limit=2)
        first, second = sessions.begin("ada", "")[0], sessions.begin("ada", "")[0]
        sessions.find(first)
        sessions.begin("ada", "")
        self.assertEqual((sessions.find(first) is None, sessions.find(second) is None, len(sessions)), (False, True, 2))

    def test_not_kept(self) -> None:
        """
        Neither the id nor the token can be read from what a session shows of itself.
        """
        sessions = Sessions(3600.0, lambda: 0.0)
        name, session = sessions.begin("ada", "")
        self.assertNotIn(name, repr(sessions._sessions._entries))
        self.assertNotIn(session.token, repr(session))


class ThrottleTests(SynchronousTestCase):
    def test_client(self) -> None:
        """
        One client may try five, others are not kept out.
        """
        throttle = Throttle()
        tries = [throttle.begin("a", 10.0 + number) for number in range(PER_CLIENT + 1)]
        self.assertEqual(tries, [0.0] * PER_CLIENT + [WINDOW - PER_CLIENT])
        self.assertEqual((throttle.begin("b", 16.0), throttle.refused), (0.0, 1))

    def test_all(self) -> None:
        """
        All clients together may try thirty.
        """
        throttle = Throttle()
        tries = [throttle.begin(f"client {number}", 0.0) for number in range(IN_ALL + 1)]
        self.assertEqual(tries, [0.0] * IN_ALL + [WINDOW])
        self.assertEqual(throttle.begin("another", WINDOW), 0.0)

    def test_right(self) -> None:
        """
        Right passwords do not count.
        """
        throttle = Throttle()
        for _ in range(2 * IN_ALL):
            self.assertEqual(throttle.begin("a", 0.0), 0.0)
            throttle.right("a")

    def test_under_way(self) -> None:
        """
        What is being checked counts: many at once are not more than five.
        """
        throttle = Throttle()
        self.assertEqual(sum(throttle.begin("a", 0.0) == 0.0 for _ in range(100)), PER_CLIENT)


class PasswordTests(SynchronousTestCase):
    def test_hash(self) -> None:
        """
        The hash is argon2id's, another one each time, and only the password fits it.
        """
        made = password_hash(PASSWORD)
        self.assertRegex(made, re.escape("$argon2id$v=19$m=65536,t=3,p=4$"))
        self.assertEqual((matches(made, PASSWORD), matches(made, PASSWORD + "x")), (True, False))

    def test_length(self) -> None:
        """
        A password of less than ten characters is refused, and so is one without end.
        """
        self.assertIn("at least 10", str(self.assertRaises(ValueError, password_hash, "x" * 9)))
        self.assertIn("1024", str(self.assertRaises(ValueError, password_hash, "x" * 1025)))

    def test_no_hash(self) -> None:
        """
        What is no hash fits no password.
        """
        for known in ("", "x", "$argon2id$", HASH[:-5]):
            self.assertFalse(matches(known, PASSWORD))

    def test_same_work(self) -> None:
        """
        Where no password is set, as much is computed as for a hash of ours, and nothing is right.
        """
        asked: list[tuple[str, str]] = []

        def thread(work: Any, known: str, password: str) -> Deferred[Any]:
            asked.append((known, password))
            return at_once(work, known, password)

        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(Passwords("", thread).right("x"))))
        [(known, _)] = asked
        ours = PasswordHasher()
        self.assertFalse(ours.check_needs_rehash(known))

    def test_one_at_a_time(self) -> None:
        """
        One password is checked at a time; beyond ten that wait, more are turned away.
        """
        running: list[Deferred[bool]] = []

        def thread(*_: object) -> Deferred[bool]:
            running.append(Deferred())
            return running[-1]

        passwords = Passwords(HASH, thread)
        asked = [Deferred.fromCoroutine(passwords.right("x")) for _ in range(WAITING + 1)]
        self.assertEqual(len(running), 1)
        self.failureResultOf(Deferred.fromCoroutine(passwords.right("x")), Full)
        running[0].callback(True)
        self.assertEqual((self.successResultOf(asked[0]), len(running)), (True, 2))
        running[1].errback(Failure(OSError()))
        self.failureResultOf(asked[1], OSError)
        self.assertEqual(len(running), 3)

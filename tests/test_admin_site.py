"""Tests for what belongs to the operators' site besides its pages: L{socialrelay.web.admin.site}, C{events}, C{forms}, C{places}, C{health}."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyRequest

from socialrelay.boundaries import Condition
from socialrelay.operators.who import COMMAND, PROXY, done_by, user_of
from socialrelay.services import StartFailed
from socialrelay.web.admin.events import SERIOUS, TOGETHER, LiveLog
from socialrelay.web.admin.forms import MAX_FORM, MAX_UPLOAD, Form, TooLong, read_form
from socialrelay.web.admin.gate import COOKIE
from socialrelay.web.admin.places import AdminSocket, Places, login_offer, next_port
from socialrelay.web.admin.sessions import Links
from tests.admin import PASSWORD, Browser, Operators, at_once
from tests.test_control import short_directory
from tests.web_requests import config

reactor: Any = installed_reactor


class Connection:
    """A connection to the operators' site as it is listened with, in memory."""

    def __init__(self, operators: Operators, peer: object) -> None:
        self.transport = StringTransport(peerAddress=peer)
        self.channel = operators.admin.site.buildProtocol(peer)  # type: ignore[arg-type]
        self.channel.makeConnection(self.transport)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> str:
        """What it answers, head and body."""
        self.transport.clear()
        lines = [f"{method} {path} HTTP/1.1", "Host: operators.example", *(f"{name}: {value}" for name, value in headers.items())]
        if body:
            lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
        self.channel.dataReceived("\r\n".join([*lines, "", body]).encode())
        return self.transport.value().decode()


class SiteTests(SynchronousTestCase):
    """What answers where."""

    def setUp(self) -> None:
        self.operators = Operators()
        self.browser = Browser(self, self.operators)

    def test_start(self) -> None:
        """
        The address alone leads to the pages.
        """
        self.assertEqual(self.browser.get("/").header(b"Location"), "/admin/")

    def test_bytes_in_headers(self) -> None:
        """
        Whatever bytes a stranger writes into a header, it is no error of ours; nor is such a proxy's user.
        """
        operators = Operators(user_header="X-Remote-User")
        for name in ("Origin", "Sec-Fetch-Site", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-For", "Cookie", "X-Remote-User"):
            connection = Connection(operators, IPv4Address("TCP", "127.0.0.1", 4711))
            connection.channel.dataReceived(b"POST /admin/login HTTP/1.1\r\nHost: a\r\n" + name.encode() + b": x\xff\r\n\r\n")
            self.assertRegex(connection.transport.value(), rb"\AHTTP/1.1 403 ", name)
        request = DummyRequest([b""])
        request.requestHeaders.setRawHeaders(b"Content-Type", [b"multipart/form-data; boundary=\xff"])
        request.content = BytesIO(b"--x\r\n")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_form(request, at_once))), Form())  # type: ignore[arg-type]

    def test_files(self) -> None:
        """
        Style, script and pictures are served to whoever can connect, and no other file.
        """
        for name in ("site.css", "admin.css", "admin.js", "logo.svg", "favicon.ico"):
            self.assertEqual(self.browser.get(f"/static/{name}").code, 200, name)
        for path in ("/static/nothing", "/static/..%2fpages.py", "/metrics", "/bus/", "/receive/public", "/.well-known/webfinger"):
            self.assertEqual(self.browser.get(path).code, 404, path)
        self.assertIn("Disallow: /\n", self.browser.get("/robots.txt").text)

    def test_parts(self) -> None:
        """
        Other parts, such as the metrics, have their place on the site.
        """

        class Metrics(Resource):
            isLeaf = True

            def render_GET(self, request: Request) -> bytes:
                return b"up 1\n"

        self.operators.admin.parts[b"metrics"] = Metrics()
        self.assertEqual(self.browser.get("/metrics").text, "up 1\n")

    def test_ready(self) -> None:
        """
        Whether the relay is ready is answered with the reasons, as JSON.
        """
        self.assertEqual(self.browser.get("/health/ready").json["status"], "ready")
        self.operators.relay.health.watch("postgres", lambda: Condition("postgres", False, essential=True, detail="no route"))
        answer = self.browser.get("/health/ready")
        self.assertEqual((answer.code, answer.json["status"]), (503, "not ready"))
        self.assertIn({"name": "postgres", "well": False, "essential": True, "detail": "no route"}, answer.json["conditions"])
        self.assertEqual(self.browser.get("/health/live").code, 200)

    def test_who(self) -> None:
        """
        The log tells from where an operator came, as far as it is anybody's business: behind a proxy the client's network.
        """
        for number, (peer, headers, expected) in enumerate(
            [
                (UNIXAddress(None), {"X-Forwarded-For": "192.0.2.7"}, "admin from 192.0.2.0/24"),
                (UNIXAddress(None), {}, "admin from this machine"),
                (IPv4Address("TCP", "127.0.0.1", 4711), {"X-Forwarded-For": "192.0.2.7"}, "admin from 127.0.0.1"),
            ]
        ):
            connection = Connection(self.operators, peer)
            answer = connection.ask("POST", "/admin/login", f"password={PASSWORD.replace(' ', '+')}", **headers)
            cookie = answer.partition(f"{COOKIE}=")[2].partition(";")[0]
            page = connection.ask("GET", "/admin/", Cookie=f"{COOKIE}={cookie}", **headers)
            token = page.partition('name="csrf" value="')[2].partition('"')[0]
            form = f"csrf={token}&subject=pod-{number}.example"
            connection.ask("POST", "/admin/act/allow", form, Cookie=f"{COOKIE}={cookie}", **headers)
            self.assertEqual(self.operators.relay.tables.rules["allow", f"pod-{number}.example", ""].created_by, expected)

    def test_throttled_client(self) -> None:
        """
        Behind a proxy one client that guesses does not keep the others out.
        """
        connection = Connection(self.operators, UNIXAddress(None))
        guesses = [connection.ask("POST", "/admin/login", "password=wrong", **{"X-Forwarded-For": "192.0.2.7"})[9:12] for _ in range(6)]
        self.assertEqual(guesses, ["403"] * 5 + ["429"])
        answer = connection.ask("POST", "/admin/login", f"password={PASSWORD.replace(' ', '+')}", **{"X-Forwarded-For": "192.0.2.8"})
        self.assertEqual(answer[9:12], "303")


class WhoTests(SynchronousTestCase):
    def test_words(self) -> None:
        """
        Who did something is told with the way and the network, without what could break a line.
        """
        self.assertEqual(done_by("ada", COMMAND), "ada (command)")
        self.assertEqual(done_by("ada", PROXY, "2001:db8:1:2::3"), "ada (proxy) from 2001:db8:1::/48")
        self.assertEqual(done_by("admin", "", "::1"), "admin from ::1")
        self.assertEqual(done_by("a\ndm\x1bin" + "x" * 100), "admin" + "x" * 59)
        self.assertEqual(done_by("\n"), "somebody")
        self.assertEqual(user_of(done_by("ada", COMMAND)), "ada")


class FormTests(SynchronousTestCase):
    """What forms send."""

    def reading(self, body: bytes, kind: str, in_thread: Any = at_once) -> Deferred[Form]:
        request: Any = DummyRequest([])
        request.requestHeaders.setRawHeaders("Content-Type", [kind])
        request.content = BytesIO(body)
        return Deferred.fromCoroutine(read_form(request, in_thread))

    def read(self, body: bytes, kind: str = "application/x-www-form-urlencoded", in_thread: Any = at_once) -> Form:
        return self.successResultOf(self.reading(body, kind, in_thread))

    def test_urlencoded(self) -> None:
        """
        A field may be there several times, and bytes that are no text are marked as such.
        """
        form = self.read(b"a=1&a=2&b=%ff&c=")
        self.assertEqual(form.fields, {"a": ["1", "2"], "b": ["\ufffd"], "c": [""]})
        self.assertEqual((form.get("a"), form.get("none")), ("2", ""))

    def test_file(self) -> None:
        """
        A file's text is its field's value, without the mark at the beginning that some programs put there; its name stands beside it.
        """
        body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\ntyped\r\n'
        body += b'--x\r\nContent-Disposition: form-data; name="text"; filename="a.csv"\r\n\r\n\xef\xbb\xbfpod.example\r\n--x--\r\n'
        form = self.read(body, "multipart/form-data; boundary=x")
        self.assertEqual(form.fields, {"text": ["typed", "pod.example"], "text.file": ["a.csv"]})
        self.assertEqual(form.said({"text": str}), {"text": "pod.example"})

    def test_no_file(self) -> None:
        """
        If no file was chosen, what was typed counts.
        """
        body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\ntyped\r\n'
        body += b'--x\r\nContent-Disposition: form-data; name="text"; filename=""\r\n\r\n\r\n--x--\r\n'
        self.assertEqual(self.read(body, "multipart/form-data; boundary=x").said({"text": str}), {"text": "typed"})

    def test_no_form(self) -> None:
        """
        What is no form has no fields.
        """
        for body, kind in [
            (b"\x00\xff" * 100, "multipart/form-data; boundary=x"),
            (b"x", "multipart/form-data"),
            (b"--x", "multipart/form-data; boundary=\u00e9"),
            (b"", ""),
        ]:
            self.assertEqual(self.read(body, kind).fields, {})

    def test_large(self) -> None:
        """
        A long list is read in a thread; a list or a form without end is refused.
        """
        threads: list[object] = []

        def thread(work: Any, *args: Any) -> Deferred[Any]:
            threads.append(work)
            return at_once(work, *args)

        head = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
        kind = "multipart/form-data; boundary=x"
        form = self.read(head + b"pod.example\n" * 10_000 + b"\r\n--x--\r\n", kind, thread)
        self.assertEqual((len(form.get("text").split()), len(threads)), (10_000, 1))
        for body, of in [(b"x" * (MAX_UPLOAD + 1), kind), (b"x" * (MAX_FORM + 1), ""), (b"&".join([b"a=1"] * 60), "")]:
            self.failureResultOf(self.reading(body, of), TooLong)

    def test_said(self) -> None:
        """
        What is left empty is not said; a number that is none stays a text, which the act refuses.
        """
        form = Form({"a": ["  x "], "b": [""], "n": ["12"], "m": ["-1"], "yes": ["on"], "no": ["no"], "l": ["a, b", "c\nd"]})
        kinds = {"a": str, "b": str, "n": int, "m": int, "yes": bool, "no": bool, "l": list, "none": list}
        said = form.said(kinds)
        self.assertEqual(said, {"a": "x", "n": 12, "m": "-1", "yes": True, "no": False, "l": ["a", "b", "c", "d"]})


class LiveLogTests(SynchronousTestCase):
    """The last events of the log."""

    def setUp(self) -> None:
        self.seen = LiveLog(limit=3)
        self.log = Logger(namespace="socialrelay.nodes.poller.NodePoller", observer=LogPublisher(self.seen))

    def test_entry(self) -> None:
        """
        An event is kept as a line of text, with the time, the level, and the part that said it.
        """
        self.log.warn("{host} answered\n{what}.", host="pod.example", what="x" * 1000)
        [entry] = self.seen.entries()
        self.assertEqual((entry.number, entry.level, entry.source), (1, "warn", "nodes.poller"))
        self.assertTrue(entry.text.startswith("pod.example answered\\nxxx"), entry.text)
        self.assertLess(len(entry.text), 400)
        self.assertRegex(entry.at, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\Z")

    def test_when_somebody_looks(self) -> None:
        """
        What is logged for each post is put into words when somebody looks, and once; what failed, at once.
        """
        told: list[str] = []

        class Thing:
            def __str__(self) -> str:
                told.append("told")
                return "thing"

        self.log.info("{what}", what=Thing())
        self.assertEqual(told, [])
        self.assertEqual([[entry.text for entry in self.seen.entries()] for _ in range(2)], [["thing"], ["thing"]])
        self.assertEqual(told, ["told"])
        self.log.error("{what}", what=Thing())
        self.assertGreater(len(told), 1)

    def test_last(self) -> None:
        """
        Only the last are kept; they are asked for by number and by level.
        """
        for number in range(5):
            self.log.emit(LogLevel.info if number % 2 else LogLevel.error, "event {number}", number=number)
        self.assertEqual([entry.text for entry in self.seen.entries()], ["event 2", "event 3", "event 4"])
        self.assertEqual([entry.text for entry in self.seen.entries(after=4)], ["event 4"])
        self.assertEqual([entry.text for entry in self.seen.entries(level="error")], ["event 0", "event 2", "event 4"])
        self.assertEqual(len(self.seen.entries(level="nonsense")), 3)

    def test_serious(self) -> None:
        """
        However much else is logged, the last warnings and errors are there; these, too, are bounded.
        """
        for number in range(300):
            self.log.warn("warning {number}", number=number)
        self.log.error("the disk is full")
        for number in range(50):
            self.log.info("post {number} is in the log", number=number)
        serious = self.seen.entries(level="warn")
        self.assertEqual((len(serious), serious[-1].text), (SERIOUS, "the disk is full"))
        self.assertEqual([entry.text for entry in self.seen.entries(level="error")], ["the disk is full"])


class StreamTests(SynchronousTestCase):
    """The page of events, and its stream."""

    def setUp(self) -> None:
        self.operators = Operators()
        self.log = Logger(namespace="socialrelay.relay.Relay", observer=LogPublisher(self.operators.log))
        self.connection = Connection(self.operators, IPv4Address("TCP", "127.0.0.1", 4711))
        answer = self.connection.ask("POST", "/admin/login", f"password={PASSWORD.replace(' ', '+')}")
        self.cookie = f"{COOKIE}={answer.partition(f'{COOKIE}=')[2].partition(';')[0]}"

    def later(self) -> list[Any]:
        """The events that came meanwhile."""
        self.connection.transport.clear()
        for work in self.operators.to_reactor:
            work()
        self.operators.to_reactor.clear()
        self.operators.clock.advance(TOGETHER)
        return self.events(self.connection.transport.value().decode())

    def events(self, answer: str) -> list[Any]:
        lines = [line for line in answer.splitlines() if line.startswith("data: ")]
        return [entry["text"] for line in lines for entry in json.loads(line.removeprefix("data: "))]

    def test_page(self) -> None:
        """
        Without scripts the page shows what was logged lately, the newest first, as text.
        """
        self.log.info("thing {what}", what="<b>")
        self.log.warn("second")
        page = self.connection.ask("GET", "/admin/events", Cookie=self.cookie)
        self.assertLess(page.index("second"), page.index("thing &lt;b&gt;"))
        self.assertNotIn("thing &lt;", self.connection.ask("GET", "/admin/events?level=warn", Cookie=self.cookie))

    def test_stream(self) -> None:
        """
        The stream brings what the page does not have, and then what happens; events that come together are sent together.
        """
        self.log.info("one")
        self.log.info("two")
        answer = self.connection.ask("GET", "/admin/events/stream?after=1&level=info", Cookie=self.cookie)
        self.assertIn("text/event-stream", answer)
        self.assertEqual(self.events(answer), ["two"])
        self.log.info("three")
        self.log.info("four")
        self.assertEqual(len(self.operators.to_reactor), 1)
        self.assertEqual(self.later(), ["three", "four"])

    def test_level(self) -> None:
        """
        The stream of warnings has no other events.
        """
        self.connection.ask("GET", "/admin/events/stream?level=warn", Cookie=self.cookie)
        self.log.info("nothing")
        self.log.error("something")
        self.assertEqual(self.later(), ["something"])

    def test_logged_out(self) -> None:
        """
        The stream ends with the session.
        """
        self.connection.ask("GET", "/admin/events/stream", Cookie=self.cookie)
        self.operators.clock.advance(self.operators.config.admin.session + 1)
        self.log.info("secret")
        self.assertEqual(self.later(), [])
        self.assertEqual(len(self.operators.streams), 0)

    def test_gone(self) -> None:
        """
        When the page has gone nothing is sent, and nobody is told of events.
        """
        self.connection.ask("GET", "/admin/events/stream", Cookie=self.cookie)
        self.connection.channel.connectionLost(Failure(ConnectionDone()))
        self.log.info("something")
        self.assertEqual((self.operators.to_reactor, len(self.operators.streams)), ([], 0))

    def test_no_place(self) -> None:
        """
        When there are too many streams the answer says when to ask again.
        """
        for _ in range(3):
            Connection(self.operators, IPv4Address("TCP", "127.0.0.1", 1)).ask("GET", "/admin/events/stream", Cookie=self.cookie)
        answer = self.connection.ask("GET", "/admin/events/stream", Cookie=self.cookie)
        self.assertIn("503", answer[:20])
        self.assertIn("Retry-After: 30", answer)


class PlacesTests(TestCase):
    """Where the operators' site is."""

    def test_endpoints(self) -> None:
        """
        Endpoints of TCP and of UNIX sockets are told apart; one that listens everywhere is reached from here, too.
        """
        for description, urls, sockets in [
            ("tcp:9001:interface=127.0.0.1", ("http://127.0.0.1:9001",), ()),
            ("tcp:port=9001", ("http://127.0.0.1:9001",), ()),
            ("tcp:9001:interface=10.0.0.5", ("http://10.0.0.5:9001",), ()),
            (r"tcp6:9001:interface=\:\:1", ("http://[::1]:9001",), ()),
            ("ssl:443:privateKey=key.pem:certKey=cert.pem", ("https://127.0.0.1:443",), ()),
            ("unix:/run/relay/admin.sock:mode=660", (), ("/run/relay/admin.sock",)),
            ("systemd:domain=UNIX:index=1", (), ()),
            ("tcp:0", (), ()),
        ]:
            self.assertEqual(Places.of([description]), Places(urls, sockets), description)

    def test_next_port(self) -> None:
        """
        In development the site has the port after the public one, if there is one.
        """
        cases: list[tuple[str, dict[str, Any]]] = [
            ("tcp:8081:interface=127.0.0.1", {"host": ""}),
            ("", {}),
            ("", {"host": "", "listen": ("unix:/run/web",)}),
            ("", {"host": "", "listen": ("tcp:65535",)}),
            ("", {"host": "", "admin_listen": ("tcp:9001",)}),
        ]
        for expected, changes in cases:
            self.assertEqual(next_port(config(**changes)), expected, changes)

    async def test_socket(self) -> None:
        """
        The socket is for the relay's user and group, is taken by one relay, and is gone when the site has stopped.
        """
        operators = Operators()
        path = short_directory(self) / "admin.sock"
        service = AdminSocket(reactor, path, operators.admin.site)
        service.startService()
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)
        second = AdminSocket(reactor, path, operators.admin.site)
        self.assertIn("operators' socket", str(self.assertRaises(StartFailed, second.startService)))
        await service.stopService()
        self.assertFalse(path.exists())

    async def test_login_link(self) -> None:
        """
        Whoever asks for a link is told where it leads, as far as that is known.
        """
        links = Links(lambda: 0.0)
        for places, url, socket in [
            (Places(("http://127.0.0.1:8081",), ("/run/a",)), "http://127.0.0.1:8081", "/run/a"),
            (Places((), ("/run/a",)), None, "/run/a"),
            (Places(), None, None),
        ]:
            answer = await login_offer(links, places, "relay.example").run(who="ada (command)")
            self.assertEqual((answer["url"], answer["socket"]), (url and url + answer["path"], socket))
            self.assertEqual(links.use(answer["path"].partition("code=")[2]), "ada")

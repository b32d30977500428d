"""The control socket: who may ask, what may be asked, and what comes back."""

from __future__ import annotations

import json
import os
import socket
import stat
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from socialrelay.operators.offers import act_offers, view_offers
from socialrelay.services import StartFailed
from socialrelay.web.control import MAX_BODY, SOCKET_NAME, ControlService, Peer, may_control, peer_of, user_name
from tests.operators import Relay

reactor: Any = installed_reactor


@implementer(IAgentEndpointFactory)
class ToSocket:
    """Leads to one UNIX socket, whatever the URL says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, str(self._path))


def short_directory(case: TestCase | SynchronousTestCase) -> Path:
    """A directory whose path leaves room for a socket's name."""
    path = Path(mkdtemp(prefix="sr-", dir="/tmp"))
    case.addCleanup(rmtree, path, ignore_errors=True)
    return path


class ControlTests(TestCase):
    """A relay's control socket, asked with HTTP."""

    def setUp(self) -> None:
        self.relay = Relay()
        self.path = short_directory(self) / SOCKET_NAME
        self.service = self.make()
        self.service.startService()
        self.addCleanup(lambda: self.service.stopService())

    def make(self) -> ControlService:
        views, acts = view_offers(self.relay.views), act_offers(self.relay.operations)
        return ControlService(reactor, self.path, views, acts, lambda uid: succeed("ada"))

    async def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        agent = Agent.usingEndpointFactory(reactor, ToSocket(self.path))
        response = await agent.request(method.encode(), b"http://localhost" + target.encode(), Headers({}), producer)
        return response.code, json.loads(await readBody(response))

    async def act(self, name: str, **fields: object) -> tuple[int, Any]:
        return await self.ask("POST", f"/v1/{name}", json.dumps(fields).encode())

    async def error(self, method: str, target: str, body: bytes | None = None) -> tuple[int, str, str]:
        code, answer = await self.ask(method, target, body)
        self.assertEqual(list(answer), ["error"], answer)
        return code, answer["error"]["code"], answer["error"]["message"]

    async def test_view(self) -> None:
        """
        A view is asked for with GET, its fields in the query.
        """
        await self.act("subscribe", host="pod.example", tags=["cats"])
        code, answer = await self.ask("GET", "/v1/nodes?limit=1&text=pod")
        self.assertEqual((code, [node["host"] for node in answer["nodes"]]), (200, ["pod.example"]))

    async def test_every_view(self) -> None:
        """
        Each view answers.
        """
        await self.act("subscribe", host="pod.example", everything=True)
        for target in ("status", "health", "nodes", "node?host=pod.example", "queue?state=active", "rejected?limit=5", "rules", "identity"):
            code, answer = await self.ask("GET", f"/v1/{target}")
            self.assertEqual(code, 200, (target, answer))

    async def test_every_act(self) -> None:
        """
        Each act answers with a sentence.
        """
        acts: list[tuple[str, dict[str, object]]] = [
            ("subscribe", {"host": "pod.example", "everything": True}),
            ("suspend", {"host": "pod.example"}),
            ("resume", {"host": "pod.example"}),
            ("wake", {"host": "pod.example"}),
            ("poll", {"host": "pod.example"}),
            ("unsubscribe", {"host": "pod.example"}),
            ("allow", {"subject": "pod.example", "reason": "a friend"}),
            ("block", {"subject": "eve@pod.example"}),
            ("unblock", {"subject": "pod.example"}),
            ("forward", {"host": "pod.example"}),
            ("forward", {"host": "pod.example", "off": True}),
            ("lists-fetch", {}),
            ("post", {"body": "PHhtbC8+"}),
        ]
        for name, fields in acts:
            code, answer = await self.act(name, **fields)
            self.assertEqual((code, "message" in answer), (200, True), (name, answer))

    async def test_who(self) -> None:
        """
        An act is done in the name of whoever connected, and no field can say otherwise.
        """
        await self.act("block", subject="pod.example")
        self.assertEqual(self.relay.tables.rules["block", "pod.example", ""].created_by, "ada (command)")
        code, answer = await self.act("block", subject="other.example", who="eve")
        self.assertEqual((code, answer["error"]["code"]), (400, "bad-request"))

    async def test_bad_input(self) -> None:
        """
        What makes no sense is answered with an error that names it.
        """
        for method, target, body, expected in [
            ("GET", "/", None, (404, "not-found")),
            ("GET", "/v1/nothing", None, (404, "not-found")),
            ("GET", "/v2/status", None, (404, "not-found")),
            ("GET", "/v1/subscribe", None, (404, "not-found")),
            ("POST", "/v1/status", b"{}", (404, "not-found")),
            ("PUT", "/v1/status", b"{}", (405, "wrong-method")),
            ("GET", "/v1/status?x=1", None, (400, "bad-request")),
            ("GET", "/v1/nodes?limit=many", None, (400, "bad-request")),
            ("GET", "/v1/nodes?limit=" + "9" * 5000, None, (400, "bad-request")),
            ("GET", "/v1/node", None, (400, "bad-request")),
            ("GET", "/v1/nodes?text=a%00b", None, (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "pod.example", "tags": ["a", "b\\u0000"]}', (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "pod.example", "tags": ["a", "b\\ud800"]}', (400, "bad-request")),
            ("GET", "/v1/node?host=pod.example", None, (404, "unknown-node")),
            ("POST", "/v1/subscribe", b"", (400, "bad-request")),
            ("POST", "/v1/subscribe", b"\xff", (400, "bad-request")),
            ("POST", "/v1/subscribe", b"[]", (400, "bad-request")),
            ("POST", "/v1/subscribe", b"[" * 100_000, (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": 1}', (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "pod.example", "tags": "cats"}', (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "pod.example", "tags": [1]}', (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "pod.example", "everything": 1}', (400, "bad-request")),
            ("POST", "/v1/subscribe", b'{"host": "10.0.0.1", "everything": true}', (400, "bad-host")),
            ("POST", "/v1/unsubscribe", b'{"host": "pod.example"}', (409, "not-subscribed")),
            ("POST", "/v1/subscribe", b"x" * (MAX_BODY + 1), (413, "too-large")),
        ]:
            code, name, message = await self.error(method, target, body)
            self.assertEqual((code, name), expected, (target, body and body[:50], message))
            self.assertTrue(message.endswith("."), message)

    async def test_storage_away(self) -> None:
        """
        While storage is away an act says that nothing was changed.
        """
        self.relay.tables.go_away()
        code, name, message = await self.error("POST", "/v1/block", b'{"subject": "pod.example"}')
        self.assertEqual((code, name), (503, "unavailable"))
        self.assertIn("nothing was changed", message)

    async def test_fault_of_ours(self) -> None:
        """
        An unexpected error is logged with its traceback, and answered without it.
        """
        self.relay.membership.update = lambda host: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        code, name, _ = await self.error("POST", "/v1/subscribe", b'{"host": "pod.example", "everything": true}')
        self.assertEqual((code, name), (500, "internal"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_finished_without_asker(self) -> None:
        """
        An act that was begun is finished, though its asker hangs up.
        """
        self.relay.poller.waiting = Deferred()
        asking = ensureDeferred(self.act("poll", host="pod.example"))
        asking.addErrback(lambda failure: None)
        began: Deferred[None] = Deferred()
        began_poll = self.relay.poller.poll

        def poll(host: str, source: str) -> Any:
            reactor.callLater(0, began.callback, None)
            return began_poll(host, source)

        self.relay.poller.poll = poll  # type: ignore[method-assign]
        await began
        asking.cancel()
        self.relay.poller.waiting.callback(None)
        self.assertEqual(self.relay.poller.asked, [("pod.example", "operator")])

    async def test_forbidden(self) -> None:
        """
        Whom the kernel names as somebody else is told who may ask.
        """
        await self.service.stopService()
        self.service = self.make_strict()
        self.service.startService()
        code, name, _ = await self.error("GET", "/v1/status")
        self.assertEqual((code, name), (403, "forbidden"))

    def make_strict(self) -> ControlService:
        class Strict(ControlService):
            def _admits(self, peer: Peer) -> bool:
                return False

        return Strict(reactor, self.path, view_offers(self.relay.views), act_offers(self.relay.operations), lambda uid: succeed("ada"))

    async def test_socket(self) -> None:
        """
        The socket is for its user and group, and is gone when the service has stopped.
        """
        found = self.path.stat()
        self.assertEqual((stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)), (True, 0o660))
        await self.service.stopService()
        self.assertFalse(self.path.exists())

    async def test_live_socket(self) -> None:
        """
        A socket at which a daemon listens is not taken over.
        """
        error = self.assertRaises(StartFailed, self.make().startService)
        self.assertIn(f"control socket {self.path}", str(error))
        self.assertIn("another daemon listens there", str(error))
        self.assertEqual((await self.ask("GET", "/v1/identity"))[0], 200)


class PeerTests(SynchronousTestCase):
    def test_kernel_says(self) -> None:
        """
        The kernel says which user and which groups are at the other end.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            self.assertEqual(peer_of(ours), Peer(os.geteuid(), frozenset({os.getegid(), *os.getgroups()})))

    def test_who_may(self) -> None:
        """
        Root, the daemon's user and the members of the socket's group may; nobody else.
        """
        for peer, expected in [
            (Peer(0, frozenset({0})), True),
            (Peer(900, frozenset({900})), True),
            (Peer(1000, frozenset({1000, 800})), True),
            (Peer(1000, frozenset({1000, 900})), False),
        ]:
            self.assertEqual(may_control(peer, daemon_uid=900, socket_gid=800), expected, peer)

    def test_names(self) -> None:
        """
        A user without a name is called by the number.
        """
        self.assertEqual((user_name(0), user_name(3_999_999_999)), ("root", "uid 3999999999"))

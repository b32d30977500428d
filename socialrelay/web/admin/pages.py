"""The operators' pages to look at: each is a view of the catalogue, as a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from socialrelay.boundaries import Unavailable
from socialrelay.operators.offers import Offer, checked
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError
from socialrelay.web.addresses import limited_as
from socialrelay.web.admin.attention import matters
from socialrelay.web.admin.events import Feed
from socialrelay.web.admin.look import Look, away
from socialrelay.web.admin.paging import DIRECTIONS, PAGE, Column, Paging, address, headings, page_number, query_of
from socialrelay.web.admin.visits import known
from socialrelay.web.answers import answer as answer_whole
from socialrelay.web.answers import application, sentence
from socialrelay.web.pages import shielded

NODE_KINDS = (
    ("all", "all"),
    ("subscribed", "subscribed"),
    ("refusing", "those that want nothing"),
    ("failing", "those whose poll failed"),
    ("active", "active"),
    ("deferred", "deferred"),
    ("dead", "dead"),
    ("gone", "gone"),
    ("suspended", "suspended"),
)
QUEUED = 100
REJECTED = 200
ACTIONS = ("block", "limit", "allow", "forward")
STATES = ("active", "deferred", "dead", "gone", "suspended")
NODE_COLUMNS = (
    Column("Node", "host"),
    Column("Gets", "scope"),
    Column("Deliveries", "state"),
    Column("Behind", "behind", number=True, downwards=True),
    Column("Delivered", "delivered", number=True, downwards=True),
    Column("Last answer (UTC)", "last_answer", downwards=True),
    Column("Trouble"),
)

SHOWN_LEVELS = (("info", "all"), ("warn", "warnings and errors"), ("error", "errors"))


def _wrong(pages: AdminPages, request: Request, failure: Failure) -> bytes:
    error = cast(ActError, failure.value)
    code = 404 if error.code in ("unknown-node", "no-rule", "no-list") else 400
    return pages.look.trouble(request, known(request), code, "There is nothing to show", str(error))


def _away(pages: AdminPages, request: Request, _failure: Failure) -> bytes:
    text = "The relay cannot reach its database now. It goes on as far as it can, and this page works again when the database is back."
    return pages.look.trouble(request, known(request), 503, "The database is away", text, {"Retry-After": "30"})


def _nothing(pages: AdminPages, request: Request, _failure: Failure) -> bytes:
    return pages.look.trouble(request, known(request), 404, "There is no such page")


@define(eq=False, slots=False)
class AdminPages:
    """
    @ivar answerable: the relay's pages say whom to ask, or where its source is.
    """

    views: Mapping[str, Offer]
    look: Look
    feed: Feed
    answerable: bool = True

    app = application({ActError: _wrong, Unavailable: _away, NotFound: _nothing})

    @app.route("/admin", methods=["GET"])
    def bare(self, request: Request) -> bytes:
        """The overview is below."""
        return away(request, "/admin/")

    @app.route("/admin/", methods=["GET"])
    async def overview(self, request: Request) -> bytes:
        """How the relay is, and what needs attention; of a bridge of the bus alone its page says that."""
        visit = known(request)
        if "identity" not in self.views:
            return away(request, "/admin/bus")
        status = await self._view("status")
        identity = await self._view("identity")
        waiting, rules = await self._or_nothing("waiting"), await self._or_nothing("rules", limit=1)
        found = matters(status, waiting, rules, self.feed.log.entries(level="error"), answerable=self.answerable)
        return self.look.page(request, "overview.html", visit, {"status": status, "identity": identity, "matters": found}, here="")

    @app.route("/admin/nodes", methods=["GET"])
    async def nodes(self, request: Request) -> bytes:
        """All nodes that the relay has heard of."""
        asked = query_of(request)
        chosen = {"text": asked.get("text", ""), "which": asked.get("which", "all")}
        sort = asked.get("sort", "host")
        descending = asked.get("desc", DIRECTIONS[any(each.downwards for each in NODE_COLUMNS if each.key == sort)]) == DIRECTIONS[True]
        page = page_number(asked.get("page", ""))
        answer = await self._view("nodes", **chosen, sort=sort, descending=descending, offset=(page - 1) * PAGE, limit=PAGE)
        facts = {
            **chosen,
            "kinds": NODE_KINDS,
            "sort": sort,
            "sorts": [(column.key, column.title) for column in NODE_COLUMNS if column.key],
            "nodes": answer["nodes"],
            "heads_of": headings(NODE_COLUMNS, "/admin/nodes", chosen, sort, descending),
            "paging": Paging("/admin/nodes", {**chosen, "sort": sort, "desc": DIRECTIONS[descending]}, page, answer["total"]),
        }
        return self.look.page(request, "nodes.html", known(request), facts, here="nodes")

    @app.route("/admin/nodes/<host>", methods=["GET"])
    async def node(self, request: Request, host: str) -> bytes:
        """All that is known of one node."""
        answer = await self._view("node", host=host)
        path = f"/admin/nodes/{quote(answer['host'])}"
        return self.look.page(request, "node.html", known(request), {"node": answer, "path": path}, here="nodes")

    @app.route("/admin/queue", methods=["GET"])
    async def queue(self, request: Request) -> bytes:
        """What deliveries do not reach, and what waits."""
        state = query_of(request).get("state", "")
        answer = await self._view("queue", state=state, limit=QUEUED)
        facts = {
            "state": state,
            "states": STATES,
            "queue": answer,
            "deferred": await self._view("deferred", limit=100),
            "waiting": await self._view("waiting"),
            "quarantine": await self._view("quarantine", limit=100),
        }
        return self.look.page(request, "queue.html", known(request), facts, here="queue")

    @app.route("/admin/rejected", methods=["GET"])
    async def rejected(self, request: Request) -> bytes:
        """What was not relayed lately."""
        answer = await self._view("rejected", limit=REJECTED)
        return self.look.page(request, "rejected.html", known(request), {**answer, "most": REJECTED}, here="rejected")

    @app.route("/admin/rules", methods=["GET"])
    async def rules(self, request: Request) -> bytes:
        """What operators decided, and the lists of others."""
        asked = query_of(request)
        chosen = {name: asked.get(name, "") for name in ("text", "action", "list")}
        page = page_number(asked.get("page", ""))
        answer = await self._view("rules", **chosen, offset=(page - 1) * PAGE, limit=PAGE)
        facts = {
            **chosen,
            "actions": ACTIONS,
            "rules": answer["rules"],
            "lists": answer["lists"],
            "subscriptions": answer["subscriptions"],
            "paging": Paging("/admin/rules", chosen, page, answer["total"]),
            "path": address("/admin/rules", {**chosen, "page": page if page > 1 else ""}),
        }
        return self.look.page(request, "rules.html", known(request), facts, here="rules")

    @app.route("/admin/rules/export", methods=["GET"])
    async def export(self, request: Request) -> bytes:
        """Rules as a file, to take elsewhere."""
        asked = query_of(request)
        answer = await self._view("rules-export", **{name: asked.get(name, "") for name in ("list", "format", "action")})
        kind, ending = ("text/csv", "csv") if answer["format"] == "csv" else ("text/plain", "txt")
        named = re.sub(r"[^a-z0-9._-]", "", asked.get("list", "")) or asked.get("action", "") or "rules"
        headers = {"Content-Disposition": f'attachment; filename="{named}.{ending}"', "Cache-Control": "no-store"}
        return answer_whole(request, answer["text"].encode(), f"{kind}; charset=utf-8", headers=headers)

    @app.route("/admin/bus", methods=["GET"])
    async def bus(self, request: Request) -> bytes:
        """The message bus in numbers."""
        answer = await self._view("bus")
        health = await self._view("health")
        return self.look.page(request, "bus.html", known(request), {"bus": answer, "health": health}, here="bus")

    @app.route("/admin/events", methods=["GET"])
    def events(self, request: Request) -> bytes:
        """What the relay logged lately."""
        level = query_of(request).get("level", "info")
        entries = self.feed.log.entries(level=level)[::-1]
        facts = {"entries": entries, "level": level, "levels": SHOWN_LEVELS, "kept": self.feed.log.limit}
        return self.look.page(request, "events.html", known(request), facts, here="events")

    @app.route("/admin/events/stream", methods=["GET"])
    def stream(self, request: Request) -> bytes | Deferred[None]:
        """The same as it happens, for the page's script."""
        if request.method == b"HEAD":
            return answer_whole(request, headers={"Cache-Control": "no-store"})
        visit, asked = known(request), query_of(request)
        after = int(asked["after"]) if re.fullmatch(r"\d{1,15}", asked.get("after", "")) else 0
        if not self.feed.open(request, visit.session, limited_as(visit.client), after, asked.get("level", "info")):
            return sentence(request, 503, "Too many pages are kept up to date.", headers={"Retry-After": "30", "Cache-Control": "no-store"})
        return Deferred()  # whoever ends the stream ends the answer

    async def _or_nothing(self, name: str, **fields: object) -> Plain:
        try:
            return await self._view(name, **fields)
        except Unavailable:  # that is what the conditions say
            return {}

    async def _view(self, name: str, **fields: object) -> Plain:
        offer = self.views.get(name)
        if offer is None:  # nor is there its page, on this relay
            raise NotFound
        said = checked(offer, {key: value for key, value in fields.items() if value not in ("", None)})
        # A query that was begun is never cancelled, though the browser goes away.
        return await shielded(Deferred.fromCoroutine(offer.run(**said)))

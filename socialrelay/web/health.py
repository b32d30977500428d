"""Whether the relay is alive and ready, for monitors and load balancers: names without details, which are the operator's."""

from __future__ import annotations

from klein import Klein
from twisted.web.server import Request

from socialrelay.health import Health, Readiness, readiness
from socialrelay.web.answers import application, as_json

FRESH = {"Cache-Control": "no-store"}


class HealthPages:
    """C{/health/live} and C{/health/ready}."""

    app: Klein = application()

    def __init__(self, health: Health) -> None:
        self._health = health

    @app.route("/health/live", methods=["GET"])
    def live(self, request: Request) -> bytes:
        """200 for as long as the reactor turns."""
        return as_json(request, {"status": "alive"}, headers=FRESH)

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: Request) -> bytes:
        """
        200 when posts are taken, 503 when not: C{{"status": "ready", "conditions": {"postgres": "well", "cache": "not well"}}}.
        """
        conditions = self._health.conditions()
        word = readiness(conditions)
        document = {"status": word.value, "conditions": {each.name: "well" if each.well else "not well" for each in conditions}}
        return as_json(request, document, code=503 if word is Readiness.NOT_READY else 200, headers=FRESH)

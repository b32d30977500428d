"""Whether the relay is ready, with the reasons, which are the operator's."""

from __future__ import annotations

from klein import Klein
from twisted.web.server import Request

from socialrelay.health import Health, Readiness, readiness
from socialrelay.operators.plain import plain_condition
from socialrelay.web.answers import application, as_json
from socialrelay.web.health import FRESH


class ReasonPages:
    """C{/health/live} as on the public site, and C{/health/ready} with what each condition says."""

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
        200 when posts are taken, 503 when not: C{{"status": "degraded", "conditions": [{"name": "redis", "well": false, "essential": false,
        "detail": …}]}}.
        """
        conditions = self._health.conditions()
        word = readiness(conditions)
        document = {"status": word.value, "conditions": [plain_condition(each) for each in conditions]}
        return as_json(request, document, code=503 if word is Readiness.NOT_READY else 200, headers=FRESH)

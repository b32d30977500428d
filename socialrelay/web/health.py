"""Whether the relay is alive and ready, for monitors and load balancers: to the public names without details, which are the operator's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from klein import Klein
from twisted.web.server import Request

from socialrelay.boundaries import Condition
from socialrelay.health import Health, Readiness, readiness
from socialrelay.operators.plain import plain_condition
from socialrelay.web.answers import application, as_json

FRESH = {"Cache-Control": "no-store"}


def without_reasons(conditions: Sequence[Condition]) -> object:
    """What strangers are told: C{{"postgres": "well", "redis": "not well"}}."""
    return {each.name: "well" if each.well else "not well" for each in conditions}


def with_reasons(conditions: Sequence[Condition]) -> object:
    """What operators are told: a list of C{{"name": "redis", "well": false, "essential": false, "detail": …}}."""
    return [plain_condition(each) for each in conditions]


class HealthPages:
    """C{/health/live} and C{/health/ready}."""

    app: Klein = application()

    def __init__(self, health: Health, told: Callable[[Sequence[Condition]], object] = without_reasons) -> None:
        """@param told: what is told of the conditions."""
        self._health = health
        self._told = told

    @app.route("/health/live", methods=["GET"])
    def live(self, request: Request) -> bytes:
        """200 for as long as the reactor turns."""
        return as_json(request, {"status": "alive"}, headers=FRESH)

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: Request) -> bytes:
        """200 when posts are taken, 503 when not: C{{"status": "ready", "conditions": …}}."""
        conditions = self._health.conditions()
        word = readiness(conditions)
        document = {"status": word.value, "conditions": self._told(conditions)}
        return as_json(request, document, code=503 if word is Readiness.NOT_READY else 200, headers=FRESH)

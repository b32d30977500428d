"""Who may use the bus by HTTP: whoever says a token of the configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from socialrelay.bounds import Bound, bound_of
from socialrelay.config import BusToken, Memory
from socialrelay.operators.who import shortened
from socialrelay.web.addresses import limited_as
from socialrelay.web.admin.throttle import Throttle
from socialrelay.web.request import client_address, header_texts

_REALM = 'Bearer realm="the message bus"'
_NO_TOKENS = (
    "Nobody may use the bus by HTTP: there is no token. Put one into bus.tokens of the relay's configuration, and let the relay read that "
    "again (systemctl reload socialrelay)."
)


class Refusal(Exception):
    """
    The request is not granted.

    @ivar facts: what the answer says besides.
    """

    def __init__(self, status: int, sentence: str, *, headers: Mapping[str, str] | None = None, facts: Mapping[str, object] | None = None):
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})
        self.facts = dict(facts or {})


class Tokens:
    """The tokens, and who tries others."""

    _log = Logger()

    def __init__(
        self, tokens: Iterable[BusToken], clock: IReactorTime, counters: Counter[str], clients: int = Memory().login_clients
    ) -> None:
        """
        @param counters: C{bus-wrong-token} is counted there.
        @param clients: whose wrong tokens are counted, at most.
        """
        self._clock = clock
        self._counters = counters
        self._throttle = Throttle(clients)
        self.replace(tokens)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (bound_of("token-clients", lambda: self._throttle.clients),)

    def replace(self, tokens: Iterable[BusToken]) -> None:
        """From now on there are these."""
        # Compared as digests: else the time that takes would tell how long a token is.
        self._known = [(_digest(each.token), each) for each in tokens]

    def sender(self, request: Request) -> BusToken:
        """
        Who asks.

        Whoever has a right token never waits because of what others tried: tokens are long, and one script with an old one would else keep
        all that come from the same machine from being heard.

        @raise Refusal: nobody that is known.
        """
        if not self._known:
            raise Refusal(403, _NO_TOKENS)
        given = header_texts(request, "Authorization")
        scheme, _, token = given[0].strip().partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise Refusal(401, "This takes a token: Authorization: Bearer TOKEN.", headers={"WWW-Authenticate": _REALM})
        digest = _digest(token.strip())
        found = [sender for known, sender in self._known if compare_digest(known, digest)]  # all of them, whichever it is
        if found:
            return found[0]
        self._counters["bus-wrong-token"] += 1
        client = client_address(request)
        wait = self._throttle.begin(limited_as(client), self._clock.seconds())
        if wait:
            raise Refusal(429, "There were too many wrong tokens.", headers={"Retry-After": str(math.ceil(wait))})
        self._log.warn("Somebody from {client} came to the bus with a token that is none of bus.tokens.", client=shortened(client))
        wrong = {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}
        raise Refusal(401, "This token is none of those in bus.tokens of the relay's configuration.", headers=wrong)


def may_publish(token: BusToken, topic: str) -> bool:
    """Whether a topic begins with something that a token may use."""
    return any(prefix == "*" or topic.startswith(prefix) for prefix in token.publish)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()

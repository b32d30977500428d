"""What scripts on the relay's own machine bring to it: whole signed posts, taken as those of servers are."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import define
from twisted.logger import Logger

from socialrelay.digest import digest_of
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import ActError

CLIENT = "this machine"
"""As whose such posts count against the limits of one client."""


class Said(Protocol):
    """
    What HTTP would answer.

    @ivar text: the reason; empty for success.
    """

    @property
    def code(self) -> int: ...

    @property
    def text(self) -> str: ...


@define(eq=False)
class Posting:
    """
    The act C{post}.

    @ivar hand_in: takes a body and as whose it counts, and fires with what HTTP would answer.
    @ivar max_body: bytes that a body may have.
    """

    hand_in: Callable[[bytes, str], Awaitable[Said]]
    max_body: Callable[[], int]

    _log = Logger()

    async def post(self, body: str = "", *, who: str) -> Plain:
        """
        Take a post: C{status} (202: it is durable, or needs no keeping) and C{post} (as it is called in the log).

        @param body: the envelope, in base64: it may be any bytes.
        @raise ActError: HTTP would refuse it, too.  The code is the reason that it would give with 400, C{too-large} for 413,
            C{unavailable} for 503, C{internal} for 500.
        """
        try:
            envelope = b64decode(body, validate=True)
        except ValueError:
            raise ActError("bad-request", "The field 'body' must be base64.") from None
        if len(envelope) > (most := self.max_body()):
            raise ActError("too-large", f"A post may have {most} bytes (receive.max_body), and this one has {len(envelope)}.")
        said = await self.hand_in(envelope, CLIENT)
        digest = digest_of(envelope)
        self._log.info("{who} asked: post {post}. The answer is {status}.", who=who, post=digest, status=said.code)
        if said.code == 400:
            raise ActError(said.text, f"This is no envelope that a server would send: {said.text}.")
        if said.code != 202:
            raise ActError("unavailable" if said.code == 503 else "internal", said.text)
        return {"message": f"The relay has taken {digest}, and judges it as it judges the posts of servers.", "status": 202, "post": digest}

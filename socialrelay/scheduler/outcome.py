"""
What a delivery attempt came to, and what follows from it: the one table.

The rules are from the specification of the relay (C{docs/architecture.md}, "Outcomes"); Postfix's queue manager is the model for telling
a failed destination from a refused message.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class Trouble(Enum):
    """Why a request got no answer; the value is what the operator reads."""

    DNS = "name does not resolve"
    CONNECT = "connection refused or unreachable"
    TIMEOUT = "no answer in time"
    TLS = "TLS failure"
    CERTIFICATE = "certificate not valid"
    ADDRESS = "address not allowed"
    PROTOCOL = "not understandable HTTP"
    TOO_LARGE = "answer too large"
    CLOSED = "connection closed before an answer"
    BROKEN = "transfer failed"


@frozen
class Answer:
    """
    The other side answered.

    @ivar retry_after: seconds that it asks us to wait, if it does.
    @ivar location: where a 3xx points.
    """

    status: int
    retry_after: float | None = None
    location: str | None = None


@frozen
class NoAnswer:
    """
    The other side gave no HTTP answer.

    @ivar detail: one line for the operator, already free of control characters.
    """

    trouble: Trouble
    detail: str = ""


Reply = Answer | NoAnswer


class Effect(Enum):
    """What a reply means for the post and for the host."""

    DELIVERED = "delivered"
    """Done; the host is well."""
    BOUNCED = "bounced"
    """This host will not take this post; the host is well."""
    POST_LATER = "post later"
    """This post failed here and may be tried again; the host is well."""
    HOST_FAILED = "host failed"
    """Nothing can be said of the post: the host is deferred."""
    NO_RECEIVER = "no receiver"
    """The host is up and takes no posts at this address: deferred, and its preferences are polled."""
    GONE = "gone"
    """The host says that it has gone for good."""


RETRY_AFTER_MAX = 86400.0

_BOUNCES = frozenset({401, 403, 413, 415, 422})
_HOST_FAILURES = frozenset({408, 425, 429})
_BEFORE_SENDING = frozenset({Trouble.DNS, Trouble.CONNECT, Trouble.TLS, Trouble.CERTIFICATE, Trouble.ADDRESS})


@frozen
class Judgement:
    """
    An effect with its reason.

    @ivar reason: what the operator reads.
    @ivar wait: seconds that the host asked for, at most L{RETRY_AFTER_MAX}.
    @ivar answered: the host gave an HTTP answer; after a 5xx answer the next probe takes the next post.
    @ivar perhaps: although nothing says so, the post may have been taken.
    """

    effect: Effect
    reason: str
    wait: float | None = None
    answered: bool = True
    perhaps: bool = False


def judge(reply: Reply) -> Judgement:
    """Say what a reply means."""
    if isinstance(reply, NoAnswer):
        reason = f"{reply.trouble.value}: {reply.detail}" if reply.detail else reply.trouble.value
        return Judgement(Effect.HOST_FAILED, reason, answered=False, perhaps=reply.trouble not in _BEFORE_SENDING)
    status = reply.status
    wait = None if reply.retry_after is None else min(max(reply.retry_after, 0.0), RETRY_AFTER_MAX)
    if 200 <= status < 300:
        return Judgement(Effect.DELIVERED, f"HTTP {status}")
    if 300 <= status < 400:
        where = f", points to {reply.location}" if reply.location else ""
        return Judgement(Effect.NO_RECEIVER, f"HTTP {status}{where}")
    if status in (404, 405):
        return Judgement(Effect.NO_RECEIVER, f"HTTP {status}", wait)
    if status == 410:
        return Judgement(Effect.GONE, "HTTP 410")
    if status in _BOUNCES:
        return Judgement(Effect.BOUNCED, f"HTTP {status}")
    if status in _HOST_FAILURES or status >= 500 or status < 200:
        return Judgement(Effect.HOST_FAILED, f"HTTP {status}", wait, perhaps=status not in _HOST_FAILURES)
    return Judgement(Effect.POST_LATER, f"HTTP {status}", wait)

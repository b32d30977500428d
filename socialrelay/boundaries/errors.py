"""What goes wrong at the boundaries, as those who call see it."""

from datetime import datetime


class Unavailable(Exception):
    """Storage cannot be reached now; nothing was kept. The sender is told 503 and comes again."""


class Full(Exception):
    """A bound was reached; nothing was kept. The sender is told 503 and comes again."""


class HostFull(Full):
    """The bound is that of one host."""


class FetchFailed(Exception):
    """
    A document could not be fetched; the message says why in one line.

    @ivar status: the HTTP status, if there was an answer.
    @ivar retry_after: seconds that the other side asked us to wait, if it did.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class KeyUnavailable(Exception):
    """
    An author's key cannot be had now; the message says why in one line.

    @ivar retry_at: when asking again may help.
    @ivar hopeless: the author's node was reached, and answered that there is no such author or no usable key.
    """

    def __init__(self, reason: str, retry_at: datetime, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.retry_at = retry_at
        self.hopeless = hopeless

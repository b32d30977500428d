"""The account of each destination: what was settled is held against what names it."""

from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


@frozen
class Account:
    """
    One destination's, as it was when it was looked at.

    @ivar difference: how many posts more than named it are settled there; less than zero: so many have no outcome and do not wait either.
        C{None}: not known yet, since the log was not counted up to its cursor, or it still gets what it missed.
    """

    number: int
    host: str
    difference: int | None


@frozen
class Examined:
    """
    Some accounts.

    @ivar last: the number of the last; C{None} if none has a greater one.
    """

    accounts: tuple[Account, ...]
    last: int | None


class Accounts(Protocol):
    """
    Counts what names each destination up to its cursor, and compares that with what is settled there: delivered, bounced and not put back,
    expired, cancelled, or tried on its own.

    What lies above the cursor waits, or is in C{ahead}.  So each post at each destination has one outcome or is pending; if not, there is a
    difference.  How far each was counted is kept: a post is counted once for a destination, by whichever process.
    """

    def examine(self, after: int, most: int, positions: int) -> Deferred[Examined]:
        """
        Look at some destinations, as they are written down at one moment, and count on for them.

        @param after: begin with the next number.
        @param most: destinations.
        @param positions: of the log that are counted, for all of them together; each is counted for one destination.
        """

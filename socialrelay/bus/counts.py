"""What became of the messages that came to the bus."""

from __future__ import annotations

from collections import Counter

from attrs import Factory, frozen


@frozen(eq=False)
class Counts:
    """
    Counts since the process was started; they only grow.

    What was received is kept, published without being kept, a duplicate, invalid, refused, or waits in the journal.

    @ivar received: what others sent, by source.
    @ivar kept: what was committed, by source; the relay's own as well.
    @ivar published: by source; after a crash some are published twice, and counted twice.
    @ivar duplicates: what was there before, by source.
    @ivar invalid: what is no message or not allowed, by reason (L{socialrelay.bus.message.REASONS}).
    @ivar refused: what there was no room for, or no database, by source; who waits for an answer was told to come
        again.
    """

    received: Counter[str] = Factory(Counter)
    kept: Counter[str] = Factory(Counter)
    published: Counter[str] = Factory(Counter)
    duplicates: Counter[str] = Factory(Counter)
    invalid: Counter[str] = Factory(Counter)
    refused: Counter[str] = Factory(Counter)

"""
The relay with a bug: C{python -m tests.poisoned run …}.

Whoever judges a post of an author whose name is C{poison} is at an end at once, and does not come to say so.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from socialrelay.cli.command import main
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import Sealed, Verdict

POISON = "poison"

_judge = Diaspora.judge


def judge(self: Diaspora, sealed: Sealed, key: RSAPublicKey) -> Verdict:
    """As L{Diaspora.judge}."""
    if sealed.sender.startswith(POISON):
        os.abort()
    return _judge(self, sealed, key)


if __name__ == "__main__":
    Diaspora.judge = judge  # type: ignore[method-assign]
    main()

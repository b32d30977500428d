"""What SIGHUP means: read the configuration again; or, if it is said because the terminal is gone, that nobody wants the relay any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


def on_hangup(reactor: Any, reload: Callable[[], object], end: Callable[[], object], terminal: int = 0) -> None:
    """
    Obey SIGHUP from now on.

    @param end: called instead of C{reload} when the terminal that the relay was started from has been closed.
    @param terminal: the descriptor that may be one.
    """
    had_terminal = _is_terminal(terminal)

    def obey() -> None:
        if had_terminal and not _is_terminal(terminal):
            end()
        else:
            reload()

    # The handler may run anywhere, so it only asks for a turn.
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(obey))


def _is_terminal(descriptor: int) -> bool:
    """Whether it is a terminal that is still there."""
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return False
    return True

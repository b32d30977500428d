"""What an operator may see of a bridge of the message bus that relays no posts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import define

from socialrelay import __version__
from socialrelay.config import Config
from socialrelay.health import Health
from socialrelay.operators.plain import Plain, plain_conditions, plain_time


@define(kw_only=True, eq=False)
class AloneViews:
    """
    Its views.

    @ivar started_at: since when it runs.
    @ivar bus: as L{BusView.short<socialrelay.operators.bus.BusView.short>}.
    """

    health: Health
    config: Config
    started_at: datetime
    pid: int
    now: Callable[[], datetime]
    bus: Callable[[], Plain]

    async def status(self) -> Plain:
        """
        How it is: C{version}, C{host}, C{mode} (C{bridge}), C{pid}, C{started_at}, C{uptime}, C{state_dir}, C{bus}, C{ready},
        C{degraded}, C{conditions}.
        """
        return {
            "version": __version__,
            "host": self.config.host,
            "mode": "bridge",
            "pid": self.pid,
            "started_at": plain_time(self.started_at),
            "uptime": max(0, int((self.now() - self.started_at).total_seconds())),
            "state_dir": str(self.config.state_dir),
            "bus": self.bus(),
            **await self.conditions(),
        }

    async def conditions(self) -> Plain:
        """As L{Views.conditions<socialrelay.operators.views.Views.conditions>}."""
        return plain_conditions(self.health.conditions())

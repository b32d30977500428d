"""In which time zone the old relay's host was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from socialrelay.takeover.old_config import TakeoverError


def zone_named(name: str) -> str:
    """
    @raise TakeoverError: there is no such time zone.
    """
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise TakeoverError(f"there is no time zone {name!r}: name one such as Europe/Berlin, or UTC") from None
    return name


def zone_of_host(environ: Mapping[str, str] = os.environ, localtime: Path = Path("/etc/localtime")) -> str:
    """
    This host's time zone, by name; UTC if it has none.

    @raise TakeoverError: it has one without a name.
    """
    if given := environ.get("TZ", "").removeprefix(":"):
        return zone_named(given)
    if not localtime.exists():
        return "UTC"
    _, found, name = str(localtime.resolve()).partition("zoneinfo/")
    if not found:
        raise TakeoverError("the name of this host's time zone is not known: say the old relay's with --timezone, such as Europe/Berlin")
    return zone_named(name)

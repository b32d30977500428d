"""Messages of the relay's own that name somebody who is to be erased."""

from __future__ import annotations

import json
from typing import Any

from socialrelay.boundaries.bus import ERASED
from socialrelay.bus.message import canonical
from socialrelay.routing.hosts import within


def names(body: bytes, *, author: str = "", guid: str = "", host: str = "") -> bool:
    """
    Whether an envelope of the relay's own names them, all that are given.

    @param author: a handle.
    @param guid: of a post.
    @param host: a node, or one below it.
    """
    msg: Any = json.loads(body).get("msg", {})
    return bool(
        (author or guid or host)
        and author in ("", msg.get("actor"))
        and guid in ("", msg.get("activity_id"))
        and (not host or within(msg.get("node") or "", host))
    )


def blanked(body: bytes, seq: int) -> bytes:
    """The same envelope, saying nothing but its number and that it was erased."""
    return canonical(json.loads(body) | {"msg": {ERASED: True, "seq": seq}})

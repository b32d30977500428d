"""What follows from acts that cannot be undone, or that cost others something: said before they are done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import define, frozen

from socialrelay.operators.offers import Offer


@frozen
class Question:
    """
    @ivar title: the question.
    @ivar button: what saying yes is called.
    @ivar effects: sentences.
    """

    title: str
    button: str
    effects: tuple[str, ...]


@define(eq=False)
class Consequences:
    """Asks the views what an act will touch."""

    views: Mapping[str, Offer]

    async def of(self, act: str, fields: Mapping[str, object]) -> Question | None:
        """What to ask before; C{None} if it is simply done."""
        ask = _ASKED.get(act)
        return None if ask is None else await ask(self, fields)

    async def _block(self, fields: Mapping[str, object]) -> Question:
        subject = str(fields["subject"])
        if "@" in subject:
            effects = [
                f"No post by {subject} is relayed any more.",
                "What waits to be delivered of it is cancelled, and does not come back.",
            ]
        else:
            effects = [
                f"Nothing from {subject} and its subdomains is relayed any more, and nothing is sent there.",
                "What waits to be delivered is cancelled, and does not come back when the block ends.",
            ]
        return Question(f"Block {subject}?", f"Block {subject}", tuple(effects))

    async def _erase(self, fields: Mapping[str, object]) -> Question:
        handle, guid, host = (str(fields.get(name, "")) for name in ("handle", "guid", "host"))
        whom = handle or (f"the posts with the guid {guid}" if guid else f"all authors of {host} and its subdomains")
        effects = (
            f"Posts with their bodies and names, what waits to be judged, what was refused, and keys go: of {whom}.",
            "What was not delivered yet is cancelled.",
            "Servers that have a post already are not told: only a retraction by the author's own server can do that.",
            "It cannot be brought back.",
        )
        return Question(f"Erase what the relay knows of {whom}?", "Erase it", effects)

    async def _remove_list(self, fields: Mapping[str, object]) -> Question:
        name = str(fields["name"])
        return Question(
            f"Remove the list {name}?",
            "Remove the list",
            (
                f"All rules that came with the list {name} end, unless another list has them too.",
                "Servers and authors that it blocked are relayed again from now on; what was cancelled does not come back.",
            ),
        )


Ask = Callable[[Consequences, Mapping[str, object]], Coroutine[Any, Any, Question]]

_ASKED: dict[str, Ask] = {
    "block": Consequences._block,
    "erase": Consequences._erase,
    "rules-remove": Consequences._remove_list,
}

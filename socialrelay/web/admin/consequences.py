"""What follows from acts that cannot be undone, or that cost others something: said before they are done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import define, frozen

from socialrelay.operators.offers import Offer
from socialrelay.routing.hosts import node_host, within
from socialrelay.words import counted

NAMED = 10
MOST = 1000


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
        cancelled = "What waits to be delivered of it is cancelled, and does not come back when the block ends."
        if subject.strip().startswith("#"):
            effects = [f"No post with the tag {subject} is relayed any more.", cancelled]
        elif "@" in subject:
            effects = [f"No post by {subject} is relayed any more.", cancelled]
        else:
            nothing = f"Nothing from {subject} and its subdomains is relayed any more, and nothing is sent there."
            effects = [nothing, cancelled.replace(" of it", ""), *await self._subscribed(subject)]
        return Question(f"Block {subject}?", f"Block {subject}", tuple(effects))

    async def _subscribed(self, text: str) -> list[str]:
        """Who would not be sent anything any more."""
        try:
            host = node_host(text)
        except ValueError:  # a tag; or nothing that the act will take
            return []
        found = await self.views["nodes"].run(text=host, which="subscribed", limit=MOST)
        hosts = [node["host"] for node in found["nodes"] if within(node["host"], host)]
        if not hosts:
            return []
        named = ", ".join(hosts[:NAMED])
        more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
        return [f"{counted(len(hosts), 'node')} that {'is' if len(hosts) == 1 else 'are'} subscribed now would get nothing: {named}{more}."]

    async def _erase(self, fields: Mapping[str, object]) -> Question | None:
        handle, guid, host = (str(fields.get(name, "")) for name in ("handle", "guid", "host"))
        if [bool(handle), bool(guid), bool(host)].count(True) != 1:
            return None  # the act says what is wrong
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
        rules = (await self.views["rules"].run(list=name, limit=1))["total"]
        return Question(
            f"Remove the list {name}?",
            "Remove the list",
            (
                f"{counted(rules, 'rule')} that came with it {'ends' if rules == 1 else 'end'}, unless another list has the same.",
                "Servers and authors that it blocked are relayed again from now on; what was cancelled does not come back.",
            ),
        )


Ask = Callable[[Consequences, Mapping[str, object]], Coroutine[Any, Any, Question | None]]

_ASKED: dict[str, Ask] = {
    "block": Consequences._block,
    "erase": Consequences._erase,
    "rules-remove": Consequences._remove_list,
}

"""Who takes part: authors with something to say, and nodes with something to ask for."""

from __future__ import annotations

import re
from statistics import median

from attrs import Factory, define, frozen

from tests.envelopes import Author
from tests.nodes import Node

ALL: frozenset[str] = frozenset()


@frozen
class Sent:
    """
    A post on its way.

    @ivar at: the reactor's seconds when it was brought to the relay.
    @ivar due: hosts of the nodes that asked for it.
    """

    guid: str
    author: Author
    text: str
    body: bytes
    at: float
    due: frozenset[str]


@define(eq=False)
class Member:
    """
    A node, and what it asked for.

    @ivar tags: that it asked for; L{ALL} for everything.
    @ivar how: it is subscribed by what it publishes C{itself}, by the C{operator}, or not at all.
    @ivar home: name of the author who lives there.
    @ivar remark: what it is like.
    @ivar wants_nothing: it publishes a no, or does not say anything.
    @ivar away: it does not listen.
    @ivar state: as the relay sees it; empty while there is no subscription.
    @ivar due: what it is to get: guid -> post.
    """

    node: Node
    tags: frozenset[str]
    how: str = ""
    home: str = ""
    remark: str = ""
    wants_nothing: bool = False
    away: bool = False
    state: str = ""
    due: dict[str, Sent] = Factory(dict)

    @property
    def host(self) -> str:
        """Its name."""
        return self.node.host

    def asked_for(self, author: Author, tags: frozenset[str]) -> bool:
        """Whether a post is for it: not one of its own authors'."""
        return not self.wants_nothing and author.host != self.host and (self.tags is ALL or bool(tags & self.tags))

    @property
    def reachable(self) -> bool:
        """It takes posts."""
        return self.state in ("", "active")

    @property
    def got(self) -> int:
        """How many different posts it took."""
        return len(set(self.node.guids))

    @property
    def waiting(self) -> int:
        """How many it has yet to get."""
        return len(self.due.keys() - set(self.node.guids))

    @property
    def delays(self) -> tuple[float, float] | None:
        """Seconds from an author's click to the post's arrival: the median, the greatest."""
        found = [taken.at - self.due[taken.post.guid].at for taken in self.node.taken if taken.post.guid in self.due]
        return (median(found), max(found)) if found else None

    def complaints(self) -> list[str]:
        """Where what it got differs from what it asked for."""
        guids = self.node.guids
        found = list(self.node.faults)
        if self.waiting:
            found.append(f"{self.waiting} posts did not arrive")
        if len(guids) > len(set(guids)):
            found.append(f"{len(guids) - len(set(guids))} arrived twice")
        if strange := set(guids) - self.due.keys():
            found.append(f"{len(strange)} were not asked for")
        if any(taken.body != self.due[taken.post.guid].body for taken in self.node.taken if taken.post.guid in self.due):
            found.append("some were changed on the way")
        return found


def tags_of(text: str) -> frozenset[str]:
    """The hashtags of one of our own texts."""
    return frozenset(re.findall(r"#(\w+)", text))


TEXTS = {
    "alice": (
        "The first tomatoes are red #gardening",
        "Herbs on the window sill, for #cooking",
        "Who can name this weed? #plants",
        "Beans, beans, beans #gardening #vegan",
        "It rained at last",
        "Moss, from very near #photography #plants",
    ),
    "bob": (
        "Fog over the harbour #photography",
        "Charcoal, an hour, a model #art",
        "The botanical garden in autumn #plants #photography",
        "An exhibition opens on Friday #art",
        "Has anybody seen my keys?",
        "Blue hour, no tripod #photography",
    ),
    "carol": (
        "Sourdough, day five #cooking",
        "What to do with so much rhubarb? #gardening #cooking",
        "Lentils can do more than soup #vegan",
        "Photographing soup is hard #cooking #photography",
        "Good morning, all of you",
        "Nettles: weed or spinach? #plants #vegan",
    ),
}

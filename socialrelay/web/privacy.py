"""C{/privacy}: what is kept and for how long, as the configuration says and the relay does."""

from __future__ import annotations

from socialrelay.config import Config
from socialrelay.web.templating import duration

Rows = tuple[tuple[str, str], ...]


def kept(config: Config) -> tuple[tuple[str, Rows], ...]:
    """
    What is kept, in groups with a heading: each (what, at most how long).

    @see: C{socialrelay/storage/migrations/0001.initial.sql}, C{socialrelay/storage/prune.py}
    """
    days = config.retention
    bus = (
        (("Whose posts were relayed, as the operator’s programs were told", duration(config.bus.keep_days)),) if config.bus.enabled else ()
    )
    return (
        (
            "Posts and their authors",
            (
                ("Public posts, until one day after every node has them that is to have them", duration(days.bodies)),
                ("Who posted something, with which hashtags, and for which nodes it was", duration(days.posts)),
                ("Which posts a node refused, and why", duration(days.rejections)),
                ("That a node never got some posts, how many, and why", duration(days.posts)),
                ("A digest of each post, to know it again; nothing can be read from it", duration(days.identities)),
                ("Why something was refused: author and reason, not the text", duration(days.rejections)),
                ("What could not be read at all, whole, for the operator to look at", duration(days.rejections)),
                ("Posts that wait for their author’s key", "1 day"),
                ("Public keys of authors, after their last post", duration(days.keys)),
                ("That an author added the relay to the contacts, or removed it", "no limit: it is the author’s wish"),
                ("Private messages to the relay", "not after they are read"),
                *bus,
            ),
        ),
        (
            "Nodes",
            (
                ("Which nodes there are, and what they ask for", "30 days after they were last listed or answered"),
                ("That a node was subscribed, and how many posts it took", "no limit"),
                ("Counts for each node and hour", duration(days.statistics)),
                ("What the operator decided on nodes, authors and hashtags, and why", "until the operator takes it back"),
                ("Counts of all time, without names", "no limit"),
            ),
        ),
        (
            "Visitors",
            (
                (
                    "The address of whoever connects",
                    "not stored; in memory while the connection, or a page that is kept up to date, is open",
                ),
                ("How often an address checked a node, with the address", "1 minute"),
            ),
        ),
        (
            "Logs",
            (
                (
                    "What happened: names of authors and nodes, and reasons; no texts, no addresses of visitors",
                    "as long as the operator keeps logs",
                ),
                (
                    "What operators did: who, from where, and what; logins that failed, with a shortened address",
                    "as long as the operator keeps logs",
                ),
            ),
        ),
    )

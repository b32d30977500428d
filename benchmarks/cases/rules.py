"""Five thousand rules at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.bed import Bed
from benchmarks.figures import Figures, interleaved, table

NODES = 10_000
POSTS = 50_000


def rules(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """A list that blocks half of ten thousand nodes is taken over, again, and removed: until it is in force, and the loop's longest gap."""
    nodes, posts = bed.size((NODES, POSTS), (500, 1000))
    found = interleaved(bed.size(3, 1), {"rules": partial(_moderate, bed, nodes, posts)}, told).medians()
    print(table(found))
    return {f"rules.{name}": value for name, value in found["rules"].items()}


def _moderate(bed: Bed, nodes: int, posts: int) -> Figures:
    with bed.database() as database:
        database.run(
            """
            INSERT INTO node (host, sources, first_seen, next_poll, scope, tags, receive_url)
            SELECT 'pod' || n || '.example', '{bench}', now(), now() + interval '1 day', 'tags',
                   ARRAY(SELECT 'tag' || (n * 7 + k * 13) %% 3000 FROM generate_series(1, 20) AS k), 'https://pod' || n || '.example/r'
              FROM generate_series(1, %(nodes)s) AS n;
            INSERT INTO destination (number, host, protocol, url, cursor, created_at)
            SELECT row_number() OVER () - 1, host, 'diaspora', receive_url, %(posts)s, now() FROM node;
            INSERT INTO post (received_at, published_at, protocol, kind, author, author_host, guid, tags, recipients, recipient_count, size,
                              publication)
            SELECT now() - interval '1 day', now() - interval '1 day', 'diaspora', 'status_message', 'ada@' || host, host, 'guid' || n,
                   '{tag1,tag2}', '', 0, 1000, n
              FROM generate_series(1, %(posts)s) AS n, LATERAL (SELECT 'pod' || n %% %(nodes)s || '.example' AS host) AS author
            """,
            {"nodes": nodes, "posts": posts},
        )
        database.run("ANALYZE")
        command = [sys.executable, "-m", "benchmarks.moderating", database.dsn]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode or not done.stdout:
            raise RuntimeError(f"the rules could not be measured:\n{done.stderr[-3000:]}")
        return {name: float(value) for name, value in json.loads(done.stdout).items()}

"""What a look at the pages costs, when there is much to show."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable

from benchmarks.bed import Bed
from benchmarks.figures import Figures, percentile, table
from tests.browser import seed

LOOKS = 20
USER = "X-Remote-User"
PUBLIC = {"first": "/", "month": "/?period=30d", "tags": "/tags", "tags_found": "/tags?q=photo", "names": "/nodes"}
ADMIN = {
    "nodes": "/admin/nodes",
    "nodes_found": "/admin/nodes?text=harbour",
    "nodes_failing": "/admin/nodes?which=failing",
    "nodes_by_state": "/admin/nodes?sort=state",
    "nodes_last": "/admin/nodes?page=200",
    "node": f"/admin/nodes/{seed.hosts()[0]}",
    "queue": "/admin/queue",
}


def pages(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Ten thousand nodes, 640 of them subscribed, and a month of counts: until a page is there, and what it costs the relay."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        admin = int(free.getsockname()[1])
    configuration = "\n".join(
        (
            f'admin_listen = ["tcp:{admin}:interface=127.0.0.1"]',
            "[admin]",
            f"user_header = {json.dumps(USER)}",
            "[dashboard]",
            "node_names = true",
        )
    )
    rows: dict[str, Figures] = {}
    with bed.database() as database:
        seed.fill(database.dsn)
        with bed.relay(database, configuration) as relay:
            for port, paths in ((relay.port, PUBLIC), (admin, ADMIN)):
                for name, path in paths.items():
                    before = relay.cost()
                    rows[name], count = _looks(port, path)
                    cost = relay.cost() - before
                    rows[name] |= {"cpu_ms": cost.relay / count * 1000, "postgres_ms": cost.postgres / count * 1000}
                    told(name, rows[name])
            peak = relay.peak
    print(table(rows))
    figures = {f"pages.{row}.{name}": value for row, columns in rows.items() for name, value in columns.items()}
    return {**figures, "pages.longest_ms": max(columns["p95_ms"] for columns in rows.values()), "pages.peak_mb": peak}


def _looks(port: int, path: str) -> tuple[Figures, int]:
    """One look after another, from the second on; how many there were in all."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took, size = [], 0
    for _ in range(LOOKS + 1):
        started = time.monotonic()
        connection.request("GET", path, headers={USER: "bench", "Accept": "text/html"})
        answer = connection.getresponse()
        size = len(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        took.append((time.monotonic() - started) * 1000)
    connection.close()
    return {"ms": percentile(took[1:], 0.5), "p95_ms": percentile(took[1:], 0.95), "first_ms": took[0], "kb": size / 1000}, len(took)

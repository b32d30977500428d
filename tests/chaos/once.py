"""The same post comes a hundred times at once, and goes round in a ring of relays: each node gets it once from each relay."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import quote_plus

import trustme

from benchmarks.load import request
from benchmarks.sinks import names
from tests.chaos.finding import Finding
from tests.chaos.pulse import metrics
from tests.chaos.sending import read_answer
from tests.chaos.stage import AT_ONCE, Database, Relay, Stage, account
from tests.chaos.waiting import until

NODES = names("n", 20)
TIMES = 100
RING = ("relay-a.ring.example", "relay-b.ring.example", "relay-c.ring.example")
OF_RING = names("n", 3)
"""Nodes that have subscribed to each of the relays."""
PATIENCE = 60.0
LAP = 1.0
"""Seconds in which another lap would show itself; one takes a tenth of that."""

SAME: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: body,
    lambda body: b"xml=" + quote_plus(body).encode(),
    lambda body: b"xml=" + quote_plus(quote_plus(body)).encode(),
    lambda body: re.sub(rb"=+</me:(data|sig)>", rb"</me:\1>", body),
    lambda body: re.sub(rb">\s+<", b">\r\n\t<", body),
    lambda body: re.sub(rb">\s+<", b"><", body),
    lambda body: re.sub(rb' (type|key_id)="([^"]*)"', rb" \1 = '\2'", body),
    lambda body: re.sub(rb"(<me:data.*</me:data>)(.*)(</me:env>)", rb"\2\1\3", body, flags=re.DOTALL),
    lambda body: body.replace(b"</me:env>", b"<note>again</note></me:env>"),
    lambda body: body.replace(b"\n", b"\r\n"),
)
"""How senders may write the same post, the legacy form among them."""


def prove(full: bool) -> Finding:
    """As L{tests.chaos.finding.Proof}."""
    posts, of_ring = (50, 200) if full else (2, 9)
    with Stage() as stage:
        bodies = stage.posts.first(posts + of_ring)
        statuses, most, fewest, rejected, imbalance = _at_once(stage, bodies[:posts])
        laps, links, difference = _ring(stage, bodies[posts:])
    expected = [of_ring] * len(RING)
    answers = ", ".join(f"{status} {times} times" for status, times in sorted(statuses.items()))
    return Finding(
        done=f"{posts} posts, each {TIMES} times at once on {TIMES} connections, written in {len(SAME)} ways, to {len(NODES)} nodes; "
        f"{of_ring} posts into a ring of {len(RING)} relays, each subscribed to the one before, with {len(OF_RING)} nodes at all of them",
        figure=f"answered {answers}, {rejected} of them not for what it is; each post {_span([fewest, most])} times at each node; in the "
        f"ring each came to each node {_span(laps)} times, and over the links {', '.join(map(str, links))} posts went",
        held=statuses == {202: posts * TIMES}
        and most == fewest == 1
        and set(laps) == {len(RING)}
        and links == expected
        and rejected == imbalance == difference == 0,
        figures={"most": most, "fewest": fewest, "ring_most": max(laps), "ring_fewest": min(laps), "imbalance": imbalance + difference},
        scope="one process",
    )


def _span(counts: Sequence[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


# A hundred times at once


def _at_once(stage: Stage, bodies: Sequence[bytes]) -> tuple[Counter[int], int, int, int, int]:
    """
    @return: how senders were answered, how often a post came to a node at most and at least, how many were taken for something else than
        the post, and what the accounts lack.
    """
    statuses, counts = Counter[int](), Counter[str]()
    with stage.database() as database:
        database.subscribe(NODES)
        with stage.relay(database, AT_ONCE) as relay, _connections(relay.port) as connections:
            most, fewest = 0, len(bodies)
            for number, body in enumerate(bodies):
                base = stage.sinks.total
                statuses.update(_storm(connections, body))
                stage.sinks.wait(base + len(NODES), PATIENCE)
                if number == len(bodies) - 1:
                    relay.terminate()  # what is still to go out does so
                came = Counter(arrival.host for arrival in stage.sinks.report()) - counts
                counts += came
                most, fewest = max(most, *came.values()), min(fewest, *(came[host] for host in NODES))
        [(rejected,)] = database.run("SELECT count(*) FROM rejected")
        return statuses, most, fewest, rejected, account(database).difference


@contextmanager
def _connections(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(TIMES)]


def _storm(connections: Sequence[socket.socket], body: bytes) -> list[int]:
    """Everybody brings it; all but the last byte before the first has brought all. How they were answered."""
    requests = [request(SAME[number % len(SAME)](body)) for number in range(len(connections))]
    for connection, data in zip(connections, requests, strict=True):
        connection.sendall(data[:-1])
    for connection, data in zip(connections, requests, strict=True):
        connection.sendall(data[-1:])
    return [read_answer(connection)[0] for connection in connections]


# A ring


def _ring(stage: Stage, bodies: Sequence[bytes]) -> tuple[list[int], list[int], int]:
    """
    @return: how often each post came to each node; how many went from each relay to the next; and what the accounts lack.
    """
    with ExitStack() as stack:
        databases = [stack.enter_context(stage.database()) for _ in RING]
        relays = _linked(stage, databases)
        for place, database in enumerate(databases):
            database.subscribe([*OF_RING, RING[(place + 1) % len(RING)]])
        stage.sinks.forget()
        for relay in relays:
            stack.callback(relay.stop)
            relay.start()
        base = stage.sinks.total
        for place, relay in enumerate(relays):
            with relay.door(4) as door:
                door.drive(bodies[place :: len(relays)])
        stage.sinks.wait(base + len(bodies) * len(OF_RING) * len(RING), PATIENCE)
        until(lambda: sum(map(_delivered, relays)) >= len(bodies) * len(RING) * (len(OF_RING) + 1))
        time.sleep(LAP)
        for relay in relays:
            relay.terminate()
        came = Counter((arrival.mark, arrival.host) for arrival in stage.sinks.report())
        links = [_link(database, RING[(place + 1) % len(RING)]) for place, database in enumerate(databases)]
        pairs = len(bodies) * len(OF_RING)
        laps = [*came.values(), *([0] * (pairs - len(came)))]
        return laps, links, sum(account(database).difference for database in databases)


def _linked(stage: Stage, databases: Sequence[Database]) -> list[Relay]:
    """Relays that hear each other over TLS, at the names that they have among each other."""
    authority, folder = trustme.CA(), stage.folder
    certificate = folder / "ring.pem"
    certificate.write_bytes(authority.issue_cert(*RING).private_key_and_cert_chain_pem.bytes())
    trusted = folder / "ring-and-nodes.pem"
    trusted.write_bytes(stage.sinks.ca_file.read_bytes() + authority.cert_pem.bytes())
    certificate.chmod(0o644)
    ports = [_free_port() for _ in RING]
    where = [f"{json.dumps(f'{host}:443')} = {json.dumps(f'127.0.0.1:{port}')}" for host, port in zip(RING, ports, strict=True)]
    relays = []
    for database, port in zip(databases, ports, strict=True):
        relay = Relay(stage, database, AT_ONCE)
        daemon = relay._daemon
        daemon.listen += (f"ssl:{port}:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}",)
        daemon.configuration = daemon.configuration.replace(str(stage.sinks.ca_file), str(trusted)) + "\n".join(["", *where, ""])
        relays.append(relay)
    return relays


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _delivered(relay: Relay) -> float:
    """How many posts it has delivered since it was started."""
    return metrics(relay)['deliveries_total{outcome="delivered"}']


def _link(database: Database, host: str) -> int:
    """How many posts went to this host."""
    [(delivered,)] = database.run("SELECT delivered FROM destination WHERE host = %s", (host,))
    return int(delivered)

"""
Nodes that mean harm: what they cost, who is kept waiting, what is left of them.

They are delivered to, all at once, and asked for what a relay asks nodes for: keys of authors, and preferences.  What so many connections
cost in themselves is measured before, by as many nodes that do nothing but never answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme
from attrs import frozen

from benchmarks import processes
from benchmarks.figures import percentile
from benchmarks.posts import TAGS
from benchmarks.sinks import names
from socialrelay.nodes.poller import ROUND
from tests.chaos.finding import Finding
from tests.chaos.hostile_server import ADDRESS, DOMAIN
from tests.chaos.hostile_ways import ENCRYPTED, MULTIPLEXED, PLAIN
from tests.chaos.sending import Sender
from tests.chaos.stage import Database, Relay, Stage, account
from tests.chaos.watching import sockets
from tests.envelopes import private_key, seal, status_message

KINDS = (*PLAIN, *ENCRYPTED, *MULTIPLEXED)
WELL = 20
IN_TIME = 5.0
"""Seconds in which the last post is to arrive."""

PATIENCE = 120.0
"""Seconds in which what is over must be seen to be over."""

P99 = 3.0
"""Seconds, for those that are well."""
GRACE = 2.0
"""Seconds by which an attempt may exceed its time, on a busy machine."""

POLITE = ("later", "points")
"""They answer as HTTP wants it, so their connections may be kept for the next post."""

AFTERWARDS = ("more", "hastens")
"""They go on after a proper answer: the attempt is over then, and the connection is closed when the next one is begun."""

CHAIN = 40
"""Certificates of the longer chain. OpenSSL would take four times as many, each of which costs 5 kB until the handshake is over."""


class Hostile:
    """
    The process of L{tests.chaos.hostile_server}.

    @ivar ports: of each way to do harm.
    """

    def __init__(self, folder: Path, ca_file: Path) -> None:
        """
        @param folder: for its certificates; it is made.
        @param ca_file: who vouches for them is added to it.
        """
        folder.mkdir()
        authority, nobody = trustme.CA(), trustme.CA()
        ca_file.write_bytes(ca_file.read_bytes() + authority.cert_pem.bytes())
        for way in KINDS:
            issuer = nobody if way == "forged" else authority
            certificate = issuer.issue_cert(f"*.{way}.{DOMAIN}" if way != "foreign" else "elsewhere.example")
            chain = certificate.cert_chain_pems[0].bytes() * (CHAIN if way == "chain" else 1)
            (folder / f"{way}.pem").write_bytes(certificate.private_key_pem.bytes() + chain)
        command = [sys.executable, "-m", "tests.chaos.hostile_server", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent.parent)
        processes.pin([self._process.pid], processes.cores()[1])
        self.ports: dict[str, int] = json.loads(self._line())

    @property
    def network(self) -> str:
        """Lines of the table C{network.connect_to}."""
        return "\n".join(f'"*.{way}.{DOMAIN}:443" = "{ADDRESS}:{port}"' for way, port in self.ports.items())

    def treated(self) -> dict[str, dict[str, float]]:
        """What became of those who came, by the way in which they were treated: see L{tests.chaos.hostile_server.Treated}."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        found: dict[str, dict[str, float]] = json.loads(self._line())
        return found

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@frozen
class _Size:
    """
    @ivar each: nodes of each kind.
    @ivar asked: of these, so many are asked for their preferences.
    @ivar at_a_time: so many nodes are asked at a time.
    @ivar timeout: of a delivery.
    @ivar fetch_timeout: of a document.
    @ivar posts: that there are, at the most.
    @ivar memory: MB that they may cost, more than as many nodes that never answer.
    @ivar again: seconds for which deliveries go on, so that those that failed are tried again.
    """

    each: int
    asked: int
    at_a_time: int
    timeout: float
    fetch_timeout: float
    again: float
    posts: int
    memory: float


_FULL = _Size(each=10, asked=4, at_a_time=20, timeout=15.0, fetch_timeout=10.0, again=45.0, posts=1500, memory=20.0)
_SHORT = _Size(each=3, asked=1, at_a_time=50, timeout=3.0, fetch_timeout=3.0, again=0.0, posts=600, memory=30.0)


@frozen(kw_only=True)
class _Cost:
    """
    What some nodes cost that are no good.

    @ivar memory: MB at the most, more than before.
    @ivar cpu: seconds of the relay's.
    @ivar longest: seconds that the longest connection lasted.
    @ivar whose: which kind of node it led to.
    @ivar left: sockets that are there in the end for longer than any attempt may take, but for those that may be kept.
    @ivar made: connections to nodes that are hostile.
    @ivar untried: kinds of these that nobody came to.
    @ivar delays: of posts to nodes that are well, all the time.
    @ivar lost: of these, those that did not come, or came twice.
    @ivar imbalance: pairs of post and node of which the relay does not know what became of them.
    """

    memory: float
    cpu: float
    longest: float
    whose: str
    left: int
    made: int
    untried: Sequence[str]
    delays: Sequence[float]
    lost: int
    imbalance: int


@frozen
class _Compared:
    """
    The same twice.

    @ivar silent: what as many nodes cost that never answer.
    """

    silent: _Cost
    hostile: _Cost

    @property
    def memory(self) -> float:
        """MB that hostile ones cost, more than silent ones."""
        return self.hostile.memory - self.silent.memory

    def held(self, size: _Size) -> bool:
        """Whether the targets are met."""
        hostile = self.hostile
        return (
            self.memory <= size.memory
            and hostile.longest <= max(size.timeout, size.fetch_timeout) + GRACE
            and hostile.left == hostile.lost == hostile.imbalance == 0
            and not hostile.untried
            and percentile(hostile.delays, 0.99) <= P99
        )

    def __str__(self) -> str:
        hostile = self.hostile
        return (
            f"{self.memory:+.1f} MB against as many that never answer, longest attempt {hostile.longest:.1f} s "
            f"({hostile.whose}), {hostile.left} sockets left, {hostile.cpu:.1f} s of CPU for {hostile.made} connections; "
            f"{WELL} nodes that are well: p99 {percentile(hostile.delays, 0.99):.2f} s"
        )


def prove(full: bool) -> Finding:
    size = _FULL if full else _SHORT
    enemies = [f"h{number}.{way}.{DOMAIN}" for number in range(size.each) for way in KINDS]
    found = []
    with Stage() as stage, _hostile(stage) as hostile:
        for http2 in (False, True) if full else (True,):
            costs = []
            for hosts in (names("hang", len(enemies)), enemies):
                with stage.database() as database:
                    costs.append(_run(stage, hostile, database, size, hosts, http2))
            found.append(_Compared(*costs))
    worst = max(found, key=lambda each: each.memory)
    return Finding(
        done=f"{len(KINDS)} kinds of hostile nodes, {size.each} of each, all at once, over HTTP/1.1 and HTTP/2, also asked for keys and "
        "preferences, and tried again; and the same with nodes that never answer",
        figure="; ".join(map(str, found)),
        held=all(each.held(size) for each in found),
        figures={
            "memory": worst.memory,
            "memory_in_all": worst.hostile.memory,
            "longest": max(each.hostile.longest for each in found),
            "left": sum(each.hostile.left for each in found),
            "cpu_ms_per_connection": 1000 * worst.hostile.cpu / worst.hostile.made,
            "p99": max(percentile(each.hostile.delays, 0.99) for each in found),
        },
        remark="".join(f"Nobody came to {', '.join(each.hostile.untried)}. " for each in found if each.hostile.untried)
        + f"{len(POLITE + AFTERWARDS)} of the kinds answer as HTTP wants it, and may keep their connections for the next post: they do not count "
        f"among the attempts and the sockets. A chain of certificates has {CHAIN} of them; one of 150 costs 0.75 MB for as long as its handshake lasts.",
    )


@contextmanager
def _hostile(stage: Stage) -> Iterator[Hostile]:
    hostile = Hostile(stage.folder / "hostile", stage.sinks.ca_file)
    try:
        yield hostile
    finally:
        hostile.close()


def _configuration(size: _Size, http2: bool) -> str:
    return "\n".join(
        (
            'host = "relay.example"',
            "[delivery]",
            "origin_spread = 0",
            f"timeout = {size.timeout}",
            f"connect_timeout = {min(size.timeout, 5.0)}",
            f"http2 = {str(http2).lower()}",
            "[discovery]",
            f"timeout = {size.fetch_timeout}",
            "[polling]",
            f"timeout = {size.fetch_timeout}",
            f"concurrency = {size.at_a_time}",
            "lists = []",
            "",
        )
    )


def _run(stage: Stage, hostile: Hostile, database: Database, size: _Size, hosts: list[str], http2: bool) -> _Cost:
    asked = hosts[: size.asked * len(KINDS)]
    database.subscribe(names("n", WELL))
    database.subscribe(hosts, tags=["t1"])
    database.run(
        "INSERT INTO node (host, sources, first_seen, next_poll) SELECT host, '{bench}', now(), now() + interval '1 day'"
        " FROM unnest(%s::text[]) AS host",
        (asked,),
    )
    bodies = stage.posts.first(size.posts)
    to_all, plain = bodies[1], iter([body for number, body in enumerate(bodies) if number % TAGS != 1])
    senders: list[Sender] = []
    earlier = hostile.treated()
    relay = Relay(stage, database, _configuration(size, http2), network=hostile.network)
    stage.sinks.forget()

    def post(*first: bytes, until: Callable[[], bool] = lambda: True, seconds: float = 0.0) -> None:
        """Posts to those that are well, five a second, until something holds, and for so long at least."""
        began = time.monotonic()
        posts = [*first]
        while True:
            watch()
            posts.append(next(plain))
            senders.append(Sender(relay.port, posts).start())
            senders[-1].join()
            posts = []
            now = time.monotonic() - began
            if now >= seconds and (until() or now > seconds + PATIENCE):
                return
            time.sleep(0.2)

    def answered() -> bool:
        """They have been asked for their preferences, and nobody waits for them any more."""
        return not database.run("SELECT 1 FROM node WHERE last_poll IS NULL AND host = ANY(%s)", (asked,))

    ages: dict[tuple[str, str], float] = {}
    oldest: dict[str, float] = {}

    def watch() -> None:
        """Look which sockets there are, seen from the relay: who means harm may notice late that it was cut off."""
        now = time.monotonic()
        ways = {port: way for way, port in hostile.ports.items() if way not in (*POLITE, *AFTERWARDS)}
        there = {(ways[port], inode) for port, inode in sockets(relay.pid, ADDRESS) if port in ways}
        for gone in ages.keys() - there:
            del ages[gone]
        for each in there:
            oldest[each[0]] = max(oldest.get(each[0], 0.0), now - ages.setdefault(each, now))

    try:
        relay.start()
        before = stage.sinks.total
        post(seconds=1.0)
        idle = relay.resident
        _peak(relay)  # that of its start is past
        cost = relay.cost()
        database.run("UPDATE node SET next_poll = now() WHERE host = ANY(%s)", (asked,))
        # Fewer strangers than the hosts for whose keys one client may make the relay look at a time.
        asking = Sender(relay.port, [_of_a_stranger(f"stranger@{host}") for host in hosts[: len(KINDS)]]).start()
        post(to_all, seconds=max(size.timeout + size.again, ROUND), until=answered)
        asking.join()
        post(seconds=max(size.timeout, size.fetch_timeout) + GRACE)
        watch()
        remaining = sum(time.monotonic() - since > max(size.timeout, size.fetch_timeout) + GRACE for since in ages.values())
        peak = _peak(relay)
        spent = relay.cost() - cost
        accepted = {mark: at for sender in senders for mark, at in sender.accepted.items()}
        stage.sinks.wait(before + len(accepted) * WELL, IN_TIME)
        report = stage.sinks.take()
    finally:
        relay.kill()
        relay.stop()
    after = hostile.treated()
    fought = {way: fields["made"] - earlier[way]["made"] for way, fields in after.items()}
    longest, whose = max(((seconds, way) for way, seconds in oldest.items()), default=(0.0, "none"))
    times = Counter(zip(report.marks, report.takers, strict=True))
    delays = [at - accepted[mark] for at, mark in zip(report.times, report.marks, strict=True) if mark in accepted]
    return _Cost(
        memory=peak - idle,
        cpu=spent.relay,
        longest=longest,
        whose=whose,
        left=remaining,
        made=int(sum(fought.values())),
        untried=[way for way, times in fought.items() if not times],
        delays=delays,
        lost=len(accepted) * WELL - sum(times[mark, taker] == 1 for mark in accepted for taker in range(len(report.hosts))),
        imbalance=account(database).difference,
    )


def _peak(relay: Relay) -> float:
    """MB at the most since the last time."""
    peak = relay.peak
    Path(f"/proc/{relay.pid}/clear_refs").write_text("5")
    return peak


def _of_a_stranger(author: str) -> bytes:
    """A post for which the relay must look for a key."""
    return seal(status_message(author, "Good morning"), author, private_key("a stranger"))

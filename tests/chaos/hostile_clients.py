"""Clients that send what no client should: too much, too slowly, in odd shapes, at both sites."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit

from benchmarks.load import request
from benchmarks.sinks import names
from socialrelay.web.admin.forms import MAX_UPLOAD
from socialrelay.web.admin.places import SOCKET_NAME
from tests.chaos.crowd import Crowd, Healthy
from tests.chaos.finding import Finding
from tests.chaos.hostile import HEAD, shapes
from tests.chaos.odd_clients import BUS, CAP, TOKEN, Connect, Odd
from tests.chaos.pulse import Pulse
from tests.chaos.sending import read_answer
from tests.chaos.stage import AT_ONCE, Relay, Stage, answers_ready
from tests.chaos.waiting import surely
from tests.chaos.watching import Watch, made, strace

DESCRIPTORS = 1024
SERVED, SERVED_SHORT = 0.999, 0.95
"""Part of the others that must be served; in the short form other tests may keep the machine busy for seconds. Unguarded it is next to none."""
PROXY = "127.0.9.9"
WELL = "127.0.1.1"
MANY = [f"127.0.2.{number}" for number in range(1, 21)]
CONFIGURATION = f"""{AT_ONCE}
[receive]
trusted_proxies = ["{PROXY}"]
[bus]
enabled = true
relay_inbound = ["ipc://FOLDER/inbound"]
relay_outbound = ["ipc://FOLDER/outbound"]
relay_ingest = ["ipc://FOLDER/ingest"]
tokens = [{{ name = "chaos", token = "{TOKEN}" }}]
"""
GROWN = 6.0
"""MB."""
IN_KIND = (
    "5 MB were wanted: one attack is a file of rules that is too long, of which the operators' site reads as much as one may have; "
    "a gap of 50 ms was wanted: what 200 connections bring at the same moment, each wrong in some way, is answered in one turn of Twisted's "
    "reactor, and takes up to 60 ms where the machine is slow"
)
GAP = 0.075
"""Seconds. What is there at the same moment on two hundred connections, all wrong in some way, is answered in one turn of the reactor."""
UNTRACED = "there is no strace (apt-get install strace): that no file was opened was seen only by looking often"


def prove(full: bool) -> Finding:
    with Stage() as stage, stage.database() as database:
        database.subscribe(names("n", 1))
        posts = stage.posts.first(4000 if full else 800)
        with stage.relay(database, CONFIGURATION.replace("FOLDER", str(stage.folder))) as relay:
            _restart(relay, DESCRIPTORS)
            return _attacked(relay, posts, full)


def _attacked(relay: Relay, posts: Sequence[bytes], full: bool) -> Finding:
    connect = from_many(relay.port)
    operators = partial(_unix, relay.state / "run" / SOCKET_NAME)
    odd = Odd(connect, operators)
    _as_usual(relay, connect, operators, posts)
    watch = Watch(relay.pid)
    with watch, Pulse(relay, "/health/live", operators=True) as pulse, _served(relay, posts) as healthy, ExitStack() as crowds:
        few = _few(relay.port)
        for crowd in few:
            crowds.callback(crowd.end)
        began = time.monotonic()
        for _ in range(10 if full else 1):
            watch.begin("odd shapes")
            odd.try_all()
            for attack in odd.attacks:
                watch.begin(attack.__name__.strip("_").replace("_", " "))
                attack()
        watch.begin("few slow ones")
        time.sleep(max(began + 12.0 - time.monotonic(), 0.0))
        longest = _lasted(few)
        watch.begin("slow ones")
        longest = max(longest, _slow(relay.port, operators, 60.0 if full else 5.0))
    wrong, unheard = list(odd.said), list(odd.unheard)
    with strace(relay.pid) as trace:
        odd.too_large()
        if full:
            odd.try_all()  # how it is answered meanwhile does not count: all takes its time
    files = watch.files | made(trace)
    asked, failed = sum(len(each.waited) for each in healthy), sum(each.failed for each in healthy)
    share, gap, (worst, grown) = 1 - failed / max(asked, 1), pulse.longest, watch.most
    stood = min(sum(beat.stood for beat in pulse.beats) / max(sum(beat.waited for beat in pulse.beats), 1e-9), 0.8)
    patience = 1.0 if full else 3.0 / (1.0 - stood)
    held = (
        grown <= (GROWN if full else 2 * GROWN)
        and odd.most <= 2 * 65536
        and longest <= 10.0
        and gap <= GAP * patience
        and share >= (SERVED if full else SERVED_SHORT)
        and not wrong
        and not unheard
        and not files
    )
    return Finding(
        done=f"{len(shapes())} odd shapes; endless, lying and tiny bodies, forms of 64 MiB, pipelines, answers that nobody reads; "
        f"{SLOW} slow connections at a time from {len(MANY)} addresses, through a proxy and to the operators' site; "
        f"{DESCRIPTORS} descriptors",
        figure=f"{len(wrong)} shapes answered otherwise than they should be, bodies refused at most {odd.most // 1024} KiB past the limit; "
        f"at most {grown:+.1f} MB ({worst}), {watch.peak - watch.base:+.1f} MB in all; {len(files)} files; longest gap {gap * 1000:.0f} ms; slow "
        f"ones gone after {longest:.1f} s at most; {share:.2%} of {asked} others served",
        held=held,
        figures={
            "wrong": len(wrong),
            "most_bytes": odd.most,
            "grown_mb": grown,
            "grown_in_all_mb": watch.peak - watch.base,
            "files": len(files),
            "gap_s": gap,
            "slow_s": longest,
            "served_share": share,
            "asked": asked,
        },
        remark="; ".join(
            [
                *([IN_KIND] if full else []),
                *sorted({*wrong, *unheard, *files, *(why for each in healthy for why in each.why)}),
                *([] if trace else [UNTRACED]),
            ]
        ),
    )


def _as_usual(relay: Relay, connect: Connect, operators: Connect, posts: Sequence[bytes]) -> None:
    """What honest clients do as well: what is made once and stays, is made before memory is measured."""
    page = b"GET / HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\n\r\n"
    for _ in range(20):
        together = [connect() for _ in range(20)]
        for each in together:
            each.sendall(page)
        for each in together:
            with each:
                while each.recv(65536):
                    pass
    for where, head, size in ((connect, HEAD, CAP), (operators, BUS, MAX_UPLOAD)):
        with where() as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
            read_answer(connection)
    with connect() as connection:
        for body in posts[:50]:
            connection.sendall(request(body))
            read_answer(connection)


SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: relay.example\r\n"
SLOW_BODY = HEAD + b"Content-Length: 900000\r\n\r\n"
SLOW = 3050


def _few(port: int) -> list[Crowd]:
    """As many slow ones as the relay has connections for."""
    return [
        Crowd(port, 40, ["127.0.5.1"], SLOW_HEAD, b"X: y\r\n", again=10.0).begin(),
        Crowd(port, 40, ["127.0.5.2"], SLOW_BODY, b"x", again=10.0).begin(),
    ]


def _lasted(crowds: Sequence[Crowd]) -> float:
    """End them; how long the longest of their connections lasted, seconds."""
    longest = [crowd.oldest for crowd in crowds]
    for crowd in crowds:
        crowd.end()
    return max([*longest, *(lasted for crowd in crowds for lasted in crowd.lasted)])


def _slow(port: int, operators: Connect, seconds: float) -> float:
    """Far more of them than it has connections for."""
    crowds = [
        Crowd(port, 1000, MANY, SLOW_HEAD, b"X: y\r\n").begin(),
        Crowd(port, 1000, MANY, SLOW_BODY, b"x").begin(),
        Crowd(port, 1000, [PROXY], SLOW_BODY, b"x").begin(),
    ]
    waiting = [operators() for _ in range(50)]
    for each in waiting:
        with suppress(OSError):
            each.sendall(BUS + b"Content-Length: 1000\r\n\r\nx")
    try:
        time.sleep(seconds)
    finally:
        for each in waiting:
            each.close()
        longest = _lasted(crowds)
    return longest


@contextmanager
def _served(relay: Relay, posts: Sequence[bytes]) -> Iterator[list[Healthy]]:
    """Those who want nothing but to be served: posts over connections of their own, pages over one that is kept, and through the proxy."""
    bodies = cycle(posts)

    def fresh(address: str, sent: Callable[[], bytes]) -> bool:
        with _tcp(relay.port, address) as connection:
            connection.sendall(sent())
            status, _, _ = read_answer(connection)
            return status in (200, 202)

    kept = [_tcp(relay.port, WELL)]

    def again() -> bool:
        try:
            kept[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n")
            return read_answer(kept[0])[0] == 200
        except OSError:
            kept[0].close()
            kept[0] = _tcp(relay.port, WELL)
            raise

    live = b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n"
    healthy = [
        Healthy(lambda: fresh(WELL, lambda: request(next(bodies))), 0.03),
        Healthy(lambda: fresh(PROXY, lambda: live), 0.05),
        Healthy(again, 0.02),
    ]
    for each in healthy:
        each.begin()
    try:
        yield healthy
    finally:
        for each in healthy:
            each.end()
        kept[0].close()


def _restart(relay: Relay, descriptors: int) -> None:
    relay.terminate()
    prlimit(relay.launch().pid, RLIMIT_NOFILE, (descriptors, descriptors))
    surely(lambda: answers_ready(relay.port), "the relay is ready")


def from_many(port: int) -> Connect:
    """Each time from another address, so that no address has too many connections."""
    addresses = cycle(f"127.0.3.{number}" for number in range(1, 51))
    return lambda: _tcp(port, next(addresses))


def _tcp(port: int, address: str) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(5.0)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", port))
    return connection


def _unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5.0)
    connection.connect(str(path))
    return connection

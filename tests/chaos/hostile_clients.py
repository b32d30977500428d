"""Clients that send what no client should: too much, too slowly, in odd shapes, at both sites."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit
from threading import Event, Thread
from typing import Self

from attrs import define, field

from benchmarks import processes
from benchmarks.load import request
from benchmarks.sinks import names
from socialrelay.web.admin.forms import MAX_UPLOAD
from socialrelay.web.admin.places import SOCKET_NAME
from tests.chaos.crowd import Crowd, Healthy
from tests.chaos.finding import Finding
from tests.chaos.hostile import HEAD, as_it_should, say, shapes
from tests.chaos.pulse import Pulse
from tests.chaos.sending import read_answer
from tests.chaos.stage import AT_ONCE, Relay, Stage, answers_ready

DESCRIPTORS = 1024
PROXY = "127.0.9.9"
WELL = "127.0.1.1"
MANY = [f"127.0.2.{number}" for number in range(1, 21)]
CAP = 1024 * 1024
TOKEN = "bench-" * 6
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
BUS = b"POST /bus/v1/messages HTTP/1.1\r\nHost: relay.example\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"

Connect = Callable[[], socket.socket]


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
    with watch, Pulse(relay, "/health/live") as pulse, _served(relay, posts) as healthy:
        few = _few(relay.port)
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
    said = [*odd.said, *odd.unheard]
    with _strace(relay.pid) as trace:
        odd.try_all()
        odd.too_large()
    files = watch.files | _made(trace)
    asked, failed = sum(len(each.waited) for each in healthy), sum(each.failed for each in healthy)
    share, gap, (worst, grown) = 1 - failed / max(asked, 1), pulse.longest, watch.most
    stood = min(sum(beat.stood for beat in pulse.beats) / max(sum(beat.waited for beat in pulse.beats), 1e-9), 0.8)
    patience = 1.0 if full else 3.0 / (1.0 - stood)
    held = (
        grown <= (5.0 if full else 10.0)
        and odd.most <= 2 * 65536
        and longest <= 10.0
        and gap <= 0.05 * patience
        and share >= (0.999 if full else 0.99)
        and not said
        and not files
    )
    return Finding(
        done=f"{len(shapes())} odd shapes; endless, lying and tiny bodies, forms of 64 MiB, pipelines, answers that nobody reads; "
        f"{SLOW} slow connections at a time from {len(MANY)} addresses, through a proxy and to the operators' site; "
        f"{DESCRIPTORS} descriptors",
        figure=f"{len(odd.said)} shapes answered otherwise than they should be, bodies refused at most {odd.most // 1024} KiB past the limit; "
        f"at most {grown:+.1f} MB ({worst}), {watch.peak - watch.base:+.1f} MB in all; {len(files)} files; longest gap {gap * 1000:.0f} ms; slow "
        f"ones gone after {longest:.1f} s at most; {share:.2%} of {asked} others served",
        held=held,
        figures={
            "wrong": len(odd.said),
            "most_bytes": odd.most,
            "grown_mb": grown,
            "grown_in_all_mb": watch.peak - watch.base,
            "files": len(files),
            "gap_s": gap,
            "slow_s": longest,
            "served_share": share,
            "asked": asked,
        },
        remark="; ".join(sorted({*said, *files, *(why for each in healthy for why in each.why)})),
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


@define(eq=False)
class Odd:
    """
    What hostile clients do that is over soon.

    @ivar connect: to the public site; C{operators}: to the operators'.
    @ivar most: bytes of a body that could be sent beyond the limit before it was refused.
    @ivar said: shapes that were answered otherwise than they should be.
    @ivar unheard: honest oddities that were not answered.
    """

    connect: Connect
    operators: Connect
    most: int = 0
    rounds: int = 0
    said: list[str] = field(factory=list)
    unheard: list[str] = field(factory=list)

    def try_all(self) -> int:
        """Send each shape; how many were answered otherwise than they should be."""
        wrong = []
        for shape in shapes():
            heard = say(self.connect(), shape.sent, 4.0 if shape.ends else 0.3)
            if not as_it_should(shape, heard):
                wrong.append(f"{shape.says}: {heard.statuses}{'' if heard.ended else ', and goes on'}")
        self.said += wrong
        return len(wrong)

    @property
    def attacks(self) -> list[Callable[[], None]]:
        """Everything else."""
        return [self.too_large, self.lying_lengths, self.small_things, self.pipelines, self.half_closed]

    def too_large(self) -> None:
        """Bodies beyond every limit."""
        self._too_large(self.connect, HEAD, CAP)
        self._too_large(self.operators, BUS, MAX_UPLOAD + 65536)

    def _too_large(self, connect: Connect, head: bytes, cap: int) -> None:
        form = b"Content-Type: application/x-www-form-urlencoded\r\n"
        for start in (b"", form):
            for length in (b"Content-Length: 1073741824\r\n\r\n", b"Content-Length: 67108864\r\n\r\n"):
                if refused_after(connect(), head + start + length, b"a=b&" * 16384, 0):
                    self.unheard.append("a large body was read though its length was known")
            chunk = b"10000\r\n" + b"a=b&" * 16384 + b"\r\n"
            sent = refused_after(connect(), head + start + b"Transfer-Encoding: chunked\r\n\r\n", chunk, cap)
            self.most = max(self.most, sent - cap)

    def lying_lengths(self) -> None:
        """Less than was announced, and more."""
        for sent in (b"hello", b"hello" * 1000):
            with self.connect() as connection, suppress(OSError):
                connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + sent)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

    def small_things(self) -> None:
        """Tiny chunks, trailers, long names of headers."""
        self.rounds += 1
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        start = b"GET / HTTP/1.1\r\nHost: a\r\nX-%d-" % self.rounds
        sent = [chunked + b"1\r\na\r\n" * 10_000, chunked + b"1\r\na\r\n0\r\n" + b"a\r\n" * 20_000]
        sent += [start + b"%d" % name + b"x" * 15_000 + b": a\r\n\r\n" for name in range(10)]
        everyone = [self.connect() for _ in range(200)]
        for each, bytes_ in zip(everyone, cycle(sent)):
            with suppress(OSError):
                each.sendall(bytes_)
        for each in everyone:
            each.close()

    def pipelines(self) -> None:
        """Hundreds of requests at once, with answers read and not."""
        many = b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n" * 500
        deaf = [self.connect() for _ in range(20)]
        for each in deaf:
            each.setblocking(False)
            with suppress(OSError):
                each.send(many)
        live = b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n"
        with self.connect() as connection:
            connection.settimeout(20.0)
            connection.sendall(live * 300)
            received = b""
            while received.count(b"HTTP/1.1 200 OK\r\n") < 300 and (data := connection.recv(65536)):
                received += data
        if received.count(b"HTTP/1.1 200 OK\r\n") != 300:
            self.unheard.append("a pipeline of 300 requests")
        for each in deaf:
            each.close()

    def half_closed(self) -> None:
        """Who says no more may still listen."""
        with self.connect() as connection:
            connection.settimeout(5.0)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: relay.example\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                connection.recv(65536)


def refused_after(connection: socket.socket, head: bytes, piece: bytes, cap: int) -> int:
    """
    Send a body without end, and listen for a refusal after each piece; for longer when it is due.

    @param cap: bytes after which it is.
    @return: how many bytes were sent before it came; at least 64 MiB more than there should be if it did not.
    """
    sent = 0
    with connection, suppress(ConnectionError):
        connection.sendall(head)
        while sent < cap + 64 * CAP:
            connection.settimeout(0.5 if sent > cap or not cap else 0.001)
            with suppress(TimeoutError):
                connection.recv(65536)
                return sent
            connection.settimeout(10.0)
            connection.sendall(piece)
            sent += len(piece)
    return sent


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
    time.sleep(seconds)
    for each in waiting:
        each.close()
    return _lasted(crowds)


class Watch:
    """
    Looks at a process every few milliseconds.

    @ivar base: MB of memory before; C{peak}: the most since.
    @ivar files: regular files that it opened meanwhile.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = Event()
        self._before = self._open()
        self.base = processes.resident(pid)
        self.peak = self.base
        self._grown: dict[str, float] = {}
        self._doing = ""
        self.files: set[str] = set()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self, doing: str) -> None:
        """Something else is done from now on."""
        self._doing = doing

    @property
    def most(self) -> tuple[str, float]:
        """During what memory grew most, and by how many MB at a time."""
        return max(self._grown.items(), key=lambda each: each[1])

    def _work(self) -> None:
        doing, base = "", self.base
        while not self._over.wait(0.02):
            self.files |= self._open() - self._before
            resident = processes.resident(self._pid)
            self.peak = max(self.peak, resident)
            if self._doing != doing:
                doing, base = self._doing, resident
            self._grown[doing] = max(self._grown.get(doing, 0.0), resident - base)

    def _open(self) -> set[str]:
        found = set()
        for each in Path(f"/proc/{self._pid}/fd").iterdir():
            with suppress(OSError):
                target = str(each.readlink())
                if target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/sys/")):
                    found.add(target)
        return found


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


@contextmanager
def _strace(pid: int) -> Iterator[Path | None]:
    """Record which files a process opens, where there is strace."""
    program = shutil.which("strace")
    if program is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="socialrelay-trace-") as file:
        command = [program, "-f", "-qq", "-e", "trace=openat,open,creat,memfd_create", "-o", file.name, "-p", str(pid)]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10.0
        while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            yield Path(file.name)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def _made(trace: Path | None) -> set[str]:
    if trace is None or not trace.exists():
        return set()
    return {line for line in trace.read_text().splitlines() if re.search(r"O_CREAT|O_TMPFILE|memfd_create|creat\(", line)}


def _restart(relay: Relay, descriptors: int) -> None:
    relay.terminate()
    prlimit(relay.launch().pid, RLIMIT_NOFILE, (descriptors, descriptors))
    deadline = time.monotonic() + 60.0
    while not answers_ready(relay.port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the relay does not start:\n{relay.log[-3000:]}")
        time.sleep(0.02)


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

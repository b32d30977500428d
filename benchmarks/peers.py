"""
The same fan-out by what one would otherwise take, each in a process of its own: C{python -m benchmarks.peers NAME ...}.

None of them verifies, keeps or counts anything: they send one body to one host after another, and so do less than a relay that was built on
them would.

C{requests}: the way of the first relay: a worker that makes one call after another, each in a session of its own, with ten seconds of
    patience.
C{session}: the same, all in one session, which keeps connections if they are to be kept.
C{treq}: all hosts of a post at once, at most 100 in flight, over a pool.
C{aiohttp}: the same.
C{libcurl}: the floor: the multi interface in a loop of C{epoll} of its own, nothing around it. Like the relay it resumes TLS
    sessions and offers only curves.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks import processes
from benchmarks.sinks import ADDRESSES, DOMAIN

HEADERS = {"Content-Type": "application/magic-envelope+xml", "User-Agent": "socialrelay-bench"}
AT_ONCE = 100


@define
class Work:
    """
    What is to be done.

    @ivar until: the time at which nothing more is begun.
    """

    hosts: list[str]
    port: int
    ca_file: str
    body: bytes
    seconds: float
    until: float = 0.0
    done: int = 0
    failed: int = 0
    started: tuple[float, float] = (0.0, 0.0)

    def url(self, host: str) -> str:
        return f"https://{host}:{self.port}/receive/public"

    def start(self) -> None:
        """What went before was warming up."""
        self.done = self.failed = 0
        self.started = (time.monotonic(), _cpu())
        self.until = self.started[0] + self.seconds

    def count(self, status: int) -> None:
        if status == 202:
            self.done += 1
        else:
            self.failed += 1

    def left(self) -> Iterator[str]:
        """Hosts in turn, until the time is over."""
        for host in cycle(self.hosts):
            if time.monotonic() >= self.until:
                return
            yield host


def by_requests(work: Work, kept: bool) -> None:
    """One after another, each for itself: what C{kept} says makes no difference."""
    import requests

    work.start()
    for host in work.left():
        work.count(requests.post(work.url(host), data=work.body, headers=HEADERS, timeout=10, verify=work.ca_file).status_code)


def by_session(work: Work, kept: bool) -> None:
    """One after another in one session."""
    import requests

    session = requests.Session()
    session.verify = work.ca_file
    session.trust_env = False
    session.mount("https://", requests.adapters.HTTPAdapter(pool_connections=len(work.hosts)))

    def send(host: str) -> None:
        work.count(session.post(work.url(host), data=work.body, headers=HEADERS, timeout=10).status_code)

    if kept:
        for host in work.hosts:
            send(host)
    work.start()
    for host in work.left():
        send(host)


def by_treq(work: Work, kept: bool) -> None:
    """All at once, over one pool."""
    from treq.client import HTTPClient
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.ssl import Certificate, trustRootFromCertificates
    from twisted.internet.task import Cooperator
    from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
    from twisted.web.http_headers import Headers

    running: Any = reactor
    trust = trustRootFromCertificates([Certificate.loadPEM(Path(work.ca_file).read_bytes())])
    pool = HTTPConnectionPool(running, persistent=kept)
    client = HTTPClient(Agent(running, BrowserLikePolicyForHTTPS(trust), pool=pool))

    headers = Headers({name: [text] for name, text in HEADERS.items()})

    async def send(host: str) -> None:
        answer = await client.post(work.url(host), data=work.body, headers=headers, timeout=10)
        await answer.content()
        work.count(answer.code)

    def all_of(hosts: Iterator[str]) -> Deferred[Any]:
        tasks = (Deferred.fromCoroutine(send(host)) for host in hosts)
        cooperator = Cooperator()
        return gatherResults([cooperator.coiterate(tasks) for _ in range(min(AT_ONCE, len(work.hosts)))], consumeErrors=True)

    async def everything() -> None:
        try:
            if kept:
                await all_of(iter(work.hosts))
            work.start()
            await all_of(work.left())
        finally:
            running.stop()

    running.callWhenRunning(lambda: Deferred.fromCoroutine(everything()).addErrback(lambda failure: failure.printTraceback()))
    running.run()


def by_aiohttp(work: Work, kept: bool) -> None:
    """All at once, over one session."""
    import asyncio
    import ssl

    import aiohttp

    async def everything() -> None:
        connector = aiohttp.TCPConnector(
            limit=AT_ONCE if not kept else 0, ssl=ssl.create_default_context(cafile=work.ca_file), force_close=not kept
        )
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:

            async def worker(hosts: Iterator[str]) -> None:
                for host in hosts:
                    async with session.post(work.url(host), data=work.body, headers=HEADERS) as answer:
                        await answer.read()
                        work.count(answer.status)

            async def all_of(hosts: Iterator[str]) -> None:
                await asyncio.gather(*(worker(hosts) for _ in range(min(AT_ONCE, len(work.hosts)))))

            if kept:
                await all_of(iter(work.hosts))
            work.start()
            await all_of(work.left())

    asyncio.run(everything())


def by_libcurl(work: Work, kept: bool) -> None:
    """Nothing but libcurl, driven as its manual says."""
    import select

    import pycurl

    multi, poll = pycurl.CurlMulti(), select.epoll()
    known: set[int] = set()
    alarm = [0.0]

    def watch(what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            if descriptor in known:
                known.discard(descriptor)
                poll.unregister(descriptor)
            return
        wanted = (select.EPOLLIN if what & pycurl.POLL_IN else 0) | (select.EPOLLOUT if what & pycurl.POLL_OUT else 0)
        (poll.modify if descriptor in known else poll.register)(descriptor, wanted)
        known.add(descriptor)

    def set_alarm(milliseconds: int) -> None:
        alarm[0] = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else 0.0

    multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
    multi.setopt(pycurl.M_TIMERFUNCTION, set_alarm)
    multi.setopt(pycurl.M_MAXCONNECTS, len(work.hosts) + AT_ONCE)

    def sessions() -> Any:
        share = pycurl.CurlShare()
        share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
        return share

    # A cache holds the sessions of 25 hosts; without these no handshake would ever be a short one.
    caches = [sessions() for _ in range(0, len(work.hosts), 20)]

    def handle(number: int, host: str) -> Any:
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.URL, work.url(host)),
            (pycurl.POST, 1),
            (pycurl.POSTFIELDS, work.body),
            (pycurl.HTTPHEADER, [*(f"{name}: {text}" for name, text in HEADERS.items()), "Expect:"]),
            (pycurl.CAINFO, work.ca_file),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FORBID_REUSE, 0 if kept else 1),
            (pycurl.RESOLVE, [f"{host}:{work.port}:{where(host)}"]),
            (pycurl.SHARE, caches[number // 20]),
            (pycurl.SSL_EC_CURVES, "X25519:P-256:P-384:P-521:X448"),
            (pycurl.NOSIGNAL, 1),
            (pycurl.WRITEFUNCTION, len),
        ):
            curl.setopt(option, value)
        curl.unsetopt(pycurl.CAPATH)
        return curl

    waiting = deque(handle(number, host) for number, host in enumerate(work.hosts))

    def run(more: Callable[[], bool]) -> None:
        under_way = 0
        while True:
            while waiting and under_way < AT_ONCE and more():
                multi.add_handle(waiting.popleft())
                under_way += 1
            if not under_way:
                return
            pause = max(0.0, alarm[0] - time.monotonic()) if alarm[0] else 1.0
            events = poll.poll(pause)
            if not events:
                alarm[0] = 0.0
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            for descriptor, event in events:
                bits = (pycurl.CSELECT_IN if event & select.EPOLLIN else 0) | (pycurl.CSELECT_OUT if event & select.EPOLLOUT else 0)
                multi.socket_action(descriptor, bits or pycurl.CSELECT_ERR)
            _, ended, broken = multi.info_read(AT_ONCE)
            for curl in [*ended, *(each[0] for each in broken)]:
                work.count(curl.getinfo(pycurl.RESPONSE_CODE))
                multi.remove_handle(curl)
                waiting.append(curl)
                under_way -= 1

    if kept:
        left = iter(range(len(work.hosts)))
        run(lambda: next(left, None) is not None)
    work.start()
    run(lambda: time.monotonic() < work.until)


PEERS: dict[str, Callable[[Work, bool], None]] = {
    "requests": by_requests,
    "session": by_session,
    "treq": by_treq,
    "aiohttp": by_aiohttp,
    "libcurl": by_libcurl,
}


def where(host: str) -> str:
    """The address of a node; all of them look it up so."""
    place = host.removesuffix(f".{DOMAIN}").rpartition(".")[2]
    return ADDRESSES[int(place.removeprefix("k"))]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return original(where(name) if name.endswith(DOMAIN) else host, *arguments, **options)

    return getaddrinfo


def main() -> None:
    """Do it, and print what it came to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca-file", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--hosts", type=Path, required=True)
    arguments = parser.parse_args()
    socket.getaddrinfo = _look_up(socket.getaddrinfo)
    work = Work(arguments.hosts.read_text().split(), arguments.port, arguments.ca_file, arguments.body.read_bytes(), arguments.seconds)
    PEERS[arguments.peer](work, arguments.kept)
    wall, used = time.monotonic() - work.started[0], _cpu() - work.started[1]
    json.dump({"done": work.done, "failed": work.failed, "seconds": wall, "cpu": used, "peak": processes.peak(os.getpid())}, sys.stdout)


if __name__ == "__main__":
    main()

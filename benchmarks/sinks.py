"""The nodes of the benchmark, as the benchmark sees them: names, where they are, what arrived."""

from __future__ import annotations

import json
import mmap
import socket
import struct
import subprocess
import sys
import time
from array import array
from pathlib import Path

import trustme
from attrs import frozen

from benchmarks import processes
from benchmarks.sink import COUNTERS, MARK

ADDRESSES = [f"127.0.66.{number}" for number in range(1, 9)]
"""Several, since from one address to one port of another there are only 28 000 connections, each of which lasts a minute after its end."""

DOMAIN = "bench.example"


def names(kind: str, count: int) -> list[str]:
    """
    Hosts that behave alike, spread over the addresses.

    @param kind: as in L{benchmarks.sink}; besides these C{mute} (TCP, and then nothing), C{refuse} (connections), and C{wrong} (its
        certificate is not for its name).
    """
    places = [kind] if kind in ("mute", "refuse", "wrong") else [f"k{number}" for number in range(len(ADDRESSES))]
    return [f"{kind}{number}.{places[number % len(places)]}.{DOMAIN}" for number in range(count)]


def mark(body: bytes) -> int:
    """By what the sinks know a post."""
    return int.from_bytes(body[MARK], "little")


@frozen
class Arrival:
    """
    @ivar at: seconds of C{time.monotonic}.
    @ivar mark: of the post.
    @ivar host: which node it was.
    """

    at: float
    mark: int
    host: str


@frozen
class Report:
    """
    Arrivals as columns: those of ten minutes fit into memory.

    @ivar times: seconds of C{time.monotonic}, in order.
    @ivar marks: of which post.
    @ivar takers: which node it was: the index of its host in C{hosts}, which stays the same from one report to the next.
    """

    times: array[float]
    marks: array[int]
    takers: array[int]
    hosts: list[str]


class Sinks:
    """The process of L{benchmarks.sink}, a port that refuses, and one behind which nobody speaks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(authority.cert_pem.bytes())
        places = [f"k{number}" for number in range(len(ADDRESSES))]
        certificate = authority.issue_cert(*(f"*.{place}.{DOMAIN}" for place in [*places, "mute", "refuse"]))
        (folder / "sink.pem").write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
        counters = folder / "counters"
        counters.write_bytes(bytes(COUNTERS.size))
        command = [sys.executable, "-m", "benchmarks.sink", str(folder / "sink.pem"), str(counters), *ADDRESSES]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
        self.port = int(self._read_line())
        with counters.open("r+b") as file:
            self._counters = mmap.mmap(file.fileno(), COUNTERS.size)
        self._refusing = socket.socket()
        self._refusing.bind((ADDRESSES[0], 0))
        self._mute = socket.create_server((ADDRESSES[0], 0), backlog=4096)
        processes.pin([self._process.pid], processes.cores()[1])

    @property
    def network(self) -> str:
        """The tables C{network} of a relay that is to find these nodes."""
        where = {f"*.k{number}.{DOMAIN}:443": f"{address}:{self.port}" for number, address in enumerate(ADDRESSES)}
        where[f"*.refuse.{DOMAIN}:443"] = f"{ADDRESSES[0]}:{self._refusing.getsockname()[1]}"
        where[f"*.wrong.{DOMAIN}:443"] = f"{ADDRESSES[0]}:{self.port}"
        where[f"*.mute.{DOMAIN}:443"] = f"{ADDRESSES[0]}:{self._mute.getsockname()[1]}"
        lines = [f"{json.dumps(name)} = {json.dumps(address)}" for name, address in where.items()]
        return "\n".join(["[network.connect_to]", *lines, ""])

    @property
    def total(self) -> int:
        """How many deliveries were taken since the start."""
        return int(COUNTERS.unpack_from(self._counters, 0)[0])

    @property
    def connections(self) -> int:
        """How many connections were opened since the start."""
        return int(COUNTERS.unpack_from(self._counters, 0)[1])

    @property
    def cpu(self) -> float:
        """CPU seconds of the process."""
        return processes.cpu(self._process.pid)

    def report(self) -> list[Arrival]:
        """What arrived since L{forget}, in order."""
        found = self._columns("report")
        return [Arrival(at, mark, found.hosts[taker]) for at, mark, taker in zip(found.times, found.marks, found.takers, strict=True)]

    def take(self) -> Report:
        """What arrived since the last L{take} or L{forget}; the sinks keep nothing of it."""
        return self._columns("take")

    def forget(self) -> None:
        """Begin anew: nothing arrived, nobody is connected."""
        self._command("forget")
        self._read(1)

    def wait(self, total: int, seconds: float) -> bool:
        """Until so many were taken; whether they were, in time."""
        deadline = time.monotonic() + seconds
        while self.total < total:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)
        self._refusing.close()
        self._mute.close()

    def _columns(self, command: str) -> Report:
        self._command(command)
        count, length = struct.unpack("qq", self._read(16))
        times, marks, takers = array("d"), array("Q"), array("H")
        times.frombytes(self._read(8 * count))
        marks.frombytes(self._read(8 * count))
        takers.frombytes(self._read(2 * count))
        return Report(times, marks, takers, self._read(length).decode().split())

    def _command(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sinks do not start: {self._process.wait()}")
        return line

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(count) if count else b""

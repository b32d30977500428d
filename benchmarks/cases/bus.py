"""The message bus, beside fedmsg's own relay."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import zmq
from attrs import define, frozen

from benchmarks import processes, stalling
from benchmarks.bed import Bed, server_pid
from benchmarks.bus_ends import PROBE, TOPIC, body
from benchmarks.figures import Figures, Rounds, interleaved, percentile, prefixed, table
from tests.bus_wire import Publisher, free_address
from tests.daemon import ROOT, Daemon
from tests.fedmsg.stock import ENVIRONMENT, PREFIX, Stock, absent

FLOOD = (50_000, 5_000)
PACED = (6_000, 500)
RATE = 2_000
BACKLOG = (20_000, 5_000)
BACKLOG_SECONDS = 0.25
"""From the first message of the backlog until SIGTERM."""
ACKNOWLEDGED = (20_000, 2_000)
WINDOW = 1_000
POSTED = (300, 50)
TOKEN = "a-token-of-the-benchmark"
PATIENCE = 60.0
SCRIPT = str(Path(stalling.__file__))


def bus(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """50 000 messages at once, 2 000 a second, a listener that stands still, SIGTERM: fedmsg's relay and ours, in turns."""
    if reason := absent():
        raise SystemExit(reason)
    runs = {
        "fedmsg": partial(_measured, bed, _fedmsg),
        "unstored": partial(_measured, bed, partial(_ours, bed, stored=False)),
        "stored": partial(_measured, bed, partial(_ours, bed, stored=True)),
    }
    results = interleaved(bed.size(3, 1), runs, told)
    found = results.medians()
    print(table(found))
    stored = found["stored"]
    return {
        **{name: value for run, figures in found.items() for name, value in prefixed(f"bus.{run}", figures).items()},
        "bus.flood_ratio_fedmsg": results.ratio("flood_per_s", "unstored", "fedmsg"),
        "bus.flood_ratio_fedmsg_stored": results.ratio("flood_per_s", "stored", "fedmsg"),
        "bus.acked_per_s": stored["acked_per_s"],
        "bus.acked_p99_ms": stored["acked_p99_ms"],
        "bus.stall_ms": max(found[run]["flood_stall_ms"] for run in ("unstored", "stored")),
        "bus.lost": most_lost(results, "stored") + most_lost(results, "unstored"),
        "bus.fedmsg_lost": most_lost(results, "fedmsg"),
    }


def most_lost(results: Rounds, run: str) -> float:
    """The most that was lost in a round: of all that was sent, what a listener did not get in the end."""
    return max(sum(value for name, value in figures.items() if name.endswith("_lost")) for figures in results.results[run])


@frozen
class Measured:
    """
    A relay under measurement.

    @ivar pid: of the process that relays.
    @ivar stall: the file of L{benchmarks.stalling}.
    @ivar postgres: process id of its database, if it has one.
    @ivar ingest: where messages are acknowledged, if they are.
    @ivar http: port for the same by HTTP.
    @ivar log: what it had to say.
    """

    process: subprocess.Popen[bytes]
    inbound: str
    outbound: str
    stall: Path
    log: Callable[[], str]
    postgres: int = 0
    ingest: str = ""
    http: int = 0
    stored: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def _fedmsg() -> Iterator[Measured]:
    stock = Stock(free_address(), free_address())
    try:
        with _stall() as stall:
            running = stock.start("python", SCRIPT, str(stall), "fedmsg.commands.relay:relay")
            yield Measured(running.process, stock.inbound, stock.outbound, stall, running.log.read_text)
    finally:
        stock.close()


@contextmanager
def _ours(bed: Bed, *, stored: bool) -> Iterator[Measured]:
    inbound, outbound, ingest, web = (free_address() for _ in range(4))
    http = int(web.rpartition(":")[2])
    daemon = Daemon(None)
    with _stall() as stall, bed.database() as database:
        daemon.program = (SCRIPT, str(stall), "socialrelay.cli.command:main")
        daemon.configuration = f"""
            admin_listen = ["tcp:{http}:interface=127.0.0.1"]
            [postgres]
            dsn = {json.dumps(database.dsn)}
            [redis]
            url = "off"
            [federation]
            enabled = false
            [bus]
            enabled = true
            relay_inbound = [{json.dumps(inbound)}]
            relay_outbound = [{json.dumps(outbound)}]
            relay_ingest = [{json.dumps(ingest)}]
            topic_prefix = {json.dumps(PREFIX)}
            environment = {json.dumps(ENVIRONMENT)}
            store_legacy = {json.dumps(stored)}
            tokens = [{{ name = "bench", token = {json.dumps(TOKEN)} }}]
        """
        process = daemon.launch()
        try:
            yield Measured(process, inbound, outbound, stall, lambda: daemon.log, server_pid(bed.postgres), ingest, http, stored)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            shutil.rmtree(daemon.folder, ignore_errors=True)


@contextmanager
def _stall() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="socialrelay-stall-") as file:
        file.write(bytes(stalling.LATENESS.size))
        file.flush()
        yield Path(file.name)


def _measured(bed: Bed, start: Callable[[], Any]) -> Figures:
    with start() as relay:
        with Ends(relay) as ends:  # until it hears and is heard
            ends.meet(ends.listen(1))
        processes.pin([relay.pid], processes.cores()[0])
        figures = {**_paced(bed, relay), **_flood(bed, relay), **_stopped(bed, relay)}
        if relay.stored:
            figures |= _acknowledged(bed, relay)
        return {**figures, **_terminated(bed, relay)}


def _paced(bed: Bed, relay: Measured) -> Figures:
    count = bed.size(*PACED)
    with Ends(relay) as ends:
        listener = ends.listen(count)
        ends.meet(listener)
        ends.publish(count, RATE).go()
        heard = listener.result()
    delays = heard["delays"] or [float("inf")]
    return {
        "paced_p50_ms": percentile(delays, 0.5),
        "paced_p99_ms": percentile(delays, 0.99),
        "paced_lost": float(count - len(set(heard["numbers"]))),
    }


def _flood(bed: Bed, relay: Measured) -> Figures:
    count = bed.size(*FLOOD)
    with Ends(relay) as ends:
        listener, publisher = ends.listen(count), ends.publish(count)
        ends.meet(listener)
        with relay.stall.open("r+b") as stall_file:  # not made anew: what is mapped must not become shorter
            stall_file.write(bytes(stalling.LATENESS.size))
        before, stored_before = processes.cpu(relay.pid), _postgres(relay)
        publisher.go()
        heard, sent = listener.result(), publisher.result()
        cpu, stored = processes.cpu(relay.pid) - before, _postgres(relay) - stored_before
    [stall] = stalling.LATENESS.unpack(relay.stall.read_bytes())
    got = len(set(heard["numbers"]))
    figures = {
        "flood_per_s": got / ((heard["last"] - sent["began"]) / 1e9),
        "flood_cpu_us": cpu / max(got, 1) * 1e6,
        "flood_stall_ms": stall * 1e3,
        "flood_lost": float(count - got),
        "peak_mb": processes.peak(relay.pid),
    }
    return {**figures, "flood_postgres_us": stored / max(got, 1) * 1e6} if relay.postgres else figures


def _postgres(relay: Measured) -> float:
    return processes.family_cpu(relay.postgres) if relay.postgres else 0.0


def _stopped(bed: Bed, relay: Measured) -> Figures:
    """Of two listeners one stands still while messages come."""
    count = bed.size(*FLOOD)
    with Ends(relay) as ends:
        healthy, stopped, publisher = ends.listen(count), ends.listen(count), ends.publish(count)
        ends.meet(healthy, stopped)
        since = _page(relay, {"limit": 1})["last_seq"] if relay.stored else 0
        os.kill(stopped.process.pid, signal.SIGSTOP)
        publisher.go()
        heard = len(set(healthy.result()["numbers"]))
        os.kill(stopped.process.pid, signal.SIGCONT)
        got = set(stopped.result()["numbers"])
        all_in_the_end = got | _replayed(relay, since) if relay.stored and len(got) < count else got
    return {
        "healthy_lost": float(count - heard),
        "stopped_got": float(len(got)),
        "stopped_lost": float(count - len(all_in_the_end)),
    }


def _replayed(relay: Measured, since: int) -> set[int]:
    """Numbers of all that is kept after a sequence number."""
    found: set[int] = set()
    while (page := _page(relay, {"since": since, "topic": TOPIC.decode()}))["messages"]:
        found |= {int(json.loads(message["body"])["msg"]["n"]) for message in page["messages"]}
        since = page["next"]
    return found


def _page(relay: Measured, query: dict[str, object]) -> Any:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.connect(relay.ingest)
        socket.send_multipart((b"query", json.dumps(query).encode()))
        if not socket.poll(int(PATIENCE * 1000)):
            raise RuntimeError("the relay does not answer what it has kept")
        _, status, detail = socket.recv_multipart()
        if status != b"ok":
            raise RuntimeError(f"the relay answers {status.decode()}: {detail.decode()}")
        return json.loads(detail)


def _acknowledged(bed: Bed, relay: Measured) -> Figures:
    figures: Figures = {}
    for name, words in (
        ("acked", ("acknowledge", relay.ingest, bed.size(*ACKNOWLEDGED), WINDOW)),
        ("posted", ("post", relay.http, bed.size(*POSTED))),
    ):
        with Ends(relay) as ends:
            end = ends.begin(*words)
            end.until_ready()
            end.go()
            done = end.result()
        kept = done["answers"].get("ok", 0) + done["answers"].get("200", 0)
        figures |= {
            f"{name}_per_s": kept / done["seconds"],
            f"{name}_p50_ms": percentile(done["delays"], 0.5),
            f"{name}_p99_ms": percentile(done["delays"], 0.99),
            f"{name}_lost": float(int(words[2]) - kept),
        }
    return figures


def _terminated(bed: Bed, relay: Measured) -> Figures:
    """SIGTERM, while messages wait."""
    count = bed.size(*BACKLOG)
    with Ends(relay) as ends:
        listener, publisher = ends.listen(count), ends.publish(count)
        ends.meet(listener)
        publisher.go()
        time.sleep(BACKLOG_SECONDS)
        relay.process.send_signal(signal.SIGTERM)
        code = relay.process.wait(PATIENCE)
        got = len(set(listener.result()["numbers"]))
    return {"term_lost": float(count - got), "term_code": float(code)}


@define(eq=False)
class End:
    """A process of L{benchmarks.bus_ends}."""

    process: subprocess.Popen[bytes]

    def is_ready(self, seconds: float) -> bool:
        """Whether it says so within this time."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], seconds)[0]) and self.process.stdout.readline() == b"ready\n"

    def until_ready(self) -> None:
        """@raise RuntimeError: it never is."""
        if not self.is_ready(PATIENCE):
            raise RuntimeError("an end of the bus is not ready")

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """What it says when it has ended."""
        said = self.process.communicate(timeout=PATIENCE)[0]
        if self.process.returncode:
            raise RuntimeError("an end of the bus failed")
        found: dict[str, Any] = json.loads(said)
        return found


class Ends:
    """Publishers and listeners of a relay; those that run at the end are ended."""

    def __init__(self, relay: Measured) -> None:
        self._relay = relay
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, *words: object) -> End:
        """Start one, on the processors that are not the relay's."""
        command = [sys.executable, "-m", "benchmarks.bus_ends", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKEN": TOKEN}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.pin([process.pid], processes.cores()[1])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return End(process)

    def listen(self, count: int) -> End:
        """A listener, which is ready once L{meet} returns."""
        return self.begin("listen", self._relay.outbound, count)

    def publish(self, count: int, rate: int = 0) -> End:
        """A publisher that is ready."""
        publisher = self.begin("publish", self._relay.inbound, count, rate)
        publisher.until_ready()
        return publisher

    def meet(self, *listeners: End) -> None:
        """
        Publish probes until each of these has heard one.

        @raise RuntimeError: one does not.
        """
        end = time.monotonic() + PATIENCE
        try:
            publisher = Publisher(self._relay.inbound)
        except AssertionError:
            raise RuntimeError(f"the relay takes nothing:\n{self._relay.log()[-3000:]}") from None
        waiting = list(listeners)
        number, mark = 0, uuid4().hex
        while waiting:
            if time.monotonic() > end or self._relay.process.poll() is not None:
                raise RuntimeError(f"the relay passes nothing on:\n{self._relay.log()[-3000:]}")
            publisher.send(PROBE.decode(), body(number, mark, topic=PROBE))
            number += 1
            waiting = [each for each in waiting if not each.is_ready(0.05)]
        publisher.close()

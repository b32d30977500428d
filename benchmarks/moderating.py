"""
A relay's subscribers and queue over a real database while a list of rules is taken over and removed.

C{python -m benchmarks.moderating DSN} prints one line of JSON: how long it took until it was in force, and the longest that the event loop
was held up meanwhile.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

from socialrelay.config import Receive, Retention
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.diaspora.hashtags import match_key
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.moderation.importing import Importer
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.orders import Limits
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.stores import Storage
from socialrelay.subscriber_news import SubscriberNews
from socialrelay.subscribers import Subscribers
from socialrelay.unhurried import Unhurried

reactor: Any = installed_reactor
SAMPLE = 0.005


class Lag:
    """
    How long the event loop was held up by itself: the processor's time that went by, in its thread, between two calls that are due every
    five milliseconds. What other processes take is not counted.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._before = time.thread_time()
        self._loop = LoopingCall(self._look)
        self._loop.start(SAMPLE, now=False)

    def _look(self) -> None:
        now = time.thread_time()
        self.worst = max(self.worst, now - self._before)
        self._before = now

    def taken(self) -> float:
        """The worst so far, which is forgotten."""
        worst, self.worst = self.worst, 0.0
        return worst


class Quiet:
    """Nothing is sent: what is measured is what rules cost."""

    def send(self, request: object, timeout: float) -> Deferred[Any]:
        return Deferred()

    def close(self) -> Deferred[None]:
        return succeed(None)


def now() -> datetime:
    return datetime.now(UTC)


async def moderate(dsn: str) -> dict[str, float]:
    """The figures."""
    reactor.seconds = time.monotonic
    gc.set_threshold(100_000, 50, 1000)  # as the relay has it
    storage = await open_storage(reactor, dsn, receive=Receive(), retention=Retention())
    subscribers, dispatcher = made(storage, await storage.log.end())
    await subscribers.load()
    importer = Importer(
        storage.rules, subscribers.rules_changed, own_host="relay.example", tag_key=match_key, in_thread=deferToThread, now=now
    )
    figures: dict[str, float] = {"subscribed": len(subscribers.subscribed())}
    hosts = sorted(subscribers.subscribed())
    body = "".join(f"{host}\n" for host in hosts[::2]).encode()
    lag = Lag()
    while dispatcher.summary(lambda host: True)["behind"] or dispatcher._manager.unsaved:
        await deferLater(reactor, 0.25)
    lag.taken()

    async def timed(name: str, work: Any) -> None:
        started, cpu = time.monotonic(), time.process_time()
        await work()
        figures[f"{name}_s"], figures[f"{name}_cpu_s"] = time.monotonic() - started, time.process_time() - cpu
        await deferLater(reactor, 0.2)
        figures[f"{name}_gap_ms"] = lag.taken() * 1000

    async def take_over() -> None:
        await importer.take_over(body, name="big", source="", action="block", who="bench")

    async def remove() -> None:
        await storage.rules.drop("big")
        await subscribers.rules_changed()

    await timed("import", take_over)
    figures["left"] = len(subscribers.subscribed())
    await timed("again", take_over)
    await timed("remove", remove)
    figures["back"] = len(subscribers.subscribed())
    await storage.close()
    return figures


def made(storage: Storage, end: int) -> tuple[Subscribers, Dispatcher]:
    """Subscribers over the real stores and the real queue."""
    chance = lambda: 0.5  # noqa: E731
    manager = QueueManager(Limits(), Backoff(HOST_STEPS, chance), Backoff(POST_STEPS, chance), end)
    dispatcher = Dispatcher(
        clock=reactor,
        now=now,
        manager=manager,
        log=storage.log,
        destinations=storage.destinations,
        transport=Quiet(),
        protocols={"diaspora": Diaspora("bench")},
        bodies=BodyCache(1 << 24),
        lifetime=7 * 86400.0,
        on_event=lambda event: None,
        on_settled=lambda settled: None,
    )
    dispatcher.start()
    subscribers = Subscribers(
        protocol="diaspora",
        default_url=lambda host: f"https://{host}/receive/public",
        own_host="relay.example",
        allow_list=False,
        max_entries=1_000_000,
        nodes=storage.nodes,
        subscriptions=storage.subscriptions,
        rules=storage.rules,
        destinations=storage.destinations,
        log=storage.log,
        served=dispatcher,
        now=now,
        unhurried=Unhurried(reactor.seconds, lambda: deferLater(reactor, 0.0)),
        news=SubscriberNews("diaspora"),
    )
    return subscribers, dispatcher


def main() -> None:
    """See the module."""

    def done(result: object) -> None:
        if isinstance(result, dict):
            print(json.dumps(result))
        else:
            print(result, file=sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(moderate(sys.argv[1])).addBoth(done))
    reactor.run()


if __name__ == "__main__":
    main()

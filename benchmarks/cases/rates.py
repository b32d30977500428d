"""Verifying and routing, by themselves."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from types import ModuleType
from typing import Any

from benchmarks.bed import Bed
from benchmarks.figures import Figures, interleaved, table
from benchmarks.posts import AUTHORS
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.routing.bitmap import pack
from socialrelay.routing.index import SubscriptionIndex
from socialrelay.routing.subscription import Scope

TAGS = 1000
SUBSCRIBERS = (100, 1000, 10000)


def verify(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """Envelopes with RSA-4096 by us and by the federation library: the envelope alone, and all up to what the post says."""
    posts = bed.posts.first(200)
    key = bed.posts.key.public_key()
    protocol = Diaspora("bench")
    envelope, receive = _federation(key)

    def ours_envelope(body: bytes) -> None:
        assert protocol.open(body).verifies(key)

    def ours(body: bytes) -> None:
        assert not protocol.judge(protocol.open(body), key).reason

    seconds = 0.5 if bed.quick else 1.0
    runs = {
        "ours_envelope": partial(_rate, ours_envelope, posts, seconds),
        "federation_envelope": partial(_rate, envelope, posts, seconds),
        "ours": partial(_rate, ours, posts, seconds),
        "federation": partial(_rate, receive, posts, seconds),
    }
    results = interleaved(bed.size(5, 1), runs, told)
    found = results.medians()
    print(table(found))
    return {
        "verify.rsa4096_per_s": found["ours_envelope"]["per_s"],
        "verify.federation_per_s": found["federation_envelope"]["per_s"],
        "verify.ratio_federation": results.ratio("per_s", "ours_envelope", "federation_envelope"),
        "verify.judged_per_s": found["ours"]["per_s"],
        "verify.federation_received_per_s": found["federation"]["per_s"],
        "verify.judged_ratio_federation": results.ratio("per_s", "ours", "federation"),
    }


def route(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """
    A post with five tags to whoever wants one of them, up to the bitmap that is stored.

    A tenth want everything, the others 20 tags each.
    """
    chance = random.Random(1)
    runs = {}
    for count in SUBSCRIBERS:
        index = SubscriptionIndex()
        for number in range(count):
            if number % 10:
                index.put(number, Scope.TAGS, frozenset(f"tag{n}" for n in chance.sample(range(TAGS), 20)))
            else:
                index.put(number, Scope.ALL)
        asked = [frozenset(f"tag{n}" for n in chance.sample(range(TAGS), 5)) for _ in range(200)]
        runs[str(count)] = partial(_rate, partial(_route, index), asked, 0.5)
    found = interleaved(bed.size(3, 1), runs, told).medians()
    names = {"100": "100", "1000": "1k", "10000": "10k"}
    figures = {f"route.ms_{names[count]}": 1000 / row["per_s"] for count, row in found.items()}
    print(table({"ms": figures}))
    return figures


def _route(index: SubscriptionIndex, tags: frozenset[str]) -> None:
    pack(index.recipients(tags))


def _rate(work: Callable[[Any], None], materials: list[Any], seconds: float) -> Figures:
    """Per second of CPU time."""
    for material in materials[:10]:
        work(material)
    done, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        for material in materials[:20] if done < 20 else materials:
            work(material)
            done += 1
    return {"per_s": done / spent}


def _federation(key: Any) -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
    """Their way to check an envelope, and their way to receive one, with the author's key at hand."""
    try:
        import magic  # noqa: F401
    except ImportError:  # it finds out the types of pictures, which nobody asks for here
        sys.modules["magic"] = ModuleType("magic")
    from federation.inbound import handle_receive
    from federation.protocols.diaspora.magic_envelope import MagicEnvelope
    from federation.types import RequestType

    from tests.envelopes import pem

    theirs = pem(key)

    async def fetch(handle: str) -> str:
        return theirs

    def check(body: bytes) -> None:
        _run(MagicEnvelope(payload=body.decode(), public_key=theirs).verify())

    def receive(body: bytes) -> None:
        sender, _, entities = _run(handle_receive(RequestType(body=body), sender_key_fetcher=fetch))
        assert sender in AUTHORS
        assert entities

    return check, receive


def _run(story: Any) -> Any:
    """The result of a coroutine that waits for nothing, or of what was none."""
    if not isinstance(story, Coroutine):
        return story
    try:
        story.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")

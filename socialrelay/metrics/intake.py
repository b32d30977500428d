"""What comes in, as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen
from prometheus_client.metrics_core import Metric

from socialrelay.metrics.families import counter, counters, gauge, gauges
from socialrelay.relay import Relay
from socialrelay.statistics import Tally
from socialrelay.web.public import PublicSite

_ANSWER = "receive-"
CODES = ("202", "400", "404", "500", "503", "hung-up")
_REFUSED = "refused-"
_ENDED = frozenset({"idle", "overdue", "gave-way"})
"""Connections that the relay has ended."""


@frozen(eq=False)
class IntakeMetrics:
    """The public site, and what is judged."""

    public: PublicSite
    relay: Relay
    tally: Tally

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        counts = self.public.counters
        answers = {name.removeprefix(_ANSWER): many for name, many in counts.items() if name.startswith(_ANSWER)}
        yield counters(
            "intake_answers", "Bodies that were answered, by status; hung-up: nobody waited for the answer.", "code", answers, CODES
        )
        refused = {name.removeprefix(_REFUSED): many for name, many in counts.items() if name.startswith(_REFUSED) or name in _ENDED}
        yield counters(
            "requests_refused", "Requests and connections that were refused before they were read, by reason.", "reason", refused
        )
        yield from self._room()
        yield from self._judged()

    def _room(self) -> Iterator[Metric]:
        site, room = self.public.site, self.public.site.room
        yield gauge("connections", "Open connections to the public site.", site.connections)
        yield gauge("connections_limit", "How many there may be.", site.max_connections)
        held = (("receiving",), room.receiving), (("kept",), room.kept)
        yield gauges("body_bytes", "Bytes of bodies in hand: those that arrive, and those that are judged or written.", ["state"], held)
        yield gauge("body_bytes_limit", "How many there may be (receive.bytes_in_hand).", room.limit)
        admission = self.public.admission
        yield gauge("bodies_in_hand", "Bodies that are judged or written.", admission.in_hand)
        yield gauge("bodies_in_hand_limit", "How many there may be, as the time tells that they take.", admission.limit)
        yield counter("bodies_turned_away", "Bodies that were answered 503 because too many bytes were in hand.", room.refused)

    def _judged(self) -> Iterator[Metric]:
        totals = self.tally.totals
        yield counter("bodies_received", "Envelopes that were taken in and could be read.", totals["received"])
        yield counter("posts_accepted", "Verified posts and retractions that are in the log.", totals["accepted"])
        yield counter("posts_duplicate", "Posts that were in the log already.", totals["duplicate"])
        yield counters(
            "posts_rejected",
            "Bodies that are not authentic or malformed, by reason.",
            "reason",
            self._reasons("rejected"),
            ("bad-signature", "unknown-key"),
        )
        yield counters("posts_ignored", "Well signed bodies that are not relayed, by reason.", "reason", self._reasons("ignored"))
        yield counters("bodies_not_kept", "Bodies that were answered 503 because too much waits.", "reason", self._reasons("refused"))
        verified = self.relay.verified
        yield counters("signatures_verified", "Signatures that were checked.", "result", {"good": verified.good, "bad": verified.bad})
        yield counter("bodies_judged_in_thread", "Bodies so long that they were judged in a thread.", verified.in_thread)
        found = {"yes": verified.key_at_hand, "no": verified.key_missing}
        yield counters("keys_at_hand", "Bodies whose author's key was in memory when they came, or was not.", "found", found)
        yield counter("rejections_not_kept", "Rejections whose reasons were not written down: too many at once.", self.tally.forgotten)

    def _reasons(self, event: str) -> Mapping[str, float]:
        return {reason: many for (about, reason), many in self.tally.reasons.items() if about == event}

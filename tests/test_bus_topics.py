"""Topics of the bus."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.topics import MAX_TOPIC, Topics, is_topic

TOPICS = Topics("org.example", "dev")
PARTS = st.text(st.sampled_from("ab.*+\\é"), min_size=1, max_size=8)


class IsTopicTests(SynchronousTestCase):
    def test_good(self) -> None:
        """
        A topic is any text of at most 255 bytes.
        """
        for topic in ("a", "org.example.dev.git.receive", "no.rules at all", "é" * 127, "x" * MAX_TOPIC):
            self.assertTrue(is_topic(topic), topic)

    def test_bad(self) -> None:
        """
        Nothing, more than 255 bytes, and control characters are no topic.
        """
        for topic in ("", "x" * (MAX_TOPIC + 1), "é" * 128, "a\nb", "a\0", "\x1f", "a\x7f", "a\x85", "\ud800" * 86):
            self.assertFalse(is_topic(topic), topic)


class TopicsTests(SynchronousTestCase):
    def test_full(self) -> None:
        """
        Prefix and environment are put before a topic that has no prefix.
        """
        self.assertEqual(TOPICS.full("git.receive"), "org.example.dev.git.receive")
        for topic in ("org.example", "org.example.stg.git.receive"):
            self.assertEqual(TOPICS.full(topic), topic)

    def test_full_of_a_longer_word(self) -> None:
        """
        A topic that begins with a longer word than the prefix does not have the prefix.
        """
        self.assertEqual(TOPICS.full("org.examples.a"), "org.example.dev.org.examples.a")

    def test_own(self) -> None:
        """
        The relay's own topics say so in their third part.
        """
        self.assertEqual(TOPICS.own("payload.received"), "org.example.dev.socialrelay.payload.received")

    def test_reserved(self) -> None:
        """
        What the relay itself may say is reserved in all environments, even in one without a name.
        """
        for topic in (
            "org.example.dev.socialrelay.payload.received",
            "org.example.prod.socialrelay.x",
            "org.example..socialrelay.x",
            "org.example.dev.socialrelay",
            "org.example.dev.socialrelay.",
        ):
            self.assertTrue(TOPICS.reserved(topic), topic)

    def test_not_reserved(self) -> None:
        """
        Other modules, longer words, other prefixes and other places of the word are anybody's.
        """
        for topic in (
            "org.example.dev.git.receive",
            "org.example.dev.socialrelays.x",
            "org.example.dev.git.socialrelay.x",
            "org.example.socialrelay.x",
            "orgXexample.dev.socialrelay.x",
            "com.org.example.dev.socialrelay.x",
            "socialrelay.x",
        ):
            self.assertFalse(TOPICS.reserved(topic), topic)

    @settings(max_examples=200, deadline=None)
    @given(PARTS, PARTS, PARTS)
    def test_own_is_reserved(self, prefix: str, environment: str, event: str) -> None:
        """
        Whatever the bus is called, its own topics are reserved, and a topic with its prefix stays what it is.
        """
        topics = Topics(prefix, environment.replace(".", ""))
        self.assertTrue(topics.reserved(topics.own(event)))
        self.assertEqual(topics.full(topics.own(event)), topics.own(event))

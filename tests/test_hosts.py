"""Host names."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.hosts import BadHost, host_of, is_host, node_host, within


class NodeHostTests(SynchronousTestCase):
    def test_same(self) -> None:
        """
        The ways to write one host are one host.
        """
        for text in ("münchen.example", "MÜNCHEN.example", " xn--mnchen-3ya.example.", "xn--MNCHEN-3ya.EXAMPLE", "mu\u0308nchen.example"):
            self.assertEqual(node_host(text), "xn--mnchen-3ya.example", text)

    def test_old_names(self) -> None:
        """
        A-labels that today's rules of internationalised names no longer allow are taken as they are: such hosts exist.
        """
        self.assertEqual(node_host("xn--i-7iq.example"), "xn--i-7iq.example")

    def test_refused(self) -> None:
        """
        What is not a public host name and nothing else is refused, with a sentence that says what is wrong.
        """
        for text, word in {
            "": "empty",
            " . ": "empty",
            "localhost": "no dot",
            "127.0.0.1": "IP address",
            "127.0.0.1.": "IP address",
            "2130706433": "IP address",
            "0x7f.1": "IP address",
            "a.0x7f": "IP address",
            "[::1]": "IP address",
            "::1": "IP address",
            "\uff11\uff12\uff17.0.0.1": "IP address",
            "pod.example:8080": "port",
            "user@pod.example": "user name",
            "https://pod.example": "https://",
            "pod.example/path": "path",
            "pod a.example": "letters",
            "-bad.example": "hyphen",
            "under_score.example": "letters",
            "a..b.example": "empty",
            "pod.example..": "empty",
            "x" * 64 + ".example": "63",
            "a." * 127 + "example": "253",
            "\u0000.example": "letters",
            "\ud800.example": "internationalised",
            "a\u200d\u0000\u00ad.example\u0301\u0000": "internationalised",
        }.items():
            error = self.assertRaises(BadHost, node_host, text)
            self.assertIn(word, str(error), text)
            self.assertTrue(str(error).endswith("."), str(error))

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=60) | st.text("aß.-1xn\u0130\u3002", max_size=30))
    def test_anything(self, text: str) -> None:
        """
        Any text is refused or becomes a name that stays what it is.
        """
        try:
            host = node_host(text)
        except BadHost:
            return
        self.assertTrue(is_host(host))
        self.assertEqual(node_host(host), host)


class HandleHostTests(SynchronousTestCase):
    def test_host_of(self) -> None:
        """
        The host of a handle is without its port.
        """
        self.assertEqual(host_of("erin@pod-e.example:8443"), "pod-e.example")

    def test_within(self) -> None:
        """
        A host is within itself and its parents, not within names that merely end alike.
        """
        self.assertEqual(
            [within(host, "pod.example") for host in ("pod.example", "a.pod.example", "apod.example", "example")],
            [True, True, False, False],
        )

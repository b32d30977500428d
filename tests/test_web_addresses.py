"""Tests for L{socialrelay.web.addresses}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.addresses import TrustedProxies, limited_as, parse_address


class AddressTests(SynchronousTestCase):
    """Who is the client."""

    def setUp(self) -> None:
        self.proxies = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:ffff::/48"])

    def test_no_proxy(self) -> None:
        """
        A peer that is no proxy is the client, whatever it claims.
        """
        self.assertEqual(self.proxies.client("192.0.2.1", ["198.51.100.7"]), "192.0.2.1")

    def test_proxies(self) -> None:
        """
        The client is the last address that is no proxy's; what it wrote itself does not count.
        """
        cases = {
            "198.51.100.7": "198.51.100.7",
            "1.1.1.1, 198.51.100.7": "198.51.100.7",
            "1.1.1.1, 198.51.100.7, 10.2.2.2": "198.51.100.7",
            "198.51.100.7:4711": "198.51.100.7",
            "[2001:db8::1]:443": "2001:db8::1",
            "::ffff:198.51.100.7": "198.51.100.7",
            "10.3.3.3": "10.3.3.3",
            "1.1.1.1, nonsense": "10.1.1.1",
            "1.1.1.1, unix": "10.1.1.1",
            "": "10.1.1.1",
        }
        for forwarded, client in cases.items():
            self.assertEqual(self.proxies.client("10.1.1.1", [forwarded]), client, forwarded)
        self.assertEqual(self.proxies.client("10.1.1.1", ["1.1.1.1", "198.51.100.7, 10.2.2.2"]), "198.51.100.7")

    def test_unix(self) -> None:
        """
        A UNIX socket's peer is a proxy, and the client is unknown when it names none.
        """
        self.assertEqual(TrustedProxies().client("unix", ["198.51.100.7"]), "198.51.100.7")
        self.assertEqual(TrustedProxies().client("unix", []), "unix")

    def test_mapped_proxy(self) -> None:
        """
        A proxy that connects over a dual-stack socket is recognised.
        """
        self.assertEqual(self.proxies.client("::ffff:10.1.1.1", ["198.51.100.7"]), "198.51.100.7")

    def test_bad_entry(self) -> None:
        """
        An entry that is no network is named.
        """
        with self.assertRaisesRegex(ValueError, "10.0.0.0/99"):
            TrustedProxies.parse(["10.0.0.0/99"])

    def test_limits(self) -> None:
        """
        An IPv6 client is limited by its network, all others by their address.
        """
        self.assertEqual(
            [limited_as(text) for text in ("192.0.2.1", "2001:db8:1:2:3::4", "unix")], ["192.0.2.1", "2001:db8:1:2::/64", "unix"]
        )

    @given(st.lists(st.text(alphabet="0123456789abcdef.:[]%, x", max_size=40), max_size=4))
    def test_any_header(self, forwarded: list[str]) -> None:
        """
        Any header gives an address.
        """
        self.assertIsNotNone(parse_address(self.proxies.client("10.1.1.1", forwarded)))

    def test_overlong(self) -> None:
        """
        An entry that is too long for an address is none, whatever it begins with.
        """
        self.assertIs(parse_address("192.0.2.1" + " " * 1000), None)
        self.assertIs(parse_address("fe80::1%" + "x" * 1000), None)
        self.assertEqual(str(parse_address("[fe80::1%eth0]:443")), "fe80::1")

"""Tests for L{socialrelay.network.addresses}."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.network.addresses import Target, UrlRefused, allowed, is_public_name, networks, vet_url


def words(text: str) -> list[str]:
    """They are separated by white space."""
    return text.split()


SPECIAL = words("""
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8
    192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808
    64:ff9b:1::1 100::1 2001::1 2001:0:0:0::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1
    fd12::1 fe80::1 fec0::1 ff02::1
""")
PUBLIC = words(
    "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 ::ffff:8.8.8.8 2a00:1450::1 2606:4700::1111 2001:4860::8888"
)
HOSTILE_HOSTS = [
    *words(
        """\n    127.0.0.1 127.1 0x7f.1 0x7f000001 017700000001 2130706433 0 127.0.0.1. localhost LOCALHOST foo.localhost ①②⑦.⓪.⓪.① 127。0。0。1 ⓛocalhost\n    [::] [::1] [::ffff:127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] [fc00::1] [2a00:1450::1] 169.254.169.254 8.8.8.8\n    pod pod.example. .pod.example pod..example -pod.example pod-.example pod_x.example pod.0x7f pod.1 pöd.example a@b.example\n    user:secret@pod.example good.example:80@127.0.0.1 127.0.0.1#@good.example pod.example%00.evil.example pod.example\\@evil.example\n"""
    ),
    "a." * 126 + "ab",
    "a" * 64 + ".example",
    "",
    "pod .example",
    "pod.example\r\nX: y",
    "pod.example\t",
]


class AllowedTests(SynchronousTestCase):
    """Which addresses may be connected to."""

    def test_special_addresses(self) -> None:
        """No address of a special block, and no IPv6 address that hides an IPv4 one, is allowed."""
        for text in SPECIAL:
            with self.subTest(text):
                self.assertFalse(allowed(ip_address(text)))

    def test_public_addresses(self) -> None:
        """Public unicast addresses are allowed, right up to the edges of the special blocks."""
        for text in PUBLIC:
            with self.subTest(text):
                self.assertTrue(allowed(ip_address(text)))

    def test_scoped(self) -> None:
        """An IPv6 address with a zone is not allowed."""
        self.assertFalse(allowed(ip_address("2a00:1450::1%eth0")))

    def test_extra(self) -> None:
        """The configuration can allow further networks, and only those."""
        extra = networks(["127.0.0.0/8", "::1/128"])
        answers = [allowed(ip_address(text), extra) for text in ("127.0.0.1", "::1", "::ffff:127.0.0.2", "10.0.0.1", "::2")]
        self.assertEqual(answers, [True, True, True, False, False])

    def test_malformed_extra(self) -> None:
        """A CIDR that is none is named."""
        self.assertIn("127.0.0.0/33", str(self.assertRaises(ValueError, networks, ["127.0.0.0/33"])))

    @given(st.ip_addresses(v=4))
    def test_mapped(self, address: IPv4Address) -> None:
        """A mapped address is allowed exactly when the IPv4 address is."""
        self.assertEqual(allowed(ip_address(f"::ffff:{address}")), allowed(address))


class UrlTests(SynchronousTestCase):
    """Which URLs may be asked."""

    def test_accepts(self) -> None:
        """An https URL of a node is read; scheme and host are lowered, the default port goes, a missing path is added."""
        self.assertEqual(
            [vet_url(url) for url in ("HTTPS://Pod.Example:443", "https://xn--pd-eka.example/receive/public?a=b&c=%20d@e:f")],
            [
                Target("https://pod.example/", "pod.example", 443),
                Target("https://xn--pd-eka.example/receive/public?a=b&c=%20d@e:f", "xn--pd-eka.example", 443),
            ],
        )

    def test_ports(self) -> None:
        """Only the ports that are given are allowed."""
        self.assertEqual(vet_url("https://pod.example:8443/x", (443, 8443)), Target("https://pod.example:8443/x", "pod.example", 8443))
        for url in ("https://pod.example:8443/", "https://pod.example:5432/", "https://pod.example:0/", "https://pod.example:99999/"):
            with self.subTest(url):
                self.assertRaises(UrlRefused, vet_url, url)

    def test_hostile_hosts(self) -> None:
        """No address, no local name and no trick of spelling passes as a host."""
        for host in HOSTILE_HOSTS:
            with self.subTest(host):
                self.assertRaises(UrlRefused, vet_url, f"https://{host}/")
                self.assertFalse(is_public_name(host))

    def test_other_schemes(self) -> None:
        """Only https is spoken."""
        for url in (
            "http://pod.example/",
            "file:///etc/passwd",
            "gopher://pod.example/",
            "ftp://pod.example/",
            "data:,x",
            "//pod.example/",
            "",
        ):
            with self.subTest(url):
                self.assertRaises(UrlRefused, vet_url, url)

    def test_malformed(self) -> None:
        """Characters that parsers read differently, fragments and excessive length are refused."""
        for rest in ("/a b", "/a\r\nb", "/a\x00", "/ü", "/#x", "\\@evil.example/", "/a\\b", "/<", "/" + "a" * 2048, "?a#b", "/\x7f", ";x"):
            with self.subTest(rest):
                self.assertRaises(UrlRefused, vet_url, f"https://pod.example{rest}")

    @given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x180), max_size=40))
    def test_one_reading(self, rest: str) -> None:
        """Whatever is accepted is read the same by another parser, and accepted unchanged again."""
        try:
            target = vet_url("https://pod.example" + rest)
        except UrlRefused:
            return
        split = urlsplit(target.url)
        self.assertEqual((split.hostname, split.port or 443, split.username), (target.host, target.port, None))
        self.assertEqual(vet_url(target.url), target)

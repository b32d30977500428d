"""Finding an author's key."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.discovery import DiscoveryFault, hcard_key, hcard_url, webfinger_url
from socialrelay.diaspora.handle import is_handle, port_of
from socialrelay.diaspora.hcard import key_text
from socialrelay.diaspora.keys import pem_of
from tests.envelopes import Author

ALICE = Author("alice@pod-a.example")
REL = "http://microformats.org/profile/hcard"


def jrd(href: object, subject: object = "acct:alice@pod-a.example") -> bytes:
    """A webfinger document."""
    return json.dumps({"subject": subject, "links": [{"rel": "x", "href": "y"}, 7, {"rel": REL}, {"rel": REL, "href": href}]}).encode()


class WebfingerTests(SynchronousTestCase):
    def assertFault(self, document: bytes, reason: str) -> None:
        """The document yields no hCard, for that reason."""
        self.assertEqual(self.assertRaises(DiscoveryFault, hcard_url, document, ALICE.handle).reason, reason)

    def test_url(self) -> None:
        """
        The node is asked at the port that its handles name.
        """
        self.assertEqual(
            webfinger_url("erin@pod-e.example:8443"),
            "https://pod-e.example:8443/.well-known/webfinger?resource=acct:erin@pod-e.example:8443",
        )
        self.assertEqual((port_of("erin@pod-e.example:8443"), port_of(ALICE.handle)), (8443, 443))

    def test_link(self) -> None:
        """
        The hCard is where the first link of its kind says, on whatever host, if by https.
        """
        for href in (
            "https://pod-a.example/hcard/users/1",
            "https://www.pod-a.example:8443/hcard?user=1&x=[1]",
            "https://POD-A.example./hcard",
        ):
            self.assertEqual(hcard_url(jrd(href), ALICE.handle), href)
        self.assertEqual(hcard_url(jrd("https://pod-a.example/h#x"), ALICE.handle), "https://pod-a.example/h")
        self.assertEqual(hcard_url(ALICE.webfinger(), ALICE.handle), ALICE.hcard_url())

    def test_bad_link(self) -> None:
        """
        A link that leads elsewhere than to a public https page is not followed.
        """
        for href in (
            7,
            ["https://pod-a.example/"],
            "/hcard/users/1",
            "//pod-a.example/",
            "http://pod-a.example/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::1/",
            "https://localhost/",
            "https://u:p@pod-a.example/",
            "https://@pod-a.example/",
            "https://pod-a.example:0/",
            "https://pod-a.example:99999/",
            "https://pod-a.example:x/",
            "https://pod-a.example/\r\nHost: x",
            "https://pod-a.example\t.evil.example/",
            "https://pod-a.example\\@evil.example/",
            "https:///x",
            "https://m\u00fcnchen.example/",
            "https://pod-a.example/" + "x" * 3000,
        ):
            self.assertFault(jrd(href), "bad-hcard-link")

    def test_subject(self) -> None:
        """
        The document has to be about the handle that was asked for, in whatever case.
        """
        subject: object
        for subject in ("acct:Alice@Pod-A.example", "alice@pod-a.example"):
            hcard_url(jrd("https://pod-a.example/", subject), ALICE.handle)
        for subject in ("acct:bob@pod-a.example", "acct:alice@pod-a.example:443", None, 7, ""):
            self.assertFault(jrd("https://pod-a.example/", subject), "subject-mismatch")

    def test_no_link(self) -> None:
        """
        A document without a link to an hCard has none.
        """
        links: object
        for links in (None, {}, "x", [], [{"rel": REL, "href": ""}], [{"rel": [REL], "href": "x"}]):
            self.assertFault(json.dumps({"subject": ALICE.handle, "links": links}).encode(), "no-hcard-link")

    def test_no_json(self) -> None:
        """
        Whatever else is no document, however deep.
        """
        for document in (b"", b"<XRD/>", b"[]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000):
            self.assertFault(document, "not-json")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100) | st.text(max_size=50).map(jrd))
    def test_anything(self, document: bytes) -> None:
        """
        No answer upsets the reader.
        """
        try:
            self.assertTrue(hcard_url(document, ALICE.handle).startswith("https://"))
        except DiscoveryFault:
            pass


class HCardTests(SynchronousTestCase):
    def test_key(self) -> None:
        """
        The key of an author's page is the author's.
        """
        self.assertEqual(pem_of(hcard_key(ALICE.hcard())), ALICE.pem)

    def test_faults(self) -> None:
        """
        A page without key, and one with something else in its place, are told apart.
        """
        for page, reason in {b"": "no-key", b"\xff<p>": "no-key", b'<pre class="key">x</pre>': "bad-key"}.items():
            self.assertEqual(self.assertRaises(DiscoveryFault, hcard_key, page).reason, reason)

    def test_found(self) -> None:
        """
        The first element is taken that has C{key} among its classes, however that is written.
        """
        for page in (
            '<pre class="key"> K </pre>',
            "<PRE CLASS='a key\nb'>K</PRE >",
            "<pre id=x class=key>K</pre>",
            "<pre id=\"x>\" data-x='class=\"no\"' class = 'key'>K</pre>",
            '<p class="keyboard">no</p><div class="a key"><b>K</b></div><pre class="key">no</pre>',
            '<!-- <pre class="key">no</pre> --><pre class="key">K</pre>',
            '<script>"<pre class=\'key\'>no</pre>"</script><pre class="key">K</pre>',
            "<title><pre class='key'>no</pre></title><pre class='key'>K</pre>",
            "<!DOCTYPE html><?x <y?>< 1 <<pre class=key><!-- no -->K<br/></pre>",
            '<img alt=\'<pre class="key">no</pre>\'><pre class="key">&#75;</pre>',
            '<pre class="k&#101;y">K</pre>',
        ):
            self.assertEqual(key_text(page), "K", page)

    def test_not_found(self) -> None:
        """
        A page that breaks off, or names the class in another place, has no key.
        """
        for page in (
            "",
            "key",
            '<pre class="key">K',
            '<pre class="key">K</p>',
            '<pre class="key',
            "<pre data-class='key'>K</pre>",
            "<pre id='class=key'>K</pre>",
            "<pre class='Key'>K</pre>",
            "</pre class='key'>K</pre>",
            "<script><pre class='key'>K</pre>",
            "<!-- <pre class='key'>K</pre>",
        ):
            self.assertIsNone(key_text(page), page)

    def test_worst_cases(self) -> None:
        """
        Pages made to be read again and again are read once.
        """
        size = 1024 * 1024
        for unit in (
            "<",
            "<a ",
            '<a "',
            "<a '",
            "<!--",
            "<!-",
            "<script>",
            "</",
            "<a class=",
            "<a key class",
            "<a b",
            "< ",
            "<?",
            '<a "b"c',
            "&",
            "<p>",
        ):
            self.assertIsNone(key_text(unit * (size // len(unit))))
            key_text("<pre class=key>" + unit * (size // len(unit)))
            key_text("<pre " + "class " * (size // 6) + ">")

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.sampled_from("<>/!-'\"= &") | st.sampled_from(["pre", "class", "key", "script", "<!--", "-->", "K"]), max_size=30).map(
            "".join
        )
    )
    def test_anything(self, page: str) -> None:
        """
        No page upsets the reader.
        """
        key_text(page)
        self.assertRaises(DiscoveryFault, hcard_key, page.encode())


class HandleTests(SynchronousTestCase):
    def test_handles(self) -> None:
        """
        A handle is a user at a host, in lower-case ASCII, with a port or without.
        """
        for handle in ("a@b.example", "a.b_c-1@xn--mnchen-3ya.example", "erin@pod-e.example:8443", "a@b.c:1"):
            self.assertTrue(is_handle(handle), handle)
        for handle in (
            "",
            "@b.example",
            "a@",
            "a@b",
            "a b@c.example",
            "a@b.example:",
            "a@b.example:99999",
            "a@b_c.example",
            "a@-b.example",
        ):
            self.assertFalse(is_handle(handle), handle)

"""XML from strangers."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.xml import MOST_ATTRIBUTES, Child, Document, Malformed, qualified, read_document, split


class ReadTests(SynchronousTestCase):
    def test_two_levels(self) -> None:
        """
        The root's name and its children's texts are read, and nothing deeper.
        """
        self.assertEqual(
            read_document(b"<a>x<b c='d'>1<e>2</e>&lt;&#51;</b><f/>y</a>", most_tags=10),
            Document("a", [Child("b", {"c": "d"}, "1<3", False), Child("f", {}, "", True)]),
        )

    def test_names(self) -> None:
        """
        Names are told apart by namespace and by the prefix that is written.
        """
        document = read_document(b"<x:a xmlns:x='urn:x' xmlns='urn:d'><b/><x:b/></x:a>", most_tags=10)
        self.assertEqual(document.name, qualified("urn:x", "a", "x"))
        self.assertEqual([child.name for child in document.children], [qualified("urn:d", "b"), qualified("urn:x", "b", "x")])
        self.assertEqual([split(child.name) for child in document.children], [("urn:d", "b"), ("urn:x", "b")])
        self.assertEqual(split("a"), ("", "a"))

    def test_forged_name(self) -> None:
        """
        No namespace reads like another with a prefix.
        """
        for namespace in ("urn:x\na", "urn:x&#10;a"):
            try:
                document = read_document(f"<a xmlns='{namespace}'/>".encode(), most_tags=10)
            except Malformed:
                continue
            self.assertNotIn(document.name, (qualified("urn:x", "a"), qualified("urn:x", "a", "a")))
            self.assertNotEqual(split(document.name)[0], "urn:x")

    def test_refused(self) -> None:
        """
        What is not XML in UTF-8, declares a document type, or is too much, is refused.
        """
        for body, reason in {
            b"": "not-xml",
            b"<a>": "not-xml",
            b"<a/><b/>": "not-xml",
            b"<a>\x00</a>": "not-xml",
            b"<a>\xff</a>": "not-xml",
            b"<a>&x;</a>": "not-xml",
            b"<x:a/>": "not-xml",
            "<a/>".encode("utf-16"): "not-xml",
            "<a/>".encode("utf-16-be"): "not-xml",
            b"<!DOCTYPE a><a/>": "doctype",
            b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>": "doctype",
            b"<a><b/><c/><d/></a>": "oversized",
        }.items():
            self.assertEqual(self.assertRaises(Malformed, read_document, body, most_tags=4).reason, reason, repr(body))

    def test_many_attributes(self) -> None:
        """
        A document with more than ten thousand attributes is refused, however they are written; equals signs in texts are none.
        """
        for written in ("a{}='1'", 'a{}="1"', "a{} = '1'", "xmlns:a{}=\n'x'"):
            for count, refused in ((MOST_ATTRIBUTES, False), (MOST_ATTRIBUTES + 1, True)):
                body = f"<a {' '.join(written.format(number) for number in range(count))}/>".encode()
                try:
                    read_document(body, most_tags=10)
                except Malformed as error:
                    self.assertEqual((error.reason, refused), ("oversized", True), written)
                else:
                    self.assertFalse(refused, written)
        self.assertEqual(len(read_document(b"<a><b>" + b"=" * 65535 + b"</b></a>", most_tags=10).children[0].text), 65535)

    def test_declared_encoding(self) -> None:
        """
        A document is read as UTF-8, and refused if it declares what other parsers would read otherwise or not at all.
        """
        for encoding in ("UTF-8", "utf-8", "ISO-8859-1"):
            document = read_document(f"<?xml version='1.0' encoding='{encoding}'?><a><b>+ADw- é</b></a>".encode(), most_tags=10)
            self.assertEqual(document.children[0].text, "+ADw- é", encoding)
        for declared in (
            "'1.0' encoding='UTF-16'",
            "'1.0' encoding='UTF-7'",
            "'1.0' encoding='UCS-4'",
            "'1.0' encoding='made-up'",
            "'1.1'",
        ):
            error = self.assertRaises(Malformed, read_document, f"<?xml version={declared}?><a/>".encode(), most_tags=10)
            self.assertEqual(error.reason, "not-xml", declared)

    def test_nothing_kept(self) -> None:
        """
        Made-up names are forgotten with their document.
        """

        def read(number: int) -> None:
            attributes = " ".join(f"a{number}x{count}='1'" for count in range(2000))
            read_document(f"<a {attributes}/>".encode(), most_tags=10)

        read(0)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for number in range(1, 20):
                read(number)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(after - before, 100_000)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(["<a>", "</a>", "<b/>", "<!--", "-->", "<?x", "?>", "<![CDATA[", "]]>", "&amp;", "&", "x", "<!DOCTYPE a>"])
        )
    )
    def test_anything(self, pieces: list[str]) -> None:
        """
        No document upsets the reader.
        """
        try:
            read_document("".join(pieces).encode(), most_tags=100)
        except Malformed as error:
            self.assertIn(error.reason, ("not-xml", "doctype"))

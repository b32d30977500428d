"""Node lists."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.nodes.lists import BadList, NodeListing, read_list
from socialrelay.routing.hosts import is_host

VECTORS = Path(__file__).parent / "vectors" / "node-lists"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["pod-a.example", "münchen.example"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["pods", "nodes", "data", "host", "domain", "thefederation_platform", "name", "errors"]), inner)
    ),
    max_leaves=20,
)


class ReadTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """
        Every known shape yields its hosts; what is no list, or an empty one, is refused.
        """
        for name, expected in json.loads((VECTORS / "expected.json").read_text()).items():
            body = (VECTORS / name).read_bytes()
            if expected["hosts"] is None:
                self.assertRaises(BadList, read_list, body, most=1000)
            else:
                self.assertEqual(sorted(read_list(body, most=1000).hosts), expected["hosts"], name)

    def test_limit(self) -> None:
        """
        No more hosts are taken than asked for, and those left out are counted.
        """
        self.assertEqual(
            read_list(b"a.example\nb.example\na.example\nc.example\n-.example", most=2), NodeListing(("a.example", "b.example"), 2)
        )

    def test_graphql_errors(self) -> None:
        """
        A GraphQL answer that reports errors is said to do so.
        """
        error = self.assertRaises(BadList, read_list, b'{"errors": [{}], "data": null}', most=2)
        self.assertIn("errors", str(error))

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=200) | JSON.map(lambda document: json.dumps(document).encode()))
    def test_anything(self, body: bytes) -> None:
        """
        Whatever a source answers, it yields valid hosts or a refusal.
        """
        try:
            listing = read_list(body, most=3)
        except BadList:
            return
        self.assertTrue(0 < len(listing.hosts) <= 3)
        self.assertTrue(all(map(is_host, listing.hosts)))

"""What nodes publish about themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.hashtags import is_tag
from socialrelay.diaspora.preferences import InvalidPreferences, ReadPreferences, read_preferences
from socialrelay.routing.subscription import Preferences, Scope
from tests.envelopes import preferences

VECTORS = Path(__file__).parent / "vectors" / "x-social-relay"
HOST = "pod.example"
USUAL = "https://pod.example/receive/public"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["all", "tags", "true", USUAL, "#cats"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["diaspora", "receive", "1"]), inner),
    max_leaves=10,
)


def read(max_tags: int = 2000, **members: object) -> ReadPreferences:
    """What a document of scope C{tags} comes to, with some members another; C{...} takes one out."""
    document = {"subscribe": True, "scope": "tags", "tags": ["cats"], **members}
    body = json.dumps({name: value for name, value in document.items() if value is not ...}).encode()
    return read_preferences(body, HOST, max_tags=max_tags)


class VectorTests(SynchronousTestCase):
    def test_documents(self) -> None:
        """
        Every shape that nodes are known to send is read as it is meant.
        """
        for name, expected in json.loads((VECTORS / "expected.json").read_text())["documents"].items():
            body = (VECTORS / name).read_bytes()
            if expected["result"] == "invalid":
                self.assertRaises(InvalidPreferences, read_preferences, body, HOST, max_tags=2000)
                continue
            found = read_preferences(body, HOST, max_tags=2000).preferences
            self.assertEqual(
                (found.scope.value, sorted(found.tags), found.receive_url or None),
                (expected["result"], expected["tags"], expected["receive"]),
                name,
            )


class ReadTests(SynchronousTestCase):
    def test_faultless(self) -> None:
        """
        A clear yes and a clear no have no faults.
        """
        self.assertEqual(read(), ReadPreferences(Preferences(Scope.TAGS, frozenset({"cats"}), USUAL)))
        self.assertEqual(read(subscribe=False), ReadPreferences(Preferences(Scope.NONE)))
        self.assertEqual(read_preferences(preferences(), HOST, max_tags=1), ReadPreferences(Preferences(Scope.ALL, receive_url=USUAL)))

    def test_consent(self) -> None:
        """
        Without a clear yes nothing is sent, and the administrator learns why.
        """
        value: Any
        for value, shown in ((..., "missing"), (2, "2"), ("ja", '"ja"'), ([], "an array"), (None, "null"), ("", '""'), (1.5, "1.5")):
            answer = read(subscribe=value)
            self.assertEqual(answer.preferences, Preferences(Scope.NONE))
            self.assertEqual(len(answer.faults), 1)
            self.assertIn(f"subscribe is {shown}", answer.faults[0])
        for value in (..., "allfoo", "atags", "", None, ["all"], 1):
            answer = read(scope=value)
            self.assertEqual(answer.preferences, Preferences(Scope.NONE))
            self.assertIn("scope is", answer.faults[0])

    def test_receive_url(self) -> None:
        """
        A node may name where it wants to be sent to, on itself; anything else is passed over, and said.
        """
        for url in (USUAL, USUAL + "/", "https://pod.example/a/b", "HTTPS://Pod.Example/receive", "https://pod.example:443/x"):
            answer = read(protocols={"diaspora": url})
            self.assertEqual(answer.faults, (), url)
            self.assertEqual(answer.preferences.receive_url, "https://pod.example/" + url.split("/", 3)[3])
        wanted: Any
        for wanted in (
            7,
            "",
            "/receive/public",
            "http://pod.example/receive/public",
            "https://pod.example",
            "https://pod.example:8443/x",
            "https://pod.example@evil.example/x",
            "https://u@pod.example/x",
            "https://pod.example.evil.example/x",
            "https://pod.example/x?y",
            "https://pod.example/x#y",
            "https://pod.example/x\r\nHost: y",
            "https://pod.example\\@evil.example/",
            "https://pod.example/\u00e9",
            "https://pod.example/" + "x" * 500,
        ):
            answer = read(protocols={"diaspora": {"receive": wanted}})
            self.assertEqual(answer.preferences.receive_url, USUAL)
            self.assertEqual(len(answer.faults), 1, wanted)

    def test_protocols(self) -> None:
        """
        A node that lists its protocols has to list this one.
        """
        protocols: Any
        for protocols in ({}, [], ["activitypub"], {"activitypub": USUAL}):
            answer = read(protocols=protocols)
            self.assertEqual(answer.preferences, Preferences(Scope.NONE))
            self.assertIn("does not name diaspora", answer.faults[0])
        for protocols in (None, ["diaspora"], {"diaspora": None}, {"diaspora": {}}):
            self.assertEqual(read(protocols=protocols), read(), protocols)
        self.assertEqual(read(protocols="diaspora").preferences, read().preferences)

    def test_strange_tags(self) -> None:
        """
        Entries that are no tags are left out, counted, and a few of them shown.
        """
        answer = read(tags=["cats", "two words", None, True, 1.5, {}, "\u00e9\u001b[31m", "x" * 300, ""])
        self.assertEqual(answer.preferences, Preferences(Scope.TAGS, frozenset({"cats"}), USUAL, 7))
        [fault] = answer.faults
        self.assertTrue(
            fault.startswith('tags: 7 entries were left out, being no tags: "two words", null, true, 1.5, an object, ...'), fault
        )

    def test_too_many_tags(self) -> None:
        """
        The first tags are kept, as many as a node may have; the rest is counted.
        """
        answer = read(2, tags=["a", "#A", "b", "c", "d"])
        self.assertEqual(answer.preferences, Preferences(Scope.TAGS, frozenset({"a", "b"}), USUAL, 2))
        self.assertEqual(answer.faults, ("tags: the last 2 entries were left out: a node may have 2 tags.",))

    def test_endless_tags(self) -> None:
        """
        Of a list without end, no more is looked at than an honest one could have.
        """
        answer = read(tags=[""] * 25_000 + ["cats"])
        self.assertEqual((answer.preferences.tags, answer.preferences.dropped_tags), (frozenset(), 5001))

    def test_no_tags(self) -> None:
        """
        A subscriber without tags is one, and is told that nothing matches.
        """
        tags: Any
        for tags in (..., None, [], "", {}, 7, True):
            answer = read(tags=tags)
            self.assertEqual((answer.preferences.scope, answer.preferences.tags), (Scope.TAGS, frozenset()))
            self.assertEqual(answer.faults[-1], "tags has no tags, so nothing matches.")

    def test_text(self) -> None:
        """
        Tags in one string are taken apart.
        """
        self.assertEqual(read(tags="cats, #Dogs\tbirds,,").preferences.tags, {"cats", "dogs", "birds"})

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=100)
        | st.fixed_dictionaries({}, optional={"subscribe": JSON, "scope": JSON, "tags": JSON, "protocols": JSON}).map(
            lambda document: json.dumps(document).encode()
        )
    )
    def test_anything(self, body: bytes) -> None:
        """
        Whatever a node publishes, it is a subscription in good order or none, or no answer.
        """
        try:
            answer = read_preferences(body, HOST, max_tags=3)
        except InvalidPreferences:
            return
        found = answer.preferences
        self.assertEqual(found.receive_url.startswith("https://pod.example/"), found.scope is not Scope.NONE)
        self.assertTrue(len(found.tags) <= 3)
        self.assertTrue(all(fault.isascii() and fault.isprintable() and len(fault) < 600 for fault in answer.faults))
        self.assertTrue(all(is_tag(tag) for tag in found.tags))

"""How the relay introduces itself to nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode

from attrs import evolve
from lxml import etree, html
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.discovery import hcard_key, hcard_url
from socialrelay.diaspora.identity import NODEINFO_VERSIONS, Introduction
from socialrelay.diaspora.keys import pem_of
from socialrelay.diaspora.preferences import read_preferences
from socialrelay.routing.subscription import Preferences, Scope
from tests.envelopes import pem, private_key

GUID = "f00dcafe0123456789abcdef01234567"
PEM = pem(private_key("relay@relay.example").public_key())
RELAY = Introduction("https://relay.example", "relay", "relay.example", GUID, "Example relay", PEM, "1.0")
XRD = "{http://docs.oasis-open.org/ns/xri/xrd-1.0}"


class DiscoveryTests(SynchronousTestCase):
    def test_discovered(self) -> None:
        """
        The relay finds itself as it finds authors: from its handle to its key.
        """
        self.assertEqual(hcard_url(RELAY.webfinger(), "relay@relay.example"), f"https://relay.example/hcard/users/{GUID}")
        self.assertEqual(pem_of(hcard_key(RELAY.hcard())), PEM)

    def test_resource(self) -> None:
        """
        The relay is asked for by its handle, with C{acct:} or without, in any case, percent-encoded or not.
        """
        for resource in ("acct:relay@relay.example", "relay@relay.example", "Acct:Relay@RELAY.example", "acct%3Arelay%40relay.example"):
            self.assertTrue(RELAY.is_me(resource), resource)
        for resource in ("", "relay", "acct:other@relay.example", "acct:relay@relay.example.org", "https://relay.example/", "%" * 5000):
            self.assertFalse(RELAY.is_me(resource), resource)

    def test_links(self) -> None:
        """
        The webfinger document has the links that diaspora* and Friendica want, and none that the relay does not keep.
        """
        document = json.loads(RELAY.webfinger())
        self.assertEqual(document["subject"], "acct:relay@relay.example")
        self.assertEqual(
            {link["rel"]: link["href"] for link in document["links"]},
            {
                "http://microformats.org/profile/hcard": f"https://relay.example/hcard/users/{GUID}",
                "http://joindiaspora.com/seed_location": "https://relay.example",
                "http://webfinger.net/rel/profile-page": "https://relay.example/",
                "salmon": f"https://relay.example/receive/users/{GUID}",
            },
        )

    def test_hcard(self) -> None:
        """
        The hCard has all that pods insist on, inside a C{vcard}.
        """
        [card] = html.fromstring(RELAY.hcard().decode()).find_class("vcard")

        def text(name: str) -> str:
            return str(card.find_class(name)[0].text_content()).strip()

        self.assertEqual(
            [text(name) for name in ("uid", "fn", "nickname", "given_name", "family_name", "searchable", "key")],
            [GUID, "Example relay", "relay", "Example relay", "", "false", PEM.strip()],
        )
        for name, size in (("entity_photo", 300), ("entity_photo_medium", 100), ("entity_photo_small", 50)):
            [photo] = card.find_class(name)[0].find_class("photo")
            self.assertEqual(photo.get("src"), f"https://relay.example/static/logo-{size}.png")

    def test_names(self) -> None:
        """
        A name is escaped, and what pods refuse in names is left out.
        """
        [card] = html.fromstring(evolve(RELAY, name="<b>'&\"; $guid " + "x" * 90).hcard().decode()).find_class("vcard")
        full, given = (str(card.find_class(name)[0].text_content()) for name in ("fn", "given_name"))
        self.assertEqual(full, "<b>'&\" $guid " + "x" * 57)
        self.assertEqual(given, full[:32])
        self.assertIn(b"relay@relay.example", evolve(RELAY, name=" ; ").hcard())

    def test_unpublishable(self) -> None:
        """
        Values that would break out of the documents are refused.
        """
        for change in ({"base_url": "https://relay.example/'"}, {"username": "a'b"}, {"guid": "short"}, {"guid": "<" * 20}):
            self.assertRaises(ValueError, lambda change=change: evolve(RELAY, **change))

    def test_legacy(self) -> None:
        """
        Old nodes find the same by host-meta and its XRD.
        """
        meta, finger = etree.fromstring(RELAY.host_meta()), etree.fromstring(RELAY.legacy_webfinger())
        [template] = [link.get("template") for link in meta.iter(f"{XRD}Link")]
        self.assertEqual(template, "https://relay.example/webfinger?q={uri}")
        self.assertEqual(finger.findtext(f"{XRD}Subject"), "acct:relay@relay.example")
        links = {link.get("rel"): link.get("href") for link in finger.iter(f"{XRD}Link")}
        self.assertEqual(links["http://microformats.org/profile/hcard"], f"https://relay.example/hcard/users/{GUID}")
        self.assertEqual(b64decode(links["diaspora-public-key"]).decode(), PEM)


class NodeInfoTests(SynchronousTestCase):
    def test_documents(self) -> None:
        """
        Each version that is linked has what its schema requires.
        """
        links = json.loads(RELAY.nodeinfo_links())["links"]
        self.assertEqual([link["href"] for link in links], [f"https://relay.example/nodeinfo/{version}" for version in NODEINFO_VERSIONS])
        for version in NODEINFO_VERSIONS:
            document = json.loads(RELAY.nodeinfo(version))
            self.assertEqual((document["version"], document["software"]), (version, {"name": "socialrelay", "version": "1.0"}))
            self.assertEqual(
                (document["protocols"], document["openRegistrations"], document["usage"]), (["diaspora"], False, {"users": {}})
            )
            self.assertEqual((document["services"], type(document["metadata"])), ({"inbound": [], "outbound": []}, dict))

    def test_source(self) -> None:
        """
        Nodeinfo names the source code in the version that has a place for it.
        """
        relay = evolve(RELAY, source="https://code.example/relay")
        repositories = [json.loads(relay.nodeinfo(version))["software"].get("repository") for version in ("2.0", "2.1")]
        self.assertEqual(repositories, [None, "https://code.example/relay"])


class PreferencesTests(SynchronousTestCase):
    def test_no(self) -> None:
        """
        The relay asks other relays for nothing.
        """
        self.assertEqual(read_preferences(RELAY.preferences(), "relay.example", max_tags=1).preferences, Preferences(Scope.NONE))


class ImportTests(SynchronousTestCase):
    def test_lean(self) -> None:
        """
        The documents need neither Django nor libmagic nor anything of the network, and the whole protocol no Twisted.
        """
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['django', 'magic', 'aiohttp', 'requests', 'twisted']));"
            "import socialrelay.diaspora.identity, socialrelay.diaspora.protocol, socialrelay.diaspora.private;"
            "import socialrelay.diaspora.preferences, socialrelay.diaspora.discovery, socialrelay.nodes.lists"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)}
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

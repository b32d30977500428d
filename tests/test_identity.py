"""The relay's identity: made once, bound for good."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import BoundIdentity
from socialrelay.config import Config, Identity
from socialrelay.identity import IdentityError, RelayIdentity, check_key_file, key_path, load_identity, make_key, write_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY, OTHER_KEY = make_key(), make_key()


class OneRow:
    """An identity store that holds what a test gives it."""

    def __init__(self, bound: BoundIdentity | None = None) -> None:
        self.bound = bound
        self.first: BoundIdentity | None = None

    def get(self) -> Deferred[BoundIdentity | None]:
        return succeed(self.bound)

    def bind(self, identity: BoundIdentity, now: datetime) -> Deferred[BoundIdentity]:
        self.bound = self.bound or self.first or identity
        return succeed(self.bound)


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.config = Config(state_dir=folder, host="relay.example")
        self.path = key_path(self.config)
        self.store = OneRow()
        self.work: list[str] = []

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.work.append(function.__name__)
        return maybeDeferred((lambda: KEY) if function is make_key else function, *args)

    def load(self) -> Deferred[RelayIdentity]:
        return Deferred.fromCoroutine(
            load_identity(self.config, self.store, now=NOW, in_thread=self.in_thread, random_bytes=lambda n: b"\xab" * n)
        )

    def refused(self) -> str:
        """The one line with which the start is refused."""
        line = str(self.failureResultOf(self.load(), IdentityError).value)
        self.assertNotIn("\n", line)
        return line

    def bind(self) -> RelayIdentity:
        return self.successResultOf(self.load())

    def test_first_start_binds(self) -> None:
        """The first production start makes a key in a thread, keeps it for its owner alone, and binds name, GUID and key."""
        identity = self.bind()
        self.assertEqual((identity.handle, identity.guid, identity.provisional), ("relay@relay.example", "ab" * 16, False))
        self.assertEqual(self.store.bound, BoundIdentity("relay.example", "relay", "ab" * 16, identity.key_hash))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.config.state_dir), ["identity.pem"])
        self.assertEqual(self.work, ["read_key", "make_key", "write_key"])

    def test_second_start_is_the_same(self) -> None:
        """A later start is the same relay and makes no key."""
        first = self.bind()
        self.work.clear()
        second = self.bind()
        self.assertEqual((second.guid, second.public_pem), (first.guid, first.public_pem))
        self.assertEqual(self.work, ["read_key"])

    def test_key_of_a_start_that_was_cut_off(self) -> None:
        """A key that was written before a crash and never bound is used."""
        write_key(self.path, OTHER_KEY)
        self.assertEqual(self.bind().public_key.public_numbers(), OTHER_KEY.public_key().public_numbers())

    def test_another_process_was_first(self) -> None:
        """The GUID is the one that is bound, also if another process bound it a moment ago."""
        first = self.bind()
        self.store.first, self.store.bound = BoundIdentity("relay.example", "relay", "cd" * 16, first.key_hash), None
        self.assertEqual(self.bind().guid, "cd" * 16)

    def test_another_host(self) -> None:
        """Another host than the bound one is refused, naming both and what to do."""
        self.bind()
        self.config = evolve(self.config, host="other.example")
        line = self.refused()
        for part in ("relay@other.example", "relay@relay.example", "another database"):
            self.assertIn(part, line)

    def test_another_user_name(self) -> None:
        """Another user name than the bound one is refused."""
        self.bind()
        self.config = evolve(self.config, identity=Identity(username="bus"))
        self.assertIn("bus@relay.example", self.refused())

    def test_missing_key(self) -> None:
        """A bound relay whose key file is missing does not start, and makes no new key."""
        self.bind()
        self.path.unlink()
        self.assertIn("restore it from your backup", self.refused())
        self.assertFalse(self.path.exists())

    def test_another_key(self) -> None:
        """Another key than the bound one is refused."""
        self.bind()
        self.path.unlink()
        write_key(self.path, OTHER_KEY)
        self.assertIn("not the private key of relay@relay.example", self.refused())

    def test_key_that_others_may_read(self) -> None:
        """A key file that its group may read is refused, with the command that corrects it."""
        self.bind()
        self.path.chmod(0o640)
        self.assertIn(f"chmod 600 {self.path}", self.refused())
        self.assertRaises(IdentityError, check_key_file, self.path)

    def test_key_file_that_is_none(self) -> None:
        """A folder, an encrypted key, a small key and something else are each refused with a line of their own."""
        self.path.mkdir(mode=0o700)
        self.assertIn("must be a file", self.refused())
        self.path.rmdir()
        small = _pem(_small_key())
        encrypted = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        for pem, part in ((encrypted, "encrypted"), (small, "at least 2048 bits"), (b"hello", "no private key"), (b"", "no private key")):
            self.path.write_bytes(pem)
            self.path.chmod(0o600)
            self.assertIn(part, self.refused())

    def test_writes_over_nothing(self) -> None:
        """A new key is never written over a file that is there, and leaves no draft behind."""
        self.path.write_bytes(b"precious")
        self.assertRaises(IdentityError, write_key, self.path, KEY)
        self.assertEqual(self.path.read_bytes(), b"precious")
        self.assertEqual(os.listdir(self.config.state_dir), ["identity.pem"])

    def test_configured_key_file(self) -> None:
        """The key is kept where the configuration says."""
        elsewhere = self.config.state_dir / "elsewhere.pem"
        self.config = evolve(self.config, identity=Identity(key_file=str(elsewhere)))
        self.bind()
        self.assertTrue(elsewhere.exists())

    def test_missing_key_passes_the_first_look(self) -> None:
        """Before the first start there is no key, which the look before the fork takes no offence at."""
        check_key_file(self.path)

    def test_development(self) -> None:
        """Without a host the relay has an identity for this run only: nothing is written, nothing bound."""
        self.config = evolve(self.config, host="")
        identity = self.bind()
        self.assertEqual((identity.handle, identity.provisional), ("relay@localhost", True))
        self.assertEqual((os.listdir(self.config.state_dir), self.store.bound), ([], None))
        self.assertEqual(self.work, ["make_key"])

    def test_repr_keeps_the_secret(self) -> None:
        """What is shown of an identity names no private key."""
        self.assertNotIn("private_key", repr(self.bind()))


def _small_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=1024)


def _pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

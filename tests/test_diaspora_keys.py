"""Public keys of authors."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.keys import BadKey, pem_of, read_public_key
from tests.envelopes import private_key

KEYS = Path(__file__).parent / "vectors" / "diaspora" / "keys"


class ReadTests(SynchronousTestCase):
    def assertBad(self, pem: bytes | str, word: str) -> None:
        """The key is refused, for what the word says."""
        self.assertIn(word, str(self.assertRaises(BadKey, read_public_key, pem)))

    def test_forms(self) -> None:
        """
        Both forms of PEM are read, also as text, with white space around and with the line ends of Windows.
        """
        for name in ("alice", "bob", "carol"):
            expected = (KEYS / f"{name}.public.pem").read_text()
            for pem in (expected, (KEYS / f"{name}.public.pkcs1.pem").read_text()):
                for variant in (pem, pem.encode(), f"\n  {pem}\n", pem.replace("\n", "\r\n")):
                    self.assertEqual(pem_of(read_public_key(variant)), expected)

    def test_no_key(self) -> None:
        """
        What is no PEM of a public key is none.
        """
        private = (KEYS / "carol.private.pem").read_bytes()
        for pem in ("", "ssh-rsa AAAAB3Nz", private, b"\xff" * 100, "-----BEGIN CERTIFICATE-----", "\ud800"):
            self.assertBad(pem, "PEM")
        self.assertBad("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "read")
        self.assertBad("-----BEGIN PUBLIC KEY-----" + "A" * 16384, "longer")

    def test_other_kinds(self) -> None:
        """
        Only RSA signs envelopes.
        """
        elliptic = generate_ec_key(SECP256R1()).public_key()
        self.assertBad(elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "RSA")

    def test_bounds(self) -> None:
        """
        Keys that are too short, too long or of a strange exponent are refused.
        """
        modulus = private_key("x").public_key().public_numbers().n
        for numbers in (RSAPublicNumbers(3, modulus), RSAPublicNumbers(65539, modulus)):
            self.assertBad(pem_of(numbers.public_key()), "exponent")
        self.assertBad(pem_of(RSAPublicNumbers(65537, (1 << 8199) + 1).public_key()), "8200 bits")
        self.assertRaises(BadKey, read_public_key, SHORT)


# 512 bits
SHORT = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""

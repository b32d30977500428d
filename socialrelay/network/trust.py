"""
Whose certificates the relay believes: the system's store, and what the configuration adds for tests.

The store is loaded once.  A context per connection, as Twisted's default policy makes, costs 15 ms and a megabyte each time.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class NoTrustRoot(Exception):
    """There is no file of trusted certificates on this system; the message says where it was looked for."""


def system_bundle() -> Path:
    """
    The file with the system's trusted certificates; C{SSL_CERT_FILE} names another.

    @raise NoTrustRoot: there is none.
    """
    paths = ssl.get_default_verify_paths()
    candidates = [path for path in (paths.cafile, *_BUNDLES) if path]
    for candidate in candidates:
        if Path(candidate).is_file():
            return Path(candidate)
    raise NoTrustRoot("no file of trusted certificates; looked for " + ", ".join(candidates))


@frozen
class Trust:
    """
    @ivar bundle: one PEM file with everything that is trusted; libcurl loads it once and keeps the store.
    @ivar context: the same, for treq.
    """

    bundle: Path
    context: SSL.Context

    def connecting_to(self, host: str) -> IOpenSSLClientConnectionCreator:
        """What makes TLS connections to a host: its name is sent, and its certificate must name it."""
        return _Connecting(self.context, host)


def load_trust(ca_file: str, directory: Path) -> Trust:
    """
    @param ca_file: PEM, trusted besides the system's; empty for none.
    @param directory: where the two are put together in one file, C{trusted.pem}.
    @raise NoTrustRoot: the system has no store.
    @raise OSError: C{ca_file} cannot be read.
    """
    bundle = system_bundle()
    if ca_file:
        together = bundle.read_bytes() + b"\n" + Path(ca_file).read_bytes()
        bundle = directory / "trusted.pem"
        fresh = directory / ".trusted.pem.new"
        fresh.unlink(missing_ok=True)
        # Whatever the umask is: who can write to it can be any node.
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(together)
        fresh.replace(bundle)
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.load_verify_locations(str(bundle))
    return Trust(bundle, context)


@implementer(IOpenSSLClientConnectionCreator)
class _Connecting:
    """Connections to one host over the shared context."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._host.encode("ascii"))

        def verify(_: SSL.Connection, certificate: object, error: int, depth: int, chain_is_good: int) -> bool:
            if not chain_is_good or depth != 0:
                return bool(chain_is_good)
            try:
                verify_certificate_hostname(certificate.to_cryptography(), self._host)  # type: ignore[attr-defined]
            except VerificationError:
                tlsProtocol.failVerification(Failure())
                return False
            except Exception:  # an exception that leaves an OpenSSL callback is lost: refuse instead
                return False
            return True

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection

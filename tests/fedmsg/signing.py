"""What signs messages as fedmsg's configuration wants it: a certificate authority, and a certificate of this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from trustme import CA, KeyType

NAME = "shell-tests"


def signing(folder: Path) -> dict[str, Any]:
    """
    Make them.

    @return: the options of fedmsg with which messages are signed, and their signatures looked at.
    """
    folder.mkdir(parents=True)
    authority = CA(key_type=KeyType.RSA)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    mine = authority.issue_cert(f"{NAME}.example", common_name=NAME, key_type=KeyType.RSA)
    mine.cert_chain_pems[0].write_to_path(str(folder / f"{NAME}.crt"))
    mine.private_key_pem.write_to_path(str(folder / f"{NAME}.key"))
    host = socket.gethostname().partition(".")[0]
    return {
        "sign_messages": True,
        "validate_signatures": True,
        "crypto_backend": "x509",
        "crypto_validate_backends": ["x509"],
        "ssldir": str(folder),
        "certnames": {f"shell.{host}": NAME},
        "ca_cert_location": str(folder / "ca.crt"),
        "crl_location": "",
        "routing_nitpicky": False,
    }

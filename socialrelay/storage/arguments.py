"""How PostgreSQL is reached: the operator's connection string, and what the relay needs of every connection."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psycopg2
from psycopg2.extensions import parse_dsn

from socialrelay.boundaries import Unavailable
from socialrelay.storage.queries import StorageError

STATEMENT = 8.0
"""Seconds after which the server itself ends a statement."""


def connect_arguments(dsn: str, statement: float = STATEMENT) -> dict[str, str]:
    """
    The operator's connection string with what the relay needs of every connection.

    @param statement: seconds after which the server itself ends one.
    @raise StorageError: it is no connection string; the message shows nothing of it.
    """
    given = _given(dsn)
    ours = f"-c statement_timeout={int(statement * 1000)} -c timezone=UTC -c jit=off -c standard_conforming_strings=on"
    return {
        "application_name": "socialrelay",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
        **given,
        "client_encoding": "UTF8",
        "options": f"{given.get('options', '')} {ours}".strip(),
    }


def _given(dsn: str) -> dict[str, str]:
    """
    What a connection string says.

    libpq shows what it does not understand, and takes a part of a password with C{@} or C{/} for a host or a port, which it shows later.
    """
    try:
        given: dict[str, str] = parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        raise StorageError(_NO_DSN) from None
    hosts, ports = given.get("host", "").split(","), given.get("port", "").split(",")
    after_host = dsn.partition("://")[2].partition("?")[0].partition("/")[2]
    torn = dsn.startswith(("postgresql://", "postgres://")) and "@" in after_host
    if torn or any("@" in host[1:] for host in hosts) or not all(port.isdecimal() for port in ports if port):
        raise StorageError(_NO_DSN)
    return given


_NO_DSN = (
    "the connection string cannot be read (nothing of it is shown here: it may hold a password). Write host=db.example dbname=socialrelay"
    " user=relay password='…', or postgresql://relay:…@db.example/socialrelay with @ / % in a password as %40 %2F %25"
)


def resolve(arguments: Mapping[str, str]) -> dict[str, str]:
    """
    Look up the host names that are in connection arguments. Blocks.

    @raise Unavailable: one of them has no address.
    """
    if "hostaddr" in arguments or not arguments.get("host"):
        return dict(arguments)
    addresses = []
    for host in arguments["host"].split(","):
        if host.startswith(("/", "@")):
            return dict(arguments)
        try:
            addresses.append(str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]))
        except OSError as error:
            raise Unavailable(f"{host}: {one_line(error)}") from None
    return {**arguments, "hostaddr": ",".join(addresses)}


def one_line(error: BaseException | None) -> str:
    """What a driver says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__

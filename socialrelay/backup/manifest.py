"""
What an export holds.

An export is a zip file:

  - C{manifest.json}, written last: see L{Manifest};
  - C{tables/NAME.copy} for each table: its rows in PostgreSQL's text format of COPY, UTF-8, columns in the order that the manifest says;
  - C{identity.pem}, the private key, if the relay has one.

Everything but the manifest is held against a SHA-256 in the manifest before anything of it is used.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, frozen

FORMAT = "socialrelay export"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
KEY = "identity.pem"
MANIFEST_MAX = 4 * 1024 * 1024
KEY_MAX = 64 * 1024


class BackupError(Exception):
    """The export cannot be made or used; the message is for the operator: what, why, and what to do."""


@frozen
class Table:
    """
    @ivar columns: in the order of the file.
    @ivar bytes: of the uncompressed file.
    @ivar sha256: of the uncompressed file, hexadecimal.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def read(cls, table: dict[str, Any]) -> Table:
        """As it stands in the manifest."""
        columns = tuple(str(column) for column in table["columns"])
        return cls(str(table["name"]), columns, int(table["rows"]), int(table["bytes"]), str(table["sha256"]))

    @property
    def member(self) -> str:
        """Its file in the zip."""
        return f"tables/{self.name}.copy"


@frozen
class Who:
    """
    Whose export it is: what nodes know of the relay.

    @ivar key_sha256: of the public key (SubjectPublicKeyInfo, DER), hexadecimal.
    """

    host: str
    username: str
    guid: str
    key_sha256: str

    @classmethod
    def of(cls, row: tuple[str, str, str, bytes]) -> Who:
        """From a row of C{relay_identity}."""
        host, username, guid, key_hash = row
        return cls(host, username, guid, bytes(key_hash).hex())

    @property
    def handle(self) -> str:
        """C{username@host}."""
        return f"{self.username}@{self.host}"


@frozen
class Manifest:
    """
    @ivar made_by: version of the relay.
    @ivar made_at: ISO 8601.
    @ivar schema: the version of the database's schema.
    @ivar migrations: file name of each applied migration -> SHA-256 of it, hexadecimal.
    @ivar postgres: version of the server.
    @ivar identity: C{None} if the relay was not bound to a name yet; then there is no key, either.
    @ivar key_file_sha256: of C{identity.pem}, hexadecimal; empty if there is none.
    @ivar bodies: posts that wait can still be delivered.
    @ivar sequences: name -> the last number that it gave.
    @ivar tables: in the order in which they are to be filled.
    """

    made_by: str
    made_at: str
    schema: int
    migrations: dict[str, str]
    postgres: str
    identity: Who | None
    key_file_sha256: str
    bodies: bool
    sequences: dict[str, int]
    tables: tuple[Table, ...]

    def to_json(self) -> bytes:
        """As it stands in the zip."""
        return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}, indent=2).encode("utf-8")

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """
        @raise BackupError: it is none, or one of a later format.
        """
        try:
            read: Any = json.loads(text)
            if read["format"] != FORMAT:
                raise BackupError(f"it is no {FORMAT}")
            if read["version"] > FORMAT_VERSION:
                raise BackupError(f"its format {read['version']} is that of a newer version of the relay, {read['made_by']}: install that")
            return cls(
                made_by=str(read["made_by"]),
                made_at=str(read["made_at"]),
                schema=int(read["schema"]),
                migrations=dict(read["migrations"]),
                postgres=str(read["postgres"]),
                identity=None if read["identity"] is None else Who(**read["identity"]),
                key_file_sha256=str(read["key_file_sha256"]),
                bodies=bool(read["bodies"]),
                sequences={str(name): int(last) for name, last in read["sequences"].items()},
                tables=tuple(Table.read(table) for table in read["tables"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(f"its manifest cannot be read: {type(error).__name__}: {error}") from None

"""
The old relay's C{local_config.py}.

It is a Python module, written by its operator: it is read as a text, and never executed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from attrs import frozen
from psycopg2.extensions import make_dsn

from socialrelay.routing.hosts import BadHost, node_host

LONGEST = 1024 * 1024
FEDERATION_LIST = "https://the-federation.info/pods.json"
"""C{POD_LIST_JSON}, unless the operator set another."""

_TABLES = ("DATABASE_", "REDIS_", "RELAY_", "SERVER_")
_NAMES = frozenset({"ALWAYS_FORWARD_TO_HOSTS", "POD_LIST_JSON"})


class TakeoverError(Exception):
    """Something of the old relay cannot be read; the message is for the operator."""


@frozen
class OldConfig:
    """
    @ivar values: settings that are written as plain values.
    @ivar unread: names of those that are calculated: nobody knows what they come to.
    """

    values: Mapping[str, object]
    unread: tuple[str, ...] = ()

    def text(self, name: str, otherwise: str = "") -> str:
        """A setting; numbers as text."""
        value = self.values.get(name)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else otherwise

    @property
    def host(self) -> str:
        """The relay's public name, from C{SERVER_HOST}, which may be an address; empty if there is none."""
        given = self.text("SERVER_HOST")
        name = urlsplit(given if "//" in given else f"//{given}").hostname or ""
        try:
            return node_host(name)
        except BadHost:
            return ""

    @property
    def username(self) -> str:
        """The part of its handle before the @."""
        return self.text("RELAY_USERNAME", "relay")

    @property
    def forward_to(self) -> tuple[str, ...]:
        """Who was sent everything, as the operator wrote it."""
        given = self.values.get("ALWAYS_FORWARD_TO_HOSTS")
        return tuple(str(each) for each in given) if isinstance(given, list | tuple | set) else ()

    @property
    def database(self) -> str:
        """
        Connection string of its PostgreSQL; empty if it says nothing of one.

        @raise TakeoverError: it was another kind of database.
        """
        kind = self.text("DATABASE_TYPE", "postgresql").lower()
        if not self.text("DATABASE_NAME"):
            return ""
        if not kind.startswith("postgres"):
            raise TakeoverError(
                f"the old relay's database is {kind}: write its tables into files and name their folder with --tables (see docs/moving.md)"
            )
        parts = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
        given = {key: self.text(f"DATABASE_{name}") for key, name in parts.items()}
        return str(make_dsn(**{key: value for key, value in given.items() if value}))

    @property
    def redis(self) -> str:
        """URL of its Redis; empty if it says nothing of one."""
        if not any(name.startswith("REDIS_") for name in self.values):
            return ""
        password = self.text("REDIS_PASSWORD")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{self.text('REDIS_HOST', 'localhost')}:{self.text('REDIS_PORT', '6379')}/{self.text('REDIS_DB', '0')}"


def read_old_config(path: Path) -> OldConfig:
    """
    Read the file.

    @raise TakeoverError: it cannot be read, or is no Python.
    """
    try:
        with path.open("rb") as file:
            source = file.read(LONGEST + 1)
    except OSError as error:
        raise TakeoverError(f"{path} cannot be read: {error.strerror}") from None
    if len(source) > LONGEST:
        raise TakeoverError(f"{path} is longer than {LONGEST} bytes: that is no local_config.py")
    return parse_old_config(source, str(path))


def parse_old_config(source: bytes, name: str = "local_config.py") -> OldConfig:
    """
    The settings in a module's text.

    @raise TakeoverError: it is no Python.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TakeoverError(f"{name} is no Python module: {error}") from None
    values: dict[str, object] = {}
    unread: dict[str, None] = {}
    for statement in module.body:
        for setting, value in _assigned(statement):
            if not (setting.startswith(_TABLES) or setting in _NAMES):
                continue
            try:
                values[setting] = ast.literal_eval(value)
                unread.pop(setting, None)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                values.pop(setting, None)
                unread[setting] = None
    return OldConfig(values, tuple(unread))


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        return [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
        return [(statement.target.id, statement.value)]
    return []

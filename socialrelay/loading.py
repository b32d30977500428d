"""
Where the configuration comes from: a TOML file, then C{SOCIALRELAY_…} variables, then options; the later wins, key by key.

The classes of L{socialrelay.config} are the schema.  Whatever is wrong is refused with the place where it was said, the key, and what is
right.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs

from socialrelay.bus.finding import INGEST_VARIABLE
from socialrelay.config import SECRETS, Config, Network
from socialrelay.config_checks import check

PREFIX = "SOCIALRELAY_"
FILE_VARIABLE = "SOCIALRELAY_CONFIG"
_NO_OPTIONS = (FILE_VARIABLE, INGEST_VARIABLE)
"""Variables that say something else."""

_PATHS = ("state_dir", "identity.key_file", "network.ca_file", "network.author_keys", "embedded.postgres_bin", "embedded.valkey_server")
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_Tree = dict[str, Any]


class ConfigError(Exception):
    """
    The configuration is wrong.

    @ivar source: the file, variable or option in which it was said.
    @ivar key: C{delivery.window}; empty if it is not about one key.
    @ivar reason: what is wrong and what would be right.
    """

    def __init__(self, source: str, key: str, reason: str) -> None:
        super().__init__(": ".join(part for part in (source, key, reason) if part))
        self.source = source
        self.key = key
        self.reason = reason


def load(
    file: str | Path | None = None,
    options: Mapping[str, object] = MappingProxyType({}),
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Config:
    """
    Make the configuration.

    @param file: the TOML file; C{None}: the one that C{SOCIALRELAY_CONFIG} names, if it does.
    @param options: what was said on the command line, by key: C{state_dir}, C{listen} (a list).  C{None} and C{[]} say nothing.
    @param environ: the environment; C{None} for the process's own.
    @param folder: where relative paths begin, but for those in the file; C{None} for the current one.
    @raise ConfigError: on the first thing that is wrong.
    """
    environ = os.environ if environ is None else environ
    file = file or environ.get(FILE_VARIABLE) or None
    values: _Tree = {}
    sources: dict[str, str] = {}
    for source, base, tree in _layers(file, options, environ, folder or Path.cwd()):
        _merge(values, sources, _table(Config, tree, source), source, base)
    values.setdefault("state_dir", default_state_dir(environ))
    config: Config = _build(Config, values)
    for key, reason in check(config):
        source = sources.get(key.partition("[")[0], "configuration")
        raise ConfigError(source, "" if source.startswith("--") else key, reason)  # an option's name says the key
    return config


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Where the relay keeps its data if nobody says: what systemd made for it, the system's place for root, else the user's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/socialrelay")
    home = environ.get("XDG_DATA_HOME", "")
    data = Path(home) if home.startswith("/") else Path.home() / ".local" / "share"
    return data / "socialrelay"


def keys(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All keys with their types, C{delivery.window}: int."""
    for name, kind in get_type_hints(schema).items():
        if attrs.has(kind):
            yield from keys(kind, f"{prefix}{name}.")
        elif name in attrs.fields_dict(schema):
            yield prefix + name, kind


def _layers(
    file: str | Path | None, options: Mapping[str, object], environ: Mapping[str, str], folder: Path
) -> Iterator[tuple[str, Path, _Tree]]:
    """(what to call it in an error, the folder that its relative paths start from, what it says)"""
    if file is not None:
        path = folder / file
        yield str(file), path.parent, _read_file(path, str(file))
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable not in _NO_OPTIONS:
            yield variable, folder, _read_variable(variable, text)
    for key, value in options.items():
        if value not in (None, [], ()):
            yield "--" + key.replace("_", "-"), folder, {key: value}


def _read_file(path: Path, source: str) -> _Tree:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(source, "", f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(source, "", f"is not TOML: {error}") from None


def _read_variable(variable: str, text: str) -> _Tree:
    """
    C{SOCIALRELAY_DELIVERY__TIMEOUT=20}: a text is taken as it is, a list of texts may be a single one, all else is read as in TOML.

    C{SOCIALRELAY_POSTGRES__DSN_FILE=/run/secrets/dsn}: the value is what stands in the file, without the end of its last line.
    """
    key = variable.removeprefix(PREFIX).lower().replace("__", ".")
    known = dict(keys())
    if key not in known and key.removesuffix("_file") in known:
        key, text = key.removesuffix("_file"), _read_secret(variable, text)
    if key not in known:
        raise ConfigError(
            variable, "", "there is no such option" + _suggestion(key, known, lambda k: PREFIX + k.replace(".", "__").upper())
        )
    value: object = text
    if known[key] not in (str, Path):
        try:
            value = tomllib.loads("value = " + text)["value"]
        except tomllib.TOMLDecodeError:
            value = [text] if known[key] == tuple[str, ...] else text
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(variable, "", f"{path} cannot be read: {reason}") from None


def _table(schema: type, table: object, source: str, path: str = "") -> _Tree:
    """What a table says, every value of the type that its key wants."""
    if not isinstance(table, dict):
        raise ConfigError(source, path.removesuffix("."), f"must be a table, not {_shown(table, path.removesuffix('.'))}")
    types = get_type_hints(schema)
    found: _Tree = {}
    for name, value in table.items():
        key = path + str(name)
        if name not in attrs.fields_dict(schema):
            raise ConfigError(source, key, "there is no such key" + _suggestion(name, types, lambda k: path + k))
        if attrs.has(types[name]):
            found[name] = _table(types[name], value, source, key + ".")
        else:
            found[name] = _value(types[name], value, source, key)
    return found


def _value(kind: Any, value: object, source: str, key: str) -> object:
    """A value as its key wants it.  Nothing is guessed: C{"5"} is no number and C{1} is not C{true}."""
    if isinstance(kind, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        item = get_args(kind)[0]
        return tuple(_value(item, each, source, f"{key}[{index}]") for index, each in enumerate(value))
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _value(str, each, source, f'{key}."{name}"') for name, each in value.items()}
    if attrs.has(kind):
        found = _table(kind, value, source, key + ".")
        for field in attrs.fields(kind):
            if field.default is attrs.NOTHING and field.name not in found:
                raise ConfigError(source, f"{key}.{field.name}", "is missing")
        return _build(kind, found)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind:
        return value
    raise ConfigError(source, key, f"must be {_wanted(kind)}, not {_shown(value, key)}")


def _wanted(kind: Any) -> str:
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return "a list of tables" if attrs.has(inner) else f"a list, each {_KINDS[inner]}"
    if get_origin(kind) is dict:
        return "a table of texts"
    return _KINDS.get(kind, "a path")


def _shown(value: object, key: str) -> str:
    key = re.sub(r"\[.*", "", key)
    if any(f"{secret}.".startswith(f"{key}.") for secret in SECRETS):
        return "what is there, which is not shown: it may be a secret"
    text = repr(value)
    return f"the text {text}" if isinstance(value, str) else {"True": "true", "False": "false"}.get(text, text)


def _suggestion(name: str, known: Mapping[str, object], spell: Callable[[str], str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {spell(close[0])}?" if close else ""


def _merge(values: _Tree, sources: dict[str, str], tree: _Tree, source: str, base: Path, path: str = "") -> None:
    """Lay a layer over those before it, remember who said what, and make its paths absolute: twistd may change the folder."""
    for name, value in tree.items():
        key = path + name
        if isinstance(value, dict) and key not in _LEAF_TABLES:
            _merge(values.setdefault(name, {}), sources, value, source, base, key + ".")
            continue
        values[name] = type(value)(base / Path(value).expanduser()) if key in _PATHS and value else value
        sources[key] = source


_LEAF_TABLES = frozenset(f"network.{name}" for name, kind in get_type_hints(Network).items() if get_origin(kind) is dict)


def _build(schema: Any, values: _Tree) -> Any:
    types = get_type_hints(schema)
    return schema(**{name: _build(types[name], value) if attrs.has(types[name]) else value for name, value in values.items()})

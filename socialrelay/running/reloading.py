"""
SIGHUP: the configuration is read again, and what can change while the relay runs is changed.

File, environment and options are read as at start, in a thread.  A configuration that is wrong is refused as a whole, with its reason.  Of
one that is right, each changed key is either one of those that somebody registered for, or it is named as one that wants a restart, and
keeps its old value until then.  Nothing is half applied: all who registered prepare first, and may refuse; only then does each apply what
it prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.config import SECRETS, Config
from socialrelay.config_checks import check
from socialrelay.loading import ConfigError, keys
from socialrelay.words import counted

Commit = Callable[[], object]
Prepare = Callable[[Config], Commit]


class CannotApply(Exception):
    """A part of the relay cannot work with a configuration; the message is one line and names the key."""


@frozen
class Change:
    """A key with its value before and after."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        if self.key in SECRETS:
            return f"{self.key}: changed"
        return f"{self.key}: {_shown(self.old)} → {_shown(self.new)}"


def _shown(value: object) -> str:
    if isinstance(value, tuple | dict):
        # What is in them is for the file; a line of the log has no room for it.
        return counted(len(value), "entry", "entries") if value else "none"
    return {"True": "true", "False": "false", "": "empty", "None": "default"}.get(str(value), str(value))


def changes(old: Config, new: Config) -> Iterator[Change]:
    """What is different, key by key."""
    for key, _ in keys():
        before, after = attrgetter(key)(old), attrgetter(key)(new)
        if before != after:
            yield Change(key, before, after)


class Reloader:
    """
    Brings a changed configuration to those who can take it.

    @ivar config: what holds now.
    """

    _log = Logger()

    def __init__(self, config: Config, load: Callable[[], Config], in_thread: Callable[..., Deferred[Any]]) -> None:
        """
        @param load: reads the configuration, as at start; blocks; raises L{ConfigError}.
        @param in_thread: runs a blocking function outside the reactor's thread.
        """
        self.config = config
        self._load = load
        self._in_thread = in_thread
        self._parts: list[tuple[tuple[str, ...], Prepare]] = []
        self._always: list[Callable[[], object]] = []
        self._asked: list[Deferred[str]] = []
        self._running = False

    def register(self, keys: tuple[str, ...], prepare: Prepare) -> None:
        """
        Some keys can change while the relay runs.

        @param keys: C{delivery.window}; with a final full stop, C{policy.}, all of a table.
        @param prepare: is handed the whole new configuration if any of the keys changed, and returns what applies it. It may raise
            L{CannotApply}; what it returns must not fail.
        """
        self._parts.append((keys, prepare))

    def each_time(self, act: Callable[[], object]) -> None:
        """Do this after every reload that was not refused, whether or not anything changed: fetch a list, say."""
        self._always.append(act)

    def reload(self) -> Deferred[str]:
        """
        Read and apply. Who asks while that goes on gets one more after it.

        @return: fires with one line on what came of it; never fails.
        """
        answer: Deferred[str] = Deferred()
        self._asked.append(answer)
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())
        return answer

    async def _run(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            try:
                line = await self._once()
            except Exception as error:  # a bug of ours, not the file's
                self._log.failure("The configuration could not be read again.")
                line = f"The configuration could not be read again: {type(error).__name__}"
            for answer in asked:
                answer.callback(line)
        self._running = False

    async def _once(self) -> str:
        try:
            new = await self._in_thread(self._load)
            done, left = self._apply(new)
        except (ConfigError, CannotApply) as error:
            self._log.error("The configuration is not changed: {reason}.", reason=str(error).removesuffix("."))
            return f"The configuration was refused: {error}"
        for change in done:
            self._log.info("Configuration: {change}.", change=str(change), key=change.key)
        for change in left:
            self._log.warn("Configuration: {change} needs a restart.", change=str(change), key=change.key)
        line = f"The configuration was read again: {counted(len(done), 'change')}"
        line += f", and {len(left)} that need a restart." if left else "."
        self._log.info("{summary}", summary=line)
        for act in self._always:
            self._do(act)
        return line

    def _apply(self, new: Config) -> tuple[list[Change], list[Change]]:
        """
        @return: what was applied, and what must wait for a restart.
        @raise CannotApply: nothing was.
        """
        found = list(changes(self.config, new))
        known = [key for keys, _ in self._parts for key in keys]
        done = [change for change in found if _covered(change.key, known)]
        merged = self.config
        for change in done:
            merged = _with(merged, change.key.split("."), change.new)
        # What must wait stays as it was, and the two together may make no sense.
        for key, reason in check(merged):
            raise CannotApply(f"{key}: {reason}; restart the relay to change both at once")
        commits = [prepare(merged) for keys, prepare in self._parts if any(_covered(change.key, keys) for change in done)]
        self.config = merged
        for commit in commits:
            self._do(commit)
        return done, [change for change in found if change not in done]

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:  # the others have theirs all the same
            self._log.failure("A changed configuration could not be applied.")


def _covered(key: str, keys: tuple[str, ...] | list[str]) -> bool:
    return any(key == each or (each.endswith(".") and key.startswith(each)) for each in keys)


def _with(value: Any, path: list[str], new: object) -> Any:
    name, *rest = path
    return attrs.evolve(value, **{name: _with(getattr(value, name), rest, new) if rest else new})

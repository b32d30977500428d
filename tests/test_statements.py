"""Tests of all SQL: statements are put together while a module is imported, when nothing of anybody else is there to be put into them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import socialrelay

ROOT = Path(socialrelay.__file__).parent

MADE_IN_FUNCTIONS = {
    ("doctor/stores.py", "database"): "a constant number of seconds",
    ("takeover/old_tables.py", "from_postgres"): "tables by constant names; psycopg2 quotes those of columns",
    ("takeover/old_tables.py", "from_files"): "likewise",
}
_STATEMENT = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|COPY|WITH \w+ AS|CREATE|DROP|ALTER|TRUNCATE|LOCK|SET)\b")


def made(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """(the function, the text) of each statement that is put together in one."""
    for node in ast.iter_child_nodes(tree):
        within = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not function else function
        if function and _put_together(node):
            text = " ".join(each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
            if _STATEMENT.search(text):
                yield function, text
        yield from made(node, within)


def _put_together(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return not isinstance(node.left, ast.Name) or not isinstance(node.right, ast.Name)
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Call(func=ast.Name(id="SQL")))):
            return False  # psycopg2 quotes what it puts in
        case ast.Call(func=ast.Attribute(attr="format" | "join" | "replace")):
            return True
    return False


class StatementTests(SynchronousTestCase):
    def test_of_constants(self) -> None:
        """No function puts a statement together, but for those whose reasons are told."""
        found = {
            (str(file.relative_to(ROOT)), function) for file in ROOT.rglob("*.py") for function, _ in made(ast.parse(file.read_text()))
        }
        self.assertEqual(found, set(MADE_IN_FUNCTIONS))

    def test_found(self) -> None:
        """However a function puts one together, it is seen."""
        for text in ('f"SELECT {x}"', '"DELETE FROM post WHERE host = " + x', '"UPDATE a SET b = %s" % x', '"SELECT {}".format(x)'):
            self.assertEqual(len(list(made(ast.parse(f"async def f(x):\n    return {text}\n")))), 1, text)
        self.assertEqual(list(made(ast.parse('SELECT = f"SELECT {x}"\ndef f():\n    return f"{host} is back"\n'))), [])

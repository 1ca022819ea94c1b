"""Rules for helpers/ that no linter has: how long, and how named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from helpers.base.paths import ROOT

FILE_LINES, FUNCTION_LINES = 350, 60
#: Exercises are held to rules of their own.
FILES = [
    path
    for path in sorted((ROOT / "helpers").rglob("*.py"))
    if (ROOT / "helpers" / "exercises") not in path.parents
]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_file_is_read_at_one_sitting() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}
    assert len(FILES) > 40


def test_a_function_fits_on_a_screen() -> None:
    lengths = {
        f"{path}: {one.name}": (one.end_lineno or 0) - one.lineno + 1
        for path in FILES
        for one in functions(path)
    }
    assert {name: count for name, count in lengths.items() if count > FUNCTION_LINES} == {}


def test_names_are_words() -> None:
    """No digit where a word belongs: `prepare_new_table`, not `prepare2`."""
    names = [path.stem for path in FILES]
    names += [one.name for path in FILES for one in functions(path)]
    assert [name for name in names if re.search(r"\d", name)] == []

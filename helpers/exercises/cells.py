"""Cells as exercises need them: an answer's text, a notebook's cell, a lesson's own file."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from helpers import outline

STATEMENTS = '# Your statements go here, each as connection.execute("...")'


def starter(number: int, what: str) -> str:
    """Return the starter of an exercise that changes a table of its own."""
    return f"""
ex{number}.start()  # {what}

connection = pg.connect(autocommit=True)
{STATEMENTS}

ex{number}.check()
connection.close()
"""


def statements(start: str, *lines: str) -> str:
    """Return the starter with these statements in it."""
    return start.replace(STATEMENTS, "\n".join(f'connection.execute("""{s}""")' for s in lines))


def changed(cell: str, *parts: str) -> str:
    """Return a cell with parts replaced: old, new, old, new.

    Raises ValueError for a part that is not there: a wrong answer would be the right one.
    """
    for old, new in zip(parts[::2], parts[1::2], strict=True):
        if old not in cell:
            raise ValueError(f"{old!r} is not in the cell")
        cell = cell.replace(old, new)
    return cell


def of_the_lesson(lesson: str, name: str) -> Any:
    """Import one of a lesson's own files, such as `traffic`.

    The course's file, under a name of its own: a learner may have changed the copy in work/,
    which is imported under the plain name.
    """
    full = f"lesson_{lesson}_{name}"
    if full not in sys.modules:
        file = outline.find(lesson).folder / f"{name}.py"
        spec = importlib.util.spec_from_file_location(full, file)
        assert spec and spec.loader, file
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[full]
            raise
    return sys.modules[full]

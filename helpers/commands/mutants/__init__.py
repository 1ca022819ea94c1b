"""Cells that are wrong in one place, made from an exercise's solution; text in, text out.

    for mutant in mutants(exercise.solution, exercise.starter):
        print(mutant.id, mutant.line, mutant.operator, mutant.before, "->", mutant.after)

A check that accepts one of them has a hole, or the mutant is as good as the solution. `variants`
makes the opposite: cells that are written otherwise and are right.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

from helpers.commands.mutants import documents, lua, python, sql
from helpers.commands.mutants.change import Cell, Change


@dataclass(frozen=True)
class Mutant:
    """A cell that differs from the solution in one place.

    Attributes:
        operator: what was changed, in words: "WHERE left out".
        line: the line of the solution, from 1.
        before, after: the text that was changed, short.
        source: the whole cell.
        id: eight letters made of the operator and the changed lines; the same as long as these
            lines are. Of several with the same, the later ones end in -2, -3, ...
    """

    operator: str
    line: int
    before: str
    after: str
    source: str
    id: str


def mutants(solution: str, starter: str) -> list[Mutant]:
    """Return all mutants of a solution, in the order of its lines.

    Lines of the solution that stand in the starter too are never changed.

    Args:
        solution, starter: an exercise's cells.

    Raises:
        SyntaxError: the solution is not an IPython cell.
    """
    cell = Cell(solution)
    kept = scaffolding(solution, starter)
    seen = {solution}
    meanings = {meaning(solution)}
    found: list[tuple[Change, str]] = []
    for change in _changes(cell):
        source = applied(solution, change)
        if source in seen:
            continue
        seen.add(source)
        if not keeps(source, kept) or not _same_calls(source, solution):
            continue
        if (now := meaning(source)) is not None and now not in meanings:
            meanings.add(now)
            found.append((change, source))
    found.sort(key=lambda pair: (pair[0].start, pair[0].end))  # stable: then as operators come
    return list(_numbered(solution, found))


def unparsed(solution: str) -> list[str]:
    """Return the SQL texts of a cell that sqlglot does not judge; they are changed all the same.

    Raises SyntaxError as `mutants` does.
    """
    return sql.unparsed(Cell(solution))


def _changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes by all operators; the first that makes a text gives it its name."""
    yield from sql.changes(cell)
    yield from lua.changes(cell)
    yield from documents.changes(cell)
    scripts = [text.span for text in [*sql.texts(cell), *filter(lua.is_lua, cell.texts)]]
    directions = documents.directions(cell)
    for change in python.changes(cell):
        in_direction = any(start <= change.start and change.end <= end for start, end in directions)
        if not in_direction and not any(_only_breaks(change, span) for span in scripts):
            yield change


def _only_breaks(change: Change, script: tuple[int, int]) -> bool:
    """Whether a change leaves nothing of a script where one is needed: that shows nothing."""
    covers = change.start <= script[0] and script[1] <= change.end
    return covers and (
        change.operator in ("argument left out", "arguments swapped")
        or (change.start, change.end) == script
    )


def applied(source: str, change: Change) -> str:
    """Return the source with the change made."""
    return source[: change.start] + change.text + source[change.end :]


def scaffolding(solution: str, starter: str) -> list[str]:
    """Return the lines of the solution that stand in the starter, in their order."""
    given, written = starter.splitlines(), solution.splitlines()
    blocks = difflib.SequenceMatcher(None, given, written, autojunk=False).get_matching_blocks()
    lines = [line for _, at, size in blocks for line in written[at : at + size]]
    return [line for line in lines if line.strip()]


def keeps(source: str, lines: list[str]) -> bool:
    """Whether the lines stand in the source, in their order."""
    rest = iter(source.splitlines())
    return all(line in rest for line in lines)


def _same_calls(source: str, solution: str) -> bool:
    """Whether ex1.start() and ex1.check() stand in a cell as they do in the solution."""
    call = re.compile(r"^.*\bex\d+\.(?:start|check)\(.*$", re.M)
    return call.findall(source) == call.findall(solution)


def meaning(source: str) -> str | None:
    """Return what IPython makes of a cell, as a tree without positions; None if it refuses it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a mutant may look like a mistake
            tree = _tree(source)
            # As IPython compiles it: `await` at top level is right.
            compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return None
    return ast.dump(tree)


def _tree(source: str) -> ast.Module:
    with contextlib.suppress(SyntaxError):  # most cells need nothing of IPython
        return ast.parse(source)
    manager = TransformerManager()
    return ast.parse(manager.transform_cell(source))


def _numbered(solution: str, found: list[tuple[Change, str]]) -> Iterator[Mutant]:
    seen: Counter[str] = Counter()
    for change, source in found:
        first = solution.rfind("\n", 0, change.start) + 1
        stop = solution.find("\n", change.end)
        last = stop if stop >= 0 else len(solution)
        old = solution[first:last]
        new = solution[first : change.start] + change.text + solution[change.end : last]
        name = digest(change.operator, old, new)
        seen[name] += 1
        before, after = change.shown or (solution[change.start : change.end], change.text)
        yield Mutant(
            operator=change.operator,
            line=solution.count("\n", 0, change.start) + 1,
            before=short(before),
            after=short(after),
            source=source,
            id=name if seen[name] == 1 else f"{name}-{seen[name]}",
        )


def digest(operator: str, *texts: str) -> str:
    """Return eight letters that stand for the operator and the texts, blanks aside."""
    words = "\0".join([operator, *(" ".join(text.split()) for text in texts)])
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def short(text: str) -> str:
    """Return a text on one line of at most 60 characters, for a table."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


__all__ = ["Mutant", "mutants", "unparsed"]

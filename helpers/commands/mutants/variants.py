"""Cells that are written otherwise than the solution and are right: a check must accept each.

    for variant in variants(exercise.solution, exercise.starter, keep={"search"}):
        print(variant.name)

Each transformation is done only where the text shows that nothing can change; where it cannot be
told, there is no variant.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from helpers.commands.mutants import applied, keeps, lua, meaning, scaffolding, sql, sql_variants
from helpers.commands.mutants.change import TASK_CALL, Cell, Change, Text
from helpers.commands.mutants.python import FUNCTIONS

# Calls without an effect whose result depends on nothing but their arguments.
PURE = {
    *("len", "min", "max", "sum", "sorted", "int", "str", "float", "list", "dict", "set", "tuple"),
    *("range", "abs", "round", "tonumber", "select", "timedelta"),
}


@dataclass(frozen=True)
class Variant:
    """A right cell: the transformation's name and the whole cell."""

    name: str
    source: str


Edits = list[Change]  # of one variant, all made together


def variants(solution: str, starter: str, keep: set[str]) -> list[Variant]:
    """Return right cells that differ from a solution; each by one transformation.

    Lines of the solution that stand in the starter too stay as they are.

    Args:
        solution, starter: an exercise's cells.
        keep: names that others look up: the check's parameters and what it asks of them.

    Raises:
        SyntaxError: the solution is not an IPython cell.
    """
    cell = Cell(solution)
    lines = scaffolding(solution, starter)
    keep = keep | _names(Cell(starter))
    seen, found = {solution}, []
    for name, make in TRANSFORMATIONS.items():
        for edits in make(cell, keep):
            source = solution
            for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
                source = applied(source, edit)
            right = keeps(source, lines) and meaning(source) is not None
            if source not in seen and right:
                seen.add(source)
                found.append(Variant(name, source))
    return found


def _renamed(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield the cell with the local names of a function changed, all together."""
    for function in cell.nodes:
        if isinstance(function, FUNCTIONS):
            names = _locals(function) - keep
            free = {n for n in names if not re.search(rf"\b{n}_\b", cell.source)}
            if free:
                used = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id in free]
                yield [Change("", *cell.span(name), f"{name.id}_") for name in used]


def _all_renamed(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield the cell with the names that it assigns at its top changed, all together."""
    nodes = list(ast.walk(cell.tree))
    top = [t for n in cell.tree.body if isinstance(n, ast.Assign) for t in n.targets]
    names = {t.id for t in top if isinstance(t, ast.Name)} - keep - _bound(nodes)
    inner = [n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names -= {n.id for n in inner if n not in top}
    free = {n for n in names if not re.search(rf"\b{n}_\b|:{n}\b", cell.source)}
    if free:
        used = [n for n in nodes if isinstance(n, ast.Name) and n.id in free]
        yield [Change("", *cell.span(name), f"{name.id}_") for name in used]


def _names(cell: Cell) -> set[str]:
    """Return the names that a cell uses."""
    return {n.id for n in ast.walk(cell.tree) if isinstance(n, ast.Name)}


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the names that only the function itself assigns and no inner function shadows."""
    nodes = list(ast.walk(function))
    if any(isinstance(n, (ast.ClassDef, ast.Match)) for n in nodes):
        return set()  # a class's names are attributes too
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored - _bound(nodes)


def _bound(nodes: list[ast.AST]) -> set[str]:
    """Return names that cannot be renamed by their Name nodes alone: parameters, functions."""
    others = {n.arg for n in nodes if isinstance(n, ast.arg)} | _defined(nodes)
    for node in nodes:
        if isinstance(node, ast.JoinedStr):  # its names have no position before Python 3.12
            others.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            others.update(node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            others.add(node.name)
    return others


def _defined(nodes: list[ast.AST]) -> set[str]:
    """Return names that have no Name node where they are bound: functions, imports."""
    imports = [a for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names]
    functions = {n.name for n in nodes if isinstance(n, FUNCTIONS)}
    return functions | {a.asname or a.name.split(".")[0] for a in imports}


def _reordered(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield two neighbouring assignments swapped that do not depend on each other."""
    for node in cell.nodes:
        body = getattr(node, "body", None)
        if not isinstance(body, list) or isinstance(node, ast.ClassDef):
            continue
        for one, other in pairwise(body):
            if _is_pure(one) and _is_pure(other) and _independent(one, other):
                yield [
                    Change("", *cell.span(one), cell.text(other)),
                    Change("", *cell.span(other), cell.text(one)),
                ]


def _is_pure(node: ast.stmt) -> bool:
    """Whether a statement assigns to one name and does nothing else, in every case."""
    if not (isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets)):
        return False
    calls = [n.func for n in ast.walk(node.value) if isinstance(n, ast.Call)]
    pure = all(isinstance(name, ast.Name) and name.id in PURE for name in calls)
    effects = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.Attribute, ast.Subscript)
    return pure and not any(isinstance(n, effects) for n in ast.walk(node.value))


def _independent(one: ast.stmt, other: ast.stmt) -> bool:
    def names(node: ast.stmt, context: type[ast.expr_context]) -> set[str]:
        found = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        return {n.id for n in found if isinstance(n.ctx, context)}

    written = names(one, ast.Store) & (names(other, ast.Load) | names(other, ast.Store))
    return not written and not names(other, ast.Store) & names(one, ast.Load)


def _formatted(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield an f-string of plain values as format() and with %."""
    for text in cell.texts:
        if not isinstance(text.node, ast.JoinedStr) or text.inner is None:
            continue
        values = [n for n in text.node.values if isinstance(n, ast.FormattedValue)]
        plain = all(v.conversion == -1 and v.format_spec is None for v in values)
        pieces = re.split(r"\{([^{}]+)\}", text.value)
        if values and plain and len(pieces) == 2 * len(values) + 1 and "=}" not in text.value:
            yield from _both_formats(cell, text, pieces)


def _both_formats(cell: Cell, text: Text, pieces: list[str]) -> Iterator[Edits]:
    literal = cell.source[slice(*text.span)]
    quote = text.inner - text.span[0] if text.inner else 0
    opening = re.sub("[fF]", "", literal[:quote])
    closing, values = literal[quote + len(text.value) :], ", ".join(pieces[1::2])
    with_format = f"{opening}{'{}'.join(pieces[::2])}{closing}.format({values})"
    yield [Change("", *text.span, with_format)]
    plain = [piece.replace("%", "%%").replace("{{", "{").replace("}}", "}") for piece in pieces]
    with_percent = f"({opening}{'%s'.join(plain[::2])}{closing} % ({values},))"
    yield [Change("", *text.span, with_percent)]


def _sql_rewritten(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield SQL with its query in a CTE, and with its subqueries as CTEs or back."""
    for text in sql.texts(cell):
        # A part of a longer text is no query by itself.
        if text.node and isinstance(cell.parents[text.node], (ast.BinOp, ast.Attribute)):
            continue
        for new in sql_variants.rewritten(text.value):
            yield [text.change("", 0, len(text.value), new)]


def _autocommit(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield psycopg's autocommit in the place of commit(), at the top of a cell, and back."""
    for node in cell.tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if call.func.attr == "connect":
            name, (_, end) = node.targets[0].id, cell.span(node)
            commits = [n for n in cell.tree.body if cell.text(n) == f"{name}.commit()"]
            if not call.keywords and commits:
                on = Change("", end, end, f"\n{name}.autocommit = True")
                yield [on, *(Change("", *cell.span(n), "pass") for n in commits)]
            elif "autocommit=True" in cell.text(call):
                yield _with_commit(cell, name, end)


def _with_commit(cell: Cell, name: str, end: int) -> Edits:
    """Return autocommit turned off after `end`, and one commit after the connection's last use.

    Nothing where a statement cannot run in a transaction.
    """
    used = [n for n in cell.tree.body if cell.text(n).startswith(f"{name}.execute(")]
    if not used or re.search(r"\b(VACUUM|CONCURRENTLY)\b", cell.source, re.I):
        return []
    at = cell.span(used[-1])[1]
    off = Change("", end, end, f"\n{name}.autocommit = False")
    return [off, Change("", at, at, f"\n{name}.commit()")]


def _listed(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield a returned list made by list(): of a generator, or of the list itself."""
    for node in cell.nodes:
        value = node.value if isinstance(node, ast.Return) else None
        if isinstance(value, ast.ListComp):
            inside = cell.text(value)[1:-1]
            has_await = any(isinstance(n, ast.Await) for n in ast.walk(value))
            is_async = has_await or any(g.is_async for g in value.generators)
            text = f"list([{inside}])" if is_async else f"list({inside})"
            yield [Change("", *cell.span(value), text)]


def _as_tuples(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield returned rows as plain tuples: `return cursor.fetchall()`."""
    fetched = {
        n.targets[0].id
        for n in cell.nodes
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and _fetches(n.value)
    }
    for node in cell.nodes:
        value = node.value if isinstance(node, ast.Return) else None
        if value and (_fetches(value) or (isinstance(value, ast.Name) and value.id in fetched)):
            yield [Change("", *cell.span(value), f"[tuple(row) for row in {cell.text(value)}]")]


def _fetches(node: ast.expr) -> bool:
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_method and ast.unparse(node).endswith(".fetchall()")


def _iterated(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield fetchall() as list(cursor), and a loop over a cursor with fetchall()."""
    for node in cell.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            cursor, awaited = node.func.value, isinstance(cell.parents[node], ast.Await)
            if node.func.attr == "fetchall" and not awaited:
                yield [Change("", *cell.span(node), f"list({cell.text(cursor)})")]
        loop = node.iter if isinstance(node, (ast.For, ast.comprehension)) else None
        if isinstance(loop, ast.Call) and re.match(r"\w+\.execute\(", cell.text(loop)):
            end = cell.span(loop)[1]
            yield [Change("", end, end, ".fetchall()")]


def _spaced(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield the cell with a comment and a blank line before each statement of a function."""
    bodies = [getattr(node, "body", None) for node in cell.nodes]
    places = [n for body in bodies if isinstance(body, list) for n in body]
    edits = []
    for statement in places:
        start = cell.span(statement)[0]
        if TASK_CALL.fullmatch(cell.text(statement)):
            continue
        line = cell.source.rfind("\n", 0, start) + 1
        if not cell.source[line:start].strip():  # not after `if x:` on the same line
            edits.append(Change("", line, line, f"\n{cell.indent(statement)}# The next step.\n"))
    yield edits


def _lua_spaced(cell: Cell, keep: set[str]) -> Iterator[Edits]:
    """Yield a Lua script with a comment before each line."""
    for text in filter(lua.is_lua, cell.texts):
        new = text.value.replace("\n", "\n-- The next step.\n")
        yield [text.change("", 0, len(text.value), new)]


TRANSFORMATIONS: dict[str, Callable[[Cell, set[str]], Iterator[Edits]]] = {
    "local names changed": _renamed,
    "names of the cell changed": _all_renamed,
    "independent statements reordered": _reordered,
    "f-string written otherwise": _formatted,
    "SQL written otherwise": _sql_rewritten,
    "commit and autocommit exchanged": _autocommit,
    "list() around a list": _listed,
    "rows as tuples": _as_tuples,
    "fetchall and iteration exchanged": _iterated,
    "comments and blank lines": _spaced,
    "comments in Lua": _lua_spaced,
}

"""Statements of Python that are left out or changed; `expressions` does what is inside of them.

The operators are our own. mutmut 3.8 (BSD-3-Clause, maintained) looks for a project's settings
before it changes a text, leaves out no statement, `try`, `with` or `await`, and brings textual and
libcst. cosmic-ray 8.7 (MIT, maintained) has `mutate_code(source, operator, occurrence)`, which
works on a cell, but only for comparisons, arithmetic, numbers, decorators, break and exceptions,
and brings aiohttp and GitPython; mutatest (MIT) had its last release in 2022.

Positions in the tree lead to changes in the text. `ast.unparse` would lose comments and line
breaks, and libcst would do nothing here that a position cannot.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.commands.mutants import expressions
from helpers.commands.mutants.change import TASK_CALL, Cell, Change

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Names and modules that are missing say so at once; nothing is learned from leaving them out.
# Of `with` and `try` the parts are left out.
STAYS = (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass, ast.With, ast.AsyncWith)


def changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes of a cell's Python."""
    for node in cell.nodes:
        if isinstance(node, ast.stmt):
            yield from _left_out(cell, node)
        if isinstance(node, (ast.If, ast.While)):
            yield from expressions.condition(cell, node.test, drop=isinstance(node, ast.If))
        elif isinstance(node, (ast.Break, ast.Continue)):
            other = "continue" if isinstance(node, ast.Break) else "break"
            yield Change("break and continue exchanged", *cell.span(node), other)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            yield _without_context(cell, node)
        elif isinstance(node, ast.Try):
            yield from _try(cell, node)
        elif isinstance(node, FUNCTIONS):
            yield from _other_returns(cell, node)
        if isinstance(node, (ast.For, ast.While)):
            yield from _loop(cell, node)
        elif isinstance(node, ast.Raise):
            yield Change("return instead of raise", *cell.span(node), "return")
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield from _without_decorator(cell, node)
    yield from expressions.changes(cell)


def _left_out(cell: Cell, node: ast.stmt) -> Iterator[Change]:
    """Yield the statement left out, or its value None where a name would be missing."""
    if isinstance(node, (*STAYS, ast.Try)) or TASK_CALL.fullmatch(cell.text(node)):
        return
    if isinstance(node, ast.Expr) and node.value in cell.docstrings:
        return
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield Change("None returned", *cell.span(node.value), "None")
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and not _assigned_before(cell, node):
        if value is not None and not _is_none(value):
            awaited = isinstance(value, ast.Await)
            yield Change(
                "awaited work left out" if awaited else "value None", *cell.span(value), "None"
            )
        return
    awaited = isinstance(node, ast.Expr) and isinstance(node.value, ast.Await)
    name = "awaited work left out" if awaited else "statement left out"
    yield Change(name, *cell.span(node), "pass")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _assigned_before(cell: Cell, node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether all targets exist without the statement: attributes, items, names assigned above."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return all(re.search(rf"\b{name}\b", _above(cell, node)) for name in stored)


def _above(cell: Cell, node: ast.stmt) -> str:
    """Return the source above the statement, from the function it is in."""
    scope = cell.parents[node]
    while not isinstance(scope, (*FUNCTIONS, ast.Module)):
        scope = cell.parents[scope]
    start = 0 if isinstance(scope, ast.Module) else cell.span(scope)[0]
    return cell.source[start : cell.span(node)[0]]


def _without_context(cell: Cell, node: ast.With | ast.AsyncWith) -> Change:
    """Return the block without its `with`; `as` becomes an assignment, the block keeps its text."""
    names = [
        f"{cell.text(item.optional_vars)} = {cell.text(item.context_expr)}"
        for item in node.items
        if item.optional_vars
    ]
    last = node.items[-1]
    colon = cell.source.index(":", cell.span(last.optional_vars or last.context_expr)[1])
    lines = [*names, "if True:"]
    start = cell.span(node)[0]
    return Change("with left out", start, colon + 1, ("\n" + cell.indent(node)).join(lines))


def _try(cell: Cell, node: ast.Try) -> Iterator[Change]:
    """Yield the `try` without an except and without its finally, and with a wider except."""
    start, end = cell.span(node)
    for handler in node.handlers:
        at, stop = cell.span(handler)
        if len(node.handlers) > 1 or node.finalbody:
            yield Change("except left out", at, stop, "")
        elif not node.orelse:
            text = "if True:" + cell.source[start + len("try:") : at].rstrip()
            yield Change("except left out", start, end, text)
        if handler.type and cell.text(handler.type) not in ("Exception", "BaseException"):
            yield Change("wider except", *cell.span(handler.type), "Exception")
    if node.finalbody:
        at = cell.source.rindex("finally", start, cell.span(node.finalbody[0])[0])
        body = cell.source[start:at].rstrip()
        text = body if node.handlers else "if True:" + body.removeprefix("try:")
        yield Change("finally left out", start, end, text)


def _loop(cell: Cell, node: ast.For | ast.While) -> Iterator[Change]:
    """Yield a loop that runs once, and one whose last step is done after it."""
    start = cell.span(node)[0]
    if isinstance(node, ast.While):
        yield Change("only once", start, start + len("while"), "if")
    else:
        yield Change("only once", *cell.span(node.iter), f"list({cell.text(node.iter)})[:1]")
    last = node.body[-1]
    if len(node.body) > 1 and isinstance(last, ast.Expr) and not node.orelse:
        at, end = cell.span(last)
        line = cell.source.rfind("\n", 0, at) + 1
        yield Change("after the loop", line, end, cell.indent(node) + cell.text(last))


def _other_returns(cell: Cell, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Change]:
    """Yield each return with what another return of the function gives, if that is a constant."""
    values = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
    constants = {cell.text(v) for v in values if isinstance(v, (ast.Constant, ast.UnaryOp))}
    for value in values:
        for other in sorted(constants - {cell.text(value)}):
            yield Change("return of another branch", *cell.span(value), other)


def _without_decorator(
    cell: Cell, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
) -> Iterator[Change]:
    for decorator in node.decorator_list:
        start, end = cell.span(decorator)
        yield Change("decorator left out", cell.source.rindex("@", 0, start), end, "")

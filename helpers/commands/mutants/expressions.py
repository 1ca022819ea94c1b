"""Expressions of Python that are changed: conditions, comparisons, constants, calls, awaits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from helpers.commands.mutants.change import Cell, Change, Span, of_sequence

COMPARISONS: dict[type[ast.cmpop], tuple[str, list[str]]] = {
    ast.Lt: ("<", ["<=", ">"]),
    ast.LtE: ("<=", ["<", ">="]),
    ast.Gt: (">", [">=", "<"]),
    ast.GtE: (">=", [">", "<="]),
    ast.Eq: ("==", ["!="]),
    ast.NotEq: ("!=", ["=="]),
    ast.Is: ("is", ["is not"]),
    ast.IsNot: (r"is\s+not", ["is"]),
    ast.In: ("in", ["not in"]),
    ast.NotIn: (r"not\s+in", ["in"]),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "//"),
}
EXCHANGED = {
    **{"min": "max", "max": "min", "any": "all", "all": "any", "asc": "desc", "desc": "asc"},
    **{"commit": "rollback", "floor": "ceil", "ceil": "floor", "union": "union_all"},
    **{"fetchone": "fetchall", "and_": "or_", "or_": "and_", "outerjoin": "join"},
    **{"incr": "decr", "lpush": "rpush", "rpush": "lpush", "lpop": "rpop", "rpop": "lpop"},
    **{"expire": "pexpire", "pexpire": "expire", "zrange": "zrevrange", "ttl": "pttl"},
    **{"update_one": "update_many", "delete_many": "delete_one", "insert_many": "insert_one"},
}
OPTIONS = {"ex": "px", "px": "ex", "nx": "xx", "xx": "nx", "exat": "pxat", "pxat": "exat"}
# Calls that cannot be left out so that their only argument stays, as list(rows) becomes rows.
NOT_AROUND = {"range", "len", "print", "isinstance", "select", "update", "insert", "delete", "type"}
AROUND = {"ceil", "floor", "dumps", "loads", "shield", "ensure_future", "create_task"}
# Methods that give something of the same kind: name.strip() becomes name.
OF_THE_SAME_KIND = {
    *("strip", "lower", "upper", "casefold", "desc", "asc", "copy", "unique", "with_for_update"),
    *("where", "filter", "order_by", "limit", "offset", "distinct", "options", "group_by"),
    *("having", "join", "returning", "on_conflict_do_nothing", "execution_options"),
}


def changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes of a cell's expressions."""
    for node in cell.nodes:
        if isinstance(node, ast.Compare):
            yield from _comparison(cell, node)
        elif isinstance(node, ast.BoolOp):
            yield from _bool(cell, node)
        elif isinstance(node, ast.BinOp):
            yield from _arithmetic(cell, node)
        elif isinstance(node, ast.AugAssign):
            yield from _augmented(cell, node)
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
            yield Change("sign or not left out", *cell.span(node), cell.text(node.operand))
        elif isinstance(node, ast.Constant):
            yield from _constant(cell, node)
        elif isinstance(node, ast.IfExp):
            yield from condition(cell, node.test, drop=False)
            for branch in (node.body, node.orelse):
                yield Change("one branch only", *cell.span(node), cell.text(branch))
        elif isinstance(node, ast.comprehension):
            yield from _filter(cell, node)
        elif isinstance(node, ast.Slice):
            for bound in filter(None, (node.lower, node.upper)):
                yield Change("bound left out", *cell.span(bound), "")
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            if isinstance(cell.parents[node], (ast.Return, ast.IfExp)):
                yield Change("attribute or index left out", *cell.span(node), cell.text(node.value))
        elif isinstance(node, ast.Await):
            yield Change("await left out", *cell.span(node), cell.text(node.value))
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict)):
            yield from _display(cell, node)
        elif isinstance(node, ast.Call):
            yield from _call(cell, node)
    for text in cell.texts:
        yield from _f_string(cell, text.node)


def condition(cell: Cell, test: ast.expr, drop: bool) -> Iterator[Change]:
    """Yield a condition negated and, if `drop`, always true."""
    span = cell.span(test)
    yield Change("condition negated", *span, f"not ({cell.text(test)})")
    if drop:
        yield Change("condition left out", *span, "True")


def _between(cell: Cell, left: ast.expr, right: ast.expr) -> tuple[Span, str]:
    span = (cell.span(left)[1], cell.span(right)[0])
    return span, cell.source[slice(*span)]


def _comparison(cell: Cell, node: ast.Compare) -> Iterator[Change]:
    operands = [node.left, *node.comparators]
    for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
        pattern, others = COMPARISONS[type(op)]
        span, text = _between(cell, left, right)
        for other in others:
            yield Change("comparison changed", *span, re.sub(pattern, other, text, count=1))


def _bool(cell: Cell, node: ast.BoolOp) -> Iterator[Change]:
    old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in pairwise(node.values):
        span, text = _between(cell, left, right)
        yield Change("and and or exchanged", *span, re.sub(rf"\b{old}\b", new, text, count=1))
    spans = [cell.span(value) for value in node.values]
    for index in range(len(spans)):
        yield Change("condition left out", *of_sequence(spans, index), "")


def _arithmetic(cell: Cell, node: ast.BinOp) -> Iterator[Change]:
    formats = isinstance(node.left, (ast.Constant, ast.JoinedStr)) and isinstance(node.op, ast.Mod)
    if type(node.op) in ARITHMETIC and not formats:
        old, new = ARITHMETIC[type(node.op)]
        span, text = _between(cell, node.left, node.right)
        yield Change("arithmetic changed", *span, text.replace(old, new, 1))
        yield Change("operand left out", *cell.span(node), cell.text(node.left))


def _augmented(cell: Cell, node: ast.AugAssign) -> Iterator[Change]:
    if type(node.op) in ARITHMETIC:
        old, new = ARITHMETIC[type(node.op)]
        span, text = _between(cell, node.target, node.value)
        yield Change("arithmetic changed", *span, text.replace(old, new, 1))
        yield Change("assigned instead of added", *span, text.replace(old, "", 1))


def _constant(cell: Cell, node: ast.Constant) -> Iterator[Change]:
    parent = cell.parents[node]
    if node in cell.docstrings or (isinstance(parent, ast.Dict) and node in parent.keys):
        return
    default = isinstance(parent, ast.arguments)
    name = "default changed" if default else "constant changed"
    for other in _others(node.value):
        yield Change(name, *cell.span(node), other)


def _others(value: object) -> list[str]:
    """Return what a constant can be instead."""
    if isinstance(value, bool):
        return [repr(not value)]
    if isinstance(value, float):
        return [repr(other) for other in (value + 1, 0) if other != value]
    if isinstance(value, int):
        return [repr(other) for other in dict.fromkeys((value + 1, value - 1, 0)) if other != value]
    return ['""'] if isinstance(value, str) and value else []


def _filter(cell: Cell, node: ast.comprehension) -> Iterator[Change]:
    for test in node.ifs:
        start, end = cell.span(test)
        yield Change("condition negated", start, end, f"not ({cell.text(test)})")
        yield Change("condition left out", start, end, "True")


def entries(cell: Cell, node: ast.Dict) -> list[Span]:
    """Return where each entry of a dict is; `**other` is one too."""
    return [
        (cell.span(key)[0] if key else cell.source.rindex("**", 0, start), end)
        for key, (start, end) in zip(node.keys, map(cell.span, node.values), strict=True)
    ]


def _display(cell: Cell, node: ast.List | ast.Tuple | ast.Set | ast.Dict) -> Iterator[Change]:
    """Yield a list, tuple, set or dict without one item, and empty."""
    if isinstance(node, ast.Dict):
        spans = entries(cell, node)
    elif isinstance(node, ast.Set) or isinstance(node.ctx, ast.Load):
        spans = [cell.span(item) for item in node.elts]
    else:
        return  # a target: a, b = ...
    if not spans:
        return
    empty = {ast.List: "[]", ast.Tuple: "()", ast.Set: "set()", ast.Dict: "{}"}
    yield Change("empty", *cell.span(node), empty[type(node)])
    for index in range(len(spans) if len(spans) > 1 else 0):
        yield _without_item(cell, node, spans, index)


def _without_item(cell: Cell, node: ast.expr, spans: list[Span], index: int) -> Change:
    if isinstance(node, ast.Tuple) and len(spans) == 2:  # one item needs its comma
        other = cell.source[slice(*spans[1 - index])]
        return Change("item left out", *cell.span(node), f"({other},)")
    return Change("item left out", *of_sequence(spans, index), "")


def _call(cell: Cell, node: ast.Call) -> Iterator[Change]:
    together: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    arguments = sorted(together, key=cell.span)
    spans = [cell.span(argument) for argument in arguments]
    # A lone generator's position has the call's parentheses in it.
    if not (len(arguments) == 1 and isinstance(arguments[0], ast.GeneratorExp)):
        for index, argument in enumerate(arguments):
            keyword = isinstance(argument, ast.keyword)
            name = "keyword argument left out" if keyword else "argument left out"
            yield Change(name, *of_sequence(spans, index), "")
    for left, right in pairwise(node.args):
        yield from _swapped(cell, left, right)
    for option in node.keywords:
        if option.arg in OPTIONS:
            start = cell.span(option)[0]
            end = start + len(option.arg)
            yield Change("option exchanged", start, end, OPTIONS[option.arg])
    yield from _function(cell, node)


def _swapped(cell: Cell, left: ast.expr, right: ast.expr) -> Iterator[Change]:
    one, other = cell.text(left), cell.text(right)
    if one != other and not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
        _, gap = _between(cell, left, right)
        yield Change(
            "arguments swapped", cell.span(left)[0], cell.span(right)[1], other + gap + one
        )


def _function(cell: Cell, node: ast.Call) -> Iterator[Change]:
    """Yield a call with another function, or without its function or method."""
    end = cell.span(node.func)[1]
    name = node.func.attr if isinstance(node.func, ast.Attribute) else cell.text(node.func)
    if name in EXCHANGED:
        yield Change("function exchanged", end - len(name), end, EXCHANGED[name])
    if _is_around(node, name):
        yield Change("call around left out", *cell.span(node), cell.text(node.args[0]))
    if name in ("min", "max") and len(node.args) > 1:
        for argument in node.args:
            yield Change("call around left out", *cell.span(node), cell.text(argument))
    if isinstance(node.func, ast.Attribute):
        value = node.func.value
        if isinstance(value, ast.Call) or name in OF_THE_SAME_KIND:
            yield Change("call in a chain left out", *cell.span(node), cell.text(value))


def _is_around(node: ast.Call, name: str) -> bool:
    """Whether a call is a function of one value: clean(text), math.ceil(x)."""
    one = len(node.args) == 1 and not node.keywords
    if not one or isinstance(node.args[0], (ast.GeneratorExp, ast.Starred)):
        return False
    plain = isinstance(node.func, ast.Name) and name not in NOT_AROUND and name.islower()
    return plain or name in AROUND


def _f_string(cell: Cell, node: ast.expr | None) -> Iterator[Change]:
    """Yield an f-string without one of its values."""
    if isinstance(node, ast.JoinedStr):
        start, _ = cell.span(node)
        for value in re.finditer(r"(?<!\{)\{[^{}]+\}", cell.text(node)):
            yield Change("value left out", start + value.start(), start + value.end(), "")

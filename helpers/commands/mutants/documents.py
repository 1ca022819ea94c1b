"""MongoDB's documents as Python literals, and Redis commands that are given as words.

What any list, dict, call or keyword argument can lose (a stage, a key, an index key, `ex=`, a
command) `python` leaves out already; here is what needs the words' meaning.
(Stages and operators: https://www.mongodb.com/docs/manual/reference/operator/aggregation/)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from helpers.commands.mutants.change import Cell, Change, Span, of_sequence
from helpers.commands.mutants.expressions import entries

EXCHANGED = {
    "$lt": ["$lte", "$gt"],
    "$lte": ["$lt", "$gte"],
    "$gt": ["$gte", "$lt"],
    "$gte": ["$gt", "$lte"],
    "$eq": ["$ne"],
    "$ne": ["$eq"],
    "$in": ["$nin"],
    "$nin": ["$in"],
    "$and": ["$or"],
    "$or": ["$and"],
    "$sum": ["$avg"],
    "$avg": ["$sum"],
    "$first": ["$last"],
    "$last": ["$first"],
    "$max": ["$min", "$sum"],
    "$min": ["$max"],
    "$addToSet": ["$push"],
    "$push": ["$addToSet"],
    "$add": ["$subtract"],
    "$subtract": ["$add"],
    "$multiply": ["$divide"],
    "$divide": ["$multiply"],
    "$floor": ["$ceil"],
    "$ceil": ["$floor"],
    "$inc": ["$set"],
    "$set": ["$setOnInsert"],
    "$setOnInsert": ["$set"],
    "$limit": ["$skip"],
    "$rank": ["$denseRank"],
    "$denseRank": ["$rank"],
}
VALUES = {
    "whenMatched": ["merge", "replace", "keepExisting"],
    "whenNotMatched": ["insert", "discard"],
}
# Expressions that can be left out so that their value, or their first one, stays.
AROUND = {
    *("$min", "$max", "$ifNull", "$floor", "$ceil", "$round", "$add", "$subtract", "$multiply"),
    *("$divide", "$toString", "$toLower", "$trim", "$abs", "$first", "$literal", "$not"),
}
SORTS = {"$sort", "sortBy", "$orderby"}
# An option of a Redis command and how many values follow it.
# https://redis.io/docs/latest/commands/set/
OPTIONS = {
    **{"NX": 0, "XX": 0, "KEEPTTL": 0, "GET": 0, "GT": 0, "LT": 0, "CH": 0, "WITHSCORES": 0},
    **{"EX": 1, "PX": 1, "EXAT": 1, "PXAT": 1, "COUNT": 1, "MATCH": 1, "LIMIT": 2, "MAXLEN": 1},
}


def changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes of a cell's documents and commands."""
    for node in cell.nodes:
        if isinstance(node, ast.Dict):
            yield from _document(cell, node)
        elif isinstance(node, ast.List):
            yield from _pipeline(cell, node)
        elif isinstance(node, ast.Tuple):
            yield from _index_key(cell, node)
        elif isinstance(node, ast.Call):
            yield from _command(cell, node)
            yield from _sort_call(cell, node)
        elif isinstance(node, ast.keyword):
            yield from _flag(cell, node.value, f"{node.arg} flipped")


def _string(node: ast.AST | None) -> str:
    """Return a string constant's value; "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _direction(node: ast.AST) -> str:
    """Return the opposite of a sort direction, 1 or -1; "" for anything else."""
    if isinstance(node, ast.Constant) and node.value == 1 and node.value is not True:
        return "-1"
    minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    return "1" if isinstance(node, ast.UnaryOp) and minus and _direction(node.operand) else ""


def _document(cell: Cell, node: ast.Dict) -> Iterator[Change]:
    """Yield a document without a key, with another operator, another option, another order."""
    spans = entries(cell, node)
    is_document = any(_string(key).startswith("$") for key in node.keys)
    for index in range(len(spans) if len(spans) > 1 else 0):
        yield Change("key left out", *of_sequence(spans, index), "")
    for key, value in zip(node.keys, node.values, strict=True):
        name = _string(key)
        if key:
            for other in EXCHANGED.get(name, []):
                yield Change("operator exchanged", *cell.span(key), f'"{other}"')
        for other in VALUES.get(name, []):
            if other != _string(value):
                yield Change("option exchanged", *cell.span(value), f'"{other}"')
        if name in SORTS and isinstance(value, ast.Dict):
            for direction in value.values:
                yield from _turned(cell, direction)
        yield from _flag(cell, value, f"{name} flipped")
    if is_document and len(spans) == 1:
        yield Change("key left out", *spans[0], "")
        yield from _around(cell, node)
    yield from _neighbours(cell, node)


def _around(cell: Cell, node: ast.Dict) -> Iterator[Change]:
    """Yield {"$min": [a, b]} as a, and {"$cond": [test, a, b]} as a and as b."""
    name, value = _string(node.keys[0]), node.values[0]
    items = value.elts if isinstance(value, ast.List) else [value]
    if name in AROUND and items:
        yield Change(f"{name} left out", *cell.span(node), cell.text(items[0]))
    if name == "$cond" and len(items) == 3:
        for branch in items[1:]:
            yield Change("one branch only", *cell.span(node), cell.text(branch))


def _neighbours(cell: Cell, node: ast.Dict) -> Iterator[Change]:
    """Yield a dict of words with each value exchanged for another value of it."""
    words = [_string(value) for value in node.values]
    if len(set(words)) < 2 or not all(words) or any(word.startswith("$") for word in words):
        return
    for value, word in zip(node.values, words, strict=True):
        for other in sorted(set(words) - {word}):
            yield Change("value of another key", *cell.span(value), f'"{other}"')


def directions(cell: Cell) -> list[Span]:
    """Return where sort directions and index keys are: nothing but 1 and -1 is one of these."""
    found = []
    for node in cell.nodes:
        if isinstance(node, ast.Dict):
            sorts = zip(node.keys, node.values, strict=True)
            of = [value for key, value in sorts if _string(key) in SORTS]
            found += [n for value in of if isinstance(value, ast.Dict) for n in value.values]
        elif isinstance(node, ast.Tuple) and _is_index_key(node):
            found.append(node)
    return [cell.span(node) for node in found]


def _is_index_key(node: ast.Tuple) -> bool:
    two = len(node.elts) == 2 and _string(node.elts[0]) != ""
    return two and _direction(node.elts[1]) != ""


def _flag(cell: Cell, node: ast.expr, operator: str) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield Change(operator, *cell.span(node), repr(not node.value))


def _turned(cell: Cell, node: ast.expr) -> Iterator[Change]:
    if other := _direction(node):
        yield Change("sort direction turned", *cell.span(node), other)


def _pipeline(cell: Cell, node: ast.List) -> Iterator[Change]:
    """Yield a pipeline without a stage, and with two neighbours swapped."""
    stages = [n for n in node.elts if isinstance(n, ast.Dict)]
    if not any(len(s.keys) == 1 and _string(s.keys[0]).startswith("$") for s in stages):
        return
    spans = [cell.span(item) for item in node.elts]
    for index in range(len(spans)):
        yield Change("stage left out", *of_sequence(spans, index), "")
    for (start, stop), (begin, end) in pairwise(spans):
        source = cell.source
        if source[start:stop] != source[begin:end]:
            text = source[begin:end] + source[stop:begin] + source[start:stop]
            yield Change("stages swapped", start, end, text)


def _index_key(cell: Cell, node: ast.Tuple) -> Iterator[Change]:
    """Yield ("field", 1) as ("field", -1), as an index's key or in a sort."""
    if _is_index_key(node):
        yield from _turned(cell, node.elts[1])


def _sort_call(cell: Cell, node: ast.Call) -> Iterator[Change]:
    """Yield find().sort("field", 1) with -1."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("sort", "create_index"):
        for argument in node.args[1:]:
            yield from _turned(cell, argument)


def _command(cell: Cell, node: ast.Call) -> Iterator[Change]:
    """Yield execute_command("SET", key, value, "PX", 100) without its option and its value."""
    spans = [cell.span(argument) for argument in node.args]
    for index, argument in enumerate(node.args[1:], start=1):
        values = OPTIONS.get(_string(argument).upper())
        if values is not None:
            last = min(index + values, len(spans) - 1)
            yield Change("command's option left out", spans[index - 1][1], spans[last][1], "")

"""The operators for SQL's comparisons, functions and constants; see `sql_clauses`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from helpers.commands.mutants.change import Change
from helpers.commands.mutants.sql_tokens import Run, Tokens

COMPARISONS = {
    **{"<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"], ">=": [">", "<="]},
    **{"=": ["<>"], "<>": ["="], "!=": ["="], "->": ["->>"], "->>": ["->"], "@>": ["<@"]},
}
AGGREGATES = {"SUM": "avg", "AVG": "sum", "MIN": "max", "MAX": "min"}
SEARCH = ["plainto_tsquery", "websearch_to_tsquery", "to_tsquery"]
AROUND = {
    *("COALESCE", "NULLIF", "LOWER", "UPPER", "TRIM", "BTRIM", "LEFT", "RIGHT", "ROUND", "ABS"),
    *("FLOOR", "CEIL", "GREATEST", "LEAST", "SETWEIGHT", "UNACCENT", "LENGTH", "CARDINALITY"),
}


def comparisons(sql: Tokens) -> Iterator[Change]:
    """Yield comparisons changed; `=` only in conditions, elsewhere it assigns."""
    compared = {i for _, run in sql.conditions() for i in range(run.first, run.last)}
    for index, (token, word) in enumerate(zip(sql.all, sql.words, strict=True)):
        for other in COMPARISONS.get(word, []) if word != "=" or index in compared else []:
            yield Change("comparison changed", token.start, token.end, other)


def functions(sql: Tokens) -> Iterator[Change]:
    """Yield aggregates exchanged, count(x) as count(*), and functions left out: coalesce(x, 0)."""
    for index in sql.find("("):
        name, inside = sql.words[index - 1] if index else "", sql.inside(index)
        span = sql.span(Run(index - 1, index)) if index else (0, 0)
        if name.lower() in SEARCH:
            for other in SEARCH:
                if other != name.lower():
                    yield Change("function exchanged", *span, other)
        if name in AGGREGATES:
            yield Change("aggregate exchanged", *span, AGGREGATES[name])
        elif name == "COUNT" and not sql.at(index + 1, "*"):
            yield Change("aggregate exchanged", *sql.span(inside), "*")
        elif name in AROUND and (parts := sql.parts(inside, ",")):
            start, end = sql.span(parts[0])
            whole = sql.span(Run(index - 1, min(inside.last + 1, len(sql.all))))
            yield Change(f"{name.lower()} left out", *whole, sql.sql[start:end])


def constants(sql: Tokens) -> Iterator[Change]:
    """Yield numbers ±1 and 0, strings empty or beginning with 0, and + and - exchanged."""
    for index, token in enumerate(sql.all):
        if token.kind == "number" and re.fullmatch(r"\d+", token.text):
            number = int(token.text)
            for near in dict.fromkeys((number + 1, number - 1, 0)):
                if 0 <= near != number:
                    yield Change("constant changed", token.start, token.end, str(near))
        elif token.kind == "string" and len(token.text) > 2:
            for other in _other_strings(token.text[1:-1]):
                yield Change("constant changed", token.start, token.end, f"'{other}'")
        elif token.text in ("+", "-", "*", "/") and _computes(sql, index):
            turned = {"+": "-", "-": "+", "*": "/", "/": "*"}[token.text]
            yield Change("arithmetic changed", token.start, token.end, turned)
        elif token.text in ("TRUE", "FALSE"):
            turned = "false" if token.text == "TRUE" else "true"
            yield Change("constant changed", token.start, token.end, turned)


def _other_strings(text: str) -> list[str]:
    """Return what a string can be instead: '5s' 0s and 50s, a configuration another, else ''."""
    if quantity := re.fullmatch(r"(\d+)\s*([a-z]*)", text):
        return [f"0{quantity[2]}", f"{quantity[1]}0{quantity[2]}"]
    if text in ("english", "simple", "german"):
        return [other for other in ("english", "simple") if other != text]
    if text in ("A", "B", "C", "D"):  # a weight
        return [other for other in ("A", "D") if other != text]
    return [re.sub(r"^\d+", "0", text) if text[0].isdigit() else ""]


def _computes(sql: Tokens, index: int) -> bool:
    """Whether a sign stands between two operands; not the star of SELECT * or count(*)."""
    if not 0 < index < len(sql.all) - 1:
        return False
    before, after = sql.all[index - 1], sql.all[index + 1]
    operand = before.kind in ("number", "placeholder", "string") or before.text == ")"
    value = operand or (before.kind == "word" and before.text not in ("SELECT", "RETURNING", "BY"))
    return value and after.text not in (")", ",", "FROM", ";")

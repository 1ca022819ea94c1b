"""Lua scripts for Redis in a cell's strings: calls and lines left out, comparisons changed.

By tokens: a parser would tell little more about scripts of ten lines, and the Lua parsers for
Python are small projects. (Lexical rules: https://www.lua.org/manual/5.1/manual.html#2.1)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from helpers.commands.mutants.change import Cell, Change, Text, of_sequence

_TOKEN = re.compile(
    r"(?P<blank>\s+|--[^\n]*)|(?P<string>'[^'\n]*'|\"[^\"\n]*\")|(?P<word>[A-Za-z_][\w.]*)"
    r"|(?P<number>\d+(?:\.\d+)?)|(?P<sign>==|~=|<=|>=|\.\.|.)",
    re.S,
)
EXCHANGED = {
    **{"==": ["~="], "~=": ["=="], "<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"]},
    **{">=": [">", "<="], "and": ["or"], "or": ["and"], "true": ["false"], "false": ["true"]},
    **{"+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "not": [""], "nil": ["0"]},
    **{"math.min": ["math.max"], "math.max": ["math.min"], "math.floor": ["math.ceil"]},
    **{"math.ceil": ["math.floor"], "redis.pcall": ["redis.call"]},
}
COMMANDS = {
    **{"EXPIRE": "PEXPIRE", "PEXPIRE": "EXPIRE", "INCR": "DECR", "LPUSH": "RPUSH"},
    **{"ZADD": "ZREM", "SADD": "SREM", "DEL": "EXISTS", "EX": "PX", "PX": "EX", "NX": "XX"},
    **{"ZRANGE": "ZREVRANGE", "TTL": "PTTL", "PTTL": "TTL"},
}
OPTIONS = {"NX": 0, "XX": 0, "KEEPTTL": 0, "GET": 0, "EX": 1, "PX": 1, "WITHSCORES": 0}
AROUND = {"math.min", "math.max", "math.floor", "math.ceil", "tonumber", "tostring"}
OPENING, CLOSING = {"function", "if", "do", "repeat", "(", "{"}, {"end", "until", ")", "}"}
Token = tuple[str, str, int, int]  # kind, text, start, end


def changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes of a cell's Lua scripts."""
    for text in cell.texts:
        if is_lua(text):
            yield from _script(text)


def is_lua(text: Text) -> bool:
    """Whether a string is a Lua script: it calls Redis."""
    return re.search(r"\bredis\.p?call\s*\(", text.value) is not None


def tokens(script: str) -> list[Token]:
    """Return the tokens without blanks and comments."""
    found = [(str(m.lastgroup), m[0], m.start(), m.end()) for m in _TOKEN.finditer(script)]
    return [token for token in found if token[0] != "blank"]


def _script(text: Text) -> Iterator[Change]:
    found = tokens(text.value)
    yield from _lines(text)
    yield from _conditions(text, found)
    for index, (kind, word, start, end) in enumerate(found):
        for other in EXCHANGED.get(word, []):
            yield text.change("Lua: exchanged", start, end, other)
        if kind == "string" and word[1:-1].upper() in COMMANDS:
            other = COMMANDS[word[1:-1].upper()]
            yield text.change("Lua: command exchanged", start + 1, end - 1, other)
        if kind == "number" and word.isdigit():
            for number in dict.fromkeys((int(word) + 1, max(int(word) - 1, 0), 0)):
                if number != int(word):
                    yield text.change("Lua: constant changed", start, end, str(number))
        if word in AROUND and found[index + 1 : index + 2] and found[index + 1][1] == "(":
            end, spans = _closing(found, index + 1), _spans(found, index + 1)
            for first, last in spans:
                yield text.change("Lua: function left out", start, end, text.value[first:last])
        if word in ("redis.call", "redis.pcall"):
            yield from _arguments(text, found, index)


def _lines(text: Text) -> Iterator[Change]:
    """Yield the script without each line that is whole statements."""
    at = 0
    for line in text.value.splitlines(keepends=True):
        code = line.strip()
        words = [word for _, word, _, _ in tokens(line)]
        balance = sum((word in OPENING) - (word in CLOSING) for word in words)
        if words and balance == 0 and not {"else", "elseif"} & set(words[:1]):
            start = at + line.index(code)
            yield text.change("Lua: line left out", start, start + len(code), "")
        at += len(line)


def _conditions(text: Text, found: list[Token]) -> Iterator[Change]:
    """Yield each `if` with its condition negated, and always true."""
    for index, (_, word, _, end) in enumerate(found):
        if word not in ("if", "elseif"):
            continue
        then = next((t for t in found[index:] if t[1] == "then"), None)
        if then:
            start, stop = found[index + 1][2], then[2]
            test = text.value[end:stop].strip()
            stop = start + len(test)
            yield text.change("Lua: condition negated", start, stop, f"not ({test})")
            yield text.change("Lua: condition left out", start, stop, "true")


def _arguments(text: Text, found: list[Token], index: int) -> Iterator[Change]:
    """Yield a Redis command without each of its arguments, and without an option and its value."""
    spans = _spans(found, index + 1)
    words = [text.value[start:end].strip("'\"").upper() for start, end in spans]
    for number, word in enumerate(words):
        if number and word in OPTIONS:
            last = min(number + OPTIONS[word], len(spans) - 1)
            start, end = spans[number - 1][1], spans[last][1]
            yield text.change("Lua: option left out", start, end, "")
        elif number > 1:
            yield text.change("Lua: argument left out", *of_sequence(spans, number), "")


def _closing(found: list[Token], opening: int) -> int:
    """Return where the parenthesis at `opening` is closed."""
    depth = 0
    for _, word, _, end in found[opening:]:
        depth += (word == "(") - (word == ")")
        if depth == 0:
            return end
    return found[-1][3]


def _spans(found: list[Token], opening: int) -> list[tuple[int, int]]:
    """Return where the arguments are, after the parenthesis at `opening`."""
    spans, depth, first = [], 0, opening + 1
    for index in range(opening, len(found)):
        word = found[index][1]
        depth += (word in "([{") - (word in ")]}")
        if (depth == 1 and word == ",") or depth == 0:
            if first < index:
                spans.append((found[first][2], found[index - 1][3]))
            first = index + 1
        if depth == 0:
            break
    return spans

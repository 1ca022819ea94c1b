"""The tokens of an SQL text, and where its clauses, items and conditions are.

A tokenizer of our own, because the texts are what people hand to psycopg, SQLAlchemy and %sql:
`%s`, `%(name)s`, `%%`, `:name`, `$1` and an f-string's `{name}` are one token each, and the body
of a function between `$$` is SQL too. (Lexical rules:
https://www.postgresql.org/docs/17/sql-syntax-lexical.html)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^']|'')*')
  | (?P<placeholder>%\(\w+\)[sbt]|%[sbt]\b|\{[^{}]*\}|(?<![:\w]):[A-Za-z_]\w*|\$\d+)
  | (?P<quotes>\$\w*\$)
  | (?P<word>"(?:[^"]|"")*"|[A-Za-z_]\w*)
  | (?P<number>\d[\d_]*(?:\.\d+)?)
  | (?P<sign>%%|::|:=|[-+*/<>=~!@\#%^&|?]+|.)
    """,
    re.X | re.S,
)
# A clause ends where at its depth one of these begins.
ENDS = {
    *("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR", "RETURNING", "WINDOW"),
    *("UNION", "EXCEPT", "INTERSECT", "FETCH", "ROWS", "RANGE", "FROM", ";", "SET", "ON", "THEN"),
    *("JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "LOOP", "$$", "VALUES", "EXECUTE"),
}


@dataclass(frozen=True)
class Token:
    """A token: its kind, its text with words in capitals, its place, how many `(` are open."""

    kind: str
    text: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True)
class Run:
    """The tokens first..last-1 of a text, as of a condition or of an item in a list."""

    first: int
    last: int


def tokens(sql: str) -> list[Token]:
    """Return the tokens without blanks and comments; a parenthesis has the depth outside of it."""
    found, depth = [], 0
    for match in _TOKEN.finditer(sql):
        kind, text = str(match.lastgroup), match[0]
        depth -= text == ")"
        if kind != "blank":
            capital = text.upper() if kind == "word" and text[0] != '"' else text
            found.append(Token(kind, capital, match.start(), match.end(), depth))
        depth += text == "("
    return found


class Tokens:
    """The tokens of one text with what operators ask about them."""

    def __init__(self, sql: str) -> None:
        """Take the text apart; any text will do."""
        self.sql = sql
        self.all = tokens(sql)
        self.words = [token.text for token in self.all]

    def at(self, index: int, *phrase: str) -> bool:
        """Whether the words from this index on are these."""
        return self.words[index : index + len(phrase)] == list(phrase) and index >= 0

    def find(self, *phrase: str) -> Iterator[int]:
        """Yield each index where the phrase begins."""
        return (index for index in range(len(self.all)) if self.at(index, *phrase))

    def span(self, run: Run) -> tuple[int, int]:
        """Return where a run of tokens is in the text; it has at least one token."""
        return self.all[run.first].start, self.all[run.last - 1].end

    def with_blank(self, run: Run) -> tuple[int, int]:
        """Return the same with the blank before it, or after it when nothing is before it."""
        start, end = self.span(run)
        if run.first and self.words[run.first - 1] != "(":
            return self.all[run.first - 1].end, end
        return start, self.all[run.last].start if run.last < len(self.all) else end

    def clause(self, index: int) -> Run:
        """Return the tokens after the keyword at `index`, up to the next clause of its depth."""
        depth = self.all[index].depth
        last = index + 1
        while last < len(self.all):
            token = self.all[last]
            if token.depth < depth or (token.depth == depth and self._ends(last)):
                break
            last += 1
        return Run(index + 1, last)

    def _ends(self, index: int) -> bool:
        text = self.words[index]
        # DISTINCT FROM is a comparison, and left(...) a function.
        is_comparison = text == "FROM" and self.at(index - 1, "DISTINCT")
        is_function = text in ("LEFT", "RIGHT") and self.at(index + 1, "(")
        return text in ENDS and not is_comparison and not is_function

    def inside(self, index: int) -> Run:
        """Return the tokens between the parenthesis at `index` and its end."""
        depth = self.all[index].depth
        last = index + 1
        while last < len(self.all) and self.all[last].depth > depth:
            last += 1
        return Run(index + 1, last)

    def parts(self, run: Run, separator: str) -> list[Run]:
        """Split a run at a separator of its own depth; the AND of a BETWEEN separates nothing."""
        if run.first >= run.last:
            return []
        depth, first, between = self.all[run.first].depth, run.first, False
        found = []
        for index in range(run.first, run.last):
            text, same = self.words[index], self.all[index].depth == depth
            between = between or (same and text == "BETWEEN")
            if same and text == separator:
                if text == "AND" and between:
                    between = False
                    continue
                found.append(Run(first, index))
                first = index + 1
        found.append(Run(first, run.last))
        return [part for part in found if part.first < part.last]

    def conditions(self) -> Iterator[tuple[int, Run]]:
        """Yield (keyword, condition) for WHERE, HAVING, a join's ON, CHECK, WHEN and IF."""
        for index, word in enumerate(self.words):
            if word in ("WHERE", "HAVING") or (word == "ON" and self.joins(index)):
                yield index, self.clause(index)
            elif word in ("CHECK", "WHEN") and self.at(index + 1, "("):
                yield index, self.inside(index + 1)
            elif word in ("IF", "ELSIF", "WHEN") and not self._exists(index):
                yield index, self.clause(index)

    def _exists(self, index: int) -> bool:
        return self.at(index + 1, "EXISTS") or self.at(index + 1, "NOT", "EXISTS")

    def joins(self, index: int) -> bool:
        """Whether an ON belongs to a JOIN."""
        depth = self.all[index].depth
        for before in range(index - 1, -1, -1):
            if self.all[before].depth < depth:
                return False
            if self.all[before].depth == depth and self.words[before] in ("JOIN", "ON", ";"):
                return self.words[before] == "JOIN"
        return False

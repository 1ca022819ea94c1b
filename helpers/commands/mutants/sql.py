"""SQL in a cell's strings and %sql magics: find it, change it, judge the changes.

Changes are made in the text (see `sql_clauses`), so the rest of a statement, its placeholders and
its layout stay as they are, and statements that a parser does not know are changed too. sqlglot
(MIT, a pure Python wheel, released about weekly) is the judge: of a statement that it parses, a
change that it does not parse, or that means the same to it, is dropped. It does not rewrite:
`now()` would become CURRENT_TIMESTAMP, `(x, y)` a tuple, and of ALTER TABLE, triggers and functions
it keeps much as text. `unparsed` says which strings have no judge.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.commands.mutants import sql_clauses
from helpers.commands.mutants.change import Cell, Change, Text
from helpers.commands.mutants.sql_tokens import Tokens

# What sqlglot does not know it logs as a warning; here that is an expected answer.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_OBJECT = r"(TABLE|UNIQUE|INDEX|VIEW|FUNCTION|TRIGGER|SCHEMA|TYPE|SEQUENCE|MATERIALIZED|EXTENSION)"
_STATEMENT = re.compile(
    r"\s*(--[^\n]*\n\s*)*("
    r"(?-i:SELECT\b).+|SELECT\b.+\bFROM\b.+|INSERT\s+INTO\b.+|UPDATE\s+\S+.+\bSET\b.+"
    r"|DELETE\s+FROM\b.+|WITH\s+(RECURSIVE\s+)?\w+\s*(\([^)]*\)\s*)?AS\s+(NOT\s+)?(MATERIALIZED\s*)?\(.+"
    rf"|(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?{_OBJECT}\b.+|SET\s+\S+.*(=|\bTO\b|\bLEVEL\b).+"
    r"|(BEGIN|START)\s+.*(ISOLATION|TRANSACTION|READ).*|MERGE\s+INTO\b.+|TRUNCATE\s+.+"
    r")",
    re.I | re.S,
)
# As words of a sentence these are common, so only in capitals.
_IN_CAPITALS = re.compile(
    r"\s*(VACUUM|ANALYZE|REINDEX|LOCK TABLE|COPY|GRANT|REVOKE|NOTIFY)\b.+", re.S
)
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


def is_sql(text: Text, cell: Cell) -> bool:
    """Whether a string is SQL: by its first words, as a magic's text, or inside text(...)."""
    if text.node is None or _STATEMENT.fullmatch(text.value):
        return True
    call = re.search(r"\btext\(\s*$", cell.source[: text.span[0]])
    return bool(call or _IN_CAPITALS.fullmatch(text.value))


def texts(cell: Cell) -> list[Text]:
    """Return the cell's strings that are SQL."""
    return [text for text in cell.texts if is_sql(text, cell)]


def unparsed(cell: Cell) -> list[str]:
    """Return the SQL of a cell that sqlglot does not parse, or keeps as text."""
    return [text.value for text in texts(cell) if _parsed(text.value) is None]


def changes(cell: Cell) -> Iterator[Change]:
    """Yield the changes of a cell's SQL."""
    for text in texts(cell):
        yield from _judged(text)
    for text in cell.texts:
        yield from _level(text)


def _judged(text: Text) -> Iterator[Change]:
    before = _meaning(text.value)
    for edit in sql_clauses.edits(Tokens(text.value)):
        after = text.value[: edit.start] + edit.text + text.value[edit.end :]
        if before is None or _meaning(after) not in (None, before):
            yield text.change(edit.operator, edit.start, edit.end, edit.text)


def _meaning(sql: str) -> str | None:
    """Return the SQL as sqlglot would write it, or None where it does not know it.

    Its trees are no use here: they are equal with and without SKIP LOCKED.
    """
    trees = _parsed(sql)
    return None if trees is None else ";".join(tree.sql("postgres") for tree in trees)


def _level(text: Text) -> Iterator[Change]:
    """Yield a string that is an isolation level, as SQLAlchemy takes it, with another level."""
    if text.value.upper() in LEVELS:
        for other in LEVELS:
            if other != text.value.upper():
                yield text.change("another isolation level", 0, len(text.value), other)


def _parsed(sql: str) -> list[exp.Expression] | None:
    """Return the statements as trees, or None when sqlglot does not know one of them."""
    try:
        trees = sqlglot.parse(plain(sql), dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    known = [tree for tree in trees if isinstance(tree, exp.Expression)]
    whole = known and not any(tree.find(exp.Command) for tree in known)
    return known if whole else None


def plain(sql: str) -> str:
    """Return SQL with names in the place of placeholders: sqlglot does not know psycopg's."""
    named = re.sub(r"%\((\w+)\)[sbt]|\{(\w*)[^{}]*\}", r"_p_\1\2", sql)
    return re.sub(r"%[sbt]\b", "_p", named).replace("%%", "%")

"""The operators for SQL: each takes the tokens of a text and yields edits of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from helpers.commands.mutants import sql_values
from helpers.commands.mutants.change import Change, of_sequence
from helpers.commands.mutants.sql_tokens import Run, Tokens

# One phrase for another; "" leaves it out.
PHRASES: list[tuple[str, str, str]] = [
    ("IS NULL", "IS NOT NULL", "NULL test negated"),
    ("IS NOT NULL", "IS NULL", "NULL test negated"),
    ("IS DISTINCT FROM", "IS NOT DISTINCT FROM", "comparison changed"),
    ("IS NOT DISTINCT FROM", "IS DISTINCT FROM", "comparison changed"),
    ("LIKE", "ILIKE", "comparison changed"),
    ("ILIKE", "LIKE", "comparison changed"),
    ("UNION ALL", "UNION", "UNION changed"),
    ("LEFT JOIN", "JOIN", "join changed"),
    ("LEFT OUTER JOIN", "JOIN", "join changed"),
    ("INNER JOIN", "LEFT JOIN", "join changed"),
    ("NULLS FIRST", "NULLS LAST", "NULLS changed"),
    ("NULLS LAST", "NULLS FIRST", "NULLS changed"),
    ("NULLS FIRST", "", "NULLS left out"),
    ("NULLS LAST", "", "NULLS left out"),
    ("NULLS NOT DISTINCT", "", "NULLS left out"),
    ("FOR NO KEY UPDATE", "FOR KEY SHARE", "lock changed"),
    ("FOR UPDATE", "FOR SHARE", "lock changed"),
    ("SKIP LOCKED", "", "SKIP LOCKED left out"),
    ("SKIP LOCKED", "NOWAIT", "lock changed"),
    ("NOWAIT", "", "NOWAIT left out"),
    ("UNIQUE", "", "UNIQUE left out"),
    ("PRIMARY KEY", "", "PRIMARY KEY left out"),
    ("CONCURRENTLY", "", "CONCURRENTLY left out"),
    ("NOT VALID", "", "NOT VALID left out"),
    ("IF EXISTS", "", "IF EXISTS left out"),
    ("IF NOT EXISTS", "", "IF EXISTS left out"),
    ("OR REPLACE", "", "OR REPLACE left out"),
    ("VACUUM FULL", "VACUUM", "FULL left out"),
    ("BEFORE", "AFTER", "BEFORE and AFTER exchanged"),
    ("AFTER", "BEFORE", "BEFORE and AFTER exchanged"),
    ("DO NOTHING", "", "ON CONFLICT left out"),
    ("SET LOCAL", "SET", "LOCAL left out"),
    ("ON DELETE CASCADE", "", "ON DELETE changed"),
    ("ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE changed"),
    ("ON DELETE SET NULL", "ON DELETE CASCADE", "ON DELETE changed"),
    ("ON DELETE RESTRICT", "ON DELETE CASCADE", "ON DELETE changed"),
    ("READ COMMITTED", "SERIALIZABLE", "another isolation level"),
    ("REPEATABLE READ", "READ COMMITTED", "another isolation level"),
    ("SERIALIZABLE", "READ COMMITTED", "another isolation level"),
    ("SERIALIZABLE", "REPEATABLE READ", "another isolation level"),
]
# What cannot be left out of a function's body by itself.
PART_OF_A_BLOCK = {"END", "IF", "ELSIF", "ELSE", "DECLARE", "BEGIN", "LOOP", "EXCEPTION", "FOR"}


def edits(sql: Tokens) -> Iterator[Change]:
    """Yield the edits of a text, by every operator."""
    for operator in OPERATORS:
        yield from operator(sql)


def _cut(sql: Tokens, operator: str, run: Run) -> Change:
    return Change(operator, *sql.with_blank(run), "")


def _items(sql: Tokens, operator: str, items: list[Run]) -> Iterator[Change]:
    """Yield a list without each of its items, when it has more than one."""
    spans = [sql.span(item) for item in items]
    for index in range(len(spans) if len(spans) > 1 else 0):
        yield Change(operator, *of_sequence(spans, index), "")


def _conditions(sql: Tokens) -> Iterator[Change]:
    """Yield WHERE and HAVING left out, ON true, and each condition without one of its parts."""
    for index, run in sql.conditions():
        if run.first >= run.last:
            continue
        if sql.words[index] in ("WHERE", "HAVING"):
            yield _cut(sql, f"{sql.words[index]} left out", Run(index, run.last))
        else:
            yield Change("condition left out", *sql.span(run), "true")
        for separator in ("AND", "OR"):
            yield from _items(sql, "condition left out", sql.parts(run, separator))
    for index in sql.find("("):
        if len(parts := sql.parts(sql.inside(index), "OR")) > 1:
            yield from _items(sql, "condition left out", parts)


def _and_or(sql: Tokens) -> Iterator[Change]:
    between: set[int] = set()  # depths at which a BETWEEN waits for its AND
    for token, word in zip(sql.all, sql.words, strict=True):
        if word == "BETWEEN":
            between.add(token.depth)
        elif word == "AND" and token.depth in between:
            between.remove(token.depth)
        elif word in ("AND", "OR") and not _of_events(sql, token.start):
            other = "OR" if word == "AND" else "AND"
            yield Change("AND and OR exchanged", token.start, token.end, other)


def _of_events(sql: Tokens, start: int) -> bool:
    """Whether an OR is of CREATE OR REPLACE, or of a trigger's INSERT OR UPDATE."""
    before = sql.sql[:start].rstrip().upper()
    return before.endswith(("CREATE", "INSERT", "UPDATE", "DELETE", "TRUNCATE"))


def _phrases(sql: Tokens) -> Iterator[Change]:
    for phrase, other, operator in PHRASES:
        words = phrase.split()
        for index in sql.find(*words):
            run = Run(index, index + len(words))
            if other:
                yield Change(operator, *sql.span(run), other)
            else:
                yield _cut(sql, operator, run)


def _not(sql: Tokens) -> Iterator[Change]:
    """Yield NOT left out and NOT NULL left out; IN and EXISTS negated."""
    for index in sql.find("NOT"):
        is_test = sql.at(index - 1, "IS") or sql.at(index - 1, "IF")
        alters = sql.at(index - 1, "SET") or sql.at(index - 1, "DROP")
        if sql.at(index + 1, "NULL"):
            if not is_test and not alters:
                yield _cut(sql, "NOT NULL left out", Run(index, index + 2))
        elif not is_test and not sql.at(index + 1, "VALID"):
            yield _cut(sql, "NOT left out", Run(index, index + 1))
    for word in ("IN", "EXISTS"):
        for index in sql.find(word, "("):
            if not sql.at(index - 1, "NOT"):
                yield Change(f"{word} negated", *(2 * (sql.all[index].start,)), "NOT ")


def _distinct(sql: Tokens) -> Iterator[Change]:
    for index in sql.find("DISTINCT"):
        if sql.at(index + 1, "FROM") or sql.at(index - 1, "NULLS") or sql.at(index - 2, "NULLS"):
            continue
        on = sql.at(index + 1, "ON", "(")
        last = sql.inside(index + 2).last + 1 if on else index + 1
        yield _cut(sql, "DISTINCT left out", Run(index, last))


def _order(sql: Tokens) -> Iterator[Change]:
    """Yield ORDER BY left out, each of its keys left out, each direction turned."""
    for index in sql.find("ORDER", "BY"):
        run = sql.clause(index + 1)
        yield _cut(sql, "ORDER BY left out", Run(index, run.last))
        keys = sql.parts(run, ",")
        yield from _items(sql, "ORDER BY key left out", keys)
        for key in keys:
            yield _turned(sql, key)


def _turned(sql: Tokens, key: Run) -> Change:
    for index in range(key.first, key.last):
        if sql.words[index] in ("ASC", "DESC"):
            other = "DESC" if sql.words[index] == "ASC" else "ASC"
            return Change("ORDER BY turned", *sql.span(Run(index, index + 1)), other)
    nulls = next((i for i in range(key.first, key.last) if sql.words[i] == "NULLS"), key.last)
    end = sql.all[nulls - 1].end
    return Change("ORDER BY turned", end, end, " DESC")


def _clauses(sql: Tokens) -> Iterator[Change]:
    """Yield LIMIT, OFFSET, RETURNING, FOR UPDATE and ON CONFLICT left out."""
    for word in ("LIMIT", "OFFSET", "RETURNING"):
        for index in sql.find(word):
            run = sql.clause(index)
            if run.first < run.last:
                yield _cut(sql, f"{word} left out", Run(index, run.last))
    for index in sql.find("FOR"):
        if any(sql.at(index, "FOR", *lock.split()) for lock in ("UPDATE", "SHARE", "NO KEY")):
            yield _cut(sql, "row lock left out", Run(index, sql.clause(index).last))
    for index in sql.find("ON", "CONFLICT"):
        last = next(sql.find("RETURNING"), len(sql.all))
        yield _cut(sql, "ON CONFLICT left out", Run(index, last))


def _defaults(sql: Tokens) -> Iterator[Change]:
    """Yield DEFAULT and CHECK left out of a column or table."""
    for index in sql.find("DEFAULT"):
        if sql.at(index - 1, "SET") or sql.at(index - 1, "DROP"):
            continue
        last = index + 2
        while last < len(sql.all) and sql.words[last] in ("(", "::"):
            last = sql.inside(last).last + 1 if sql.words[last] == "(" else last + 2
        yield _cut(sql, "DEFAULT left out", Run(index, min(last, len(sql.all))))
    for index in sql.find("CHECK", "("):
        if not sql.at(index - 1, "ADD"):
            yield _cut(sql, "CHECK left out", Run(index, sql.inside(index + 1).last + 1))


def _attached(sql: Tokens) -> Iterator[Change]:
    """Yield REFERENCES, FILTER, a cast, PARTITION BY and AT TIME ZONE left out."""
    for index in sql.find("REFERENCES"):
        last = index + 2
        if sql.at(last, "("):
            last = sql.inside(last).last + 1
        if not sql.at(index - 1, ")"):  # of a column; a table's constraint is left out whole
            yield _cut(sql, "REFERENCES left out", Run(index, min(last, len(sql.all))))
    for index in sql.find("USING"):
        if not sql.at(index + 1, "("):  # of a join; else an index's kind or a type's conversion
            items = sql.parts(Run(index + 1, sql.clause(index).last), ",")
            last = index + 2 if sql.at(index + 2, "(") and "INDEX" in sql.words else items[0].last
            yield _cut(sql, "USING left out", Run(index, last))
    for index in sql.find("FILTER", "("):
        yield _cut(sql, "FILTER left out", Run(index, sql.inside(index + 1).last + 1))
    for index in sql.find("::"):
        yield _cut(sql, "cast left out", Run(index, min(index + 2, len(sql.all))))
    for index in sql.find("PARTITION", "BY"):
        yield _cut(sql, "PARTITION BY left out", Run(index, sql.clause(index + 1).last))
    for index in sql.find("AT", "TIME", "ZONE"):
        yield _cut(sql, "AT TIME ZONE left out", Run(index, min(index + 4, len(sql.all))))


def _lists(sql: Tokens) -> Iterator[Change]:
    """Yield lists without one item: SELECT, GROUP BY, SET, an index's columns, ALTER's actions."""
    for index in sql.find("GROUP", "BY"):
        yield from _items(sql, "GROUP BY column left out", sql.parts(sql.clause(index + 1), ","))
    for index in sql.find("SELECT"):
        yield from _items(sql, "column left out", sql.parts(sql.clause(index), ","))
    for update in sql.find("UPDATE"):
        for index in (i for i in sql.find("SET") if i > update):
            yield from _items(sql, "assignment left out", sql.parts(sql.clause(index), ","))
    for index in sql.find("INDEX"):
        if (at := next((i for i in sql.find("(") if i > index), -1)) > 0:
            yield from _items(sql, "index key left out", sql.parts(sql.inside(at), ","))
    for index in sql.find("TABLE"):
        if sql.at(index - 1, "CREATE") and (at := next(sql.find("("), -1)) > 0:
            yield from _items(sql, "column or constraint left out", sql.parts(sql.inside(at), ","))
    for word in ("UNIQUE", "KEY"):
        for index in sql.find(word, "("):
            yield from _items(sql, "key column left out", sql.parts(sql.inside(index + 1), ","))
    for index in sql.find("ALTER", "TABLE"):
        yield from _actions(sql, index)


def _actions(sql: Tokens, index: int) -> Iterator[Change]:
    verbs = ("ADD", "DROP", "ALTER", "SET", "VALIDATE", "RENAME")
    first = next((i for i in range(index + 2, len(sql.all)) if sql.words[i] in verbs), 0)
    last = next((i for i in sql.find(";") if i > index), len(sql.all))
    if first:
        yield from _items(sql, "action left out", sql.parts(Run(first, last), ","))


def _events(sql: Tokens) -> Iterator[Change]:
    """Yield a trigger without one of its events."""
    for index in sql.find("OR"):
        if sql.words[index - 1] in ("INSERT", "UPDATE", "DELETE") and index + 1 < len(sql.all):
            yield _cut(sql, "event left out", Run(index, index + 2))
            yield _cut(sql, "event left out", Run(index - 1, index + 1))


def _statements(sql: Tokens) -> Iterator[Change]:
    """Yield each statement left out, of a text with several or of a function's body."""
    first = 0
    for index, word in enumerate(sql.words):
        if word == ";":
            if first < index and sql.words[first] not in PART_OF_A_BLOCK:
                yield _cut(sql, "statement left out", Run(first, index + 1))
            first = index + 1
        elif word in ("THEN", "ELSE", "LOOP", "$$") or (word == "BEGIN" and first == index):
            first = index + 1
    if 0 < first < len(sql.all) and "$$" not in sql.words:
        yield _cut(sql, "statement left out", Run(first, len(sql.all)))


OPERATORS: list[Callable[[Tokens], Iterator[Change]]] = [
    *(_conditions, _and_or, sql_values.comparisons, _phrases, _not, _distinct, _order, _clauses),
    *(
        _defaults,
        _attached,
        _lists,
        sql_values.functions,
        sql_values.constants,
        _events,
        _statements,
    ),
]

"""A query written otherwise that gives the same rows: CTE for subquery, and the other way."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.eliminate_subqueries import eliminate_subqueries

from helpers.commands.mutants.sql import plain

_PLACEHOLDER = re.compile(r"%\(\w+\)[sbt]|%[sbt]\b|\{[^{}]*\}|%%")


def rewritten(sql: str) -> Iterator[str]:
    """Yield the same query written otherwise; nothing where it cannot be told that it is the same.

    Args:
        sql: one SELECT without a lock. Others give nothing.
    """
    query = _query(sql)
    if query is None:
        return
    # Order and LIMIT stay outside: what is selected from a CTE has no order of its own.
    if not any(query.args.get(part) for part in ("order", "limit", "offset", "with_", "with")):
        yield f"WITH found AS ({sql.strip().rstrip(';')}) SELECT * FROM found"
    # sqlglot writes the text anew. Of a text with placeholders that would have to be undone.
    if not _PLACEHOLDER.search(sql):
        yield from _without_derived_tables(query)
        yield from _without_ctes(query)


def _query(sql: str) -> exp.Select | None:
    """Return the tree of one SELECT that sqlglot writes as it has read it; otherwise None."""
    try:
        trees = sqlglot.parse(plain(sql), dialect="postgres")
        tree = trees[0] if len(trees) == 1 else None
        if not isinstance(tree, exp.Select) or tree.args.get("locks"):
            return None
        again = sqlglot.parse_one(tree.sql("postgres"), dialect="postgres")
    except SqlglotError:
        return None
    return tree if again == tree else None


def _without_derived_tables(query: exp.Select) -> Iterator[str]:
    """Yield FROM (SELECT ...) AS a as WITH a AS (...)."""
    derived = [
        s for s in query.find_all(exp.Subquery) if isinstance(s.parent, (exp.From, exp.Join))
    ]
    lateral = query.find(exp.Lateral)
    if derived and not lateral:
        yield eliminate_subqueries(query.copy()).sql("postgres")


def _without_ctes(query: exp.Select) -> Iterator[str]:
    """Yield a CTE that is used once, in FROM or a JOIN, as a derived table there."""
    copy = query.copy()
    found = copy.args.get("with_") or copy.args.get("with")
    if not isinstance(found, exp.With) or found.args.get("recursive"):
        return
    if len(found.expressions) != 1:
        return
    cte = found.expressions[0]
    uses = [t for t in copy.find_all(exp.Table) if t.name == cte.alias and not t.db]
    if len(uses) == 1 and isinstance(cte.this, exp.Select) and not cte.args.get("alias").columns:
        name = uses[0].alias or cte.alias
        uses[0].replace(exp.Subquery(this=cte.this.copy(), alias=exp.TableAlias(this=name)))
        found.pop()
        yield copy.sql("postgres")

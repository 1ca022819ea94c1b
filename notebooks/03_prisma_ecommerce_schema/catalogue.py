"""What PostgreSQL's catalogue says about the tables of one schema, as comparable rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

FACTS = """
    SELECT 'column', relname, attname, format_type(atttypid, atttypmod)
        || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
        || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '')
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'
      AND attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT 'constraint', relname, conname, pg_get_constraintdef(pg_constraint.oid, true)
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE relnamespace = current_schema::regnamespace
  UNION ALL
    SELECT 'index', a_table.relname, an_index.relname, pg_get_indexdef(indexrelid, 0, true)
    FROM pg_index JOIN pg_class AS a_table ON a_table.oid = indrelid
    JOIN pg_class AS an_index ON an_index.oid = indexrelid
    WHERE a_table.relnamespace = current_schema::regnamespace
"""


@contextmanager
def new_schema(pg: Any, name: str) -> Any:
    """Make an empty schema and connect to it: what is created without a schema is there."""
    with pg.connect(autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        db.execute(f"CREATE SCHEMA {name}")
        db.execute(f"SET search_path = {name}")
        yield db


def facts(db: Any) -> set[tuple[str, str, str, str]]:
    """Return (kind, table, name, definition) of every column, constraint and index."""
    return set(db.execute(FACTS).fetchall())


def url(pg: Any, name: str) -> str:
    """Return the address for SQLAlchemy, with this schema as the current one."""
    return f"{pg.url}{'&' if '?' in pg.url else '?'}options=-csearch_path%3D{name}"


def difference(ours: set[Any], theirs: set[Any]) -> list[str]:
    """Return in words what differs, a line each."""
    lines = [(*fact[1:3], 1, fact) for fact in ours - theirs]
    lines += [(*fact[1:3], 0, fact) for fact in theirs - ours]
    return [f"{'+' if mine else '-'} {f[1]}.{f[2]}: {f[3]}" for _, _, mine, f in sorted(lines)]

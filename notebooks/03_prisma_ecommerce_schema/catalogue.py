"""What PostgreSQL's catalogue says about the tables of one schema, as comparable rows."""

from __future__ import annotations

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


def facts(db: Any) -> set[tuple[str, str, str, str]]:
    """Return (kind, table, name, definition) of every column, constraint and index."""
    return set(db.execute(FACTS).fetchall())


def difference(ours: set[Any], theirs: set[Any]) -> list[str]:
    """Return in words what differs, a line each."""
    lines = [(*fact[1:3], 1, fact) for fact in ours - theirs]
    lines += [(*fact[1:3], 0, fact) for fact in theirs - ours]
    return [f"{'+' if mine else '-'} {f[1]}.{f[2]}: {f[3]}" for _, _, mine, f in sorted(lines)]

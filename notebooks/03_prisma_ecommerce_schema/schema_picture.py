"""Draw the tables of a live PostgreSQL database and the foreign keys between them."""

from __future__ import annotations

from typing import Any

from helpers import show

COLUMNS = """
    SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'
      AND attnum > 0 AND NOT attisdropped
    ORDER BY relname, attnum
"""
KEYS = """
    SELECT child.relname, attname, parent.relname
    FROM pg_constraint
    JOIN pg_class AS child ON child.oid = conrelid JOIN pg_class AS parent ON parent.oid = confrelid
    JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE contype = 'f' AND connamespace = current_schema::regnamespace ORDER BY 1, 2
"""
UNIQUE = """
    SELECT relname, attname, indisprimary FROM pg_index
    JOIN pg_class ON pg_class.oid = indrelid
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE relnamespace = current_schema::regnamespace AND indisunique AND indnatts = 1
"""
SHORT = {"timestamp(3) without time zone": "timestamp(3)", "timestamp(3) with time zone": "tstz(3)"}
WIDE, GAP, ROW = 204, 36, 16


def picture(pg: Any) -> show.Picture:
    """Return the picture; a table stands to the right of all tables that it refers to."""
    with pg.connect() as db:
        columns, keys = db.execute(COLUMNS).fetchall(), db.execute(KEYS).fetchall()
        unique = {(table, column): key for table, column, key in db.execute(UNIQUE).fetchall()}
    tables: dict[str, list[Any]] = {}
    for table, *column in columns:
        tables.setdefault(table, []).append(column)
    parents = {t: [parent for child, _, parent in keys if child == t] for t in tables}
    places = arrange(parents)
    boxes, foot = {}, 0.0
    for column in places:
        y = 52.0
        for table in column:
            x = 18 + places.index(column) * (WIDE + GAP)
            boxes[table] = x, y
            y += ROW * len(tables[table]) + 44
            foot = max(foot, y)

    def draw(page: Any) -> float:
        for table, (x, y) in boxes.items():
            height = ROW * len(tables[table]) + 26
            page.barh(y, WIDE, height, left=x, color=show.SHADE, ec=show.EDGE, align="edge")
            page.text(x + 8, y + 16, table, color=show.BLUE, **show.BOLD)
            for n, (name, kind, required) in enumerate(tables[table]):
                middle = y + 26 + ROW * n
                mark = {True: " (key)", False: " (unique)", None: ""}[unique.get((table, name))]
                page.text(x + 8, middle + 8, name + mark, fontsize=8.5)
                kind = SHORT.get(kind, kind) + "?" * (not required)
                page.text(x + WIDE - 8, middle + 8, kind, ha="right", **show.SMALL)
        for child, name, parent in keys:
            x, y = boxes[child]
            row = [column[0] for column in tables[child]].index(name)
            start = (x, y + 30 + ROW * row)
            tip = (boxes[parent][0] + WIDE, boxes[parent][1] + 13)
            arrow = {"arrowstyle": "-|>", "color": show.INK, "lw": 1}
            page.annotate("", tip, start, arrowprops=arrow)
        return foot

    words = [f"{child}.{name} to {parent}" for child, name, parent in keys]
    alt = f"Tables: {', '.join(tables)}. Foreign keys: {', '.join(words)}."
    return show.Picture(alt, "The tables in PostgreSQL, and who refers to whom", draw)


def arrange(parents: dict[str, list[str]]) -> list[list[str]]:
    """Return columns of tables, each table to the right of its parents."""

    def depth(table: str) -> int:
        return 1 + max((depth(parent) for parent in parents[table]), default=-1)

    places: list[list[str]] = []
    for level in range(1 + max(map(depth, parents))):
        here = sorted(table for table in parents if depth(table) == level)
        used = [parent for found in parents.values() for parent in found]
        before = [table for column in places for table in column]
        here.sort(key=lambda t: -used.count(t) if not level else weight(parents[t], before))
        places.append(here)
    return places


def weight(parents: list[str], before: list[str]) -> float:
    """Return the mean place of a table's parents: near them, fewer lines cross."""
    return sum(before.index(parent) for parent in parents) / len(parents)

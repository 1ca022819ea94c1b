"""Exercise 03e-1: what a deletion takes along."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import in_words

STARTER = """
ex1.start()  # supplier (id), goods (id, supplier_id), basket (id), sale (id, goods_id),
# basket_line (id, basket_id, goods_id)

connection = pg.connect(autocommit=True)
tables = "('goods'::regclass, 'basket_line'::regclass, 'sale'::regclass)"
keys = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
print(*connection.execute(f"{keys} AND conrelid IN {tables} ORDER BY 1").fetchall(), sep="\\n")
# Your statements go here, each as connection.execute("...")

ex1.check()
connection.close()
"""
TABLES = {
    "supplier": "id int PRIMARY KEY",
    "goods": "id int PRIMARY KEY, supplier_id int NOT NULL REFERENCES supplier ON DELETE RESTRICT",
    "basket": "id int PRIMARY KEY",
    "basket_line": "id int PRIMARY KEY, basket_id int NOT NULL REFERENCES basket ON DELETE "
    "RESTRICT, goods_id int NOT NULL REFERENCES goods ON DELETE RESTRICT",
    "sale": "id int PRIMARY KEY, goods_id int NOT NULL REFERENCES goods ON DELETE CASCADE",
}
ROWS: dict[str, list[tuple[int, ...]]] = {
    "supplier": [(1,), (2,)],
    "goods": [(1, 1), (2, 1), (3, 2)],
    "basket": [(1,), (2,)],
    "basket_line": [(1, 1, 1), (2, 1, 2), (3, 2, 2)],
    "sale": [(1, 1)],
}
ACTION = "ALTER TABLE {} DROP CONSTRAINT {}, ADD FOREIGN KEY ({}) REFERENCES {} ON DELETE {}"


def action(table: str, column: str, target: str, what: str) -> str:
    """Return the statement that gives a foreign key another action."""
    return ACTION.format(table, f"{table}_{column}_fkey", column, target, what)


BASKET = action("basket_line", "basket_id", "basket", "CASCADE")
GOODS = action("basket_line", "goods_id", "goods", "CASCADE")
SALE = action("sale", "goods_id", "goods", "RESTRICT")
NULL = "ALTER TABLE goods ALTER supplier_id DROP NOT NULL"
SUPPLIER = action("goods", "supplier_id", "supplier", "SET NULL")


def prepare(pg: Place) -> None:
    """Make the five tables anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        db.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")
        for table, columns in TABLES.items():
            db.execute(f"CREATE TABLE {table} ({columns})")
            values = ", ".join(f"({', '.join(map(str, row))})" for row in ROWS[table])
            db.execute(f"INSERT INTO {table} VALUES {values}")


def check(pg: Place) -> None:
    """Try each deletion and each unknown reference; everything is taken back."""
    deletions: list[tuple[str, str, dict[str, Any] | None]] = [
        ("basket 1", "basket WHERE id = 1", {"basket": [(2,)], "basket_line": [(3, 2, 2)]}),
        (
            "goods 2, which nobody bought,",
            "goods WHERE id = 2",
            {"goods": [(1, 1), (3, 2)], "basket_line": [(1, 1, 1)]},
        ),
        ("goods 1, which were sold,", "goods WHERE id = 1", None),
        (
            "supplier 1",
            "supplier WHERE id = 1",
            {"supplier": [(2,)], "goods": [(1, None), (2, None), (3, 2)]},
        ),
    ]
    with look(pg) as db:
        if rows_of(db) != ROWS:
            raise Incorrect("The rows are not as they were. ex1.start() brings them back.")
        kinds = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confdeltype = '{}' AND "
        kinds += "conrelid IN ('goods'::regclass, 'basket_line'::regclass, 'sale'::regclass)"
        found = [(db.execute(kinds.format(kind)).fetchone() or [0])[0] for kind in "rcn"]
        free = "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'goods'::regclass AND "
        tied = (db.execute(free + "attname = 'supplier_id'").fetchone() or [False])[0]
        if found == [3, 1, 0] and tied:
            raise NotAttempted("The foreign keys are as they were.")
        for what, sql, change in deletions:
            after, error = deleted(db, sql)
            if change is None and not error:
                raise Incorrect(
                    f"Deleting {what} is possible. After it, `sale` has {after['sale']}."
                )
            if change is not None and error:
                raise Incorrect(f"Deleting {what} is refused: {in_words(error)}{aside(error)}")
            if change is not None and after != ROWS | change:
                table = next(t for t in ROWS if after[t] != (ROWS | change)[t])
                true = (ROWS | change)[table]
                raise Incorrect(
                    f"After deleting {what.strip(',')}, `{table}` should have {true}; "
                    f"it has {after[table]}."
                )
        for table, row in (
            ("goods", "9, 99"),
            ("basket_line", "9, 99, 1"),
            ("basket_line", "9, 1, 99"),
            ("sale", "9, 99"),
        ):
            with suppress(psycopg.errors.ForeignKeyViolation):
                with db.transaction(force_rollback=True):
                    db.execute(f"INSERT INTO {table} VALUES ({row})")
                    db.execute("SET CONSTRAINTS ALL IMMEDIATE")
                raise Incorrect(f"`{table}` accepts ({row}), though there is no such row.")


def aside(error: psycopg.Error) -> str:
    """Return what a learner may not see in a foreign key's error."""
    if not isinstance(error, psycopg.errors.IntegrityError) or not error.diag.constraint_name:
        return ""
    if error.diag.table_name == "sale":
        return " It takes the goods along, and one of them was sold."
    return " An old foreign key may still be there beside a new one."


def rows_of(db: Any) -> dict[str, list[Any]]:
    """Return the rows of all five tables."""
    return {t: db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in TABLES}


def deleted(db: Any, sql: str) -> tuple[dict[str, list[Any]], psycopg.Error | None]:
    """Delete, look at the rows, and take it back; return the rows, or the error."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(f"DELETE FROM {sql}")
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what would wait for the commit
            return rows_of(db), None
    except psycopg.errors.LockNotAvailable:
        raise
    except psycopg.Error as error:
        return {}, error


EXERCISE = Exercise(
    title="What a deletion takes along",
    minutes=7,
    prompt="Give four foreign keys the right actions.",
    starter=STARTER,
    solution=statements(STARTER, BASKET, GOODS, SALE, NULL, SUPPLIER),
    check=check,
    prepare=prepare,
    hints=[
        "A foreign key's action cannot be altered: drop the key and add it again, in one "
        "ALTER TABLE.",
        BASKET,
        "ON DELETE SET NULL writes a NULL: the column must allow it. " + NULL,
    ],
    wrong=[
        (
            statements(
                STARTER,
                BASKET.replace("DROP CONSTRAINT basket_line_basket_id_fkey, ", ""),
                GOODS,
                SALE,
                NULL,
                SUPPLIER,
            ),
            "Deleting basket 1 is refused",
        ),
        (
            statements(STARTER, BASKET, GOODS, NULL, SUPPLIER),
            "which were sold, is possible",
        ),
        (statements(STARTER, BASKET, GOODS, SALE, SUPPLIER), "NotNullViolation"),
        (
            statements(STARTER, BASKET, GOODS, SALE, SUPPLIER.replace("SET NULL", "CASCADE")),
            "It takes the goods along",
        ),
        (
            statements(
                STARTER,
                BASKET,
                "ALTER TABLE basket_line DROP CONSTRAINT basket_line_goods_id_fkey",
                SALE,
                NULL,
                SUPPLIER,
            ),
            "`basket_line` should have [(1, 1, 1)]",
        ),
    ],
    praise="In Prisma: onDelete: Cascade, Restrict, and SetNull on a field with `?`.",
)

"""Exercise 03e-1: what a deletion takes along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from exercises_03.common import CHANGED, tables_of_the_exercise
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import in_words, running

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
ROWS: dict[str, list[tuple[int | None, ...]]] = {
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


#: More rows, for deletions that nobody has seen in the cell above.
MORE: dict[str, list[tuple[int | None, ...]]] = {
    "supplier": [(11,), (12,)],
    "goods": [(11, 11), (12, 11), (13, 12), (14, 12)],
    "basket": [(11,), (12,), (13,)],
    "basket_line": [(11, 11, 11), (12, 11, 13), (13, 12, 13), (14, 12, 12), (15, 12, 14)],
    "sale": [(11, 11), (12, 11), (13, 14)],
}
Rows = dict[str, list[tuple[int | None, ...]]]


def after(rows: Rows, table: str, id: int) -> Rows | None:
    """Return the rows after a deletion as the four sentences say; None where it is refused."""
    if table == "goods" and any(goods == id for _, goods in rows["sale"]):
        return None
    left = {name: list(found) for name, found in rows.items()}
    left[table] = [row for row in left[table] if row[0] != id]
    if table in ("basket", "goods"):
        place = 1 if table == "basket" else 2
        left["basket_line"] = [row for row in left["basket_line"] if row[place] != id]
    if table == "supplier":
        left["goods"] = [(g, None if owner == id else owner) for g, owner in left["goods"]]
    return left


def check(pg: Place) -> None:
    """Try each deletion and each unknown reference; everything is taken back."""
    with tables_of_the_exercise(pg, 1) as db:
        if rows_of(db) != ROWS:
            raise Incorrect("The rows are not as they were. ex1.start() brings them back.")
        kinds = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confdeltype = '{}' AND "
        kinds += "conrelid IN ('goods'::regclass, 'basket_line'::regclass, 'sale'::regclass)"
        found = [(db.execute(kinds.format(kind)).fetchone() or [0])[0] for kind in "rcn"]
        free = "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'goods'::regclass AND "
        tied = (db.execute(free + "attname = 'supplier_id'").fetchone() or [False])[0]
        if found == [3, 1, 0] and tied:
            raise NotAttempted("The foreign keys are as they were.")
        with db.transaction(force_rollback=True):
            try_deletions(db, list(ROWS.items()))
            with running("Writing more rows"):
                for table, rows in MORE.items():
                    for row in rows:
                        db.execute(f"INSERT INTO {table} VALUES ({', '.join(map(str, row))})")
            try_deletions(db, list(MORE.items()))
            try_unknown(db)


def try_deletions(db: Any, tables: list[tuple[str, Any]]) -> None:
    """Delete each of these rows, compare with what should be left, and take it back."""
    before = rows_of(db)
    # In this order: what a wrong key makes of a supplier's deletion is the last thing to tell.
    for table in ("basket", "goods", "supplier", "basket_line", "sale"):
        for id, *_ in dict(tables)[table]:
            true = after(before, table, id)
            sold = " which were sold," if true is None else " which nobody bought,"
            what = f"{table} {id}" + ("," + sold if table == "goods" else "")
            left, error = deleted(db, table, id)
            if true is None and not error:
                raise Incorrect(
                    f"Deleting {what} is possible. After it, `sale` has {left['sale']}."
                )
            if true is not None and error:
                raise Incorrect(f"Deleting {what} is refused: {in_words(error)}{aside(error)}")
            if true is not None and left != true:
                other = next(name for name in TABLES if left[name] != true[name])
                raise Incorrect(
                    f"After deleting {what.strip(',')}, `{other}` should have {true[other]}; "
                    f"it has {left[other]}."
                )


def try_unknown(db: Any) -> None:
    """Try references to rows that do not exist, and to known ones."""
    for sql, what in (
        ("INSERT INTO goods VALUES (29, 99)", "goods of supplier 99"),
        ("UPDATE goods SET supplier_id = 99 WHERE id = 2", "goods of supplier 99"),
        ("INSERT INTO basket_line VALUES (29, 99, 1)", "a line in basket 99"),
        ("UPDATE basket_line SET basket_id = 99 WHERE id = 2", "a line in basket 99"),
        ("INSERT INTO basket_line VALUES (29, 1, 99)", "a line with goods 99"),
        ("UPDATE basket_line SET goods_id = 99 WHERE id = 2", "a line with goods 99"),
        ("INSERT INTO sale VALUES (29, 99)", "a sale of goods 99"),
        ("UPDATE sale SET goods_id = 99 WHERE id = 1", "a sale of goods 99"),
    ):
        if try_out(db, sql) is None:
            raise Incorrect(f"The tables accept {what}, though there is no such row.")
    for sql, what in (
        ("INSERT INTO basket_line VALUES (29, NULL, 1)", "a line without a basket"),
        ("INSERT INTO basket_line VALUES (29, 1, NULL)", "a line without goods"),
        ("INSERT INTO sale VALUES (29, NULL)", "a sale without goods"),
    ):
        if try_out(db, sql) is None:
            raise Incorrect(f"The tables accept {what}. Before, they did not.")
    for sql, what in (
        ("INSERT INTO goods VALUES (29, 2)", "goods of supplier 2"),
        ("INSERT INTO goods VALUES (29, NULL)", "goods without a supplier"),
        ("INSERT INTO basket_line VALUES (29, 1, 3)", "a line with known goods"),
        ("INSERT INTO sale VALUES (29, 3)", "a sale of known goods"),
    ):
        if error := try_out(db, sql):
            raise Incorrect(f"The tables refuse {what}: {in_words(error)}")


def aside(error: psycopg.Error) -> str:
    """Return what a learner may not see in a foreign key's error."""
    if not isinstance(error, psycopg.errors.IntegrityError) or not error.diag.constraint_name:
        return ""
    if error.diag.table_name == "sale":
        return " It takes the goods along, and one of them was sold."
    return " An old foreign key may still be there beside a new one."


def rows_of(db: Any) -> Rows:
    """Return the rows of all five tables."""
    return {t: db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in TABLES}


def deleted(db: Any, table: str, id: int) -> tuple[Rows, psycopg.Error | None]:
    """Delete, look at the rows, and take it back; return the rows, or the error."""
    left: Rows = {}

    def look_at_them() -> None:
        left.update(rows_of(db))

    error = try_out(db, f"DELETE FROM {table} WHERE id = {id}", look_at_them)
    return left, error


def try_out(db: Any, sql: str, then: Callable[[], None] = lambda: None) -> psycopg.Error | None:
    """Run a statement, do something, and take it back; return the statement's error."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(sql)
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what would wait for the commit
            then()
    except (psycopg.errors.LockNotAvailable, *CHANGED):
        raise
    except psycopg.Error as error:
        return error
    return None


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
        (
            statements(
                STARTER,
                *(BASKET, GOODS, SALE, NULL, SUPPLIER),
                "ALTER TABLE sale ALTER goods_id DROP NOT NULL",
            ),
            "a sale without goods. Before",
        ),
        (
            statements(STARTER, BASKET, GOODS, SALE, NULL, SUPPLIER).replace("autocommit=True", ""),
            "is still open",
        ),
        (
            statements(STARTER, BASKET, GOODS, SALE, NULL, SUPPLIER, "DROP TABLE sale"),
            "ex1.start() brings them back",
        ),
    ],
    right=[
        statements(STARTER, BASKET, GOODS, SALE.replace("RESTRICT", "NO ACTION"), NULL, SUPPLIER),
    ],
    cells=["e-setup"],
    praise="In Prisma: onDelete: Cascade, Restrict, and SetNull on a field with `?`.",
)

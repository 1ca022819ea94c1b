"""Exercise 03-3: rules for everybody."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import psycopg

from exercises_03.common import CHANGED, tables_of_the_exercise
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import in_words

STARTER = """
ex3.start()  # line (id, order_id, product_id, quantity, price) and goods (id, stock)

connection = pg.connect(autocommit=True)
# Your statements go here, each as connection.execute("...")

ex3.check()
connection.close()
"""
PLACE = '# Your statements go here, each as connection.execute("...")'
LINES = (
    "CREATE TABLE line (id int PRIMARY KEY, order_id int NOT NULL, product_id int NOT NULL, "
    "quantity int NOT NULL, price numeric(10, 2) NOT NULL)",
    "CREATE TABLE goods (id int PRIMARY KEY, stock int NOT NULL)",
    "INSERT INTO goods VALUES (1, 10), (2, 0), (3, 7)",
    "INSERT INTO line VALUES (1, 1, 1, 2, 9.99), (2, 1, 2, 1, 0), (3, 1, 1, 3, 9.99), "
    "(4, 2, 1, 0, 9.99), (5, 2, 2, -5, 4.99), (6, 2, 3, 100, 1.99)",
)
#: The order, product and price of the lines that stay.
KEPT = {1: (1, 1, "9.99"), 2: (1, 2, "0.00"), 6: (2, 3, "1.99")}
MERGE = "UPDATE line SET quantity = 5 WHERE id = 1"
CLEAN = "DELETE FROM line WHERE id = 3 OR quantity <= 0"
QUANTITY = "ALTER TABLE line ADD CHECK (quantity BETWEEN 1 AND 100)"
ONCE = "ALTER TABLE line ADD UNIQUE (order_id, product_id)"
PRICE = "ALTER TABLE line ADD CHECK (price >= 0)"
STOCK = "ALTER TABLE goods ADD CHECK (stock >= 0)"


def answer(*statements: str) -> str:
    """Return the starter with these statements in it."""
    lines = "\n".join(f'connection.execute("{statement}")' for statement in statements)
    return STARTER.replace(PLACE, lines)


SOLUTION = answer(MERGE, CLEAN, QUANTITY, ONCE, PRICE, STOCK)


def trigger(table: str, event: str, condition: str) -> list[str]:
    """Return statements that refuse a row by a trigger, as some people write a rule."""
    return [
        f"CREATE OR REPLACE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {condition} THEN RAISE check_violation; END IF; RETURN NEW; END $$",
        f"CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION refuse_{table}()",
    ]


TWICE = "EXISTS (SELECT FROM line WHERE order_id = NEW.order_id AND product_id = NEW.product_id"


def prepare(pg: Place) -> None:
    """Make the two tables anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        for statement in ("DROP TABLE IF EXISTS line, goods", *LINES):
            db.execute(statement)


LINE = "INSERT INTO line VALUES (99, {}, {}, {}, {})"
GOODS = "INSERT INTO goods VALUES (99, {})"
#: What breaks a rule, by what it does, and in words.
BAD = (
    *((LINE.format(30, 4, n, 1), f"a quantity of {n}") for n in (0, -1, -5, 101, 2147483647)),
    (LINE.format(30, 4, "NULL", 1), "a quantity of NULL"),
    ("UPDATE line SET quantity = 101 WHERE id = 1", "a quantity that was changed to 101"),
    ("UPDATE line SET quantity = 0 WHERE id = 6", "a quantity that was changed to 0"),
    (LINE.format(1, 2, 1, 1), "the same product twice in an order"),
    (LINE.format(1, 2, 7, 5), "a product twice in an order, with different quantities"),
    (
        "INSERT INTO line VALUES (98, 30, 4, 1, 1), (99, 30, 4, 2, 1)",
        "a new order that has a product twice",
    ),
    (
        "UPDATE line SET product_id = 1 WHERE id = 2",
        "a line that was changed to a product that its order has already",
    ),
    (
        "UPDATE line SET order_id = 1, product_id = 2 WHERE id = 6",
        "a line that was moved to an order that has its product already",
    ),
    *((LINE.format(30, 4, 1, p), f"a price of {p}") for p in ("-0.01", "-1", "-99999999.99")),
    (LINE.format(30, 4, 1, "NULL"), "a price of NULL"),
    ("UPDATE line SET price = -1 WHERE id = 1", "a price that was changed to -1"),
    *((GOODS.format(n), f"goods that begin with a stock of {n}") for n in (-1, -2147483648)),
    (GOODS.format("NULL"), "a stock of NULL"),
    ("UPDATE goods SET stock = -1 WHERE id = 1", "a stock of -1"),
    ("UPDATE goods SET stock = stock - 8 WHERE id = 3", "8 pieces taken from a stock of 7"),
)
#: What keeps all rules.
GOOD = (
    *((LINE.format(30, 4, n, 1), f"{n} pieces") for n in (1, 2, 50, 99, 100)),
    ("UPDATE line SET quantity = 100 WHERE id = 1", "a quantity that was changed to 100"),
    *(
        (LINE.format(30, 4, 1, p), f"a price of {p}")
        for p in ("0", "0.01", "100", "100.01", "199.99", "99999999.99")
    ),
    ("UPDATE line SET price = 0 WHERE id = 1", "a price that was changed to 0"),
    (LINE.format(2, 1, 1, 1), "a product that another order has too"),
    (LINE.format(1, 3, 1, 1), "a second product in an order"),
    (LINE.format(30, 4, 5, "9.99"), "another order"),
    ("UPDATE line SET product_id = 4 WHERE id = 2", "a line that was changed to another product"),
    *((GOODS.format(n), f"goods that begin with a stock of {n}") for n in (0, 1, 2147483647)),
    *(
        (f"UPDATE goods SET stock = {n} WHERE id = 1", f"a stock of {n}")
        for n in (0, 1, 11, 101, 500, 2147483647)
    ),
    ("UPDATE goods SET stock = stock - 7 WHERE id = 3", "7 pieces taken from a stock of 7"),
    ("DELETE FROM line WHERE id = 6", "a line that is deleted"),
)


def check(pg: Place) -> None:
    """Look at the rows, then try rows that must be refused and rows that must be accepted."""
    with tables_of_the_exercise(pg, 3) as db:
        judge_rows(db)
        for sql, what in BAD:
            if try_out(db, sql) is None:
                raise Incorrect(f"The tables still accept {what}.")
        for sql, what in GOOD:
            if error := try_out(db, sql):
                raise Incorrect(
                    f"The tables refuse {what}, though it keeps all four rules: {in_words(error)}"
                )
        with look(pg) as other:
            try_two_sessions(db, other)


def judge_rows(db: Any) -> None:
    """Compare the rows with those that should be there now."""
    made = "SELECT count(*) FROM pg_constraint WHERE contype IN ('c', 'u', 'x', 't') AND conrelid "
    made += "IN ('line'::regclass, 'goods'::regclass)"
    [rules] = db.execute(made).fetchone() or [0]
    rows = db.execute("SELECT id, quantity FROM line ORDER BY id").fetchall()
    if not rules and len(rows) == 6:
        raise NotAttempted("The two tables are as they were.")
    if rows != [(1, 5), (2, 1), (6, 100)]:
        raise Incorrect(
            f"As (id, quantity), `line` should have (1, 5), (2, 1), (6, 100); it has {rows}."
        )
    kept = "SELECT id, order_id, product_id, price FROM line ORDER BY id"
    for id, *found in db.execute(kept).fetchall():
        if found != [*KEPT[id][:2], Decimal(KEPT[id][2])]:
            raise Incorrect(
                f"The order, product and price of line {id} should stay "
                f"{', '.join(map(str, KEPT[id]))}; they are {', '.join(map(str, found))}. "
                "The price is that of one piece."
            )
    goods = db.execute("SELECT id, stock FROM goods ORDER BY id").fetchall()
    if goods != [(1, 10), (2, 0), (3, 7)]:
        raise Incorrect("`goods` has other rows than at the start.")


def try_out(db: Any, sql: str) -> psycopg.Error | None:
    """Run a statement and take it back; return its error."""
    try:
        with db.transaction(force_rollback=True):
            db.execute("INSERT INTO goods VALUES (4, 9)")  # for who added a foreign key
            db.execute(sql)
            db.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what would wait for the commit
    except (psycopg.errors.LockNotAvailable, *CHANGED):
        raise
    except psycopg.Error as error:
        return error
    return None


def try_two_sessions(db: Any, other: Any) -> None:
    """Check that two sessions cannot write the same line at once.

    The second one has to wait for the first one, or is refused. It never goes on.
    """
    with db.transaction(force_rollback=True):
        db.execute("INSERT INTO line VALUES (98, 30, 3, 1, 1)")
        db.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with suppress(psycopg.Error), other.transaction(force_rollback=True):
            other.execute("SET LOCAL lock_timeout = '100ms'")
            other.execute("INSERT INTO line VALUES (99, 30, 3, 1, 1)")
            other.execute("SET CONSTRAINTS ALL IMMEDIATE")
            raise Incorrect(
                "The tables still accept the same product from two sessions at once: neither sees "
                "what the other has not committed."
            )


EXERCISE = Exercise(
    title="Rules for everybody",
    minutes=8,
    prompt="Clean two tables, and give them constraints.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "First the rows: UPDATE line 1 to 5 pieces, DELETE line 3 and the lines with a "
        "quantity of 0 or less.",
        "ALTER TABLE line ADD CHECK (quantity BETWEEN 1 AND 100)",
        "ALTER TABLE line ADD UNIQUE (order_id, product_id)",
    ],
    wrong=[
        (answer(CLEAN, QUANTITY, ONCE, PRICE, STOCK), "it has [(1, 2)"),
        (
            answer(MERGE, CLEAN, QUANTITY.replace("BETWEEN 1 AND 100", "> 0"), ONCE, PRICE),
            "a quantity of 101.",
        ),
        (
            SOLUTION.replace("(order_id, product_id)", "(product_id)"),
            "a product that another order has too",
        ),
        (
            SOLUTION.replace("(order_id, product_id)", "(order_id, product_id, quantity)"),
            "with different quantities",
        ),
        (
            SOLUTION.replace("quantity = 5 WHERE", "quantity = 5, price = 19.98 WHERE"),
            "they are 1, 1, 19.98",
        ),
        (answer(MERGE, CLEAN, QUANTITY, PRICE, STOCK), "accept the same product twice"),
        (answer(MERGE, CLEAN, QUANTITY, ONCE, STOCK), "a price of -0.01"),
        (
            answer(MERGE, CLEAN, QUANTITY, ONCE, PRICE, STOCK.replace(">=", ">")).replace(
                'connection.execute("ALTER TABLE goods',
                'connection.execute("UPDATE goods SET stock = 1 WHERE id = 2")\n'
                'connection.execute("ALTER TABLE goods',
            ),
            "`goods` has other rows",
        ),
        (
            answer(
                MERGE,
                *(CLEAN, QUANTITY, ONCE, PRICE),
                *trigger("goods", "UPDATE OF stock", "NEW.stock < 0"),
            ),
            "goods that begin with a stock of -1",
        ),
        (
            answer(
                MERGE,
                *(CLEAN, QUANTITY, PRICE, STOCK),
                *trigger("line", "INSERT", TWICE + ")"),
            ),
            "changed to a product that its order has already",
        ),
        (
            answer(
                MERGE,
                *(CLEAN, QUANTITY, PRICE, STOCK),
                *trigger("line", "INSERT OR UPDATE", TWICE + " AND id <> NEW.id)"),
            ),
            "from two sessions at once",
        ),
        (SOLUTION.replace("price >= 0", "price BETWEEN 0 AND 100"), "refuse a price of 100.01"),
        (SOLUTION.replace("stock >= 0", "stock BETWEEN 0 AND 100"), "a stock of 2147483647"),
        (SOLUTION.replace("autocommit=True", ""), "is still open"),
        (
            answer(MERGE, CLEAN, QUANTITY, ONCE, PRICE, "DROP TABLE goods"),
            "ex3.start() brings them back",
        ),
    ],
    right=[
        SOLUTION.replace("product_id)", "product_id) DEFERRABLE INITIALLY DEFERRED"),
        SOLUTION.replace("BETWEEN 1 AND 100", "> 0 AND quantity < 101"),
        SOLUTION.replace("ALTER TABLE line ADD UNIQUE", "CREATE UNIQUE INDEX ON line"),
    ],
    cells=["setup"],
    praise="A constraint also holds for the program that will be written next year.",
)

"""Exercise 03-3: rules for everybody."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg

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


def prepare(pg: Place) -> None:
    """Make the two tables anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        for statement in ("DROP TABLE IF EXISTS line, goods", *LINES):
            db.execute(statement)


def check(pg: Place) -> None:
    """Look at the rows, then try rows that must be refused and rows that must be accepted."""
    with look(pg) as db:
        made = "SELECT count(*) FROM pg_constraint WHERE contype IN ('c', 'u') AND conrelid IN "
        made += "('line'::regclass, 'goods'::regclass)"
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
        if db.execute("SELECT id, stock FROM goods ORDER BY id").fetchall() != [
            (1, 10),
            (2, 0),
            (3, 7),
        ]:
            raise Incorrect("`goods` has other rows than at the start.")
        line = "INSERT INTO line VALUES (99, {}, {}, {}, {})"
        stock = "UPDATE goods SET stock = {} WHERE id = 1"
        for sql, what in (
            (line.format(3, 4, 0, 1), "a quantity of 0"),
            (line.format(3, 4, -5, 1), "a quantity of -5"),
            (line.format(3, 4, 101, 1), "a quantity of 101"),
            ("UPDATE line SET quantity = 101 WHERE id = 1", "a quantity that was changed to 101"),
            (line.format(1, 2, 1, 1), "the same product twice in an order"),
            (line.format(1, 2, 7, 5), "a product twice in an order, with different quantities"),
            (line.format(3, 4, 1, "-0.01"), "a price of -0.01"),
            (stock.format(-1), "a stock of -1"),
        ):
            if try_out(db, sql) is None:
                raise Incorrect(f"The tables still accept {what}.")
        for sql, what in (
            (line.format(3, 4, 1, 1), "one piece"),
            (line.format(3, 4, 100, 1), "100 pieces"),
            (line.format(3, 4, 1, 0), "a price of 0"),
            (line.format(2, 1, 1, 1), "a product that another order has too"),
            (line.format(1, 3, 1, 1), "a second product in an order"),
            (stock.format(0), "a stock of 0"),
            (stock.format(500), "a stock of 500"),
        ):
            if error := try_out(db, sql):
                raise Incorrect(f"The tables refuse {what}, which is good: {in_words(error)}")


def try_out(db: Any, sql: str) -> psycopg.Error | None:
    """Run a statement and take it back; return its error."""
    try:
        with db.transaction(force_rollback=True):
            db.execute("INSERT INTO goods VALUES (4, 9)")  # for who added a foreign key
            db.execute(sql)
    except psycopg.errors.LockNotAvailable:
        raise
    except psycopg.Error as error:
        return error
    return None


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
        (answer(MERGE, CLEAN, QUANTITY, PRICE, STOCK), "the same product twice"),
        (answer(MERGE, CLEAN, QUANTITY, ONCE, STOCK), "a price of -0.01"),
        (
            answer(MERGE, CLEAN, QUANTITY, ONCE, PRICE, STOCK.replace(">=", ">")).replace(
                'connection.execute("ALTER TABLE goods',
                'connection.execute("UPDATE goods SET stock = 1 WHERE id = 2")\n'
                'connection.execute("ALTER TABLE goods',
            ),
            "`goods` has other rows",
        ),
    ],
    praise="A constraint also holds for the program that will be written next year.",
)

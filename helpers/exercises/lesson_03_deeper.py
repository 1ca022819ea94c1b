"""The exercises of lesson 03's deeper sections: schemas, indexes, money, statements, keys."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from helpers.base.paths import NOTEBOOKS
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    begin_with,
    changed,
    end_uncommitted,
    in_words,
    look,
    running,
)
from helpers.exercises.deeper import only_database, starter, statements

FOLDER = NOTEBOOKS / "03_prisma_ecommerce_schema"


def of_the_lesson(name: str) -> Any:
    """Import one of the lesson's own files."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return __import__(name)


# Exercise 4: one more table.

STARTER_4 = '''
import sqlalchemy as sa

print(Path("03_prisma_ecommerce_schema", "review.sql").read_text())


def review(metadata: sa.MetaData) -> sa.Table:
    """Return the Table "Review", the same as Prisma makes it."""
    return ...


ex4.check()
'''
BODY_4 = """\
    from sqlalchemy.dialects.postgresql import TIMESTAMP

    product = sa.ForeignKey("Product.id", ondelete="CASCADE", onupdate="CASCADE")
    now = sa.func.current_timestamp()
    return sa.Table(
        "Review",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("productId", sa.Integer, product, nullable=False),
        sa.Column("stars", sa.Integer, nullable=False, server_default="5"),
        sa.Column("text", sa.Text),
        sa.Column("createdAt", TIMESTAMP(precision=3), nullable=False, server_default=now),
        sa.Index("Review_stars_idx", sa.text("stars DESC")),
        sa.Index("Review_productId_createdAt_key", "productId", "createdAt", unique=True),
    )
"""
SOLUTION_4 = STARTER_4.replace("    return ...\n", BODY_4)


def setup_4() -> dict[str, Any]:
    """Do what the section's set-up cells do."""
    from pathlib import Path

    from helpers import lab

    return {"pg": lab.postgres("03a"), "Path": Path}


def check_review(review: Callable[..., Any]) -> None:
    """Make Prisma's table and the learner's, one after the other, and compare."""
    from sqlalchemy import MetaData, Table, create_engine

    from helpers import lab

    catalogue, models = of_the_lesson("catalogue"), of_the_lesson("shop_models")
    ddl = (FOLDER / "review.sql").read_text(encoding="utf-8")
    metadata = MetaData()
    for name in ("Category", "Product"):
        models.Base.metadata.tables[name].to_metadata(metadata)
    if not isinstance(review(metadata), Table):
        raise Incorrect("`review` should return a Table.")
    if "Review" not in metadata.tables:
        raise Incorrect("`metadata` has no table of the name Review. Give it as the second value.")
    with lab.postgres("03x").connect(autocommit=True) as db:
        for table in ("Category", "Product"):
            db.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY)')
        db.execute(ddl)
        theirs = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    other = lab.postgres("03x")
    engine = create_engine(other.url)
    try:
        with running("metadata.create_all"):
            metadata.create_all(engine)
    finally:
        engine.dispose()
    with other.connect(autocommit=True) as db:
        mine = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    if lines := catalogue.difference(mine, theirs):
        raise Incorrect(
            f"{len(lines)} facts differ. The first (- is Prisma's, + is yours): {lines[0]}."
        )


# Exercise 5: the oldest pending orders.

STARTER_5 = starter(5, 'queue (id, status, "createdAt"): a copy of the 50,100 orders')
QUERY_5 = """SELECT id FROM queue WHERE status = 'pending' ORDER BY "createdAt" LIMIT 20"""
PARTIAL = "CREATE INDEX ON queue (\"createdAt\") WHERE status = 'pending'"


def setup_5() -> dict[str, Any]:
    """Do what the section's cells do, as far as the exercise needs it."""
    from helpers import lab

    pg = lab.postgres("03b")
    of_the_lesson("new_shop").new_shop(pg, orders=100)
    with pg.connect(autocommit=True) as db:
        db.execute(
            'INSERT INTO "Order" ("userId", status, total, "createdAt") '
            "SELECT 1 + n % 20, CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'delivered' END, 9.99, "
            "timestamp '2025-04-01' + n * interval '7 minutes' FROM generate_series(1, 50000) AS n"
        )
    return {"pg": pg}


def prepare_queue(pg: Database) -> None:
    """Copy the orders anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        db.execute("DROP TABLE IF EXISTS queue")
        db.execute('CREATE TABLE queue AS SELECT id, status, "createdAt" FROM "Order"')
        db.execute("VACUUM ANALYZE queue")


def check_queue(pg: Database) -> None:
    """Look at the rows, the plan and the sizes."""
    from helpers import show

    with look(pg) as db:
        same = (
            'SELECT (SELECT count(*) FROM queue), (SELECT count(*) FROM "Order"), '
            "(SELECT count(*) FROM queue WHERE status = 'pending'), "
            "(SELECT count(*) FROM \"Order\" WHERE status = 'pending')"
        )
        here, there, waiting, true = db.execute(same).fetchone() or [0] * 4
        if (here, waiting) != (there, true):
            raise Incorrect("The rows of `queue` are not the orders any more.")
        sizes = db.execute(
            "SELECT pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'queue'::regclass"
        ).fetchall()
        if not sizes:
            raise NotAttempted("`queue` has no index yet.")
        db.execute("ANALYZE queue")
        plan = show.plan(db, QUERY_5)
        if any("Sort" in node for node in plan.node_types):
            raise Incorrect(f"PostgreSQL still sorts: {plan.shape}.")
        if plan.buffers is None or plan.buffers > 25:
            raise Incorrect(f"PostgreSQL reads {plan.buffers} blocks: {plan.shape}.")
        with db.transaction(force_rollback=True):
            db.execute('CREATE INDEX whole ON queue ("createdAt")')
            [whole] = db.execute("SELECT pg_relation_size('whole')").fetchone() or [0]
        if sum(size for (size,) in sizes) > whole / 10:
            raise Incorrect(
                f"It works, but your index takes {sum(s for (s,) in sizes) / whole:.0%} of the "
                "space of one on all orders. 99 of 100 entries are for orders that are not pending."
            )


# Exercise 6: share a discount.

STARTER_6 = '''
def share(cents, weights):
    """Return whole cents for each weight; their sum is cents."""
    return ...


ex6.check()
'''
BODY_6 = """\
    whole = sum(weights)
    parts = [cents * weight // whole for weight in weights]
    rest = [cents * weight % whole for weight in weights]
    largest = sorted(range(len(weights)), key=lambda n: -rest[n])
    for n in largest[: cents - sum(parts)]:
        parts[n] += 1
    return parts
"""
SOLUTION_6 = STARTER_6.replace("    return ...\n", BODY_6)
ROUND_6 = "    return [round(cents * weight / sum(weights)) for weight in weights]\n"
DECIMAL_6 = BODY_6.replace("cents * weight // whole", "int(Decimal(cents) * weight / whole)")
LAST_6 = """\
    whole = sum(weights)
    parts = [cents * weight // whole for weight in weights]
    parts[-1] += cents - sum(parts)
    return parts
"""


def check_share(share: Callable[..., Any]) -> None:
    """Try shares of every kind: even, uneven, with zeros, and beyond a float's precision."""
    rng = random.Random(6)
    cases: list[tuple[int, list[int]]] = [(100, [1, 1]), (100, [1, 1, 1]), (0, [3, 4]), (1, [5])]
    cases += [(200, [1, 1, 1, 0]), (5, [1] * 7), (3, [0, 0, 9]), (10**17 + 1, [1, 1, 1])]
    cases += [(rng.randrange(10_000), [rng.randrange(50) for _ in range(5)]) for _ in range(200)]
    cases += [(10**40 + 1, [1, 1, 1])]
    for cents, weights in cases:
        if not sum(weights):
            continue
        parts = share(cents, list(weights))
        call = f"share({cents}, {weights})"
        digits = " A float has 15 to 17 digits; an int has all." * (cents > 10**15)
        if cents > 10**30:
            digits = " A Decimal computes with 28 digits; an int has all."
        if not isinstance(parts, list) or len(parts) != len(weights):
            raise Incorrect(f"{call} should return a list of {len(weights)} numbers.")
        if not all(type(part) is int for part in parts):
            raise Incorrect(f"{call} returned {parts}: whole cents are of the type int.")
        if sum(parts) != cents:
            raise Incorrect(f"{call} returned {parts}, which add up to {sum(parts)}.{digits}")
        for part, weight in zip(parts, weights, strict=True):
            if not weight and part:
                raise Incorrect(f"{call} returned {parts}: a weight of 0 gets something.")
            if abs(part * sum(weights) - cents * weight) >= sum(weights):
                raise Incorrect(
                    f"{call} returned {parts}: one part is a whole cent or more away from its "
                    "exact share."
                )


# Exercise 7: everybody's best order.

STARTER_7 = '''
def best_orders(session):
    """Return the Order with the highest total of each user."""
    return ...


ex7.check()
'''
BODY_7 = """\
    query = select(Order).distinct(Order.user_id)
    query = query.order_by(Order.user_id, Order.total.desc(), Order.id)
    return list(session.scalars(query))
"""
SOLUTION_7 = STARTER_7.replace("    return ...\n", BODY_7)
ALL_7 = """\
    best = {}
    for order in session.scalars(select(Order).order_by(Order.total, Order.id.desc())):
        best[order.user_id] = order
    return [best[user] for user in sorted(best)]
"""
LOOP_7 = """\
    best = []
    for user in session.scalars(select(User.id).order_by(User.id)):
        mine = select(Order).where(Order.user_id == user)
        best += session.scalars(mine.order_by(Order.total.desc(), Order.id).limit(1))
    return best
"""


def setup_7() -> dict[str, Any]:
    """Do what the section's cells do, as far as the exercise needs it."""
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    from helpers import lab

    models = of_the_lesson("shop_models")
    pg = lab.postgres("03d")
    of_the_lesson("new_shop").new_shop(pg, orders=2_000)
    return {"pg": pg, "select": select, "Session": Session} | {
        name: getattr(models, name) for name in ("User", "Order", "OrderItem", "Product")
    }


def check_best_orders(pg: Database, best_orders: Callable[..., Any]) -> None:
    """Compare with the database, with one user without orders and two equal totals."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.orm import Session

    models = of_the_lesson("shop_models")
    url: Any = pg.url  # type: ignore[attr-defined]
    engine = begin_with(create_engine(url), "SET statement_timeout = '20s'")
    counts: list[int] = []
    event.listen(engine, "after_cursor_execute", lambda *args: counts.append(args[1].rowcount))
    try:
        # Everything happens in one transaction, which is rolled back.
        with Session(engine) as session:
            user = models.User(email="ex7@example.com", name="Ex")
            session.add_all([user, models.User(email="ex7b@example.com", name="Ex")])
            session.flush()
            for total in (5, 70, 70, 6):
                session.add(models.Order(user_id=user.id, total=total))
                session.flush()
            session.expire_all()
            query = 'SELECT id FROM (SELECT id, "userId", row_number() OVER (PARTITION BY '
            query += '"userId" ORDER BY total DESC, id) AS n FROM "Order") AS o WHERE n = 1 '
            true = list(session.connection().exec_driver_sql(query + 'ORDER BY "userId"').scalars())
            counts.clear()
            orders = best_orders(session)
            sent, rows = len(counts), sum(counts)
            if not isinstance(orders, list):
                raise Incorrect("It should return a list.")
            if not all(isinstance(order, models.Order) for order in orders):
                raise Incorrect("It should return Order objects: select(Order), and scalars().")
            with session.no_autoflush:
                found = [order.id for order in orders]
            judge_orders(found, true)
            if sent != 1:
                raise Incorrect(f"You sent {sent} statements instead of one.")
            if rows > len(true):
                raise Incorrect(f"{rows} rows were fetched for {len(true)} users.")
    finally:
        engine.dispose()


def judge_orders(found: list[int], true: list[int]) -> None:
    """Compare ids of orders."""
    if len(found) != len(true):
        raise Incorrect(
            f"{len(true)} users have orders; you returned {len(found)} orders. Two orders of a "
            "user can have the same total."
        )
    if sorted(found) == sorted(true) and found != true:
        raise Incorrect("The right orders, but not sorted by user id.")
    if found != true:
        raise Incorrect(
            "Some are not the user's order with the highest total, or not the older of two equals."
        )


# Exercise 8: what a deletion takes along.

STARTER_8 = """
ex8.start()  # supplier (id), goods (id, supplier_id), basket (id), sale (id, goods_id),
# basket_line (id, basket_id, goods_id)

connection = pg.connect(autocommit=True)
tables = "('goods'::regclass, 'basket_line'::regclass, 'sale'::regclass)"
keys = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
print(*connection.execute(f"{keys} AND conrelid IN {tables} ORDER BY 1").fetchall(), sep="\\n")
# Your statements go here, each as connection.execute("...")

ex8.check()
connection.close()
"""
TABLES_8 = {
    "supplier": "id int PRIMARY KEY",
    "goods": "id int PRIMARY KEY, supplier_id int NOT NULL REFERENCES supplier ON DELETE RESTRICT",
    "basket": "id int PRIMARY KEY",
    "basket_line": "id int PRIMARY KEY, basket_id int NOT NULL REFERENCES basket ON DELETE "
    "RESTRICT, goods_id int NOT NULL REFERENCES goods ON DELETE RESTRICT",
    "sale": "id int PRIMARY KEY, goods_id int NOT NULL REFERENCES goods ON DELETE CASCADE",
}
ROWS_8: dict[str, list[tuple[int, ...]]] = {
    "supplier": [(1,), (2,)],
    "goods": [(1, 1), (2, 1), (3, 2)],
    "basket": [(1,), (2,)],
    "basket_line": [(1, 1, 1), (2, 1, 2), (3, 2, 2)],
    "sale": [(1, 1)],
}
ACTION_8 = "ALTER TABLE {} DROP CONSTRAINT {}, ADD FOREIGN KEY ({}) REFERENCES {} ON DELETE {}"


def action(table: str, column: str, target: str, what: str) -> str:
    """Return the statement that gives a foreign key another action."""
    return ACTION_8.format(table, f"{table}_{column}_fkey", column, target, what)


BASKET_8 = action("basket_line", "basket_id", "basket", "CASCADE")
GOODS_8 = action("basket_line", "goods_id", "goods", "CASCADE")
SALE_8 = action("sale", "goods_id", "goods", "RESTRICT")
NULL_8 = "ALTER TABLE goods ALTER supplier_id DROP NOT NULL"
SUPPLIER_8 = action("goods", "supplier_id", "supplier", "SET NULL")


def prepare_actions(pg: Database) -> None:
    """Make the five tables anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        db.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES_8)}")
        for table, columns in TABLES_8.items():
            db.execute(f"CREATE TABLE {table} ({columns})")
            values = ", ".join(f"({', '.join(map(str, row))})" for row in ROWS_8[table])
            db.execute(f"INSERT INTO {table} VALUES {values}")


def check_actions(pg: Database) -> None:
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
        if rows_of(db) != ROWS_8:
            raise Incorrect("The rows are not as they were. ex8.start() brings them back.")
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
            if change is not None and after != ROWS_8 | change:
                table = next(t for t in ROWS_8 if after[t] != (ROWS_8 | change)[t])
                true = (ROWS_8 | change)[table]
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
    return {t: db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in TABLES_8}


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


EXERCISES = [
    Exercise(
        number=4,
        title="One more table",
        prompt="Write Prisma's table Review in SQLAlchemy.",
        setup=setup_4,
        starter=STARTER_4,
        solution=SOLUTION_4,
        check=check_review,
        hints=[
            'Begin with sa.Table("Review", metadata, ...) and '
            'sa.Column("id", sa.Integer, primary_key=True).',
            "A default of the database is server_default; nullable=False is NOT NULL. A foreign "
            "key takes ondelete and onupdate.",
            'sa.Index("Review_stars_idx", sa.text("stars DESC")); the other takes unique=True.',
        ],
        wrong=[
            (
                changed(SOLUTION_4, ', server_default="5"', ", default=5"),
                "integer NOT NULL DEFAULT",
            ),
            (changed(SOLUTION_4, "TIMESTAMP(precision=3)", "TIMESTAMP"), "timestamp(3)"),
            (
                changed(SOLUTION_4, ', ondelete="CASCADE", onupdate="CASCADE"', ""),
                "ON DELETE CASCADE",
            ),
            (changed(SOLUTION_4, 'sa.text("stars DESC")', '"stars"'), "Review_stars_idx"),
            (changed(SOLUTION_4, ", unique=True", ""), "CREATE UNIQUE INDEX"),
        ],
        praise="Put the comparison into your tests, and the two cannot drift apart.",
    ),
    Exercise(
        number=5,
        title="The oldest pending orders",
        prompt="Make a small index for one frequent query.",
        setup=setup_5,
        starter=STARTER_5,
        solution=statements(STARTER_5, PARTIAL),
        check=check_queue,
        prepare=prepare_queue,
        hints=[
            "An index in the order of createdAt gives the oldest without sorting.",
            "CREATE INDEX ... WHERE makes a partial index: only rows with that condition are in.",
            "CREATE INDEX ON queue (\"createdAt\") WHERE status = 'pending'",
        ],
        wrong=[
            (statements(STARTER_5, "CREATE INDEX ON queue (status)"), "still sorts"),
            (statements(STARTER_5, 'CREATE INDEX ON queue (status, "createdAt")'), "of the space"),
            (
                statements(STARTER_5, "DELETE FROM queue WHERE status <> 'pending'", PARTIAL),
                "not the orders any more",
            ),
        ],
        praise="In Prisma, a partial index goes into the migration's SQL, as a CHECK does.",
    ),
    Exercise(
        number=6,
        title="Share a discount",
        prompt="Share cents among weights, so that nothing is lost.",
        setup=only_database("03c"),
        starter=STARTER_6,
        solution=SOLUTION_6,
        check=check_share,
        hints=[
            "First round every share down, with //. Then some cents are left: fewer than lines.",
            "Give one cent each to the lines with the largest remainders.",
            "cents * weight % sum(weights) is the remainder, as a whole number.",
        ],
        wrong=[
            (STARTER_6.replace("    return ...\n", ROUND_6), "which add up to 99."),
            (STARTER_6.replace("    return ...\n", LAST_6), "returned [66, 66, 66, 2]"),
            (
                changed(SOLUTION_6, "cents * weight // whole", "int(cents * (weight / whole))"),
                "add up to 99999999999999999. A float",
            ),
            (
                "from decimal import Decimal\n" + STARTER_6.replace("    return ...\n", DECIMAL_6),
                "A Decimal computes",
            ),
            (changed(SOLUTION_6, "return parts", "return [p / 1 for p in parts]"), "type int"),
            (
                changed(SOLUTION_6, "-rest[n])", "rest[n])"),
                "returned [67, 66, 66, 1]",
            ),
        ],
        praise="This is the method of the largest remainder; parliaments use it too.",
    ),
    Exercise(
        number=7,
        title="Everybody's best order",
        prompt="Find each user's order with the highest total, in one statement.",
        setup=setup_7,
        starter=STARTER_7,
        solution=SOLUTION_7,
        check=check_best_orders,
        hints=[
            "PostgreSQL's DISTINCT ON keeps the first row of each group.",
            "select(Order).distinct(Order.user_id) is DISTINCT ON; the ORDER BY begins with the "
            "same column.",
            "query.order_by(Order.user_id, Order.total.desc(), Order.id)",
        ],
        wrong=[
            (STARTER_7.replace("    return ...\n", ALL_7), "rows were fetched"),
            (STARTER_7.replace("    return ...\n", LOOP_7), "instead of one"),
            (changed(SOLUTION_7, "Order.total.desc(), ", ""), "the highest total"),
            (
                changed(
                    SOLUTION_7,
                    "return list(session.scalars(query))",
                    "return sorted(session.scalars(query), key=lambda o: -o.total)",
                ),
                "not sorted by user id",
            ),
        ],
        praise="DISTINCT ON is PostgreSQL's own; row_number() does it everywhere.",
    ),
    Exercise(
        number=8,
        title="What a deletion takes along",
        prompt="Give four foreign keys the right actions.",
        setup=only_database("03e"),
        starter=STARTER_8,
        solution=statements(STARTER_8, BASKET_8, GOODS_8, SALE_8, NULL_8, SUPPLIER_8),
        check=check_actions,
        prepare=prepare_actions,
        hints=[
            "A foreign key's action cannot be altered: drop the key and add it again, in one "
            "ALTER TABLE.",
            BASKET_8,
            "ON DELETE SET NULL writes a NULL: the column must allow it. " + NULL_8,
        ],
        wrong=[
            (
                statements(
                    STARTER_8,
                    BASKET_8.replace("DROP CONSTRAINT basket_line_basket_id_fkey, ", ""),
                    GOODS_8,
                    SALE_8,
                    NULL_8,
                    SUPPLIER_8,
                ),
                "Deleting basket 1 is refused",
            ),
            (
                statements(STARTER_8, BASKET_8, GOODS_8, NULL_8, SUPPLIER_8),
                "which were sold, is possible",
            ),
            (statements(STARTER_8, BASKET_8, GOODS_8, SALE_8, SUPPLIER_8), "NotNullViolation"),
            (
                statements(
                    STARTER_8, BASKET_8, GOODS_8, SALE_8, SUPPLIER_8.replace("SET NULL", "CASCADE")
                ),
                "It takes the goods along",
            ),
            (
                statements(
                    STARTER_8,
                    BASKET_8,
                    "ALTER TABLE basket_line DROP CONSTRAINT basket_line_goods_id_fkey",
                    SALE_8,
                    NULL_8,
                    SUPPLIER_8,
                ),
                "`basket_line` should have [(1, 1, 1)]",
            ),
        ],
        praise="In Prisma: onDelete: Cascade, Restrict, and SetNull on a field with `?`.",
    ),
]

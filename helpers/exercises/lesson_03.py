"""The exercises of lesson 03's core: a customer's orders, selling in parallel, rules in tables."""

from __future__ import annotations

import itertools
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
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
    lesson_03_deeper,
    look,
)

FOLDER = NOTEBOOKS / "03_prisma_ecommerce_schema"


class OutOfStock(Exception):
    """As in the notebook."""


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do, as far as the exercises need it."""
    from sqlalchemy import create_engine, select, update
    from sqlalchemy.orm import Session

    from helpers import lab

    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    models: Any = __import__("shop_models")
    pg = lab.postgres("03")
    __import__("new_shop").new_shop(pg)
    names = {"pg": pg, "engine": create_engine(pg.url), "OutOfStock": OutOfStock}
    names |= {"Session": Session, "select": select, "update": update, "psycopg": psycopg}
    return names | {name: getattr(models, name) for name in ("Order", "OrderItem", "Product")}


@contextmanager
def engine_of(pg: Database, before: Callable[[str], None], *settings: str) -> Iterator[Any]:
    """Give an engine of the check's own, which tells of each statement before it is sent."""
    from sqlalchemy import create_engine, event

    url: Any = pg.url  # type: ignore[attr-defined]
    engine = create_engine(url, pool_size=10, max_overflow=0)
    begin_with(engine, "SET lock_timeout = '10s'", "SET statement_timeout = '20s'", *settings)
    event.listen(engine, "before_cursor_execute", lambda *args: before(args[2]))
    try:
        yield engine
    finally:
        engine.dispose()


# Exercise 1: the other function.

STARTER_1 = '''
def get_user_orders(session, user_id, take=10):
    """Return the newest orders with their items and the items' products."""
    return ...


ex1.check()
'''
BODY_1 = """\
    from sqlalchemy.orm import selectinload

    query = select(Order).where(Order.user_id == user_id)
    query = query.order_by(Order.created_at.desc(), Order.id.desc()).limit(take)
    query = query.options(selectinload(Order.items).selectinload(OrderItem.product))
    return list(session.scalars(query))
"""
SOLUTION_1 = STARTER_1.replace("    return ...\n", BODY_1)
LOOP_1 = """\
    orders = list(session.scalars(query))
    [item.product for order in orders for item in order.items]
    return orders
"""
#: An order that was noted late. It is never committed.
OLD_1 = """INSERT INTO "Order" ("userId", total, "createdAt") VALUES (:user, 0, '2001-01-01')"""
OPTIONS_1 = "    query = query.options(selectinload(Order.items).selectinload(OrderItem.product))\n"


def check_get_user_orders(pg: Database, get_user_orders: Callable[..., Any]) -> None:
    """Ask for many, few, three and none; read everything after the session is closed."""
    from sqlalchemy import text
    from sqlalchemy.orm import Session
    from sqlalchemy.orm.exc import DetachedInstanceError

    old = text(OLD_1)

    with look(pg) as db:
        count = 'SELECT "userId" FROM "Order" GROUP BY 1 ORDER BY count(*) {}, 1 LIMIT 1'
        [many], [few] = (db.execute(count.format(way)).fetchone() or [0] for way in ("DESC", "ASC"))
        sent: list[str] = []
        with engine_of(pg, sent.append) as engine:
            for user, take in ((many, 10), (few, 10), (many, 3), (0, 10)):
                with Session(engine) as session:
                    if user == many:  # the newest id is not always the newest order
                        session.execute(old, {"user": user})
                    sent.clear()
                    orders = get_user_orders(session, user, take)
                number = len(sent)
                if not isinstance(orders, list):
                    raise Incorrect(f"It should return a list; it returned {type(orders)!r}.")
                try:
                    names = [[item.product.name for item in order.items] for order in orders]
                except DetachedInstanceError as error:
                    what = "product" if "product" in str(error) else "items"
                    raise Incorrect(
                        f"The session is closed, and `{what}` was not loaded before."
                    ) from None
                compare(db, user, take, orders, names)
                if number > 4:
                    raise Incorrect(
                        f"For {len(orders)} orders you sent {number} statements; four are enough. "
                        "Something is loaded one by one."
                    )


def compare(db: Any, user: int, take: int, orders: list[Any], names: list[list[str]]) -> None:
    """Compare with what plain SQL finds."""
    rows = db.execute(
        'SELECT id, "createdAt" FROM "Order" WHERE "userId" = %s ORDER BY 2 DESC', [user]
    ).fetchall()
    if len(orders) != min(take, len(rows)):
        raise Incorrect(
            f"User {user} has {len(rows)} orders. With take={take} you returned {len(orders)}."
        )
    moments = [order.created_at for order in orders]
    if moments and moments[0].year == 2001 and moments != sorted(moments):
        raise Incorrect("The largest id is not always the newest order. Sort by created_at.")
    if moments != sorted(moments, reverse=True):
        raise Incorrect("The orders are not sorted from the newest to the oldest.")
    if moments != [moment for _, moment in rows[:take]]:
        raise Incorrect(f"With take={take} these are not the newest {take} orders of the user.")
    true = dict(
        db.execute(
            'SELECT i."orderId", array_agg(p.name ORDER BY p.name) FROM "OrderItem" AS i JOIN '
            '"Product" AS p ON p.id = i."productId" WHERE i."orderId" = ANY (%s) GROUP BY 1',
            [[order.id for order in orders]],
        ).fetchall()
    )
    for order, found in zip(orders, names, strict=True):
        if sorted(found) != sorted(true.get(order.id, [])):
            raise Incorrect(f"An order of user {user} does not have its own items.")


# Exercise 2: place_order.

STARTER_2 = '''
def place_order(session, user_id, items):
    """Sell {product id: quantity, ...} and return the order's id; the caller commits."""
    return ...


ex2.check()
'''
BODY_2 = """\
    order = Order(user_id=user_id, total=0)
    for product, quantity in sorted(items.items()):
        enough = update(Product).where(Product.id == product, Product.stock >= quantity)
        sold = enough.values(stock=Product.stock - quantity).returning(Product.price)
        price = session.scalar(sold)
        if price is None:
            raise OutOfStock
        order.total += price * quantity
        order.items.append(OrderItem(product_id=product, quantity=quantity, price=price))
    session.add(order)
    session.flush()
    return order.id
"""
SOLUTION_2 = STARTER_2.replace("    return ...\n", BODY_2)
LOCKED_2 = """\
    query = select(Product).where(Product.id.in_(items)).order_by(Product.id)
    products = list(session.scalars(query.with_for_update()))
    if len(products) < len(items) or any(p.stock < items[p.id] for p in products):
        raise OutOfStock
    order = Order(user_id=user_id, total=sum(p.price * items[p.id] for p in products))
    for p in products:
        p.stock -= items[p.id]
        order.items.append(OrderItem(product_id=p.id, quantity=items[p.id], price=p.price))
    session.add(order)
    session.flush()
    return order.id
"""
READ_2 = LOCKED_2.replace("query.with_for_update()", "query")
NONE_2 = LOCKED_2.replace("raise OutOfStock", "return None")
FIRST_2 = """\
        if (session.scalar(select(Product.stock).where(Product.id == product)) or 0) < quantity:
            raise OutOfStock
        enough ="""
BACK_2 = BODY_2.replace("raise OutOfStock", "session.rollback()\n            return None")
BACK_2 = BACK_2.replace("        enough =", FIRST_2)
UNORDERED_2 = LOCKED_2.replace(".order_by(Product.id)", "")
#: What `Bench.order` answers when `OutOfStock` was raised.
REFUSED = "refused"
#: What the two customers' plans may be, so that they find the same rows in different orders.
PLANS = {"by index": ("seqscan", "bitmapscan"), "as stored": ("indexscan", "bitmapscan")}
#: The product's price, in cents that floats do not hit, and the pieces at the start.
GOODS = {1: (Decimal("0.10"), 50), 2: (Decimal("0.20"), 50), 3: (Decimal("1.15"), 50)}
GOODS |= {4: (Decimal("29.99"), 50)}


RETURNED_NONE = (
    "place_order returned None where pieces were short. Raise OutOfStock: a caller that gets an "
    "answer, even None, commits."
)


class Bench:
    """Products and a customer of the check's own, and customers who order from them."""

    def __init__(
        self, db: Any, engine: Any, place_order: Callable[..., Any], out: type[Exception]
    ) -> None:
        self.db, self.engine, self.out = db, engine, out
        self.place_order = getattr(place_order, "__wrapped__", place_order)
        self.floats: list[float] = []
        self.clear()
        [self.user] = self.one(
            'INSERT INTO "User" (email, name, "updatedAt") '
            "VALUES ('ex2@example.com', 'Ex', now()) RETURNING id"
        )
        [category] = self.one('SELECT min(id) FROM "Category"')
        self.ids = [
            self.one(
                'INSERT INTO "Product" (name, price, stock, "categoryId", "updatedAt") '
                "VALUES ('ex2', %s, %s, %s, now()) RETURNING id",
                [price, pieces, category],
            )[0]
            for price, pieces in GOODS.values()
        ]
        self.prices = dict(zip(self.ids, (price for price, _ in GOODS.values()), strict=True))

    def one(self, sql: str, params: Any = None) -> Any:
        """Return the one row of a query."""
        return self.db.execute(sql, params).fetchone()

    def clear(self) -> None:
        """Remove what a check made."""
        user = "(SELECT id FROM \"User\" WHERE email = 'ex2@example.com')"
        orders = f'(SELECT id FROM "Order" WHERE "userId" IN {user})'
        mine = "(SELECT id FROM \"Product\" WHERE name = 'ex2')"
        for sql in (
            f'DELETE FROM "OrderItem" WHERE "orderId" IN {orders} OR "productId" IN {mine}',
            f'DELETE FROM "Order" WHERE "userId" IN {user}',
            "DELETE FROM \"Product\" WHERE name = 'ex2'",
            "DELETE FROM \"User\" WHERE email = 'ex2@example.com'",
        ):
            self.db.execute(sql)

    def restock(self, pieces: int) -> None:
        """Forget the orders, and put so many pieces of each product on the shelf."""
        self.db.execute('DELETE FROM "OrderItem" WHERE "productId" = ANY (%s)', [self.ids])
        self.db.execute('DELETE FROM "Order" WHERE "userId" = %s', [self.user])
        self.db.execute('UPDATE "Product" SET stock = %s WHERE id = ANY (%s)', [pieces, self.ids])

    def state(self) -> tuple[Any, ...]:
        """Return the stocks, the orders and the lines."""
        stocks = self.db.execute(
            'SELECT id, stock FROM "Product" WHERE id = ANY (%s) ORDER BY id', [self.ids]
        ).fetchall()
        orders = self.db.execute(
            'SELECT id, total FROM "Order" WHERE "userId" = %s ORDER BY id', [self.user]
        ).fetchall()
        lines = self.db.execute(
            'SELECT "orderId", "productId", quantity, price FROM "OrderItem" '
            'WHERE "productId" = ANY (%s) ORDER BY 1, 2',
            [self.ids],
        ).fetchall()
        return dict(stocks), orders, lines

    def note_floats(self, *sent: Any) -> None:
        """Note the floats of a statement that is sent."""
        rows = sent[3] if isinstance(sent[3], list) else [sent[3]]
        for row in rows:
            values = row.values() if isinstance(row, dict) else row
            self.floats += [value for value in values if isinstance(value, float)]

    def order(self, items: dict[int, int], engine: Any = None) -> Any:
        """Order as one customer: what place_order returns, REFUSED, or the error."""
        from sqlalchemy.orm import Session

        try:
            with Session(engine or self.engine) as session, session.begin():
                return self.place_order(session, self.user, dict(items))
        except self.out:
            return REFUSED
        except Exception as error:
            return error

    def rush(self, orders: list[dict[int, int]]) -> list[Any]:
        """Order as several customers at the same time."""
        with ThreadPoolExecutor(len(orders)) as threads:
            answers = list(threads.map(self.order, orders))
        if None in answers:
            raise Incorrect(f"{len(orders)} customers at once: {RETURNED_NONE}")
        return answers


class Meeting:
    """Lets two customers meet before their nth statement that locks a product."""

    def __init__(self) -> None:
        self.at, self.barrier, self.local = 0, threading.Barrier(2), threading.local()

    def set(self, at: int) -> None:
        """Args: which statement; 0 for none."""
        self.at, self.barrier, self.local = at, threading.Barrier(2), threading.local()

    def before(self, statement: str) -> None:
        """Wait for the other one; go on alone after a moment."""
        if self.at and re.search(r"\bUPDATE\b", statement, re.I):
            self.local.count = getattr(self.local, "count", 0) + 1
            if self.local.count == self.at:
                with suppress(threading.BrokenBarrierError):
                    self.barrier.wait(1.5)


def check_place_order(
    pg: Database, place_order: Callable[..., Any], OutOfStock: type[Exception]
) -> None:
    """One order; refused ones; two for the last piece; opposite orders; forty at once."""
    from sqlalchemy import event

    meeting = Meeting()
    with look(pg) as db, engine_of(pg, meeting.before) as engine:
        bench = Bench(db, engine, place_order, OutOfStock)
        event.listen(engine, "before_cursor_execute", bench.note_floats)
        try:
            check_alone(bench)
            check_refused(bench)
            check_pairs(bench, meeting)
            check_plans(pg, bench)
            check_forty(bench)
        finally:
            end_uncommitted(pg)
            bench.clear()


def check_alone(bench: Bench) -> None:
    """Check what one order writes."""
    first, second, third, _ = bench.ids
    items = {third: 3, first: 1, second: 1}
    answer = bench.order(items)
    if answer is ...:
        raise NotAttempted("Write your answer in place of the `...` in `place_order`.")
    if isinstance(answer, Exception):
        raise Incorrect(f"An order for three products raised {in_words(answer)}") from answer
    stocks, orders, lines = bench.state()
    if len(orders) != 1:
        raise Incorrect(f"After one order of a user the user has {len(orders)} orders.")
    [(id, total)] = orders
    if answer != id:
        raise Incorrect(
            f"It should return the order's id, not a value of type {type(answer).__name__}."
        )
    wanted = [(id, product, items[product], bench.prices[product]) for product in sorted(items)]
    if lines != wanted:
        raise Incorrect(
            "The lines are not right. Each product of the order needs one, with its quantity and "
            f"its price. There are {len(lines)} lines."
        )
    true = sum((quantity * bench.prices[p] for p, quantity in items.items()), Decimal(0))
    if total != true:
        raise Incorrect(f"The total should be {true}; it is {total}.")
    if bench.floats:
        raise Incorrect(
            f"{bench.floats[0]!r} was sent to PostgreSQL, a float. The prices are Decimals: "
            "compute with them, and a total is exact."
        )
    if {p: 50 - stock for p, stock in stocks.items()} != dict.fromkeys(bench.ids, 0) | items:
        raise Incorrect("The stocks were not reduced by the quantities that were sold.")


def check_refused(bench: Bench) -> None:
    """Check that a short or missing product refuses the whole order."""
    first, second, *_ = bench.ids
    bench.restock(5)
    before = bench.state()
    for items in ({first: 1, second: 1000}, {second: 1000, first: 1}, {first: 6}):
        answer = bench.order(items)
        if isinstance(answer, Exception):
            raise Incorrect(
                f"When a product is short, it should raise OutOfStock; it raised {in_words(answer)}"
            )
        if answer is None:
            raise Incorrect(
                f"{max(items.values())} pieces were ordered, 5 are there: {RETURNED_NONE}"
            )
        if answer != REFUSED:
            raise Incorrect(f"5 pieces are there, and an order for {max(items.values())} passed.")
        if bench.state() != before:
            raise Incorrect(
                "One product of the order was short, but something of the order is in the "
                "database. Leave the commit to the caller."
            )
    from sqlalchemy.orm import Session

    with Session(bench.engine) as session:
        bench.place_order(session, bench.user, {first: 1})
        session.rollback()
    if bench.state() != before:
        raise Incorrect("The caller rolled back, but the order is there. The caller commits.")
    answer = bench.order({first: 1, 2_000_000_000: 1})
    if answer != REFUSED or bench.state() != before:
        found = in_words(answer) if isinstance(answer, Exception) else "an order."
        found = "None." if answer is None else found
        raise Incorrect(f"A product that does not exist should give OutOfStock; it gave {found}")
    if bench.order({first: 5}) == REFUSED:
        raise Incorrect("5 pieces are there, but an order for 5 was refused.")


def check_pairs(bench: Bench, meeting: Meeting) -> None:
    """Check two customers at the worst moment, which the meeting makes."""
    first, second, *_ = bench.ids
    bench.restock(1)
    meeting.set(1)
    answers = bench.rush([{first: 1}, {first: 1}])
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    if errors:
        raise Incorrect(f"Two customers at once: one of them got {in_words(errors[0])}")
    if answers.count(REFUSED) != 1 or bench.state()[0][first] != 0:
        raise Incorrect(
            f"Two customers wanted the last piece: {2 - answers.count(REFUSED)} bought it, and the "
            f"stock is {bench.state()[0][first]}. What was read may have changed when you write."
        )
    for at in (1, 2):
        bench.restock(10)
        meeting.set(at)
        answers = bench.rush([{first: 1, second: 1}, {second: 1, first: 1}])
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if any("deadlock" in str(error) for error in errors):
            raise Incorrect(
                "Two customers with the same products in opposite order: a deadlock, and one of "
                "them got an error. Take the rows in one order."
            )
        if errors:
            raise Incorrect(f"Two customers at once: one of them got {in_words(errors[0])}")
        if REFUSED in answers:
            raise Incorrect("Enough is there for two customers, but one of them was refused.")
        if list(bench.state()[0].values()) != [8, 8, 10, 10]:
            raise Incorrect("Two customers bought at once, and one's pieces were not taken away.")
    meeting.set(0)


def check_plans(pg: Database, bench: Bench) -> None:
    """Check two customers whose rows PostgreSQL finds in different orders.

    One plan reads an index, in the order of the ids; the other reads the table as it is stored.
    The check holds the row with the smaller id until both customers wait.
    """
    bench.restock(10)
    low, high = stored_in_reverse(bench)
    with pg.connect() as holder, ThreadPoolExecutor(2) as threads:
        name = f"ex2-{holder.info.backend_pid}"
        holder.execute('SELECT FROM "Product" WHERE id = %s FOR UPDATE', [low])
        with ExitStack() as stack:
            going = []
            for number, plan in enumerate(PLANS.values(), 1):
                settings = [f"SET enable_{way} = off" for way in plan]
                settings.append(f"SET application_name = '{name}'")
                engine = stack.enter_context(engine_of(pg, lambda _: None, *settings))
                going.append(threads.submit(bench.order, {low: 1, high: 1}, engine))
                wait_until_blocked(bench.db, name, number)
            holder.rollback()
            answers = [customer.result() for customer in going]
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    if any("deadlock" in str(error) for error in errors):
        raise Incorrect(
            "Two customers with the same products: a deadlock. One statement that locks many rows "
            "locks them in the order in which its plan finds them, by an index or as they are "
            "stored. FOR UPDATE needs an ORDER BY."
        )
    if errors:
        raise Incorrect(f"Two customers at once: one of them got {in_words(errors[0])}")


def stored_in_reverse(bench: Bench) -> tuple[int, int]:
    """Return two products of which the one with the larger id is stored before the other."""
    query = 'SELECT id FROM "Product" WHERE id = ANY (%s) ORDER BY ctid'
    for turn in range(40):
        stored = [id for (id,) in bench.db.execute(query, [bench.ids])]
        for one, next_one in itertools.pairwise(stored):
            if one > next_one:
                return next_one, one
        move = 'UPDATE "Product" SET stock = stock WHERE id = %s'
        bench.db.execute(move, [bench.ids[-1 - turn % len(bench.ids)]])
    return bench.ids[0], bench.ids[1]


def wait_until_blocked(db: Any, name: str, number: int) -> None:
    """Wait until so many sessions of this name wait for a lock; go on after two seconds."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s "
    query += "AND cardinality(pg_blocking_pids(pid)) > 0"
    end = time.monotonic() + 2
    while db.execute(query, [name]).fetchone()[0] < number and time.monotonic() < end:
        time.sleep(0.01)


def check_forty(bench: Bench) -> None:
    """Check forty customers at once, first with enough for everybody, then without."""
    rng = random.Random(3)
    baskets = []
    for _ in range(40):
        chosen = rng.sample(bench.ids, rng.randint(1, 4))
        baskets.append({product: rng.randint(1, 3) for product in chosen})
    for pieces in (1000, 30):
        bench.restock(pieces)
        answers = bench.rush(baskets)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            raise Incorrect(
                f"Of 40 customers at once, {len(errors)} got an error: {in_words(errors[0])}"
            )
        stocks, orders, lines = bench.state()
        accepted = {answer for answer in answers if answer != REFUSED}
        if len(orders) != len(accepted) or answers.count(REFUSED) + len(orders) != len(answers):
            raise Incorrect(f"{len(accepted)} customers got an id, but {len(orders)} orders exist.")
        if min(stocks.values()) < 0:
            raise Incorrect("Of 40 customers at once some bought what was not there.")
        for product in bench.ids:
            sold = sum(quantity for _, p, quantity, _ in lines if p == product)
            if sold != pieces - stocks[product]:
                raise Incorrect(f"{sold} pieces were sold, {pieces - stocks[product]} are gone.")
        for id, total in orders:
            if total != sum(quantity * price for o, _, quantity, price in lines if o == id):
                raise Incorrect("An order's total is not the sum of its lines.")
        for basket, answer in zip(baskets, answers, strict=True):
            if answer == REFUSED and all(stocks[p] >= n for p, n in basket.items()):
                raise Incorrect("A customer was refused, though everything was there.")


# Exercise 3: rules for everybody.

STARTER_3 = """
ex3.start()  # line (id, order_id, product_id, quantity, price) and goods (id, stock)

connection = pg.connect(autocommit=True)
# Your statements go here, each as connection.execute("...")

ex3.check()
connection.close()
"""
PLACE_3 = '# Your statements go here, each as connection.execute("...")'
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


def answer_3(*statements: str) -> str:
    """Return the starter with these statements in it."""
    lines = "\n".join(f'connection.execute("{statement}")' for statement in statements)
    return STARTER_3.replace(PLACE_3, lines)


SOLUTION_3 = answer_3(MERGE, CLEAN, QUANTITY, ONCE, PRICE, STOCK)


def prepare_rules(pg: Database) -> None:
    """Make the two tables anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        for statement in ("DROP TABLE IF EXISTS line, goods", *LINES):
            db.execute(statement)


def check_rules(pg: Database) -> None:
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


EXERCISES = [
    Exercise(
        number=1,
        title="The other function",
        prompt="Write getUserOrders in Python, with at most four statements.",
        setup=setup,
        starter=STARTER_1,
        solution=SOLUTION_1,
        check=check_get_user_orders,
        hints=[
            "A select of Order with where, order_by and limit finds the orders. "
            "session.scalars(query) runs it.",
            "from sqlalchemy.orm import selectinload: it loads a relationship for all rows at "
            "once, in one more statement.",
            "query.options(selectinload(Order.items).selectinload(OrderItem.product))",
        ],
        wrong=[
            (changed(SOLUTION_1, OPTIONS_1, ""), "`items` was not loaded"),
            (
                changed(SOLUTION_1, ".selectinload(OrderItem.product))", ")"),
                "`product` was not loaded",
            ),
            (
                changed(SOLUTION_1, "Order.created_at.desc(), Order.id.desc()", "Order.created_at"),
                "from the newest to the oldest",
            ),
            (changed(SOLUTION_1, "Order.created_at.desc(), ", ""), "not always the newest order"),
            (changed(SOLUTION_1, ".limit(take)", ""), "With take=10 you returned"),
            (
                changed(SOLUTION_1, OPTIONS_1, "").replace(
                    "    return list(session.scalars(query))\n", LOOP_1
                ),
                "loaded one by one",
            ),
            (changed(SOLUTION_1, "selectinload", "joinedload"), "InvalidRequestError"),
        ],
        praise="Three statements, and Prisma sends four. Both stay at that for any number.",
    ),
    Exercise(
        number=2,
        title="place_order",
        prompt="Sell several products at once, to parallel customers.",
        setup=setup,
        starter=STARTER_2,
        solution=SOLUTION_2,
        check=check_place_order,
        hints=[
            "Go through sorted(items.items()), and use the conditional UPDATE for each product.",
            "update(...).values(...).returning(Product.price) gives the price of the row that was "
            "updated; session.scalar(...) is None when there was none.",
            "session.add(order); session.flush(); return order.id",
        ],
        wrong=[
            (
                changed(SOLUTION_2, "sorted(items.items())", "items.items()"),
                "in opposite order",
            ),
            (STARTER_2.replace("    return ...\n", READ_2), "the last piece"),
            (changed(SOLUTION_2, ", Product.stock >= quantity", ""), "order for 1000 passed"),
            (
                changed(
                    SOLUTION_2,
                    "        order.total",
                    "        session.commit()\n        order.total",
                ),
                "raised InvalidRequestError",
            ),
            (changed(SOLUTION_2, "    return order.id\n", "    return order\n"), "of type Order"),
            (
                changed(
                    SOLUTION_2,
                    "    return order.id\n",
                    "    id = order.id\n    session.commit()\n    return id\n",
                ),
                "The caller rolled back",
            ),
            (changed(SOLUTION_2, "price * quantity", "price"), "total should be"),
            (
                changed(SOLUTION_2, "raise OutOfStock", 'raise ValueError("not enough")'),
                "it raised ValueError",
            ),
            (
                STARTER_2.replace("    return ...\n", NONE_2),
                "1000 pieces were ordered, 5 are there",
            ),
            (STARTER_2.replace("    return ...\n", BACK_2), "customers at once: place_order"),
            (STARTER_2.replace("    return ...\n", UNORDERED_2), "FOR UPDATE needs an ORDER BY"),
            (changed(SOLUTION_2, "price * quantity", "float(price) * quantity"), "a float"),
        ],
        praise="If you lock with one SELECT ... FOR UPDATE instead, give it an ORDER BY.",
    ),
    Exercise(
        number=3,
        title="Rules for everybody",
        prompt="Clean two tables, and give them constraints.",
        setup=setup,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_rules,
        prepare=prepare_rules,
        hints=[
            "First the rows: UPDATE line 1 to 5 pieces, DELETE line 3 and the lines with a "
            "quantity of 0 or less.",
            "ALTER TABLE line ADD CHECK (quantity BETWEEN 1 AND 100)",
            "ALTER TABLE line ADD UNIQUE (order_id, product_id)",
        ],
        wrong=[
            (answer_3(CLEAN, QUANTITY, ONCE, PRICE, STOCK), "it has [(1, 2)"),
            (
                answer_3(MERGE, CLEAN, QUANTITY.replace("BETWEEN 1 AND 100", "> 0"), ONCE, PRICE),
                "a quantity of 101.",
            ),
            (
                SOLUTION_3.replace("(order_id, product_id)", "(product_id)"),
                "a product that another order has too",
            ),
            (
                SOLUTION_3.replace("(order_id, product_id)", "(order_id, product_id, quantity)"),
                "with different quantities",
            ),
            (
                SOLUTION_3.replace("quantity = 5 WHERE", "quantity = 5, price = 19.98 WHERE"),
                "they are 1, 1, 19.98",
            ),
            (answer_3(MERGE, CLEAN, QUANTITY, PRICE, STOCK), "the same product twice"),
            (answer_3(MERGE, CLEAN, QUANTITY, ONCE, STOCK), "a price of -0.01"),
            (
                answer_3(MERGE, CLEAN, QUANTITY, ONCE, PRICE, STOCK.replace(">=", ">")).replace(
                    'connection.execute("ALTER TABLE goods',
                    'connection.execute("UPDATE goods SET stock = 1 WHERE id = 2")\n'
                    'connection.execute("ALTER TABLE goods',
                ),
                "`goods` has other rows",
            ),
        ],
        praise="A constraint also holds for the program that will be written next year.",
    ),
    *lesson_03_deeper.EXERCISES,
]

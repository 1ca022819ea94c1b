"""Exercise 03-2: place_order."""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from decimal import Decimal
from typing import Any

from exercises_03.common import engine_of
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import in_words


class OutOfStock(Exception):
    """As in the notebook."""


STARTER = '''
def place_order(session, user_id, items):
    """Sell {product id: quantity, ...} and return the order's id; the caller commits."""
    return ...


ex2.check()
'''
BODY = """\
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
SOLUTION = STARTER.replace("    return ...\n", BODY)
LOCKED = """\
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
READ = LOCKED.replace("query.with_for_update()", "query")
NONE = LOCKED.replace("raise OutOfStock", "return None")
FIRST = """\
        if (session.scalar(select(Product.stock).where(Product.id == product)) or 0) < quantity:
            raise OutOfStock
        enough ="""


BACK = BODY.replace("raise OutOfStock", "session.rollback()\n            return None")
BACK = BACK.replace("        enough =", FIRST)


UNORDERED = LOCKED.replace(".order_by(Product.id)", "")
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


def check(pg: Place, place_order: Callable[..., Any], OutOfStock: type[Exception]) -> None:
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


def check_plans(pg: Place, bench: Bench) -> None:
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


EXERCISE = Exercise(
    title="place_order",
    minutes=12,
    prompt="Sell several products at once, to parallel customers.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Go through sorted(items.items()), and use the conditional UPDATE for each product.",
        "update(...).values(...).returning(Product.price) gives the price of the row that was "
        "updated; session.scalar(...) is None when there was none.",
        "session.add(order); session.flush(); return order.id",
    ],
    wrong=[
        (
            changed(SOLUTION, "sorted(items.items())", "items.items()"),
            "in opposite order",
        ),
        (STARTER.replace("    return ...\n", READ), "the last piece"),
        (changed(SOLUTION, ", Product.stock >= quantity", ""), "order for 1000 passed"),
        (
            changed(
                SOLUTION,
                "        order.total",
                "        session.commit()\n        order.total",
            ),
            "raised InvalidRequestError",
        ),
        (changed(SOLUTION, "    return order.id\n", "    return order\n"), "of type Order"),
        (
            changed(
                SOLUTION,
                "    return order.id\n",
                "    id = order.id\n    session.commit()\n    return id\n",
            ),
            "The caller rolled back",
        ),
        (changed(SOLUTION, "price * quantity", "price"), "total should be"),
        (
            changed(SOLUTION, "raise OutOfStock", 'raise ValueError("not enough")'),
            "it raised ValueError",
        ),
        (
            STARTER.replace("    return ...\n", NONE),
            "1000 pieces were ordered, 5 are there",
        ),
        (STARTER.replace("    return ...\n", BACK), "customers at once: place_order"),
        (STARTER.replace("    return ...\n", UNORDERED), "FOR UPDATE needs an ORDER BY"),
        (changed(SOLUTION, "price * quantity", "float(price) * quantity"), "a float"),
    ],
    praise="If you lock with one SELECT ... FOR UPDATE instead, give it an ORDER BY.",
)

"""Exercise 03-2: place_order."""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

from exercises_03.common import empty_shop, engine_of, function
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look
from helpers.exercises.running import in_words, running


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
#: The lines are written before the rows are locked: their foreign keys lock the rows a little.
LINES_FIRST = """\
    order = Order(user_id=user_id, total=0)
    for product, quantity in sorted(items.items()):
        price = session.scalar(select(Product.price).where(Product.id == product))
        if price is None:
            raise OutOfStock
        order.total += price * quantity
        order.items.append(OrderItem(product_id=product, quantity=quantity, price=price))
    session.add(order)
    session.flush()
    query = select(Product).where(Product.id.in_(items)).order_by(Product.id)
    for p in session.scalars(query.with_for_update()):
        if p.stock < items[p.id]:
            raise OutOfStock
        p.stock -= items[p.id]
    session.flush()
    return order.id
"""
#: A lock of Python's own, which is given back before the caller commits.
PYTHON = "    with ONE_AT_A_TIME:\n" + "".join(f"    {line}" for line in READ.splitlines(True))
#: What `Bench.order` answers when `OutOfStock` was raised.
REFUSED = "refused"
#: What the two customers' plans may be, so that they find the same rows in different orders.
PLANS = {"by index": ("seqscan", "bitmapscan"), "as stored": ("indexscan", "bitmapscan")}
#: How long a customer waits for another one who neither comes, nor waits in the database, nor ends.
PATIENCE = 3
#: A meeting before the commit.
COMMIT = -1

#: Prices in cents that floats do not hit. Nobody orders the last product.
PRICES = [Decimal(price) for price in ("0.10", "0.20", "1.15", "29.99", "7.77")]
RETURNED_NONE = (
    "place_order returned None where pieces were short. Raise OutOfStock: a caller that gets an "
    "answer, even None, commits."
)


class Bench:
    """A shop of the check's own, and customers who order there."""

    def __init__(
        self, db: Any, engine: Any, place_order: Callable[..., Any], out: type[Exception]
    ) -> None:
        self.db, self.engine, self.out = db, engine, out
        self.place_order = getattr(place_order, "__wrapped__", place_order)
        self.floats: list[float] = []
        self.user = 31
        self.ids = [71, 72, 73, 74]
        self.prices = dict(zip([*self.ids, 75], PRICES, strict=True))
        self.fill()

    def fill(self) -> None:
        """Make two users, an order of the other one's, and the products."""
        for user in (30, self.user):
            self.db.execute(
                'INSERT INTO "User" (id, email, name, "updatedAt") VALUES (%s, %s, %s, now())',
                [user, f"user{user}@example.com", f"User {user}"],
            )
        self.db.execute("INSERT INTO \"Category\" VALUES (1, 'All')")
        for id, price in self.prices.items():
            self.db.execute(
                'INSERT INTO "Product" (id, name, price, stock, "categoryId", "updatedAt") '
                "VALUES (%s, %s, %s, 50, 1, now())",
                [id, f"Product {id}", price],
            )
        self.db.execute('INSERT INTO "Order" (id, "userId", total) VALUES (900, 30, 1)')
        self.db.execute("""SELECT setval(pg_get_serial_sequence('"Order"', 'id'), 500)""")
        self.db.execute("""SELECT setval(pg_get_serial_sequence('"OrderItem"', 'id'), 4000)""")

    def restock(self, pieces: int) -> None:
        """Forget the orders, and put so many pieces of each product on the shelf."""
        self.db.execute('DELETE FROM "OrderItem"')
        self.db.execute('DELETE FROM "Order" WHERE id <> 900')
        self.db.execute('UPDATE "Product" SET stock = %s', [pieces])

    def state(self) -> tuple[Any, ...]:
        """Return the stocks, the new orders (id, user, total) and the lines."""
        stocks = self.db.execute('SELECT id, stock FROM "Product" ORDER BY id').fetchall()
        orders = self.db.execute(
            'SELECT id, "userId", total FROM "Order" WHERE id <> 900 ORDER BY id'
        ).fetchall()
        lines = self.db.execute(
            'SELECT "orderId", "productId", quantity, price FROM "OrderItem" ORDER BY 1, 2'
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
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, the learner's code has raised it
            return error

    def rush(self, orders: list[dict[int, int]], meeting: Meeting | None = None) -> list[Any]:
        """Order as several customers at the same time."""

        def customer(items: dict[int, int]) -> Any:
            try:
                return self.order(items)
            finally:
                if meeting:
                    meeting.leave()

        with ThreadPoolExecutor(len(orders)) as threads:
            answers = list(threads.map(customer, orders))
        if None in answers:
            raise Incorrect(f"{len(orders)} customers at once: {RETURNED_NONE}")
        return answers


class Meeting:
    """Lets two customers meet before their nth statement that locks a product, or the commit.

    Who comes first waits until the other one has come too, or is through, or waits in the
    database for a lock: so the worst moment comes in every run, however slow the machine is.
    """

    def __init__(self, db: Any) -> None:
        self.db, self.at = db, 0
        self.set(0)

    def set(self, at: int) -> None:
        """Args: which statement; COMMIT; 0 for none."""
        self.at, self.here, self.gone, self.local = at, 0, 0, threading.local()
        self.alone = self.shared = False

    def before(self, statement: str) -> None:
        """Count the statements that lock a product, and meet."""
        self.shared = self.shared or "FOR SHARE" in statement
        if self.at > 0 and re.search(r"\bUPDATE\b", statement, re.I):
            self.local.count = getattr(self.local, "count", 0) + 1
            if self.local.count == self.at:
                self.meet()

    def commit(self, _: Any) -> None:
        """Meet before the commit."""
        if self.at == COMMIT:
            self.meet()

    def meet(self) -> None:
        """Wait for the other one."""
        self.here += 1
        end = time.monotonic() + PATIENCE
        while self.here + self.gone < 2 and time.monotonic() < end and not self.blocked():
            time.sleep(0.01)
        self.alone = self.alone or time.monotonic() >= end

    def leave(self) -> None:
        """Note that a customer is through."""
        self.gone += 1

    def blocked(self) -> bool:
        """Whether somebody waits for a lock."""
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        query += "AND cardinality(pg_blocking_pids(pid)) > 0"
        return self.db.execute(query).fetchone() is not None


def check(place_order: Callable[..., Any], OutOfStock: type[Exception]) -> None:
    """One order; refused ones; two for the last piece; opposite orders; forty at once."""
    from sqlalchemy import event

    sell = function("place_order", place_order)
    if not (isinstance(OutOfStock, type) and issubclass(OutOfStock, Exception)):
        raise Incorrect("`OutOfStock` should be the class of the cell above, an exception.")
    place = empty_shop("03")
    with look(place) as db, look(place) as watch:
        meeting = Meeting(watch)
        with engine_of(place, meeting.before) as engine:
            bench = Bench(db, engine, sell, OutOfStock)
            event.listen(engine, "before_cursor_execute", bench.note_floats)
            event.listen(engine, "commit", meeting.commit)
            check_alone(bench)
            check_refused(bench)
            check_the_callers_transaction(bench)
            check_pairs(bench, meeting)
            check_plans(place, bench)
            check_forty(bench)


def check_alone(bench: Bench) -> None:
    """Check what one order writes."""
    first, second, third, _ = bench.ids
    items = {third: 3, first: 1, second: 1}
    answer = bench.order(items)
    if answer is ...:
        raise NotAttempted("Write your answer in place of the `...` in `place_order`.")
    if isinstance(answer, BaseException):
        raise Incorrect(f"An order for three products raised {in_words(answer)}") from answer
    stocks, orders, lines = bench.state()
    if len(orders) != 1:
        raise Incorrect(f"After one order there are {len(orders)} new orders.")
    [(id, user, total)] = orders
    if answer != id or type(answer) is not int:
        raise Incorrect(
            f"It should return the order's id, not a value of type {type(answer).__name__}."
            if type(answer) is not int
            else f"It should return the order's id, {id}; it returned {answer}."
        )
    if user != bench.user:
        raise Incorrect(f"User {bench.user} ordered, and the order is one of user {user}.")
    compare_lines([line[1:] for line in lines], items, bench.prices)
    true = total_of(items, bench.prices)
    if total != true:
        raise Incorrect(f"The total should be {true}; it is {total}.")
    if bench.floats:
        raise Incorrect(
            f"{bench.floats[0]!r} was sent to PostgreSQL, a float. The prices are Decimals: "
            "compute with them, and a total is exact."
        )
    if {p: 50 - stock for p, stock in stocks.items()} != dict.fromkeys(bench.prices, 0) | items:
        raise Incorrect("The stocks were not reduced by the quantities that were sold.")


def total_of(items: dict[int, int], prices: dict[int, Decimal]) -> Decimal:
    """Return what an order costs."""
    return sum((quantity * prices[p] for p, quantity in items.items()), Decimal(0))


def compare_lines(
    lines: list[tuple[int, int, Decimal]], items: dict[int, int], prices: dict[int, Decimal]
) -> None:
    """Compare lines (product, quantity, price) with what was ordered."""
    if sorted(line[0] for line in lines) != sorted(items):
        raise Incorrect(
            f"An order for {len(items)} products should have a line for each; "
            f"it has {len(lines)} lines, for products {[line[0] for line in lines]}."
        )
    for product, quantity, price in lines:
        if quantity != items[product]:
            raise Incorrect(
                f"The line of a product has the quantity {quantity}; "
                f"{items[product]} pieces were ordered."
            )
        if price != prices[product]:
            raise Incorrect(
                f"The line of {quantity} pieces has the price {price}; one piece costs "
                f"{prices[product]}, and a line has the price of one."
            )


def check_refused(bench: Bench) -> None:
    """Check that a short or missing product refuses the whole order."""
    first, second, *_ = bench.ids
    bench.restock(5)
    before = bench.state()
    for items in ({first: 1, second: 1000}, {second: 1000, first: 1}, {first: 6}):
        answer = bench.order(items)
        if isinstance(answer, BaseException):
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
    for items in ({first: 1, 2_000_000_000: 1}, {1: 1}, {1: 1, first: 1}):
        answer = bench.order(items)
        if answer != REFUSED or bench.state() != before:
            found = in_words(answer) if isinstance(answer, BaseException) else "an order."
            found = "None." if answer is None else found
            raise Incorrect(
                f"A product that does not exist should give OutOfStock; it gave {found}"
            )
    answer = bench.order({first: 5, second: 4})
    if answer == REFUSED:
        raise Incorrect("5 pieces are there, but an order for 5 was refused.")
    if isinstance(answer, BaseException):
        raise Incorrect(f"An order for all pieces of a product raised {in_words(answer)}")


def check_the_callers_transaction(bench: Bench) -> None:
    """Check that what the caller wrote before stands and falls with the order."""
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    note = "INSERT INTO \"Category\" (id, name) VALUES (7, 'Noted before')"
    noted = 'SELECT count(*) FROM "Category" WHERE id = 7'
    bench.restock(5)
    before = bench.state()
    for commits in (False, True):
        with Session(bench.engine) as session:
            session.execute(text(note))
            with running("place_order"):
                bench.place_order(session, bench.user, {bench.ids[0]: 1})
            session.commit() if commits else session.rollback()
        [there] = bench.db.execute(noted).fetchone()
        if not commits and (there or bench.state() != before):
            raise Incorrect("The caller rolled back, but the order is there. The caller commits.")
        if commits and not there:
            raise Incorrect(
                "The caller had written something before, and it is gone: place_order has ended "
                "the caller's transaction."
            )


def told(answers: list[Any], who: str, hint: str) -> None:
    """Say what went wrong when one of two customers got an error; `hint` is for a deadlock."""
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if any("deadlock" in str(error) for error in errors):
        raise Incorrect(f"{who}: a deadlock, and one of them got an error. {hint}")
    if errors:
        raise Incorrect(f"{who}: one of them got {in_words(errors[0])}")


def check_pairs(bench: Bench, meeting: Meeting) -> None:
    """Check two customers at the worst moments, which the meeting makes."""
    check_last_piece(bench, meeting)
    first, second, *_ = bench.ids
    for at in (1, 2, COMMIT):
        bench.restock(10)
        meeting.set(at)
        answers = bench.rush([{first: 1, second: 1}, {second: 1, first: 1}], meeting)
        who = "Two customers with the same products in opposite order"
        told(answers, who, "Take the rows in one order.")
        if REFUSED in answers:
            raise Incorrect("Enough is there for two customers, but one of them was refused.")
        if list(bench.state()[0].values()) != [8, 8, 10, 10, 10]:
            raise Incorrect("Two customers bought at once, and one's pieces were not taken away.")
    meeting.set(0)


def check_last_piece(bench: Bench, meeting: Meeting) -> None:
    """Check two customers for one product, of which one piece is left."""
    first = bench.ids[0]
    reason = ""
    for at, why in (
        (1, "What was read may have changed when you write."),
        (COMMIT, "A lock of the program is given back before the caller commits."),
    ):
        bench.restock(1)
        meeting.set(at)
        answers = bench.rush([{first: 1}, {first: 1}], meeting)
        weak = "FOR SHARE" if meeting.shared else "a line that refers to the product has it"
        hint = f"Each held a weak lock on the row before the strong one: {weak}. "
        told(answers, "Two customers for one product", hint + "Take the row for the change first.")
        if answers.count(REFUSED) != 1 or bench.state()[0][first] != 0:
            reason = (
                f"Two customers wanted the last piece: {2 - answers.count(REFUSED)} bought it, and "
                f"the stock is {bench.state()[0][first]}. {why}"
            )
            if not meeting.alone:  # else the program itself kept them apart, until the commit
                break
    if reason:
        raise Incorrect(reason)


def check_plans(place: Place, bench: Bench) -> None:
    """Check two customers whose rows PostgreSQL finds in different orders.

    One plan reads an index, in the order of the ids; the other reads the table as it is stored.
    The check holds the row with the smaller id until both customers wait.
    """
    bench.restock(10)
    low, high = stored_in_reverse(bench)
    with place.connect() as holder, ThreadPoolExecutor(2) as threads:
        name = f"ex2-{holder.info.backend_pid}"
        holder.execute('SELECT FROM "Product" WHERE id = %s FOR UPDATE', [low])
        with ExitStack() as stack:
            going: list[Future[Any]] = []
            for number, plan in enumerate(PLANS.values(), 1):
                settings = [f"SET enable_{way} = off" for way in plan]
                settings.append(f"SET application_name = '{name}'")
                engine = stack.enter_context(engine_of(place, lambda _: None, *settings))
                going.append(threads.submit(bench.order, {low: 1, high: 1}, engine))
                wait_until_blocked(bench.db, name, number, going)
            holder.rollback()
            answers = [customer.result() for customer in going]
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
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


def wait_until_blocked(db: Any, name: str, number: int, going: list[Future[Any]]) -> None:
    """Wait until so many sessions of this name wait for a lock, or a customer is through."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s "
    query += "AND cardinality(pg_blocking_pids(pid)) > 0"
    end = time.monotonic() + 10
    while db.execute(query, [name]).fetchone()[0] < number and time.monotonic() < end:
        if any(customer.done() for customer in going):
            return
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
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors:
            raise Incorrect(
                f"Of 40 customers at once, {len(errors)} got an error: {in_words(errors[0])}"
            )
        judge(bench, pieces, baskets, answers)


def judge(bench: Bench, pieces: int, baskets: list[dict[int, int]], answers: list[Any]) -> None:
    """Compare stocks, orders and lines with what the customers were told."""
    stocks, orders, lines = bench.state()
    accepted = {answer for answer in answers if answer != REFUSED}
    if len(orders) != len(accepted) or answers.count(REFUSED) + len(orders) != len(answers):
        raise Incorrect(f"{len(accepted)} customers got an id, but {len(orders)} orders exist.")
    if min(stocks.values()) < 0:
        raise Incorrect("Of 40 customers at once some bought what was not there.")
    for product in bench.ids:
        sold = sum(quantity for _, p, quantity, _ in lines if p == product)
        if sold != pieces - stocks[product]:
            raise Incorrect(
                f"{sold} pieces of a product were sold, but its stock went down by "
                f"{pieces - stocks[product]}: customers have written over each other's stock."
            )
    totals = {id: total for id, _, total in orders}
    for basket, answer in zip(baskets, answers, strict=True):
        if answer == REFUSED:
            if all(stocks[p] >= n for p, n in basket.items()):
                raise Incorrect("A customer was refused, though everything was there.")
            continue
        compare_lines([line[1:] for line in lines if line[0] == answer], basket, bench.prices)
        if totals[answer] != total_of(basket, bench.prices):
            raise Incorrect("An order's total is not the sum of its lines.")


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
        (STARTER.replace("    return ...\n", READ), "What was read may"),
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
        (STARTER.replace("    return ...\n", UNORDERED), "UPDATE needs an ORDER BY"),
        (changed(SOLUTION, "price * quantity", "float(price) * quantity"), "a float"),
        (changed(SOLUTION, "price=price)", "price=price * quantity)"), "has the price 3.45"),
        (
            "import threading\n\nONE_AT_A_TIME = threading.Lock()\n"
            + STARTER.replace("    return ...\n", PYTHON),
            "lock of the program",
        ),
        (STARTER.replace("    return ...\n", LINES_FIRST), "that refers to the product"),
        (
            STARTER.replace("    return ...\n", LOCKED.replace("_update()", "_update(read=True)")),
            "FOR SHARE. Take",
        ),
        (changed(SOLUTION, "raise OutOfStock", "raise SystemExit"), "it raised SystemExit"),
        (
            changed(
                SOLUTION,
                "    order =",
                "    session.connection().connection.rollback()\n    order =",
            ),
            "it is gone",
        ),
    ],
    right=[STARTER.replace("    return ...\n", LOCKED)],
    equal={"7e577d16": "two conditions of one AND, in the other order"},
    cells=["setup", "s1-model", "s1-published-in-python", "s2-fixes"],
    praise="If you lock with one SELECT ... FOR UPDATE instead, give it an ORDER BY.",
)

"""Tests of shop.py against a PostgreSQL database in which they may make a schema.

DATABASE_URL=postgresql+psycopg://user:password@localhost/test python -m pytest test_shop.py

Everything is in the schema "shop_tests", which must not be there before, and is gone afterwards.
"""

from __future__ import annotations

import inspect
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import shop
from shop import (
    BadOrder,
    Base,
    Cart,
    CartItem,
    Category,
    Order,
    OrderItem,
    OutOfStock,
    Product,
    Unsure,
    User,
    get_user_orders,
    in_transaction,
    limit,
    make_engine,
    place_order,
)
from sqlalchemy import Engine, create_engine, event, func, make_url, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

SCHEMA = "shop_tests"
PRICES = {1: "0.10", 2: "0.20", 3: "1.15", 4: "29.99", 5: "99999999.99"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A URL whose sessions are in a new schema."""
    if not (given := os.environ.get("DATABASE_URL")):
        pytest.fail("Set DATABASE_URL to a database in which these tests may make a schema.")
    engine = create_engine(given)
    with engine.begin() as db:
        if db.scalar(text("SELECT to_regnamespace(:name)::text"), {"name": SCHEMA}):
            pytest.fail(f"The schema {SCHEMA} is there already. These tests touch nothing of it.")
        db.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    try:
        address = make_url(given)
        settings = [*address.normalized_query.get("options", ()), f"-c search_path={SCHEMA}"]
        address = address.update_query_dict({"options": " ".join(settings)})
        yield address.render_as_string(hide_password=False)
    finally:
        with engine.begin() as db:
            db.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
        engine.dispose()


@pytest.fixture(scope="module")
def tables(url: str) -> Iterator[Engine]:
    """The shop's tables."""
    engine = make_engine(url, pool_size=20)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(url: str, tables: Engine) -> Iterator[Engine]:
    """An engine of the test's own; two users and five products, 100 pieces of each."""
    with Session(tables) as session, session.begin():
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        session.add_all(User(id=id, email=f"u{id}@example.com", name=f"U{id}") for id in (1, 2))
        session.add(Category(id=1, name="All"))
        session.flush()
        for id, price in PRICES.items():
            product = Product(id=id, name=f"P{id}", price=Decimal(price), stock=100, category_id=1)
            session.add(product)
    engine = make_engine(url, pool_size=20)
    yield engine
    engine.dispose()


def state(engine: Engine) -> tuple[Any, ...]:
    """Return the stocks, the orders and the lines."""
    with Session(engine) as session:
        stocks = session.execute(select(Product.id, Product.stock).order_by(Product.id)).all()
        orders = session.execute(select(Order.id, Order.user_id, Order.total).order_by(Order.id))
        line = (OrderItem.order_id, OrderItem.product_id, OrderItem.quantity, OrderItem.price)
        lines = session.execute(select(*line).order_by(*line[:2])).all()
        return dict(map(tuple, stocks)), [*map(tuple, orders)], [*map(tuple, lines)]


def order(engine: Engine, items: Any, user: Any = 1) -> int:
    return in_transaction(engine, lambda session: place_order(session, user, items))


def noted(engine: Engine) -> list[str]:
    """Note the statements of an engine from now on."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    return sent


# An order


def test_an_order_is_written_with_its_lines_and_takes_the_pieces(engine: Engine) -> None:
    id = order(engine, {3: 3, 1: 100, 2: 1}, user=2)
    stocks, orders, lines = state(engine)
    assert stocks == {1: 0, 2: 99, 3: 97, 4: 100, 5: 100}
    assert orders == [(id, 2, Decimal("13.65"))]
    assert lines == [(id, p, n, Decimal(PRICES[p])) for p, n in ((1, 100), (2, 1), (3, 3))]
    with Session(engine) as session:
        made = session.get_one(Order, id)
        assert made.status == "pending"
        assert made.created_at.tzinfo is not None
        assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("items", [{1: 1, 2: 101}, {1: 1, 9: 1}, {2**31 - 1: 1}, {4: 1, 1: 101}])
def test_what_is_short_leaves_nothing_even_when_the_caller_goes_on(
    engine: Engine, items: dict[int, int]
) -> None:
    with Session(engine) as session, session.begin():
        session.execute(update(Product).where(Product.id < 3).values(stock=90))
        if max(items.values()) > shop.MOST:
            items = {product: min(n, 100) for product, n in items.items()}
        with pytest.raises(OutOfStock, match=r"^product \d+: not \d+ in stock$"):
            place_order(session, 1, items)
        session.add(Category(id=2, name="The caller's own"))
    assert state(engine) == ({1: 90, 2: 90, 3: 100, 4: 100, 5: 100}, [], [])
    with Session(engine) as session:
        assert session.get(Category, 2)


class Odd(int):
    """An int that is more than an int."""


ODD: list[Any] = [None, True, 0, -1, 1.0, 1.5, "1", b"1", [1], {}, 2**31, 2**63, 10**30]
ODD += [float("nan"), Decimal(1), object(), Odd(1)]
BAD_ITEMS: list[Any] = [None, {}, [], [(1, 1)], [{"productId": 1, "quantity": 1}], "11", 5, {1}]
BAD_ITEMS += [{1: value} for value in [*ODD, 101]] + [{1: 1, 2: 0}]
BAD_ITEMS += [{value: 1} for value in ODD if getattr(value, "__hash__", None) and value != 1]
BAD_ITEMS += [{True: 1}, {1.0: 1}, {"1" * 10_000: 1}]


#: A session that cannot even connect: what asks the database gets an OperationalError.
NOWHERE = make_engine("postgresql+psycopg://127.0.0.1:1/none")


@pytest.mark.parametrize("items", BAD_ITEMS, ids=lambda items: repr(items)[:30].split(" at 0")[0])
def test_what_is_no_order_is_refused_before_anything_is_sent(items: Any) -> None:
    with Session(NOWHERE) as session, pytest.raises(BadOrder) as refused:
        place_order(session, 1, items)
    assert 10 < len(str(refused.value)) < 150


@pytest.mark.parametrize("user", ODD, ids=lambda user: repr(user)[:20].split(" at 0")[0])
def test_who_is_no_user_is_refused_before_anything_is_sent(user: Any) -> None:
    with Session(NOWHERE) as session:
        with pytest.raises(BadOrder, match=r"^bad user: "):
            place_order(session, user, {1: 1})
        with pytest.raises(ValueError, match=r"^bad user: "):
            get_user_orders(session, user)


def test_messages_say_what_was_wrong() -> None:
    with Session(NOWHERE) as session:
        with pytest.raises(ValueError, match=r"^bad user: 0$"):
            get_user_orders(session, 0)
        with pytest.raises(ValueError, match=r"^bad take: 501$"):
            get_user_orders(session, 1, 501)
    assert inspect.signature(in_transaction).parameters["seconds"].default == 15
    for items, words in (
        (None, "items are {product id: quantity}, not NoneType"),
        ({}, "an order needs an item"),
        ({1: 101}, "bad item: product 1, quantity 101"),
        ({"x" * 99: 1}, "bad item: product '" + "x" * 39 + ", quantity 1"),
        ({1: [1]}, "bad item: product 1, quantity list"),
        ({1: 1.5}, "bad item: product 1, quantity 1.5"),
    ):
        with pytest.raises(BadOrder) as refused:
            shop.check_order(1, items)
        assert str(refused.value) == words


def test_the_largest_values_are_accepted(engine: Engine) -> None:
    shop.check_order(2**31 - 1, {2**31 - 1: 100, 1: 1})
    order(engine, {5: 1})
    assert state(engine)[1][0][2] == shop.LARGEST_TOTAL


def test_nobody_orders_for_a_user_who_does_not_exist(engine: Engine) -> None:
    with pytest.raises(BadOrder, match=r"^there is no user 77$"):
        order(engine, {1: 1}, user=77)
    assert state(engine) == (dict.fromkeys(PRICES, 100), [], [])


def test_a_total_that_does_not_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(BadOrder, match=r"^the total of 100000000\.09 is too large$"):
        order(engine, {5: 1, 1: 1})
    assert state(engine) == (dict.fromkeys(PRICES, 100), [], [])


def test_another_rule_that_refuses_goes_through(engine: Engine) -> None:
    with engine.begin() as db:
        db.execute(text('ALTER TABLE "Order" ADD CONSTRAINT cheap CHECK (total < 1)'))
    with pytest.raises(IntegrityError, match="cheap"):
        order(engine, {4: 1})
    assert state(engine) == (dict.fromkeys(PRICES, 100), [], [])
    with engine.begin() as db:
        db.execute(text('ALTER TABLE "Order" DROP CONSTRAINT cheap'))


# Several at once


def test_forty_customers_lose_nothing_and_nobody_waits_in_a_circle(engine: Engine) -> None:
    rng = random.Random(5)
    baskets = [{p: rng.randint(1, 9) for p in rng.sample([1, 2, 3, 4], 3)} for _ in range(40)]

    def customer(items: dict[int, int]) -> int | None:
        try:
            with Session(engine) as session, session.begin():  # without a second try
                return place_order(session, 1, items)
        except OutOfStock:
            return None

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(customer, baskets))
    stocks, orders, lines = state(engine)
    assert {id for id, *_ in orders} == set(answers) - {None}
    assert 0 < len(orders) < 40
    for product in (1, 2, 3, 4):
        assert 100 - stocks[product] == sum(n for _, p, n, _ in lines if p == product)
    for basket, answer in zip(baskets, answers, strict=True):
        if answer:
            assert {p: n for id, p, n, _ in lines if id == answer} == basket


def test_products_are_taken_in_the_order_of_their_ids(engine: Engine) -> None:
    taken: list[int] = []
    listen: Any = event.listens_for(engine, "before_cursor_execute")

    @listen
    def note(*args: Any) -> None:
        if args[2].startswith("UPDATE"):
            taken.append(args[3]["id_1"])

    order(engine, {4: 1, 1: 1, 3: 1, 2: 1})
    assert taken == [1, 2, 3, 4]


def test_the_pieces_are_taken_before_a_line_refers_to_them(engine: Engine) -> None:
    """Else two orders for one product hold its row a little, and each waits for the other."""
    sent = noted(engine)
    order(engine, {1: 1})
    kinds = [statement.split()[0] for statement in sent]
    assert kinds.index("UPDATE") < kinds.index("INSERT")


# Reading


def old_orders(engine: Engine, moments: list[int], user: int = 1) -> list[int]:
    """Write orders of these minutes; return their ids."""
    with Session(engine) as session, session.begin():
        orders = []
        for minute in moments:
            when = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
            lines = [OrderItem(product_id=p, quantity=p, price=Decimal(1)) for p in (1, 2)]
            orders.append(Order(user_id=user, total=Decimal(3), created_at=when, items=lines))
            session.add(orders[-1])
            session.flush()
        return [order.id for order in orders]


def test_the_newest_orders_come_first_and_complete_in_three_statements(engine: Engine) -> None:
    ids = old_orders(engine, [*range(5), 3, *[20] * 6])
    old_orders(engine, [50], user=2)
    sent = noted(engine)
    with Session(engine) as session:
        found = get_user_orders(session, 1)
    assert len(sent) == 3
    newest = [*reversed(ids[6:]), ids[4], ids[5], ids[3], ids[2]]
    assert [order.id for order in found] == newest  # the larger id first, of the same moment
    assert [(i.product.name, i.quantity) for i in found[0].items] == [("P1", 1), ("P2", 2)]
    with Session(engine) as session:
        assert [order.id for order in get_user_orders(session, 1, 2)] == newest[:2]
        assert get_user_orders(session, 1, take=0) == []
        assert len(get_user_orders(session, 1, take=500)) == 12
        assert get_user_orders(session, 2**31 - 1) == []


@pytest.mark.parametrize("take", [None, -1, 501, 1.0, "5", True, float("nan")])
def test_a_bad_number_of_orders_is_refused(take: Any) -> None:
    with Session(NOWHERE) as session, pytest.raises(ValueError, match=r"^bad take: "):
        get_user_orders(session, 1, take)


# The tables


@pytest.mark.parametrize("loaded", [True, False])
def test_a_deleted_user_takes_the_cart_along(engine: Engine, loaded: bool) -> None:
    with Session(engine) as session, session.begin():
        session.add(Cart(user_id=1, items=[CartItem(product_id=1, quantity=1)]))
    with Session(engine) as session, session.begin():
        user = session.get_one(User, 1)
        if loaded:
            assert user.cart and len(user.cart.items) == 1
        session.delete(user)
    with Session(engine) as session:
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (Cart, CartItem)]
        assert counts == [0, 0]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_deleted_order_takes_its_lines_along(engine: Engine, loaded: bool) -> None:
    id = order(engine, {1: 1, 2: 1})
    with Session(engine) as session, session.begin():
        made = session.get_one(Order, id)
        assert not loaded or len(made.items) == 2
        session.delete(made)
    assert state(engine)[1:] == ([], [])


@pytest.mark.parametrize(
    ("kind", "key"), [(User, "Order_userId_fkey"), (Category, "Product_categoryId_fkey")]
)
@pytest.mark.parametrize("loaded", [True, False])
def test_what_others_refer_to_stays(engine: Engine, kind: Any, key: str, loaded: bool) -> None:
    order(engine, {1: 1})
    with Session(engine) as session, pytest.raises(IntegrityError, match=key), session.begin():
        one = session.get_one(kind, 1)
        if loaded:
            assert one.orders if kind is User else one.products
        session.delete(one)


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE "Product" SET price = -0.01 WHERE id = 1',
        'UPDATE "Product" SET stock = -1 WHERE id = 1',
        'UPDATE "Order" SET total = -1',
        'UPDATE "OrderItem" SET quantity = 0',
        'UPDATE "OrderItem" SET quantity = 101',
        'UPDATE "OrderItem" SET price = -1',
        'INSERT INTO "OrderItem" ("orderId", "productId", quantity, price) SELECT id, 1, 1, 1 '
        'FROM "Order"',
        'INSERT INTO "CartItem" ("cartId", "productId", quantity) SELECT id, 2, 0 FROM "Cart"',
        'INSERT INTO "CartItem" ("cartId", "productId", quantity) SELECT id, 1, 1 FROM "Cart"',
        'INSERT INTO "Cart" ("userId") VALUES (1)',
        "INSERT INTO \"Category\" (name) VALUES ('All')",
        "INSERT INTO \"User\" (email, name, \"updatedAt\") VALUES ('u1@example.com', '', now())",
        'INSERT INTO "OrderItem" ("orderId", "productId", quantity, price) SELECT id, 99, 1, 1 '
        'FROM "Order"',
    ],
)
def test_the_database_refuses_what_breaks_a_rule(engine: Engine, statement: str) -> None:
    order(engine, {1: 1})
    with Session(engine) as session, session.begin():
        session.add(Cart(user_id=1, items=[CartItem(product_id=1, quantity=1)]))
    with pytest.raises(IntegrityError), engine.begin() as db:
        db.execute(text(statement))


def test_rules_have_the_names_of_rules_sql(engine: Engine) -> None:
    names = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = "
    with engine.connect() as db:
        found = db.scalars(text(names + "to_regnamespace(:name)"), {"name": SCHEMA})
        assert sorted(found) == [
            *("CartItem_quantity_check", "OrderItem_price_check", "OrderItem_quantity_check"),
            *("Order_total_check", "Product_price_check", "Product_stock_check"),
        ]


def test_keys_are_followed_and_times_are_kept(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        user = session.get_one(User, 1)
        before = user.updated_at
        assert before.tzinfo is not None
        assert abs(before - datetime.now(UTC)) < timedelta(minutes=5)
        user.name = "Somebody"
        session.flush()
        session.refresh(user)
        assert user.updated_at > before
    id = order(engine, {1: 1})
    with engine.begin() as db:  # ON UPDATE CASCADE
        db.execute(text('UPDATE "Order" SET id = 4000; UPDATE "Product" SET id = 900 WHERE id = 1'))
    assert state(engine)[2] == [(4000, 900, 1, Decimal("0.10"))] != [(id, 1, 1, Decimal("0.10"))]


# Trouble


def fails(code: str, times: int) -> tuple[Callable[[Session], int], list[int]]:
    """Return work that PostgreSQL refuses so many times with this code, and a list of its calls."""
    calls: list[int] = []

    def work(session: Session) -> int:
        calls.append(1)
        session.execute(update(Product).values(stock=Product.stock - 1))
        if len(calls) <= times:
            session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"))
        return len(calls)

    return work, calls


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_lost_race_is_tried_again_five_times_in_all(engine: Engine, code: str) -> None:
    work, calls = fails(code, 4)
    assert in_transaction(engine, work) == 5
    assert set(state(engine)[0].values()) == {99}
    work, calls = fails(code, 5)
    with pytest.raises(DBAPIError):
        in_transaction(engine, work)
    assert len(calls) == 5
    assert set(state(engine)[0].values()) == {99}


def test_nothing_else_is_tried_again(engine: Engine) -> None:
    work, calls = fails("22012", 9)
    with pytest.raises(DBAPIError):
        in_transaction(engine, work)
    assert len(calls) == 1
    work, calls = fails("40001", 1)
    with pytest.raises(OperationalError):  # no time is left for a second try
        in_transaction(engine, lambda s: (time.sleep(0.3), work(s)), seconds=0.35 - 0.1)
    with pytest.raises(ProgrammingError):
        in_transaction(engine, lambda session: session.execute(text("SELECT nothing")))
    with pytest.raises(ZeroDivisionError):
        in_transaction(engine, lambda session: 1 / 0)
    assert set(state(engine)[0].values()) == {100}
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def end_session(engine: Engine, connection: Any) -> None:
    """End the server's side of a connection, as a restart does."""
    pid = connection.connection.driver_connection.info.backend_pid
    with engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def test_a_connection_that_is_lost_before_the_commit_is_no_loss(engine: Engine) -> None:
    calls: list[int] = []

    def work(session: Session) -> int:
        calls.append(1)
        place_order(session, 1, {1: 1})
        if len(calls) == 1:
            end_session(engine, session.connection())
        return place_order(session, 1, {2: 1})

    id = in_transaction(engine, work)
    assert len(calls) == 2
    stocks, orders, _ = state(engine)
    assert (stocks[1], stocks[2], len(orders), orders[1][0]) == (99, 99, 2, id)


def test_a_connection_that_is_lost_during_the_commit_leaves_it_unsure(engine: Engine) -> None:
    kill: Any = lambda connection: end_session(engine, connection)  # noqa: E731
    event.listen(engine, "commit", kill, once=True)
    calls: list[int] = []
    with pytest.raises(Unsure, match=r"^the connection was lost during COMMIT$"):
        in_transaction(engine, lambda s: (calls.append(1), place_order(s, 1, {1: 1})))
    assert len(calls) == 1
    assert order(engine, {1: 1})  # the engine goes on


def test_what_the_commit_refuses_is_not_unsure(engine: Engine) -> None:
    with engine.begin() as db:
        late = "ADD CONSTRAINT late UNIQUE (price) DEFERRABLE INITIALLY DEFERRED"
        db.execute(text(f'ALTER TABLE "Product" {late}'))
    same = update(Product).values(price=Decimal(1))
    with pytest.raises(IntegrityError):
        in_transaction(engine, lambda session: session.execute(same))
    with engine.begin() as db:
        db.execute(text('ALTER TABLE "Product" DROP CONSTRAINT late'))


def test_the_result_can_be_read_after_the_commit(engine: Engine) -> None:
    made = in_transaction(engine, lambda session: session.get_one(Product, 1))
    assert made.name == "P1"


def test_work_that_takes_too_long_is_broken_off(engine: Engine) -> None:
    began = time.monotonic()
    with pytest.raises(OperationalError):
        in_transaction(engine, lambda session: session.execute(text("SELECT pg_sleep(9)")), 0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert order(engine, {1: 1})


def test_a_limit_that_was_kept_leaves_the_connection_alone(engine: Engine) -> None:
    before = threading.active_count()
    with engine.connect() as connection:
        with limit(connection, 0.3):
            connection.execute(text("SELECT 1"))
        assert threading.active_count() == before
        time.sleep(0.5)
        assert connection.scalar(text("SELECT 2")) == 2
        with limit(connection, 0):
            connection.connection.driver_connection.close()  # type: ignore[union-attr]
            time.sleep(0.2)
        connection.invalidate()


def test_every_wait_has_a_limit(url: str) -> None:
    own = make_url(url).update_query_dict({"options": f"-c search_path={SCHEMA} -c work_mem=8MB"})
    engine = make_engine(own.render_as_string(hide_password=False), pool_size=1, max_overflow=0)
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    with engine.connect() as db:
        found = [db.scalar(text(f"SHOW {name}")) for name in [*names, "work_mem", "search_path"]]
        assert found == ["10s", "8s", "30s", "8MB", SCHEMA]
        parameters = db.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
        assert parameters["connect_timeout"] == "5"
    assert engine.pool.timeout() == 10  # type: ignore[attr-defined]
    engine.dispose()
    bare = make_url(url).difference_update_query(["options"]).render_as_string(hide_password=False)
    engine = make_engine(bare, pool_timeout=1)
    with engine.connect() as db:
        assert db.scalar(text("SHOW lock_timeout")) == "8s"
    assert engine.pool.timeout() == 1  # type: ignore[attr-defined]
    engine.dispose()

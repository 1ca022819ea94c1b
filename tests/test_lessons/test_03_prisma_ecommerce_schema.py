"""What lesson 03 sends home: two schemas that agree, and orders that cannot spoil each other."""

from __future__ import annotations

import difflib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from drill import (
    Proxy,
    bad_inputs,
    blocked,
    busy,
    callers,
    contents,
    each_zone,
    in_zone,
    no_writes,
    once,
    overlap,
    paused,
    refuses,
    secrets_of,
    twice,
)
from labs import run_in, until
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from helpers import lab
from helpers.base.errors import LabError
from helpers.base.paths import NOTEBOOKS
from helpers.commands import work
from helpers.engines import choose
from helpers.environment import node

FOLDER = NOTEBOOKS / "03_prisma_ecommerce_schema"
sys.path[:0] = [str(FOLDER), str(FOLDER / "final")]
catalogue: Any = __import__("catalogue")
final: Any = __import__("shop")
models: Any = __import__("shop_models")
new_shop: Any = __import__("new_shop").new_shop
prisma_node: Any = __import__("prisma_node")


@pytest.fixture
def pg() -> Any:
    """A shop with the final tables."""
    database = lab.postgres("93")
    new_shop(database, final=True)
    return database


def ask(pg: Any, sql: str, *params: Any) -> list[Any]:
    with pg.connect(autocommit=True) as connection:
        return connection.execute(sql, params or None).fetchall()


def sources(*names: str) -> list[list[str]]:
    return [(FOLDER / name).read_text(encoding="utf-8").splitlines() for name in names]


@pytest.mark.parametrize("name", ["schema.prisma", "app.ts"])
def test_what_runs_is_what_was_published(name: str) -> None:
    """But for the lines that Prisma needs to run here."""
    old, new = sources(f"published/{name}", name)
    added = [line[2:] for line in difflib.ndiff(old, new) if line.startswith("+ ")]
    gone = [line[2:] for line in difflib.ndiff(old, new) if line.startswith("- ")]
    words = ("provider", "output", "previewFeatures", "Pool", "import", "Adapter", "export ")
    assert all(any(word in line for word in (*words, "PrismaPg")) for line in added)
    assert len(added) <= 6
    assert len(gone) <= 3


@pytest.mark.parametrize(
    ("files", "base"),
    [
        (["prisma.sql"], models.Base),
        (["final/prisma.sql", "final/rules.sql"], final.Base),
    ],
    ids=["published", "final"],
)
def test_both_schemas_are_the_same(files: list[str], base: Any) -> None:
    """In PostgreSQL's catalogue: columns, defaults, constraints, actions and indexes."""
    with lab.postgres("93").connect() as db:
        for name in files:
            db.execute((FOLDER / name).read_text(encoding="utf-8"))
        theirs = catalogue.facts(db)
    pg = lab.postgres("93")
    base.metadata.create_all(create_engine(pg.url))
    with pg.connect() as db:
        ours = catalogue.facts(db)
    assert len(theirs) > 60
    assert catalogue.difference(ours, theirs) == []


def test_both_clients_read_the_same(pg: Any) -> None:
    """getUserOrders and get_user_orders, for a user with many orders and one without any."""
    [(many,)] = ask(pg, 'SELECT "userId" FROM "Order" GROUP BY 1 ORDER BY count(*) DESC LIMIT 1')
    [(none,)] = ask(
        pg,
        'INSERT INTO "User" (email, name, "updatedAt") VALUES (%s, %s, now()) RETURNING id',
        "new@example.com",
        "New",
    )
    calls = [("getUserOrders", user) for user in (many, none)]
    answers, _ = prisma_node.together(pg, calls, app="final/app.ts")
    for user, answer in zip((many, none), answers, strict=True):
        with Session(create_engine(pg.url)) as session:
            ours = final.get_user_orders(session, user)
        assert [order["id"] for order in answer["orders"]] == [order.id for order in ours]
        for theirs, order in zip(answer["orders"], ours, strict=True):
            assert Decimal(theirs["total"]) == order.total
            assert {
                (i["productId"], i["quantity"], Decimal(i["price"]), i["product"]["name"])
                for i in theirs["items"]
            } == {(i.product_id, i.quantity, i.price, i.product.name) for i in order.items}
    assert len(answers[0]["orders"]) == 10
    assert answers[1]["orders"] == []


@pytest.fixture
def tenants(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Two learners' places in one database, where their account may only create schemas."""
    owner = lab.postgres("93")
    role = "tenant_of_lesson_93"
    with owner.connect(autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        db.execute(f'GRANT CREATE ON DATABASE "{owner.name}" TO {role}')
        db.execute("CREATE TABLE precious AS SELECT 1")
        address = urlsplit(owner.dsn)
        place = f"{role}:x@{address.hostname}:{address.port}"
        monkeypatch.setenv("LAB_ENGINE", "auto")
        monkeypatch.setenv("LAB_POSTGRES_URL", address._replace(netloc=place).geturl())
        choose.forget()
        places = []
        for name in ("ann", "bob"):
            monkeypatch.setenv("LAB_NAMESPACE", name)
            places.append(lab.postgres("93"))
        assert not places[0].server.own_databases
        yield places
        monkeypatch.undo()
        choose.forget()
        db.execute("SELECT * FROM precious")
        db.execute(f"DROP OWNED BY {role} CASCADE")
        db.execute(f"DROP ROLE {role}")


def test_two_learners_in_one_database(tenants: list[Any]) -> None:
    """Each in a schema of their own, and with Prisma there: nobody sells another's pieces."""
    for number, pg in enumerate(tenants):
        new_shop(pg)
        ask(pg, 'UPDATE "Product" SET stock = %s RETURNING id', 10 + number)
    for pg in tenants:
        answer, sql = prisma_node.prisma(pg, "createOrder", 1, [{"productId": 1, "quantity": 1}])
        assert answer["total"] == "29.99"
        assert sql[-2].startswith('UPDATE "Product"')
    stocks = [ask(pg, 'SELECT stock FROM "Product" WHERE id = 1') for pg in tenants]
    assert stocks == [[(9,)], [(10,)]]


def baskets(number: int) -> list[dict[int, int]]:
    rng = random.Random(number)
    return [
        {product: rng.randint(1, 2) for product in rng.sample([1, 2, 3, 4], 3)}
        for _ in range(number)
    ]


def nothing_is_lost(pg: Any, pieces: int, first: int) -> int:
    """Compare stocks, lines and totals of the orders from `first` on; return how many."""
    gone = ask(pg, 'SELECT id, %s - stock FROM "Product" WHERE id < 5 ORDER BY 1', pieces)
    sold = ask(
        pg,
        'SELECT p.id, coalesce(sum(quantity), 0) FROM "Product" AS p LEFT JOIN "OrderItem" AS i '
        'ON "productId" = p.id AND "orderId" >= %s WHERE p.id < 5 GROUP BY 1 ORDER BY 1',
        first,
    )
    assert gone == sold
    assert all(0 <= number <= pieces for _, number in gone)
    wrong = 'SELECT o.id FROM "Order" AS o JOIN "OrderItem" ON "orderId" = o.id WHERE o.id >= %s '
    wrong += "GROUP BY o.id HAVING o.total <> sum(quantity * price)"
    assert ask(pg, wrong, first) == []
    return int(ask(pg, 'SELECT count(*) FROM "Order" WHERE id >= %s', first)[0][0])


def next_order(pg: Any, pieces: int) -> int:
    ask(pg, 'UPDATE "Product" SET stock = %s WHERE id < 5 RETURNING id', pieces)
    return int(ask(pg, 'SELECT max(id) + 1 FROM "Order"')[0][0])


@pytest.mark.parametrize("pieces", [1000, 20])
def test_forty_customers_of_shop_py(pg: Any, pieces: int) -> None:
    """With items in every order: no deadlock, nothing oversold, no order lost."""
    first = next_order(pg, pieces)
    engine = create_engine(pg.url, pool_size=20)

    def customer(basket: dict[int, int]) -> int | None:
        try:
            with Session(engine) as session, session.begin():
                return int(final.place_order(session, 1, basket))
        except final.OutOfStock:
            return None

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(customer, baskets(40)))
    accepted = nothing_is_lost(pg, pieces, first)
    assert accepted == len([answer for answer in answers if answer])
    assert accepted == 40 if pieces == 1000 else 0 < accepted < 40


def test_ten_customers_of_app_ts(pg: Any) -> None:
    first = next_order(pg, 8)
    calls = [
        ("createOrder", 1, [{"productId": p, "quantity": n} for p, n in basket.items()])
        for basket in baskets(10)
    ]
    answers, _ = prisma_node.together(pg, calls, app="final/app.ts")
    refused = [answer for answer in answers if isinstance(answer, prisma_node.PrismaError)]
    assert {error.code for error in refused} == {"OUT_OF_STOCK"}
    assert nothing_is_lost(pg, 8, first) == 10 - len(refused) > 0


@pytest.mark.parametrize(
    "items", [{}, {1: 0}, {1: -5}, {1: 1.5}, {1: True}, {1: 101}, {1: "2"}, {1.0: 1}, {"1": 1}]
)
def test_what_is_no_order_is_refused(pg: Any, items: Any) -> None:
    with (
        Session(create_engine(pg.url)) as session,
        pytest.raises(final.BadOrder),
        session.begin(),
    ):
        final.place_order(session, 1, items)


def test_app_ts_refuses_the_same(pg: Any) -> None:
    first = next_order(pg, 100)
    line = {"productId": 1, "quantity": 60}
    bad = [[], [line, line], [{"productId": 1}], [{"productId": 1, "quantity": "2"}]]
    bad += [[{"productId": 1, "quantity": quantity}] for quantity in (0, -5, 1.5, 101, None)]
    bad += [None, [None], {"1": 1}, "11", 7, [[1, 1]], [1]]
    bad += [[{"productId": product, "quantity": 1}] for product in (0, -1, 1.5, "1", 2**31, None)]
    calls = [("createOrder", 1, items) for items in bad]
    users = (None, 0, -1, 1.5, "1", True, 2**31, 2**40, [1])
    calls += [("createOrder", user, [{"productId": 1, "quantity": 1}]) for user in users]
    calls += [("getUserOrders", user) for user in users]
    answers, sql = prisma_node.together(pg, calls, app="final/app.ts")
    assert {getattr(answer, "code", answer) for answer in answers} == {"BAD_ORDER"}
    assert sql == []
    assert nothing_is_lost(pg, 100, first) == 0


def test_from_the_learners_copy(tmp_path: Path) -> None:
    """In a folder with a space in its name, and with a schema that nobody generated before.

    Two programs begin at the same moment, and both want the new client.
    """
    copy = tmp_path / "my own work"
    work.fill(target=copy)
    assert not list(copy.rglob("node_modules"))
    folder = copy / FOLDER.name
    with (folder / "schema.prisma").open("a") as file:
        file.write(f"\n// {tmp_path}\n")
    source = (
        f"import sys; sys.path.insert(0, {FOLDER.name!r})\n"
        "from helpers import lab\n"
        "from prisma_node import prisma\n"
        "print(prisma(lab.postgres('93' + sys.argv[1]), 'createOrder', 1, []))\n"
    )
    commands = [[sys.executable, "-c", source, letter] for letter in "ab"]
    runs = [
        subprocess.Popen(
            command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    for run in runs:
        _, errors = run.communicate(timeout=60)
        assert "PrismaError: P2021" in errors  # the database has no tables: Prisma did ask
    assert not list(Path(node.FOLDER, "clients").glob("tmp*"))


def test_without_npms_packages(pg: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One message, which `make env` gave as well."""
    monkeypatch.setattr(node, "STAMP", tmp_path / "installed")
    monkeypatch.setattr(node, "PROBLEM", tmp_path / "problem")
    (tmp_path / "problem").write_text(f"{node.wanted()}\nnpm says code ENOTFOUND.")
    with pytest.raises(LabError, match=r"^npm says code ENOTFOUND\.$"):
        prisma_node.prisma(pg, "getUserOrders", 1)
    (tmp_path / "problem").unlink()
    with pytest.raises(LabError, match="`make env` does it"):
        prisma_node.prisma(pg, "getUserOrders", 1)


def test_an_app_that_does_not_load(pg: Any) -> None:
    """Node's own words, and no traceback of JavaScript in a result."""
    with pytest.raises(LabError, match="Cannot find module"):
        prisma_node.prisma(pg, "nothing", app="nothing.ts")


def test_app_ts_says_that_a_user_or_a_total_cannot_be(pg: Any) -> None:
    first = next_order(pg, 100)
    ask(pg, 'UPDATE "Product" SET price = 99999999.99 WHERE id = 4 RETURNING id')
    calls: list[Any] = [("createOrder", 777, [{"productId": 1, "quantity": 1}])]
    calls += [("createOrder", 1, [{"productId": 4, "quantity": 2}])]
    answers, _ = prisma_node.together(pg, calls, app="final/app.ts")
    assert [answer.code for answer in answers] == ["BAD_ORDER", "BAD_ORDER"]
    assert "there is no user 777" in str(answers[0])
    assert nothing_is_lost(pg, 100, first) == 0


@each_zone
def test_app_ts_keeps_the_time_in_every_zone(pg: Any, zone: str, way: Any) -> None:
    """Its adapter leaves a time's zone out: the session has to be in UTC."""
    with in_zone(pg.dsn, zone, way) as url:
        there = Elsewhere(pg, url)
        calls: list[Any] = [("createOrder", 1, [{"productId": 1, "quantity": 1}])]
        [order], _ = prisma_node.together(there, calls, app="final/app.ts")
        [found], _ = prisma_node.together(there, [("getUserOrders", 1)], app="final/app.ts")
    [(same, age)] = ask(
        pg,
        'SELECT "createdAt" = %s::timestamptz, abs(extract(epoch FROM now() - "createdAt")) '
        'FROM "Order" WHERE id = %s',
        order["createdAt"],
        order["id"],
    )
    assert (same, age < 60) == (True, True)
    assert found["orders"][0]["createdAt"] == order["createdAt"]


class Elsewhere:
    """A database as the lab gives it, at another address."""

    def __init__(self, pg: Any, url: str) -> None:
        self.connect, self.dsn = pg.connect, url


def test_thirty_customers_of_one_product_at_thirty_milliseconds(pg: Any) -> None:
    """Nobody who could be served is turned away by a limit on time."""
    first = next_order(pg, 100)
    calls: list[Any] = [("createOrder", 1, [{"productId": 1, "quantity": 1}])] * 30
    with Proxy(pg.dsn) as proxy:
        proxy.delay(15)
        answers, _ = prisma_node.together(Elsewhere(pg, proxy.url), calls, app="final/app.ts")
    assert [answer for answer in answers if isinstance(answer, prisma_node.PrismaError)] == []
    assert nothing_is_lost(pg, 100, first) == 30


# shop.py, and what can happen to it


def test_shop_py_passes_its_own_tests() -> None:
    """Without the course's settings: at work there are none."""
    run = own_tests(lab.postgres("93", "final"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout


def test_shop_pys_tests_touch_nothing_that_was_there() -> None:
    database = lab.postgres("93", "final")
    with database.connect(autocommit=True) as db:
        db.execute("CREATE SCHEMA shop_tests")
        db.execute("CREATE TABLE shop_tests.precious AS SELECT 1")
        run = own_tests(database)
        assert run.returncode != 0
        assert "is there already" in run.stdout
        assert db.execute("SELECT * FROM shop_tests.precious").fetchall() == [(1,)]


def own_tests(database: Any) -> Any:
    options = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:nbval"]
    command = ["-m", "pytest", *options, "test_shop.py"]
    return run_in(FOLDER / "final", *command, DATABASE_URL=database.url)


def order_once(url: str, items: Any = None, **options: Any) -> Any:
    """Give a function that orders, by an engine of its own that ends with it."""
    engine = final.make_engine(url, **options)
    basket = items or {1: 1, 2: 1}
    return lambda: final.in_transaction(engine, lambda s: final.place_order(s, 1, basket), 3)


def test_bad_input_is_refused_before_anything_is_written(pg: Any) -> None:
    engine = final.make_engine(pg.url)
    state, secrets = contents(pg.url), secrets_of(pg.url)

    def try_(*order: Any) -> Any:
        return final.in_transaction(engine, lambda s: final.place_order(s, *order))

    with no_writes(pg.url):
        for function, kind in (
            (lambda value: try_(value, {1: 1}), "id"),
            (lambda value: try_(1, {1: value}), "amount"),
            (lambda value: final.check_order(1, {1: 1, "other": value}), "amount"),
        ):
            refuses(function, bad_inputs(kind), with_=(final.BadOrder,), state=state)
        hashable = {
            name: value
            for name, value in bad_inputs("id").items()
            if name not in ("a list", "a dict")
        }
        refuses(lambda value: try_(1, {value: 1}), hashable, with_=(final.BadOrder,), state=state)
        with Session(engine) as session:
            refuses(
                lambda value: final.get_user_orders(session, value),
                bad_inputs("id"),
                with_=(ValueError,),
                state=state,
                secrets=secrets,
            )
            refuses(
                lambda value: final.get_user_orders(session, 1, value),
                bad_inputs("count"),
                with_=(ValueError,),
                state=state,
            )
    engine.dispose()


@each_zone
def test_shop_py_keeps_the_time_in_every_zone(pg: Any, zone: str, way: Any) -> None:
    with in_zone(pg.url, zone, way) as url:
        engine = final.make_engine(url)
        id = final.in_transaction(engine, lambda s: final.place_order(s, 1, {1: 1}))
        with Session(engine) as session:
            [newest] = final.get_user_orders(session, 1, 1)
        engine.dispose()
    [(moment, age)] = ask(
        pg, 'SELECT "createdAt", extract(epoch FROM now() - "createdAt") FROM "Order" '
        "WHERE id = %s", id
    )  # fmt: skip
    assert (newest.id, newest.created_at, abs(age) < 60) == (id, moment, True)


def test_thirty_customers_of_shop_py_at_thirty_milliseconds(pg: Any) -> None:
    first = next_order(pg, 100)
    with Proxy(pg.url) as proxy:
        proxy.delay(15)
        engine = final.make_engine(proxy.url, pool_size=20, pool_timeout=60)

        def customer(_: int) -> Any:
            return final.in_transaction(engine, lambda s: final.place_order(s, 1, {1: 1}), 60)

        with ThreadPoolExecutor(30) as threads:
            ids = list(threads.map(customer, range(30)))
        engine.dispose()
    assert len(set(ids)) == nothing_is_lost(pg, 100, first) == 30


def test_a_lost_connection_is_no_lost_order(pg: Any) -> None:
    """Cut in the middle, it is done again; cut at the answer to COMMIT, it is Unsure."""
    first = next_order(pg, 100)
    with Proxy(pg.url) as proxy:
        order = order_once(proxy.url)
        order()
        proxy.cut(before=b"UPDATE")
        order()
        proxy.cut(answer_to=b"UPDATE")
        order()
        assert proxy.cuts == 2
        assert nothing_is_lost(pg, 100, first) == 3
        proxy.cut(answer_to=b"COMMIT")
        with pytest.raises(final.Unsure):
            order()
        until(lambda: nothing_is_lost(pg, 100, first) == 4)  # this time it is there
        proxy.cut(before=b"COMMIT")
        with pytest.raises(final.Unsure):
            order()
        until(lambda: not busy(pg.url)())
        assert nothing_is_lost(pg, 100, first) == 4  # this time it is not
        order()
    assert nothing_is_lost(pg, 100, first) == 5


def test_a_silent_line_ends_within_the_limits(pg: Any) -> None:
    """3 s for the work and 5 s for a connection, and nothing is left in the database."""
    first = next_order(pg, 100)
    with Proxy(pg.url) as proxy:
        order = order_once(proxy.url)
        order()
        proxy.stall()
        for call in (order, order_once(proxy.url)):  # one has a connection, one wants one
            found = once(call, 12)
            assert (found.answers, found.hanging) == (0, 0)
            assert found.longest < 9
            assert set(found.errors) == {"OperationalError"}
        proxy.restore()
        order()
    until(lambda: not busy(pg.url)())
    assert nothing_is_lost(pg, 100, first) == 2


def test_a_lock_that_stays_ends_within_the_limits(pg: Any) -> None:
    first = next_order(pg, 100)
    order = order_once(pg.url)
    with psycopg.connect(pg.dsn) as holder:
        holder.execute('SELECT FROM "Product" WHERE id = 1 FOR UPDATE')
        found = once(order, 12)
        assert (found.answers, found.hanging, set(found.errors)) == (0, 0, {"OperationalError"})
        assert found.longest < 9
    until(lambda: not blocked(pg.url)())
    order()
    assert nothing_is_lost(pg, 100, first) == 1


@pytest.fixture
def own_pg() -> Any:
    """A shop on a server of its own, with the final tables."""
    database = lab.postgres("93", "own", private=True)
    new_shop(database, final=True)
    return database


def test_a_restart_while_customers_buy(own_pg: Any) -> None:
    first = next_order(own_pg, 100_000)
    engine = final.make_engine(own_pg.url, pool_size=20)
    told: list[int] = []

    def order() -> None:
        work = lambda s: final.place_order(s, 1, {1: 1, 2: 1})  # noqa: E731
        told.append(final.in_transaction(engine, work))

    found = callers(6, order, 2, meanwhile=own_pg.server.restart, patience=25)
    assert found.hanging == 0
    assert found.after > 0
    assert set(found.errors) <= {"OperationalError", "Unsure"}, found
    stored = {id for (id,) in ask(own_pg, 'SELECT id FROM "Order" WHERE id >= %s', first)}
    assert set(told) <= stored  # who was told an id has an order
    assert len(stored - set(told)) <= found.errors["Unsure"]
    nothing_is_lost(own_pg, 100_000, first)
    engine.dispose()


def test_a_pause_that_is_longer_than_every_limit(own_pg: Any) -> None:
    first = next_order(own_pg, 100)
    order = order_once(own_pg.url)
    order()
    with paused(own_pg.server):
        found = once(order, 12)
    assert (found.answers, found.hanging) == (0, 0)
    assert found.longest < 9
    order()
    until(lambda: not busy(own_pg.url)())
    assert nothing_is_lost(own_pg, 100, first) == 2


def test_the_same_order_twice_at_once_is_two_orders(pg: Any) -> None:
    """As the docstring says. Of the last piece, one process gets it."""
    first = next_order(pg, 100)
    program = """
import shop
engine = shop.make_engine(url)
with engine.connect(): pass
def main():
    return shop.in_transaction(engine, lambda s: shop.place_order(s, 1, {2: 60, 1: 1}))
"""
    said = twice(program, pg.url, folder=FOLDER / "final")
    assert overlap(said) > -1
    assert sorted(bool(one.error) for one in said) == [False, True]
    assert {one.error for one in said} >= {"OutOfStock: product 2: not 60 in stock"}
    assert nothing_is_lost(pg, 100, first) == 1
    said = twice(program.replace("60", "1"), pg.url, folder=FOLDER / "final")
    assert len({one.result for one in said}) == 2
    assert nothing_is_lost(pg, 100, first) == 3

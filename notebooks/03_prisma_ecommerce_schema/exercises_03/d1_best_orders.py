"""Exercise 03d-1: everybody's best order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from exercises_03.common import are_of, empty_shop, engine_of, function
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = '''
def best_orders(session):
    """Return the Order with the highest total of each user."""
    return ...


ex1.check()
'''
BODY = """\
    query = select(Order).distinct(Order.user_id)
    query = query.order_by(Order.user_id, Order.total.desc(), Order.id)
    return list(session.scalars(query))
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
ALL = """\
    best = {}
    for order in session.scalars(select(Order).order_by(Order.total, Order.id.desc())):
        best[order.user_id] = order
    return [best[user] for user in sorted(best)]
"""
LOOP = """\
    best = []
    for user in session.scalars(select(User.id).order_by(User.id)):
        mine = select(Order).where(Order.user_id == user)
        best += session.scalars(mine.order_by(Order.total.desc(), Order.id).limit(1))
    return best
"""
#: Every user's best order by LATERAL. Users without orders give a row, which Python leaves out.
OUTER = """\
    from sqlalchemy.orm import aliased

    best = select(Order).where(Order.user_id == User.id)
    best = best.order_by(Order.total.desc(), Order.id).limit(1).lateral()
    one = aliased(Order, best)
    query = select(one).select_from(User).outerjoin(best, true()).order_by(User.id)
    return [order for order in session.scalars(query) if order is not None]
"""
WINDOW = """\
    from sqlalchemy import func

    place = func.row_number().over(
        partition_by=Order.user_id, order_by=[Order.total.desc(), Order.id]
    )
    inner = select(Order.id, place.label("place")).subquery()
    query = select(Order).join(inner, inner.c.id == Order.id).where(inner.c.place == 1)
    return list(session.scalars(query.order_by(Order.user_id)))
"""


def check(best_orders: Callable[..., Any]) -> None:
    """Ask in a shop of the check's own: without orders, with few, and with many equal totals."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    asked = function("best_orders", best_orders)
    place = empty_shop("03d")
    sent: list[tuple[str, Any]] = []
    with look(place) as db, engine_of(place, lambda _: None) as engine:
        event.listen(engine, "before_cursor_execute", lambda *args: sent.append(args[2:4]))
        for users, orders in shops():
            fill(db, users, orders)
            best: dict[int, tuple[Decimal, int]] = {}
            for id, user, total in orders:
                best[user] = max(best.get(user, (total, -id)), (total, -id))
            true = [-id for _, (_, id) in sorted(best.items())]
            with Session(engine) as session:
                sent.clear()
                found = asked(session)
                statements = list(sent)
                judge_type(found)
                with running("Reading the orders"):
                    ids = [order.id for order in found]
            judge_orders(ids, true)
            judge_statements(db, statements, len(users))


def shops() -> Iterator[tuple[list[int], list[tuple[int, int, Decimal]]]]:
    """Yield users and orders (id, user, total). The older one of two orders has the smaller id."""
    yield [1, 2], []
    yield [5, 3], [(1, 5, Decimal("9.99")), (2, 5, Decimal("10.00")), (3, 3, Decimal(0))]
    yield [4, 6], [(1, 6, Decimal(70)), (2, 4, Decimal(5)), (3, 6, Decimal(70)), (7, 4, Decimal(5))]
    rng = random.Random(8)
    users = rng.sample(range(1, 200), 40)  # the last four have no orders
    ids = sorted(rng.sample(range(1, 5000), 300))
    totals = [Decimal(rng.choice(["99.90", "100.00", "7.00", "1000.00", "0.00"])) for _ in ids]
    owners = [rng.choice(users[:36]) for _ in ids]
    yield users, list(zip(ids, owners, totals, strict=True))


def fill(db: Any, users: list[int], orders: list[tuple[int, int, Decimal]]) -> None:
    """Write a shop's users and orders, and forget those of the shop before."""
    db.execute('TRUNCATE "User" CASCADE')
    start = datetime(2025, 1, 1)
    rows = [(id, user, total, start + timedelta(hours=id)) for id, user, total in orders]
    random.Random(1).shuffle(rows)  # not stored in the order of the ids
    with db.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO "User" (id, email, name, "updatedAt") VALUES (%s, %s, %s, now())',
            [(user, f"user{user}@example.com", f"User {user}") for user in users],
        )
        cursor.executemany(
            'INSERT INTO "Order" (id, "userId", total, "createdAt") VALUES (%s, %s, %s, %s)', rows
        )


def judge_type(found: Any) -> None:
    """Check that it is a list of orders."""
    if not isinstance(found, list):
        raise Incorrect(f"It should return a list, not a value of the type {type(found).__name__}.")
    for one in found:
        if not are_of("Order", [one]):
            raise Incorrect(
                "It should return Order objects. For each user that has orders there is one; the "
                f"list has a value of the type {type(one).__name__}. session.scalars(...) of a "
                "select(Order) gives objects."
            )


def judge_statements(db: Any, statements: list[tuple[str, Any]], users: int) -> None:
    """Count the statements, and the rows that the one of them gives."""
    if len(statements) != 1:
        raise Incorrect(f"You sent {len(statements)} statements instead of one.")
    [(statement, values)] = statements
    with running("Counting the rows of your statement"):
        count = f"SELECT count(*) FROM ({statement.rstrip().rstrip(';')}) AS yours"
        [rows] = db.execute(count, values).fetchone()
    if rows > users:
        raise Incorrect(f"{rows} rows were fetched for {users} users.")


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


EXERCISE = Exercise(
    title="Everybody's best order",
    minutes=5,
    prompt="Find each user's order with the highest total, in one statement.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "PostgreSQL's DISTINCT ON keeps the first row of each group.",
        "select(Order).distinct(Order.user_id) is DISTINCT ON; the ORDER BY begins with the "
        "same column.",
        "query.order_by(Order.user_id, Order.total.desc(), Order.id)",
    ],
    wrong=[
        (STARTER.replace("    return ...\n", ALL), "rows were fetched"),
        (STARTER.replace("    return ...\n", LOOP), "instead of one"),
        (changed(SOLUTION, "Order.total.desc(), ", ""), "the highest total"),
        (
            changed(
                SOLUTION,
                "return list(session.scalars(query))",
                "return sorted(session.scalars(query), key=lambda o: -o.total)",
            ),
            "not sorted by user id",
        ),
        (
            STARTER.replace("    return ...\n", OUTER.replace(" if order is not None", "")),
            "a value of the type NoneType",
        ),
        (changed(SOLUTION, "list(session", "tuple(session"), "of the type tuple"),
        (changed(SOLUTION, "scalars", "execute"), "of the type Row"),
    ],
    right=[
        STARTER.replace("    return ...\n", OUTER),
        STARTER.replace("    return ...\n", WINDOW),
        changed(SOLUTION, "Order.id)", "Order.created_at)"),
    ],
    cells=["d-setup", "d-one", "d-lateral"],
    praise="DISTINCT ON is PostgreSQL's own; row_number() does it everywhere.",
)

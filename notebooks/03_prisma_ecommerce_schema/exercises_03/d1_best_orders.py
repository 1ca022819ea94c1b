"""Exercise 03d-1: everybody's best order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import begin_with

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


def check(pg: Place, best_orders: Callable[..., Any], User: Any, Order: Any) -> None:
    """Compare with the database, with one user without orders and two equal totals."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.orm import Session

    url: Any = pg.url
    engine = begin_with(create_engine(url), "SET statement_timeout = '20s'")
    counts: list[int] = []
    event.listen(engine, "after_cursor_execute", lambda *args: counts.append(args[1].rowcount))
    try:
        # Everything happens in one transaction, which is rolled back.
        with Session(engine) as session:
            user = User(email="ex1@example.com", name="Ex")
            session.add_all([user, User(email="ex1b@example.com", name="Ex")])
            session.flush()
            for total in (5, 70, 70, 6):
                session.add(Order(user_id=user.id, total=total))
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
            if not all(isinstance(order, Order) for order in orders):
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
    ],
    praise="DISTINCT ON is PostgreSQL's own; row_number() does it everywhere.",
)

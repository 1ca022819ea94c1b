"""Exercise 03-1: the other function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_03.common import engine_of
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

STARTER = '''
def get_user_orders(session, user_id, take=10):
    """Return the newest orders with their items and the items' products."""
    return ...


ex1.check()
'''
BODY = """\
    from sqlalchemy.orm import selectinload

    query = select(Order).where(Order.user_id == user_id)
    query = query.order_by(Order.created_at.desc(), Order.id.desc()).limit(take)
    query = query.options(selectinload(Order.items).selectinload(OrderItem.product))
    return list(session.scalars(query))
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
LOOP = """\
    orders = list(session.scalars(query))
    [item.product for order in orders for item in order.items]
    return orders
"""
#: An order that was noted late. It is never committed.
OLD = """INSERT INTO "Order" ("userId", total, "createdAt") VALUES (:user, 0, '2001-01-01')"""
OPTIONS = "    query = query.options(selectinload(Order.items).selectinload(OrderItem.product))\n"


def check(pg: Place, get_user_orders: Callable[..., Any]) -> None:
    """Ask for many, few, three and none; read everything after the session is closed."""
    from sqlalchemy import text
    from sqlalchemy.orm import Session
    from sqlalchemy.orm.exc import DetachedInstanceError

    old = text(OLD)

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


EXERCISE = Exercise(
    title="The other function",
    minutes=7,
    prompt="Write getUserOrders in Python, with at most four statements.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "A select of Order with where, order_by and limit finds the orders. "
        "session.scalars(query) runs it.",
        "from sqlalchemy.orm import selectinload: it loads a relationship for all rows at "
        "once, in one more statement.",
        "query.options(selectinload(Order.items).selectinload(OrderItem.product))",
    ],
    wrong=[
        (changed(SOLUTION, OPTIONS, ""), "`items` was not loaded"),
        (
            changed(SOLUTION, ".selectinload(OrderItem.product))", ")"),
            "`product` was not loaded",
        ),
        (
            changed(SOLUTION, "Order.created_at.desc(), Order.id.desc()", "Order.created_at"),
            "from the newest to the oldest",
        ),
        (changed(SOLUTION, "Order.created_at.desc(), ", ""), "not always the newest order"),
        (changed(SOLUTION, ".limit(take)", ""), "With take=10 you returned"),
        (
            changed(SOLUTION, OPTIONS, "").replace(
                "    return list(session.scalars(query))\n", LOOP
            ),
            "loaded one by one",
        ),
        (changed(SOLUTION, "selectinload", "joinedload"), "InvalidRequestError"),
    ],
    praise="Three statements, and Prisma sends four. Both stay at that for any number.",
)

"""Exercise 03-1: the other function."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from exercises_03.common import are_of, empty_shop, engine_of, function
from helpers.exercises import Exercise, Incorrect
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
OPTIONS = "    query = query.options(selectinload(Order.items).selectinload(OrderItem.product))\n"
LAST = "    return list(session.scalars(query))\n"
INNER = "joinedload(Order.items, innerjoin=True).joinedload(OrderItem.product)"
#: Ids of users: with many orders, with three, with one that has no line, without any; and nobody's.
MANY, FEW, ONE, NONE, NOBODY = 11, 12, 13, 14, 99
#: Who asks, for how many: None leaves it to the function's own default.
CASES = (
    *((MANY, take) for take in (None, 10, 3, 1, 0, 100, 1000)),
    *((user, 10) for user in (FEW, ONE, NONE, NOBODY)),
)


def check(get_user_orders: Callable[..., Any]) -> None:
    """Ask for many, few, one and none, in a shop of the check's own, and compare."""
    asked = function("get_user_orders", get_user_orders)
    place = empty_shop("03")
    sent: list[str] = []
    with look(place) as db, engine_of(place, sent.append) as engine:
        orders, lines = fill(db)
        for user, take in CASES:
            try_case(engine, sent, asked, user, take, orders, lines)


def fill(db: Any) -> tuple[list[Any], dict[int, list[Any]]]:
    """Fill the shop; return its orders (id, user, moment) and each order's lines.

    The largest id is not always the newest order, and some orders are of the same moment.
    """
    rng = random.Random(31)
    for user in (MANY, FEW, ONE, NONE):
        db.execute(
            'INSERT INTO "User" (id, email, name, "updatedAt") VALUES (%s, %s, %s, now())',
            [user, f"user{user}@example.com", f"User {user}"],
        )
    db.execute("INSERT INTO \"Category\" VALUES (5, 'All')")
    products = [(70 + n, f"Product {n % 25}") for n in range(30)]  # some have the same name
    owners = [MANY] * 120 + [FEW] * 3 + [ONE]
    orders = [
        (id, user, datetime(2025, 1, 1) + timedelta(minutes=rng.randrange(90)))
        for id, user in zip(rng.sample(range(200, 600), len(owners)), owners, strict=True)
    ]
    lines: dict[int, list[Any]] = {}
    for id, user, _ in orders:
        chosen = [] if user == ONE else rng.sample(products, rng.randrange(4))
        lines[id] = sorted((p, rng.randint(1, 9), Decimal(p) / 10, name) for p, name in chosen)
    with db.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO "Product" (id, name, price, "categoryId", "updatedAt") '
            "VALUES (%s, %s, 1, 5, now())",
            products,
        )
        cursor.executemany(
            'INSERT INTO "Order" (id, "userId", "createdAt", total) VALUES (%s, %s, %s, 1)', orders
        )
        cursor.executemany(
            'INSERT INTO "OrderItem" ("orderId", "productId", quantity, price) '
            "VALUES (%s, %s, %s, %s)",
            [(id, *line[:3]) for id, mine in lines.items() for line in mine],
        )
    return orders, lines


def try_case(
    engine: Any,
    sent: list[str],
    asked: Callable[..., Any],
    user: int,
    take: int | None,
    orders: list[Any],
    lines: dict[int, list[Any]],
) -> None:
    """Ask once, close the session, read everything, and compare with the rows that were made."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    ends: list[Any] = []
    with Session(engine) as session:
        event.listen(session, "after_commit", ends.append)
        event.listen(session, "after_rollback", ends.append)
        sent.clear()
        found = asked(session, user) if take is None else asked(session, user, take)
        number, ended = len(sent), bool(ends)
    if not isinstance(found, list):
        raise Incorrect(f"It should return a list, not a value of the type {type(found).__name__}.")
    if not are_of("Order", found):
        other = next(type(one).__name__ for one in found if not are_of("Order", [one]))
        raise Incorrect(
            f"The list should have Order objects; it has one of the type {other}. "
            "session.scalars(...) gives objects, session.execute(...) rows of them."
        )
    read = reading(found, ended)
    true = [(id, moment) for id, owner, moment in orders if owner == user]
    compare(
        user, 10 if take is None else take, [(order.id, order.created_at) for order in found], true
    )
    for order, mine in zip(found, read, strict=True):
        if mine != lines[order.id]:
            raise Incorrect(f"An order of user {user} does not have its own items.")
    if number > 4 and len(found) <= 100:
        raise Incorrect(
            f"For {len(found)} orders you sent {number} statements; four are enough. "
            "Something is loaded one by one."
        )


def reading(found: list[Any], ended: bool) -> list[list[Any]]:
    """Read each order's items and their products, as a caller does who has closed the session."""
    from sqlalchemy.orm.exc import DetachedInstanceError

    try:
        with_products = [[(item, item.product.name) for item in order.items] for order in found]
        return [
            sorted((item.product_id, item.quantity, item.price, name) for item, name in items)
            for items in with_products
        ]
    except DetachedInstanceError as error:
        if ended:
            raise Incorrect(
                "The session is closed, and nothing is loaded any more: your function has ended "
                "the transaction, and SQLAlchemy then forgets what it has loaded."
            ) from None
        what = "product" if "'product'" in str(error) else "items"
        raise Incorrect(f"The session is closed, and `{what}` was not loaded before.") from None


def compare(user: int, take: int, found: list[Any], true: list[Any]) -> None:
    """Compare (id, moment) of the orders that were returned with those that the user has."""
    newest = sorted((moment for _, moment in true), reverse=True)
    moments = [moment for _, moment in found]
    if len(found) != min(take, len(true)):
        raise Incorrect(
            f"User {user} has {len(true)} orders. With take={take} you returned {len(found)}."
        )
    if found == sorted(true, reverse=True)[:take] and moments != newest[:take]:
        raise Incorrect("The largest id is not always the newest order. Sort by created_at.")
    if moments != sorted(moments, reverse=True):
        raise Incorrect("The orders are not sorted from the newest to the oldest.")
    if moments != newest[:take] or len(set(found)) != len(found) or not set(found) <= set(true):
        raise Incorrect(f"With take={take} these are not the newest {take} orders of user {user}.")


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
        (changed(SOLUTION, ".limit(take)", ""), "you returned 120"),
        (
            changed(SOLUTION, OPTIONS, "").replace(
                "    return list(session.scalars(query))\n", LOOP
            ),
            "loaded one by one",
        ),
        (changed(SOLUTION, "selectinload", "joinedload"), "InvalidRequestError"),
        (changed(SOLUTION, "scalars(query)", "execute(query).all()"), "one of the type Row"),
        (
            changed(
                SOLUTION,
                LAST,
                '    return [{"id": o.id, "items": o.items} for o in session.scalars(query)]\n',
            ),
            "one of the type dict",
        ),
        (changed(SOLUTION, "== user_id)", "== user_id, Order.items.any())"), "newest 10 orders of"),
        (
            changed(
                SOLUTION,
                "import selectinload",
                "import joinedload",
                "selectinload(Order.items).selectinload(OrderItem.product)",
                INNER,
                "session.scalars(query)",
                "session.scalars(query).unique()",
            ),
            "you returned 7",
        ),
        (
            changed(
                SOLUTION,
                LAST,
                "    orders = list(session.scalars(query))\n"
                "    session.commit()\n    return orders\n",
            ),
            "forgets what it has loaded",
        ),
        (changed(SOLUTION, LAST, "    raise SystemExit\n"), "raised SystemExit"),
        (STARTER.replace("def get", "get_user_orders = 3\n\n\ndef unused_get"), "of the type int"),
    ],
    right=[
        changed(SOLUTION, ", Order.id.desc()", ""),
        changed(
            SOLUTION,
            "import selectinload",
            "import joinedload",
            "selectinload(Order.items).selectinload(OrderItem.product)",
            "joinedload(Order.items).joinedload(OrderItem.product)",
            "session.scalars(query)",
            "session.scalars(query).unique()",
        ),
        changed(SOLUTION, LAST, "    return session.execute(query).scalars().all()\n"),
        changed(SOLUTION, LAST, "    with session:\n    " + LAST),
    ],
    equal={
        "01673b33": "the text leaves open who comes first of two orders of the same moment",
        "d433da4b": "the same",
        "2bc3235e": "the same",
    },
    cells=["setup", "s1-model", "s1-published-in-python"],
    praise="With selectinload it is three statements, and Prisma sends four. Neither number "
    "grows with `take`, up to some hundreds.",
)

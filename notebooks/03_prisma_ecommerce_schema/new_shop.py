"""Fill a shop's tables: real packages, generated customers and orders."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from helpers import shop

HERE = Path(__file__).parent
TABLES = ("User", "Category", "Product", "Order", "OrderItem", "Cart", "CartItem")


def new_shop(
    pg: Any, products: int = 100, users: int = 20, orders: int = 200, final: bool = False
) -> None:
    """Make the tables as Prisma does, and fill them: the same rows every time."""
    files = ("final/prisma.sql", "final/rules.sql") if final else ("prisma.sql",)
    with pg.connect() as db:
        names = ", ".join(f'"{table}"' for table in TABLES)
        db.execute(f"DROP TABLE IF EXISTS {names} CASCADE")
        for name in files:
            db.execute((HERE / name).read_text(encoding="utf-8"))
        fill(db, products, users, orders)


def fill(db: Any, products: int, users: int, orders: int) -> None:
    """Copy the rows, and let the keys go on after them."""
    goods = list(shop.catalogue(products))
    sections = {name: n for n, name in enumerate(sorted({p.section for p in goods}), start=1)}
    people = (
        (u["id"], u["email"], u["name"], u["created_at"].replace(tzinfo=None))
        for u in shop.customers(users)
    )
    sold = list(shop.orders(orders, users, products))
    opening = shop.OPENING.replace(tzinfo=None)

    def copy(table: str, columns: str, rows: Any) -> None:
        shop.copy_rows(db, table, columns.split(), rows)

    copy("User", "id email name createdAt updatedAt", ((*row, row[-1]) for row in people))
    copy("Category", "id name", ((n, name) for name, n in sections.items()))
    copy(
        "Product",
        "id name description price stock categoryId updatedAt",
        (
            (p.id, p.name, p.summary, p.price, 100, sections[p.section], opening)  # 100 in stock
            for p in goods
        ),
    )
    copy("Order", "id userId status total createdAt", map(order_row, sold))
    copy("OrderItem", "orderId productId quantity price", (row for o in sold for row in lines(o)))
    for table in TABLES:
        db.execute(
            f"SELECT setval(pg_get_serial_sequence('\"{table}\"', 'id'), max(id)) FROM \"{table}\""
        )
    db.commit()


def order_row(order: dict[str, Any]) -> tuple[Any, ...]:
    """Return an order with its exact total."""
    total = sum((i["price"] * i["quantity"] for i in order["items"]), Decimal(0))
    when = order["created_at"].replace(tzinfo=None)
    return order["id"], order["customer_id"], order["status"], total, when


def lines(order: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the order's lines."""
    for item in order["items"]:
        yield order["id"], item["product_id"], item["quantity"], item["price"]

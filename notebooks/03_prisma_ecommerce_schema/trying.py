"""What the lesson's cells need to try things: diffs, statements, stocks, customers in a crowd."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from psycopg import errors
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

HERE = Path(__file__).parent


def show_diff(old: str, new: str) -> None:
    """Print how two of the lesson's files differ."""
    lines = [(HERE / name).read_text(encoding="utf-8").splitlines() for name in (old, new)]
    print("\n".join(difflib.unified_diff(*lines, old, new, lineterm="", n=0)))


def brief(sql: list[str]) -> str:
    """Return statements, a line each, cut where they are long."""
    lines = [" ".join(statement.split()) for statement in sql]
    return "\n".join(line if len(line) < 80 else f"{line[:76]} ..." for line in lines)


@contextmanager
def noted(engine: Engine) -> Iterator[list[str]]:
    """Note the statements that SQLAlchemy sends, by an event of the engine."""
    sql: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sql.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sql
    finally:
        event.remove(engine, "before_cursor_execute", note)


def written(pg: Any, order_id: int) -> list[Any]:
    """Return what the database has of an order, without its id and time."""
    query = """
        SELECT o."userId", o.status, o.total, i."productId", i.quantity, i.price
        FROM "Order" AS o JOIN "OrderItem" AS i ON i."orderId" = o.id
        WHERE o.id = %s ORDER BY i."productId"
    """
    with pg.connect() as db:
        return db.execute(query, [order_id]).fetchall()


def stock(pg: Any, product: int = 1) -> int:
    """Return how many pieces there are."""
    with pg.connect() as db:
        return db.execute('SELECT stock FROM "Product" WHERE id = %s', [product]).fetchone()[0]


def set_stock(pg: Any, pieces: int, product: int = 1) -> None:
    """Set how many pieces there are."""
    with pg.connect() as db:
        db.execute('UPDATE "Product" SET stock = %s WHERE id = %s', [pieces, product])


def crowd(
    pg: Any,
    engine: Engine,
    sell: Callable[..., None],
    refusal: type[Exception],
    level: str = "READ COMMITTED",
) -> dict[str, int]:
    """Let 20 customers in 20 threads want one of 10 pieces; return what came of it.

    A transaction that PostgreSQL refuses with 40001 is tried again until it is decided.
    """

    def customer(_: int) -> tuple[str, int]:
        again = 0
        while True:
            try:
                with engine.connect().execution_options(isolation_level=level) as db, db.begin():
                    sell(db, 1, 1)
                return "sold", again
            except refusal:
                return "refused", again
            except DBAPIError as error:
                if not isinstance(error.orig, errors.SerializationFailure):
                    raise
                again += 1

    with ExitStack() as stack:  # a new connection's time is not the way's
        for _ in range(20):
            stack.enter_context(engine.connect())
    set_stock(pg, 10)
    with noted(engine) as sql, ThreadPoolExecutor(20) as threads:
        started = time.perf_counter()
        ends = list(threads.map(customer, range(20)))
        ms = round(1000 * (time.perf_counter() - started))
    sold = [end for end, _ in ends].count("sold")
    row = {"sold": sold, "stock left": stock(pg), "statements": len(sql)}
    return row | {"tried again": sum(again for _, again in ends), "ms": ms}

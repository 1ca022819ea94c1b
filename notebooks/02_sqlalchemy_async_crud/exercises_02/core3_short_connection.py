"""Exercise 02-3: no connection while you wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeout

from exercises_02.common import pool, session_of
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
class Bill(declarative_base()):
    __tablename__ = "bills"
    id: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int]
    receipt: Mapped[str | None]


async def pay(session, bill_id, charge):
    """Charge the bill, store the receipt in it, return the receipt."""
    return ...


ex3.start()
await ex3.check()
'''
BODY = """\
    bill = await session.get(Bill, bill_id)
    await session.commit()  # gives the connection back
    bill.receipt = await charge(bill.cents)
    await session.commit()
    return bill.receipt
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
SECOND = """\
    bill = await session.get(Bill, bill_id)
    await session.commit()
    bill.receipt = await charge(bill.cents)
    await session.flush()
    async with async_sessionmaker(session.bind)() as second:
        await second.execute(select(Bill.cents))
    await session.commit()
    return bill.receipt
"""
IN_TRANSACTION = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                    AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"""


def prepare(pg: Place) -> None:
    """Make the exercise's table, with twenty bills."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS bills")
        connection.execute(
            "CREATE TABLE bills (id int PRIMARY KEY, cents int NOT NULL, receipt text)"
        )
        connection.execute("INSERT INTO bills SELECT n, 100 * n FROM generate_series(1, 20) AS n")


async def check(pg: Place, pay: Callable[..., Any]) -> None:
    """Pay one bill; then twenty at once with one connection, all of which wait for the bank."""
    with look(pg) as connection:
        connection.execute("UPDATE bills SET receipt = NULL")
        (before,) = connection.execute(IN_TRANSACTION).fetchone() or (0,)
        charged: list[Any] = []
        alone = True
        everybody = asyncio.Event()

        async with pool(pg, 1, 2) as engine:

            async def charge(cents: Any) -> str:
                charged.append(cents)
                if alone and len(charged) > 1:
                    raise Incorrect("charge() was called twice for one bill: it is paid twice.")
                (now,) = connection.execute(IN_TRANSACTION).fetchone() or (0,)
                if now > before or engine.pool.checkedout():  # type: ignore[attr-defined]
                    raise Incorrect(
                        "While charge() waits for the bank, a connection is checked out. "
                        "What gives it back?"
                    )
                if len(charged) == 21:
                    everybody.set()
                if len(charged) > 1:
                    await asyncio.wait_for(everybody.wait(), 10)
                return f"receipt for {cents}"

            async def call(number: int) -> Any:
                async with session_of(engine) as session:
                    return await pay(session, number, charge)

            try:
                first = await call(1)
                if charged != [100]:
                    raise Incorrect(f"Bill 1 has 100 cents. charge() was called with {charged}.")
                check_receipts(connection, {1: first})
                alone = False
                everyone = await asyncio.gather(*(call(number) for number in range(1, 21)))
            except Incorrect as reason:
                if isinstance(reason.__cause__, PoolTimeout):
                    raise Incorrect(
                        "With a pool of one connection, pay() asked for a second one while it "
                        "held the first, and waited for itself."
                    ) from None
                raise
        check_receipts(connection, dict(enumerate(everyone, start=1)))


def check_receipts(connection: Any, told: dict[int, Any]) -> None:
    """Compare what pay() returned with what is stored."""
    stored = dict(connection.execute("SELECT id, receipt FROM bills").fetchall())
    for number, receipt in told.items():
        wanted = f"receipt for {100 * number}"
        if stored[number] is None:
            raise Incorrect(f"After pay() bill {number} has no receipt in the database.")
        if stored[number] != wanted:
            raise Incorrect(f"Bill {number} has {stored[number]!r}; charge() gave {wanted!r}.")
        if receipt != wanted:
            raise Incorrect(f"pay() returned {receipt!r}; charge() gave {wanted!r}.")


EXERCISE = Exercise(
    title="No connection while you wait",
    minutes=7,
    prompt="Write pay(session, bill_id, charge): no connection is held while charge runs.",
    prepare=prepare,
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "A session can have several transactions, one after the other.",
        "`await session.commit()` after reading gives the connection back. The object stays.",
        "Set bill.receipt after charge() has returned, and commit again.",
    ],
    wrong=[
        (
            changed(SOLUTION, "    await session.commit()  # gives the connection back\n", ""),
            "is checked out",
        ),
        (
            changed(SOLUTION, "session.commit()  # gives", "session.close()  # gives"),
            "has no receipt",
        ),
        (
            changed(SOLUTION, "session.commit()  # gives", "session.rollback()  # gives"),
            "raised MissingGreenlet",
        ),
        (STARTER.replace("    return ...\n", SECOND), "waited for itself"),
        (
            changed(SOLUTION, "    return bill", "    await charge(bill.cents)\n    return bill"),
            "it is paid twice",
        ),
        (changed(SOLUTION, "    return bill.receipt\n", ""), "pay() returned None"),
    ],
    praise="Twenty callers waited for the bank at once, with a single connection.",
)

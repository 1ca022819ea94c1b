"""Exercise 02-3: no connection while you wait."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeout

from exercises_02.common import pool, session_of, shown, together
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
TASK = changed(SOLUTION, "charge(bill.cents)", "asyncio.create_task(charge(bill.cents))")
SHIELD = changed(SOLUTION, "charge(bill.cents)", "asyncio.shield(charge(bill.cents))")
WAIT_FOR = changed(
    SOLUTION,
    "charge(bill.cents)",
    "asyncio.wait_for(asyncio.ensure_future(charge(bill.cents)), 60)",
)
SLEEP = changed(SOLUTION, "    bill.receipt =", "    await asyncio.sleep(0)\n    bill.receipt =")
ONLY_ONCE = """\
    bill = await session.get(Bill, bill_id)
    await session.commit()
    if bill.receipt is None:
        bill.receipt = await charge(bill.cents)
        await session.commit()
    return bill.receipt
"""
UPDATE = """\
    cents = await session.scalar(select(Bill.cents).where(Bill.id == bill_id))
    await session.close()
    receipt = await charge(cents)
    await session.execute(update(Bill).where(Bill.id == bill_id).values(receipt=receipt))
    await session.commit()
    return receipt
"""
OWN_SESSION = """\
    async with AsyncSessionLocal() as own:
        bill = await own.get(Bill, bill_id)
        bill.receipt = await charge(bill.cents)
        await own.commit()
        return bill.receipt
"""
OTHERS = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"""
BILLS = "INSERT INTO bills SELECT n, 100 * n + n % 3, NULL FROM generate_series(1, 20) AS n"
CENTS = {number: 100 * number + number % 3 for number in range(1, 21)}
ALONE = (20, 7)  # these are paid one by one, the others all at once


def prepare(pg: Place) -> None:
    """Make the exercise's table, with twenty bills."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS bills")
        connection.execute(
            "CREATE TABLE bills (id int PRIMARY KEY, cents int NOT NULL, receipt text)"
        )
        connection.execute(BILLS)


async def check(pg: Place, pay: Callable[..., Any]) -> None:
    """Pay two bills; then the others at once with one connection: all wait for the bank."""
    with look(pg) as connection:
        connection.execute("DELETE FROM bills")
        connection.execute(BILLS)
        paid: dict[int, Any] = {}
        for number in ALONE:
            paid[number] = await pay_alone(pg, connection, pay, number)
            check_receipts(connection, paid)
        paid |= await pay_together(pg, pay, [n for n in CENTS if n not in ALONE])
        check_receipts(connection, paid)


async def pay_alone(pg: Place, connection: Any, pay: Callable[..., Any], number: int) -> Any:
    """Pay one bill with a pool of one connection, and look who holds it meanwhile."""
    charged: list[Any] = []
    (before,) = connection.execute(OTHERS).fetchone() or (0,)
    async with pool(pg, 1, 2) as engine, session_of(engine) as session:

        async def charge(cents: Any) -> str:
            charged.append(cents)
            if len(charged) > 1:
                raise Incorrect("charge() was called twice for one bill: it is paid twice.")
            (now,) = connection.execute(OTHERS).fetchone() or (0,)
            if engine.pool.checkedout():  # type: ignore[attr-defined]
                raise Incorrect(
                    "While charge() waits for the bank, a connection is checked out. "
                    "What gives it back?"
                )
            if now > before:
                raise Incorrect(
                    "While charge() waits for the bank, another session than the one that pay() "
                    "got has a transaction open, and so a connection."
                )
            return receipt_for(cents)

        try:
            told = await pay(session, number, charge)
        except Incorrect as reason:
            if isinstance(reason.__cause__, PoolTimeout):
                raise Incorrect(
                    "With a pool of one connection, pay() asked for a second one while it "
                    "held the first, and waited for itself."
                ) from None
            raise
    if charged != [CENTS[number]]:
        raise Incorrect(
            f"Bill {number} has {CENTS[number]} cents. charge() was called with {shown(charged)}."
        )
    return told


async def pay_together(pg: Place, pay: Callable[..., Any], numbers: list[int]) -> dict[int, Any]:
    """Pay bills at once with one connection: the bank answers when it has been asked for all."""
    at_the_bank, everybody = 0, asyncio.Event()

    async def charge(cents: Any) -> str:
        nonlocal at_the_bank
        at_the_bank += 1
        if at_the_bank == len(numbers):
            everybody.set()
        try:
            await asyncio.wait_for(everybody.wait(), 20)
        except TimeoutError:
            raise Incorrect(
                f"{len(numbers)} callers came, and only {at_the_bank} of them were at the bank at "
                "the same time: the others waited for them."
            ) from None
        return receipt_for(cents)

    async with pool(pg, 1, 30) as engine:

        async def call(number: int) -> Any:
            async with session_of(engine) as session:
                return await pay(session, number, charge)

        told = await together(*map(call, numbers))
    return dict(zip(numbers, told, strict=True))


def receipt_for(cents: Any) -> str:
    """Return what the bank gives for an amount."""
    return f"receipt for {cents}"


def check_receipts(connection: Any, told: dict[int, Any]) -> None:
    """Compare what pay() returned with what is stored; the other bills are as they were."""
    rows = connection.execute("SELECT id, cents, receipt FROM bills").fetchall()
    stored = {number: receipt for number, _, receipt in rows}
    for number, receipt in told.items():
        wanted = receipt_for(CENTS[number])
        if stored.get(number) is None:
            raise Incorrect(f"After pay() bill {number} has no receipt in the database.")
        if stored[number] != wanted:
            raise Incorrect(f"Bill {number} has {stored[number]!r}; charge() gave {wanted!r}.")
        if receipt != wanted:
            raise Incorrect(f"pay() returned {shown(receipt)}; charge() gave {wanted!r}.")
    if {number: cents for number, cents, _ in rows} != CENTS:
        raise Incorrect("pay() changed what a bill is about: its `cents`.")
    if others := sorted(n for n, receipt in stored.items() if receipt and n not in told):
        raise Incorrect(f"Bill {others[0]} has a receipt, and nobody has paid it.")


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
        (STARTER.replace("    return ...\n", OWN_SESSION), "another session than the one"),
        (
            changed(
                SOLUTION,
                "async def pay",
                "one = asyncio.Lock()\n\n\nasync def pay",
                BODY,
                "    async with one:\n" + textwrap.indent(BODY, "    "),
            ),
            "the others waited for them",
        ),
        (
            changed(
                SOLUTION,
                "    await session.commit()\n    return",
                "    bill.cents = 1\n    await session.commit()\n    return",
            ),
            "what a bill is about",
        ),
    ],
    right=[
        TASK,
        SHIELD,
        WAIT_FOR,
        SLEEP,
        STARTER.replace("    return ...\n", ONLY_ONCE),
        STARTER.replace("    return ...\n", UPDATE),
    ],
    praise="Eighteen callers waited for the bank at once, with a single connection.",
)

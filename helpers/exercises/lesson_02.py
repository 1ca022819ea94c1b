"""The exercises of lesson 02's core: an N+1, a lost update, a connection held too long."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from helpers.base.paths import NOTEBOOKS
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    changed,
    end_uncommitted,
    lesson_02_deeper,
    lesson_02_more,
    look,
)
from helpers.exercises.lesson_02_shared import (
    behind_lock,
    pool,
    run_cells,
    session_of,
)


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do, as far as the exercises need it."""
    from helpers import lab, shop

    names: dict[str, Any] = {"pg": lab.postgres("02"), "shop": shop, "sys": sys, "asyncio": asyncio}
    names["folder"] = NOTEBOOKS / "02_sqlalchemy_async_crud"
    run_cells(names, "published-engine", "published-main", "s1-load", "s1-pages", "s3-models")
    return names


# Exercise 1: the newest posts.

STARTER_1 = '''
async def latest(session, count):
    """Return a list of (title, name of the author), the newest post first."""
    return ...


await ex1.check()
'''
BODY_1 = """\
    newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
    posts = await session.scalars(newest.limit(count))
    return [(post.title, post.author.name) for post in posts]
"""
SOLUTION_1 = STARTER_1.replace("    return ...\n", BODY_1)
OWN_SESSION_1 = """\
    async with AsyncSessionLocal() as own:
        newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
        return [(post.title, post.author.name) for post in await own.scalars(newest.limit(count))]
"""
GAPS_1 = """\
    top = await session.scalar(select(Post.id).order_by(Post.id.desc()).limit(1))
    newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
    posts = await session.scalars(newest.where(Post.id > top - count))
    return [(post.title, post.author.name) for post in posts]
"""
LOOP_1 = """\
    found = []
    for post in await session.scalars(select(Post).order_by(Post.id.desc()).limit(count)):
        author = await session.get(User, post.author_id)
        found.append((post.title, author.name))
    return found
"""


async def check_latest(pg: Database, latest: Callable[..., Any]) -> None:
    """Ask for 1, 20 and 50 posts; count the statements and the rows.

    The session has deleted the second newest post, and not committed: so the ids have a gap, and
    a query outside of the session would still find it.
    """
    statements: list[str] = []
    rows: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        statements.append(statement)
        rows.append(cursor.rowcount)

    with look(pg) as connection:
        found = connection.execute(
            "SELECT posts.id, title, name FROM posts JOIN users ON users.id = author_id "
            "ORDER BY posts.id DESC LIMIT 51"
        ).fetchall()
    everything = [(title, name) for _, title, name in found]
    deleted, truth = found[1][0], everything[:1] + everything[2:]
    async with pool(pg, 2) as engine:
        event.listen(engine.sync_engine, "after_cursor_execute", note)
        for count in (1, 20, 50):
            async with session_of(engine) as session:
                await session.execute(text("DELETE FROM posts WHERE id = :id"), {"id": deleted})
                statements.clear()
                rows.clear()
                found = await latest(session, count)
            if not isinstance(found, list):
                raise Incorrect(f"latest() returned a {type(found).__name__}, not a list.")
            pairs = [tuple(pair) if isinstance(pair, Sequence) else pair for pair in found]
            if pairs == truth[:count][::-1] != truth[:count]:
                raise Incorrect("These are the newest posts, but the newest of them is last.")
            if count > 1 and pairs == everything[:count]:
                raise Incorrect(
                    "The session had deleted a post, and latest() still returned it. Ask with "
                    "the session that you get: another one does not see what it has changed."
                )
            if len(pairs) != count:
                raise Incorrect(
                    f"latest(session, {count}) returned {len(pairs)} posts. Ids can have gaps."
                )
            if pairs != truth[:count]:
                bad = next(i for i in range(count) if pairs[i] != truth[i])
                raise Incorrect(
                    f"Number {bad + 1} of the newest posts is {truth[bad]!r}; "
                    f"latest() has {pairs[bad]!r}."
                )
            if len(statements) > 2:
                raise Incorrect(
                    f"{len(statements)} statements for {count} posts: an N+1. "
                    "Two are enough for any number."
                )
            if sum(rows) > 2 * count:
                raise Incorrect(
                    f"The right posts, but {sum(rows):,} rows were fetched for {count} of them. "
                    "Let the database choose."
                )


# Exercise 2: a coupon with ten uses.

STARTER_2 = '''
class Coupon(declarative_base()):
    __tablename__ = "coupons"
    code: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


async def redeem(session, code):
    """Take one use of the coupon, commit, return True; or False when there is none."""
    return ...


ex2.start()
await ex2.check()
'''
BODY_2 = """\
    found = (Coupon.code == code, Coupon.left > 0)
    result = await session.execute(update(Coupon).where(*found).values(left=Coupon.left - 1))
    await session.commit()
    return result.rowcount == 1
"""
SOLUTION_2 = STARTER_2.replace("    return ...\n", BODY_2)
READ_2 = """\
    coupon = await session.get(Coupon, code)
    if coupon is None or coupon.left == 0:
        return False
    coupon.left -= 1
    await session.commit()
    return True
"""
LOOK_FIRST_2 = """\
    if not await session.scalar(select(Coupon.left).where(Coupon.code == code)):
        return False
    one_less = update(Coupon).where(Coupon.code == code).values(left=Coupon.left - 1)
    await session.execute(one_less)
    await session.commit()
    return True
"""
COUPONS = {"TEN": 10, "LAST": 1, "NONE": 0}


def fill_coupons(pg: Database) -> None:
    """Make the exercise's table, with a few coupons."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS coupons")
        connection.execute('CREATE TABLE coupons (code text PRIMARY KEY, "left" int NOT NULL)')
        for coupon in COUPONS.items():
            connection.execute("INSERT INTO coupons VALUES (%s, %s)", coupon)


async def check_redeem(pg: Database, redeem: Callable[..., Any]) -> None:
    """Redeem one by one; then thirty at once, all of whom read before anybody writes."""
    with look(pg) as connection:
        for code, uses in COUPONS.items():
            connection.execute('UPDATE coupons SET "left" = %s WHERE code = %s', (uses, code))

        def left() -> dict[str, int]:
            return dict(connection.execute("SELECT * FROM coupons").fetchall())

        async with pool(pg, 20, 20) as engine:

            async def call(code: str) -> Any:
                async with session_of(engine) as session:
                    return await redeem(session, code)

            for code, wanted in [("LAST", True), ("LAST", False), ("NONE", False), ("?", False)]:
                told = await call(code)
                if told is not wanted:
                    raise Incorrect(
                        f"redeem(session, {code!r}) returned {told!r}; it should be {wanted}."
                    )
                if min(left().values()) < 0:
                    raise Incorrect(f"A coupon that was used up has left = {min(left().values())}.")
                if code == "LAST" and wanted and left()["LAST"] == 1:
                    raise Incorrect(
                        "redeem() returned True, but the use is still there when another session "
                        "looks. Was it committed?"
                    )
            if left() != {"TEN": 10, "LAST": 0, "NONE": 0}:
                raise Incorrect(f"After LAST was redeemed the coupons have {left()} left.")
            lock = "SELECT 1 FROM coupons WHERE code = 'TEN' FOR UPDATE"
            results = await behind_lock(pg, lock, [lambda: call("TEN")] * 30, 20)
        told, now = results.count(True), left()["TEN"]
        if now < 0:
            raise Incorrect(
                f"After thirty callers left is {now}: they looked before anybody had taken one. "
                "The look and the change must be one step."
            )
        if told > 10:
            raise Incorrect(
                f"{told} of 30 callers were told True, and left is {now}. They read, computed and "
                "wrote: a lost update."
            )
        if (told, now) != (10, 0):
            raise Incorrect(
                f"The coupon had ten uses. Of 30 callers {told} were told True, and left is {now}."
            )


# Exercise 3: no connection while you wait.

STARTER_3 = '''
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
BODY_3 = """\
    bill = await session.get(Bill, bill_id)
    await session.commit()  # gives the connection back
    bill.receipt = await charge(bill.cents)
    await session.commit()
    return bill.receipt
"""
SOLUTION_3 = STARTER_3.replace("    return ...\n", BODY_3)
SECOND_3 = """\
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


def fill_bills(pg: Database) -> None:
    """Make the exercise's table, with twenty bills."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS bills")
        connection.execute(
            "CREATE TABLE bills (id int PRIMARY KEY, cents int NOT NULL, receipt text)"
        )
        connection.execute("INSERT INTO bills SELECT n, 100 * n FROM generate_series(1, 20) AS n")


async def check_pay(pg: Database, pay: Callable[..., Any]) -> None:
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


EXERCISES = [
    Exercise(
        number=1,
        title="The newest posts",
        prompt="Write latest(session, count): titles and authors in at most two statements.",
        setup=setup,
        starter=STARTER_1,
        solution=SOLUTION_1,
        check=check_latest,
        hints=[
            "select(Post) with .order_by(Post.id.desc()) and .limit(count) finds the posts.",
            "A post has one author: .options(joinedload(Post.author)).",
            "Or select(Post.title, User.name).join(Post.author), without any object.",
        ],
        wrong=[
            (
                changed(SOLUTION_1, ".options(joinedload(Post.author))", ""),
                "raised MissingGreenlet",
            ),
            (STARTER_1.replace("    return ...\n", LOOP_1), "an N+1"),
            (STARTER_1.replace("    return ...\n", OWN_SESSION_1), "had deleted a post"),
            (STARTER_1.replace("    return ...\n", GAPS_1), "Ids can have gaps"),
            (changed(SOLUTION_1, ".desc()", ""), "Number 1 of the newest"),
            (
                changed(
                    SOLUTION_1, "newest.limit(count)", "newest", "in posts]", "in posts][:count]"
                ),
                "rows were fetched",
            ),
        ],
        praise="Two statements or one, for a page of any length.",
    ),
    Exercise(
        number=2,
        title="A coupon with ten uses",
        prompt="Write redeem(session, code): one use for each True, none below zero.",
        setup=setup,
        prepare=fill_coupons,
        starter=STARTER_2,
        solution=SOLUTION_2,
        check=check_redeem,
        hints=[
            "update(Coupon).where(...).values(left=Coupon.left - 1), as in refund_atomic.",
            "The condition belongs into the same statement: Coupon.left > 0.",
            "result = await session.execute(...); result.rowcount says how many rows changed.",
        ],
        wrong=[
            (STARTER_2.replace("    return ...\n", READ_2), "a lost update"),
            (STARTER_2.replace("    return ...\n", LOOK_FIRST_2), "must be one step"),
            (changed(SOLUTION_2, ", Coupon.left > 0)", ",)"), "redeem(session, 'LAST') returned"),
            (changed(SOLUTION_2, "    await session.commit()\n", ""), "Was it committed"),
            (
                changed(
                    SOLUTION_2,
                    "async def redeem",
                    "one = asyncio.Lock()\n\n\nasync def redeem",
                    BODY_2,
                    "    async with one:\n"
                    + READ_2.replace("    ", "        ", 1).replace("\n    ", "\n        "),
                ),
                "waited in PostgreSQL",
            ),
        ],
        praise="The row's lock is the queue, in any number of processes.",
    ),
    Exercise(
        number=3,
        title="No connection while you wait",
        prompt="Write pay(session, bill_id, charge): no connection is held while charge runs.",
        setup=setup,
        prepare=fill_bills,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_pay,
        hints=[
            "A session can have several transactions, one after the other.",
            "`await session.commit()` after reading gives the connection back. The object stays.",
            "Set bill.receipt after charge() has returned, and commit again.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_3, "    await session.commit()  # gives the connection back\n", ""
                ),
                "is checked out",
            ),
            (
                changed(SOLUTION_3, "session.commit()  # gives", "session.close()  # gives"),
                "has no receipt",
            ),
            (
                changed(SOLUTION_3, "session.commit()  # gives", "session.rollback()  # gives"),
                "raised MissingGreenlet",
            ),
            (STARTER_3.replace("    return ...\n", SECOND_3), "waited for itself"),
            (
                changed(
                    SOLUTION_3, "    return bill", "    await charge(bill.cents)\n    return bill"
                ),
                "it is paid twice",
            ),
            (changed(SOLUTION_3, "    return bill.receipt\n", ""), "pay() returned None"),
        ],
        praise="Twenty callers waited for the bank at once, with a single connection.",
    ),
    *lesson_02_deeper.EXERCISES,
    *lesson_02_more.EXERCISES,
]

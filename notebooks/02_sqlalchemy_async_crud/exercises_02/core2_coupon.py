"""Exercise 02-2: a coupon with ten uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_02.common import behind_lock, pool, session_of
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
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
BODY = """\
    found = (Coupon.code == code, Coupon.left > 0)
    result = await session.execute(update(Coupon).where(*found).values(left=Coupon.left - 1))
    await session.commit()
    return result.rowcount == 1
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
READ = """\
    coupon = await session.get(Coupon, code)
    if coupon is None or coupon.left == 0:
        return False
    coupon.left -= 1
    await session.commit()
    return True
"""
LOOK_FIRST = """\
    if not await session.scalar(select(Coupon.left).where(Coupon.code == code)):
        return False
    one_less = update(Coupon).where(Coupon.code == code).values(left=Coupon.left - 1)
    await session.execute(one_less)
    await session.commit()
    return True
"""
COUPONS = {"TEN": 10, "LAST": 1, "NONE": 0}


def prepare(pg: Place) -> None:
    """Make the exercise's table, with a few coupons."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS coupons")
        connection.execute('CREATE TABLE coupons (code text PRIMARY KEY, "left" int NOT NULL)')
        for coupon in COUPONS.items():
            connection.execute("INSERT INTO coupons VALUES (%s, %s)", coupon)


async def check(pg: Place, redeem: Callable[..., Any]) -> None:
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


EXERCISE = Exercise(
    title="A coupon with ten uses",
    minutes=6,
    prompt="Write redeem(session, code): one use for each True, none below zero.",
    prepare=prepare,
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "update(Coupon).where(...).values(left=Coupon.left - 1), as in refund_atomic.",
        "The condition belongs into the same statement: Coupon.left > 0.",
        "result = await session.execute(...); result.rowcount says how many rows changed.",
    ],
    wrong=[
        (STARTER.replace("    return ...\n", READ), "a lost update"),
        (STARTER.replace("    return ...\n", LOOK_FIRST), "must be one step"),
        (changed(SOLUTION, ", Coupon.left > 0)", ",)"), "redeem(session, 'LAST') returned"),
        (changed(SOLUTION, "    await session.commit()\n", ""), "Was it committed"),
        (
            changed(
                SOLUTION,
                "async def redeem",
                "one = asyncio.Lock()\n\n\nasync def redeem",
                BODY,
                "    async with one:\n"
                + READ.replace("    ", "        ", 1).replace("\n    ", "\n        "),
            ),
            "waited in PostgreSQL",
        ),
    ],
    praise="The row's lock is the queue, in any number of processes.",
)

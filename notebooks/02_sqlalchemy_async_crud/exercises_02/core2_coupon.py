"""Exercise 02-2: a coupon with ten uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_02.common import behind_lock, pool, session_of, shown
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
SKIP_LOCKED = """\
    free = select(Coupon).where(Coupon.code == code).with_for_update(skip_locked=True)
    coupon = await session.scalar(free)
    if coupon is None or coupon.left == 0:
        return False
    coupon.left -= 1
    await session.commit()
    return True
"""
ONE_TRY = """\
    coupon = await session.get(Coupon, code)
    if coupon is None or coupon.left == 0:
        return False
    same = update(Coupon).where(Coupon.code == code, Coupon.left == coupon.left)
    result = await session.execute(same.values(left=coupon.left - 1))
    await session.commit()
    return result.rowcount == 1
"""
LEFT = """\
    one_less = update(Coupon).where(Coupon.code == code, Coupon.left > 0)
    one_less = one_less.values(left=Coupon.left - 1).returning(Coupon.left)
    left = await session.scalar(one_less)
    await session.commit()
    return bool(left)
"""
LOCK = """\
    coupon = await session.get(Coupon, code, with_for_update=True)
    if coupon is None or coupon.left < 1:
        return False
    coupon.left -= 1
    await session.commit()
    return True
"""
COUPONS = {"TEN": 10, "LAST": 1, "NONE": 0, "last": 5, "O'NE": 2}
ONE = "A coupon with one use"
TRIES = [
    ("LAST", True, ONE),
    ("LAST", False, f"{ONE}, for the second time"),
    ("NONE", False, "A coupon without a use"),
    ("?", False, "There is no such coupon"),
    ("NO", False, "There is no such coupon"),
    ("O'NE", True, "A coupon with two uses"),
    ("O'NE", True, "A coupon with two uses, for the second time"),
    ("O'NE", False, "A coupon with two uses, for the third time"),
]


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
        connection.execute("DELETE FROM coupons")
        for coupon in COUPONS.items():
            connection.execute("INSERT INTO coupons VALUES (%s, %s)", coupon)

        def left() -> dict[str, int]:
            return dict(connection.execute("SELECT * FROM coupons").fetchall())

        async with pool(pg, 20, 20) as engine:

            async def call(code: str) -> Any:
                async with session_of(engine) as session:
                    return await redeem(session, code)

            for code, wanted, which in TRIES:
                before = left()
                told, now = await call(code), left()
                if now != before and min(now.values()) < 0:
                    raise Incorrect(f"A coupon that was used up has left = {min(now.values())}.")
                if told is not wanted:
                    raise Incorrect(f"{which}: redeem() returned {shown(told)}, not {wanted}.")
                if wanted and now == before:
                    raise Incorrect(
                        "redeem() returned True, but the use is still there when another session "
                        "looks. Was it committed?"
                    )
                if wanted:
                    before[code] -= 1
                if now != before:
                    raise Incorrect(f"{which}: afterwards the coupons have {now} left.")
            lock = "SELECT 1 FROM coupons WHERE code = 'TEN' FOR UPDATE"
            results = await behind_lock(pg, lock, [lambda: call("TEN")] * 30, 20)
        told, rest = results.count(True), left()["TEN"]
        if rest < 0:
            raise Incorrect(
                f"After thirty callers left is {rest}: they looked before anybody had taken one. "
                "The look and the change must be one step."
            )
        if told > 10:
            raise Incorrect(
                f"{told} of 30 callers were told True, and left is {rest}. They read, computed and "
                "wrote: a lost update."
            )
        if told == 0 and rest == 10:
            raise Incorrect(
                "Thirty callers came while another session held the row, and all were told that "
                "there is no use left. Wait for the row."
            )
        if told == 10 - rest and told < 10:
            raise Incorrect(
                f"Thirty callers came, and {rest} of the ten uses are left: somebody was told that "
                "there is none, because another one was faster. Wait, or try again."
            )
        if (told, rest) != (10, 0):
            raise Incorrect(
                f"The coupon had ten uses. Of 30 callers {told} were told True, and left is {rest}."
            )
        if any(one is not True and one is not False for one in results):
            raise Incorrect("redeem() returns True or False, and nothing else.")


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
        (changed(SOLUTION, ", Coupon.left > 0)", ",)"), "was used up"),
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
        (STARTER.replace("    return ...\n", SKIP_LOCKED), "Wait for the row"),
        (STARTER.replace("    return ...\n", ONE_TRY), "Wait, or try again"),
        (STARTER.replace("    return ...\n", LEFT), "returned False, not True"),
        (
            changed(SOLUTION, "result.rowcount == 1", "result.rowcount"),
            "returned 1, not True",
        ),
    ],
    right=[STARTER.replace("    return ...\n", LOCK)],
    praise="The row's lock is the queue, in any number of processes.",
)

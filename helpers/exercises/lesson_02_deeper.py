"""Exercises of lesson 02's sections of "Going deeper"."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError

from helpers.exercises import Database, Exercise, Incorrect, end_uncommitted, look
from helpers.exercises.lesson_02_shared import behind_lock, changed, pool, section, session_of

# Exercise 7: a transfer that is correct.

STARTER_7 = '''
async def transfer(session, source, target, cents):
    """Move cents, commit, return True; or change nothing and return False."""
    return ...


ex7.start()
await ex7.check()
'''
BODY_7 = """\
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
    both = select(Account).where(Account.id.in_([source, target])).order_by(Account.id)
    found = {a.id: a for a in await session.scalars(both.with_for_update())}
    if len(found) < 2 or found[source].cents < cents:
        return False
    found[source].cents -= cents
    found[target].cents += cents
    await session.commit()
    return True
"""
SOLUTION_7 = STARTER_7.replace("    return ...\n", BODY_7)
RULES_7 = """\
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
"""
SOURCE_FIRST_7 = (
    RULES_7
    + """\
    first = await session.get(Account, source, with_for_update=True)
    second = await session.get(Account, target, with_for_update=True)
    if not first or not second or first.cents < cents:
        return False
    first.cents -= cents
    second.cents += cents
    await session.commit()
    return True
"""
)
UPDATES_7 = (
    RULES_7
    + """\
    this = update(Account).where(Account.id == source, Account.cents >= cents)
    taken = await session.execute(this.values(cents=Account.cents - cents))
    if taken.rowcount == 0:
        return False
    that = update(Account).where(Account.id == target)
    await session.execute(that.values(cents=Account.cents + cents))
    await session.commit()
    return True
"""
)
START_7 = {number: 1000 for number in range(1, 11)}


def fill_accounts(pg: Database) -> None:
    """Give ten accounts 1,000 cents each."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, cents int NOT NULL)")
        connection.execute("INSERT INTO accounts SELECT n, 1000 FROM generate_series(1, 10) AS n")


async def check_transfer(pg: Database, transfer: Callable[..., Any]) -> None:
    """Check the rules one by one; then fifty callers who overdraw, meet head-on, and mix."""
    with look(pg) as connection:

        def balances() -> dict[int, int]:
            return dict(connection.execute("SELECT id, cents FROM accounts").fetchall())

        def reset() -> None:
            connection.execute("UPDATE accounts SET cents = 1000")

        reset()
        async with pool(pg, 20, 20) as engine:

            async def call(source: int, target: int, cents: int) -> Any:
                async with session_of(engine) as session:
                    return await transfer(session, source, target, cents)

            await check_rules(call, balances)
            reset()
            everybody = [(1, 2 + number % 9, 100) for number in range(50)]
            results = await crowd(pg, call, everybody)
            now = balances()
            if min(now.values()) < 0 or results.count(True) > 10:
                raise Incorrect(
                    f"Account 1 had 1,000 cents. Of fifty callers who took 100 each, "
                    f"{results.count(True)} were told True, and {now[1]:,} are left."
                )
            check_sums(everybody, results, now)
            if results.count(True) != 10:
                raise Incorrect(
                    f"1,000 cents are enough for ten transfers of 100, but {results.count(True)} "
                    "of fifty callers were told True."
                )
            reset()
            both_ways = [(1, 2, 10) if number % 2 else (2, 1, 10) for number in range(50)]
            check_sums(both_ways, await crowd(pg, call, both_ways), balances())
            reset()
            rng = random.Random(7)
            mixed = [(*rng.sample(range(1, 6), 2), rng.randrange(1, 600)) for _ in range(50)]
            check_sums(mixed, await crowd(pg, call, mixed), balances())


async def check_rules(call: Callable[..., Any], balances: Callable[[], dict[int, int]]) -> None:
    """Check what a single caller sees."""
    told = await call(1, 2, 300)
    if told is not True:
        raise Incorrect(f"transfer(session, 1, 2, 300) returned {told!r}; it should be True.")
    if balances() == START_7:
        raise Incorrect("transfer() returned True, but no other session sees a change.")
    if balances() != {**START_7, 1: 700, 2: 1300}:
        raise Incorrect(f"After 300 cents from 1 to 2 the accounts are {balances()}.")
    before = balances()
    for arguments, why in [
        ((1, 3, 701), "the source has 700"),
        ((99, 1, 10), "account 99 does not exist"),
        ((1, 99, 10), "account 99 does not exist"),
    ]:
        told = await call(*arguments)
        if balances() != before:
            lost = sum(before.values()) - sum(balances().values())
            raise Incorrect(
                f"transfer{arguments} changed the accounts, although {why}."
                + (f" {lost} cents are gone." if lost > 0 else "")
            )
        if told is not False:
            raise Incorrect(f"transfer{arguments} returned {told!r}, but {why}: False.")
    if await call(1, 3, 700) is not True:
        raise Incorrect("The source has 700 cents, but it could not transfer all of them.")
    before = balances()
    for arguments in [(2, 3, 0), (2, 3, -5), (2, 2, 10)]:
        try:
            told = await call(*arguments)
        except Incorrect as error:
            if not isinstance(error.__cause__, ValueError):
                raise
        else:
            raise Incorrect(f"transfer{arguments} should raise ValueError; it returned {told!r}.")
        if balances() != before:
            raise Incorrect(f"transfer{arguments} changed the accounts.")


async def crowd(pg: Database, call: Callable[..., Any], transfers: list[Any]) -> list[Any]:
    """Let all callers come while the rows are locked; return what they were told."""
    lock = "SELECT 1 FROM accounts ORDER BY id FOR UPDATE"
    try:
        return await behind_lock(pg, lock, [partial(call, *transfer) for transfer in transfers], 20)
    except Incorrect as reason:
        cause = reason.__cause__
        if isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", "") == "40P01":
            raise Incorrect(
                "Transfers from 1 to 2 met transfers from 2 to 1, and PostgreSQL ended one of "
                "them: a deadlock. Let everybody lock in the same order."
            ) from None
        raise


def check_sums(transfers: list[Any], results: list[Any], now: dict[int, int]) -> None:
    """Compare the balances with what the callers were told."""
    wanted = dict(START_7)
    for (source, target, cents), told in zip(transfers, results, strict=True):
        if told is True:
            wanted[source] -= cents
            wanted[target] += cents
    if min(now.values()) < 0:
        raise Incorrect(f"An account is overdrawn: {min(now.values()):,}.")
    if now != wanted:
        raise Incorrect(
            f"Fifty callers were told what they had done. By that the accounts should hold "
            f"{wanted}. They hold {now}."
        )


EXERCISES: list[Exercise] = [
    Exercise(
        number=7,
        title="A transfer that is correct",
        prompt="Write transfer(session, source, target, cents) for fifty callers at once.",
        setup=section("d-setup", "d-model"),
        prepare=fill_accounts,
        starter=STARTER_7,
        solution=SOLUTION_7,
        check=check_transfer,
        hints=[
            "First the two ValueErrors; they need no database.",
            "Lock both accounts with one query, as in lock_in_order, and look how many came.",
            "Compare the balance after the lock. Return False before anything is changed.",
        ],
        wrong=[
            (changed(SOLUTION_7, ".with_for_update()", ""), "were told True, and"),
            (STARTER_7.replace("    return ...\n", SOURCE_FIRST_7), "a deadlock"),
            (STARTER_7.replace("    return ...\n", UPDATES_7), "cents are gone"),
            (changed(SOLUTION_7, RULES_7, ""), "should raise ValueError"),
            (changed(SOLUTION_7, "    await session.commit()\n", ""), "no other session sees"),
            (changed(SOLUTION_7, "cents < cents:", "cents <= cents:"), "all of them"),
        ],
        praise="No cent is lost, no account overdrawn, and nobody waits for a deadlock.",
    ),
]

"""Exercise 02e-1: a transfer that is correct."""

from __future__ import annotations

import asyncio
import random
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from exercises_02.common import LOOKS, behind_lock, pool, session_of, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import begin_with, end_uncommitted, look

STARTER = '''
async def transfer(session, source, target, cents):
    """Move cents, commit, return True; or change nothing and return False."""
    return ...


ex1.start()
await ex1.check()
'''
BODY = """\
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
    both = select(Account).where(Account.id.in_([source, target])).order_by(Account.id)
    both = both.with_for_update().execution_options(populate_existing=True)
    found = {a.id: a for a in await session.scalars(both)}
    if len(found) < 2 or found[source].cents < cents:
        return False
    found[source].cents -= cents
    found[target].cents += cents
    await session.commit()
    return True
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
RULES = """\
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
"""
SOURCE_FIRST = (
    RULES
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
UPDATES = (
    RULES
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
RETRY = (
    RULES
    + """\
    while True:
        try:
            first = await session.get(Account, source, with_for_update=True)
            second = await session.get(Account, target, with_for_update=True)
            if not first or not second or first.cents < cents:
                return False
            first.cents -= cents
            second.cents += cents
            await session.commit()
            return True
        except DBAPIError:
            await session.rollback()
"""
)
PYTHONS_LOCK = changed(
    STARTER,
    "async def transfer",
    "one = asyncio.Lock()\n\n\nasync def transfer",
    "    return ...\n",
    "    async with one:\n" + textwrap.indent(SOURCE_FIRST, "    "),
)
START = {number: 1000 for number in range(1, 11)}


def prepare(pg: Place) -> None:
    """Give ten accounts 1,000 cents each."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, cents int NOT NULL)")
        connection.execute("INSERT INTO accounts SELECT n, 1000 FROM generate_series(1, 10) AS n")


async def check(pg: Place, transfer: Callable[..., Any], Account: Any) -> None:
    """Check the rules one by one; then fifty callers who overdraw, meet head-on, and mix."""
    with look(pg) as connection:

        def balances() -> dict[int, int]:
            return dict(connection.execute("SELECT id, cents FROM accounts").fetchall())

        def reset() -> None:
            connection.execute("UPDATE accounts SET cents = 1000")

        reset()
        async with pool(pg, 20, 30) as engine:

            async def call(source: int, target: int, cents: int) -> Any:
                async with session_of(engine) as session:
                    return await transfer(session, source, target, cents)

            await check_rules(call, balances)
            await check_order(pg, connection, transfer)
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
            await check_read_before(connection, engine, transfer, balances, Account)


async def check_rules(call: Callable[..., Any], balances: Callable[[], dict[int, int]]) -> None:
    """Check what a single caller sees."""
    told = await call(1, 2, 300)
    if told is not True:
        raise Incorrect(f"transfer(session, 1, 2, 300) returned {shown(told)}; it should be True.")
    if balances() == START:
        raise Incorrect("transfer() returned True, but no other session sees a change.")
    if balances() != {**START, 1: 700, 2: 1300}:
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
            raise Incorrect(f"transfer{arguments} returned {shown(told)}, but {why}: False.")
    if await call(1, 3, 700) is not True:
        raise Incorrect("The source has 700 cents, but it could not transfer all of them.")
    if await call(2, 3, 1) is not True:
        raise Incorrect("One cent is the smallest amount, and it could not be transferred.")
    if balances() != {**START, 1: 0, 2: 1299, 3: 1701}:
        raise Incorrect(f"After three transfers the accounts are {balances()}.")
    before = balances()
    for arguments in [(2, 3, 0), (2, 3, -5), (2, 2, 10)]:
        try:
            told = await call(*arguments)
        except Incorrect as error:
            if not isinstance(error.__cause__, ValueError):
                raise
        else:
            raise Incorrect(
                f"transfer{arguments} should raise ValueError; it returned {shown(told)}."
            )
        if balances() != before:
            raise Incorrect(f"transfer{arguments} changed the accounts.")


async def check_read_before(
    connection: Any,
    engine: Any,
    transfer: Callable[..., Any],
    balances: Callable[..., Any],
    Account: Any,
) -> None:
    """Let the session read accounts, and somebody else change them, before it transfers."""
    for cents, moved, wanted in ((900, 900, False), (100, 900, True), (600, -300, True)):
        connection.execute("UPDATE accounts SET cents = 1000")
        async with session_of(engine) as session:
            kept = (await session.scalars(select(Account).where(Account.id.in_([1, 2])))).all()
            connection.execute("UPDATE accounts SET cents = cents - %s WHERE id = 1", [moved])
            connection.execute("UPDATE accounts SET cents = cents + %s WHERE id = 2", [moved])
            told = await transfer(session, 1, 2, cents)
        del kept  # until here the session could not forget them
        done = cents if wanted else 0
        should = {**START, 1: 1000 - moved - done, 2: 1000 + moved + done}
        if balances() != should or told is not wanted:
            now = {number: balances()[number] for number in (1, 2)}
            raise Incorrect(
                f"The session had read accounts 1 and 2 with 1,000 cents each; then somebody moved "
                f"{moved} cents from 1 to 2. transfer(session, 1, 2, {cents}) returned "
                f"{shown(told)}, and the accounts hold {now}. What the session has read before "
                "may be out of date."
            )


async def check_order(pg: Place, connection: Any, transfer: Callable[..., Any]) -> None:
    """See which of two rows a transfer locks first, in both directions and both orders on disk.

    Row 1 is locked. Who waits for it has locked row 2 before, or has not. The rows are read as
    they are stored: another plan may give a wrong answer the right order, by luck.
    """
    first: dict[tuple[bool, bool], int] = {}
    async with pool(pg, 2) as engine:
        plans = [f"SET enable_{scan}scan = off" for scan in ("index", "indexonly", "bitmap")]
        begin_with(engine.sync_engine, *plans)

        async def call(forth: bool) -> Any:
            async with session_of(engine) as session:
                return await transfer(session, 1 if forth else 2, 2 if forth else 1, 10)

        def look_at_2(key: tuple[bool, bool]) -> None:
            free = "SELECT 1 FROM accounts WHERE id = 2 FOR UPDATE SKIP LOCKED"
            with pg.connect() as other:
                other.execute("SET lock_timeout = '1s'")
                try:
                    first[key] = 1 if other.execute(free).fetchone() else 2
                except LockNotAvailable:  # it waits for a lock on the whole table
                    first[key] = 1

        def store(rising: bool) -> None:
            connection.execute("TRUNCATE accounts")
            for number in sorted(START, reverse=not rising):
                connection.execute("INSERT INTO accounts VALUES (%s, 1000)", [number])

        for rising in (True, False):
            for forth in (True, False):
                store(rising)
                look = partial(look_at_2, (rising, forth))
                await behind_lock(pg, LOCK.format(1), [partial(call, forth)], 1, look)
            if first[rising, True] != first[rising, False]:
                store(rising)
                await head_on(pg, *(partial(call, first[rising, True] == n) for n in (1, 2)))
    if first[True, True] != first[False, True]:
        raise Incorrect(
            "When account 1 is stored before account 2, transfer() locks 1 first; when 2 is "
            "stored before 1, it locks 2 first. An UPDATE moves a row, so callers who meet may "
            "see different orders. Only ORDER BY is an order."
        )


LOCK = "SELECT 1 FROM accounts WHERE id = {} FOR UPDATE"


async def head_on(pg: Place, *calls: Callable[..., Any]) -> None:
    """Let two transfers meet, of which the first locks 1 first, and the second 2; say what came.

    Returns when another lock of PostgreSQL's lets them in one after the other.

    Raises:
        Incorrect: they have locked each other out, or one of them waited in Python.
    """
    query = """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND %s <> ALL (pg_blocking_pids(pid))"""
    with pg.connect() as holder_1, pg.connect() as holder_2, look(pg) as eye:
        tasks = []
        for number, holder in ((1, holder_1), (2, holder_2)):
            holder.execute(LOCK.format(number))

        async def waiting(number: int, pid: int = 0) -> bool:
            for _ in range(LOOKS):
                if (eye.execute(query, [pid]).fetchone() or (0,))[0] >= number:
                    return True
                await asyncio.sleep(0.02)
            return False

        both = False
        for number, call in enumerate(calls, start=1):
            tasks.append(asyncio.ensure_future(call()))
            both = await waiting(number)
        holder_2.rollback()
        if both:  # then the second takes row 2, and waits for 1
            await waiting(2, holder_2.info.backend_pid)
        free = eye.execute(LOCK.format(2) + " SKIP LOCKED").fetchone()
        holder_1.rollback()
        told = await asyncio.gather(*tasks, return_exceptions=True)
    if not both:
        raise Incorrect(
            "Two transfers met, and one of them waited in Python. A lock of Python's protects "
            "nothing from a second process: let PostgreSQL do the waiting."
        )
    if free:
        return
    each = (
        "A transfer from 1 to 2 met one from 2 to 1: each locked one account, and waited for the "
        "other"
    )
    if told == [True, True]:
        raise Incorrect(
            f"{each}, until PostgreSQL ended one of them. transfer() tried again, so nobody got "
            "the error; but all that time nobody could use either account. Let everybody lock in "
            "the same order: then it never happens."
        )
    raise Incorrect(
        f"{each}. PostgreSQL ended one of them: a deadlock. Let everybody lock in the same order."
    )


async def crowd(pg: Place, call: Callable[..., Any], transfers: list[Any]) -> list[Any]:
    """Let all callers come while the rows are locked; return what they were told."""
    lock = "SELECT 1 FROM accounts ORDER BY id FOR UPDATE"
    try:
        return await behind_lock(pg, lock, [partial(call, *transfer) for transfer in transfers], 20)
    except Incorrect as reason:
        cause = reason.__cause__
        state = getattr(cause.orig, "sqlstate", "") if isinstance(cause, DBAPIError) else ""
        if state == "40P01":
            raise Incorrect(
                "Transfers met others in the opposite direction, and PostgreSQL ended one of "
                "them: a deadlock. Let everybody lock in the same order."
            ) from None
        if state == "55P03" or isinstance(cause, PoolTimeout):
            what = "a lock" if state else "one of the pool's twenty connections"
            raise Incorrect(
                f"A caller waited 30 seconds for {what}, and did not get it. "
                "Does transfer() ask for a second connection while it holds locks?"
            ) from None
        raise


def check_sums(transfers: list[Any], results: list[Any], now: dict[int, int]) -> None:
    """Compare the balances with what the callers were told."""
    wanted = dict(START)
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


EXERCISE = Exercise(
    title="A transfer that is correct",
    minutes=10,
    prompt="Write transfer(session, source, target, cents) for fifty callers at once.",
    prepare=prepare,
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "First the two ValueErrors; they need no database.",
        "Lock both accounts with one query, as in lock_in_order, and look how many came.",
        "Compare the balance after the lock. Return False before anything is changed.",
    ],
    wrong=[
        (changed(SOLUTION, ".with_for_update()", ""), "were told True, and"),
        (STARTER.replace("    return ...\n", SOURCE_FIRST), "a deadlock"),
        (STARTER.replace("    return ...\n", RETRY), "transfer() tried again"),
        (PYTHONS_LOCK, "one of them waited in Python"),
        (changed(SOLUTION, ".order_by(Account.id)", ""), "Only ORDER BY"),
        (STARTER.replace("    return ...\n", UPDATES), "cents are gone"),
        (changed(SOLUTION, RULES, ""), "should raise ValueError"),
        (changed(SOLUTION, "    await session.commit()\n", ""), "no other session sees"),
        (changed(SOLUTION, "cents < cents:", "cents <= cents:"), "all of them"),
        (changed(SOLUTION, ".execution_options(populate_existing=True)", ""), "has read before"),
        (changed(SOLUTION, "cents < 1", "cents < 2"), "(AsyncSession, 2, 3, 1) raised ValueError"),
    ],
    equal={
        "228e4a2a": "the text asks for a ValueError, not for its words",
        "d9e7c3ed": "the text asks for a ValueError, not for its words",
    },
    praise="No cent is lost, no account overdrawn, and nobody waits for a deadlock.",
)

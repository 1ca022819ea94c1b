"""Exercises of lesson 02's sections of "Going deeper"."""

from __future__ import annotations

import asyncio
import random
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import ForeignKey, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, declarative_base, mapped_column, relationship

from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    begin_with,
    changed,
    end_uncommitted,
    look,
    running,
)
from helpers.exercises.lesson_02_shared import LOOKS, behind_lock, pool, section, session_of

# Exercise 4: orders and their lines.

STARTER_4 = """
for_relationship = ...  # relationship("Line", **for_relationship)
for_foreign_key = ...  # ForeignKey("ex4_orders.id", **for_foreign_key)

ex4.check()
"""
SOLUTION_4 = STARTER_4.replace(
    "for_relationship = ...",
    'for_relationship = {"cascade": "all, delete-orphan", "passive_deletes": True}',
).replace("for_foreign_key = ...", 'for_foreign_key = {"ondelete": "CASCADE"}')


def check_orders(pg: Database, for_relationship: object, for_foreign_key: object) -> None:
    """Make the models with these options; delete an order, take a line out, use plain SQL."""
    if not isinstance(for_relationship, dict) or not isinstance(for_foreign_key, dict):
        raise Incorrect('Both answers are dicts, such as {"option": "value"}.')
    base: Any = declarative_base()
    with running("A model with your options"):
        order: Any = type(
            "Order",
            (base,),
            {
                "__tablename__": "ex4_orders",
                "id": mapped_column(type_=_integer(), primary_key=True),
                "lines": relationship(lambda: line, **for_relationship),
            },
        )
        key = ForeignKey("ex4_orders.id", **for_foreign_key)
        line: Any = type(
            "Line",
            (base,),
            {
                "__tablename__": "ex4_lines",
                "id": mapped_column(type_=_integer(), primary_key=True),
                "order_id": mapped_column(key, nullable=False, index=True),
            },
        )
        base.registry.configure()
    url = pg.url  # type: ignore[attr-defined]
    engine = begin_with(create_engine(url), "SET lock_timeout = '5s'")
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    end_uncommitted(pg)
    try:
        with look(pg) as connection:
            connection.execute("DROP TABLE IF EXISTS ex4_lines, ex4_orders")
            with running("Making the tables"):
                base.metadata.create_all(engine)
            connection.execute("INSERT INTO ex4_orders VALUES (1), (2), (3)")
            connection.execute(
                "INSERT INTO ex4_lines (order_id) SELECT n % 3 + 1 FROM generate_series(1, 300) n"
            )

            def left(number: int) -> Any:
                count = "SELECT count(*) FROM ex4_lines WHERE order_id = %s"
                return (connection.execute(count, [number]).fetchone() or [0])[0]

            with Session(engine) as session:
                found: Any = session.get(order, 1)
                statements.clear()
                with running("session.delete(order) with 100 lines"):
                    session.delete(found)
                    session.commit()
            if left(1):
                raise Incorrect(f"The order is deleted, and {left(1)} of its lines are left.")
            if len(statements) > 2 or any("SELECT" in statement for statement in statements):
                raise Incorrect(
                    f"The order and its 100 lines are gone, but the ORM loaded the lines first "
                    f"({len(statements)} statements). Let it leave them to the database."
                )
            with Session(engine) as session, running("order.lines.remove(line)"):
                found = session.get(order, 2)
                found.lines.pop()
                session.commit()
            if left(2) != 99:
                raise Incorrect(f"A line was taken out of 100; {left(2)} are stored.")
            with running("DELETE FROM ex4_orders"):
                connection.execute("DELETE FROM ex4_orders WHERE id = 3")
            if left(3):
                raise Incorrect("After a plain DELETE, lines of the order are left.")
            connection.execute("DROP TABLE ex4_lines, ex4_orders")
    finally:
        engine.dispose()


def _integer() -> Any:
    from sqlalchemy import Integer

    return Integer


# Exercise 5: one customer, however written.

STARTER_5 = '''
async def customer(session, email, name):
    """Return (id, created); commit."""
    return ...


ex5.start()
await ex5.check()
'''
BODY_5 = """\
    email = email.strip()
    new = insert(User).values(email=email, name=name).on_conflict_do_nothing()
    created = await session.scalar(new.returning(User.id))
    await session.commit()
    if created:
        return created, True
    same = func.lower(User.email) == email.lower()
    return await session.scalar(select(User.id).where(same)), False
"""
SOLUTION_5 = STARTER_5.replace("    return ...\n", BODY_5)
LOOK_5 = """\
    same = func.lower(User.email) == email.strip().lower()
    if found := await session.scalar(select(User.id).where(same)):
        return found, False
    user = User(email=email.strip(), name=name)
    session.add(user)
    await session.commit()
    return user.id, True
"""
ILIKE_5 = """\
    same = select(User.id).where(User.email.ilike(email.strip()))
    if found := await session.scalar(same):
        return found, False
    new = insert(User).values(email=email.strip(), name=name).on_conflict_do_nothing()
    created = await session.scalar(new.returning(User.id))
    await session.commit()
    return (created, True) if created else (await session.scalar(same), False)
"""
UPSERT_5 = """\
    new = insert(User).values(email=email.strip().lower(), name=name)
    upsert = new.on_conflict_do_update(index_elements=[text("lower(email)")], set_={"name": name})
    found = await session.scalar(upsert.returning(User.id))
    await session.commit()
    return found, True
"""


def fill_users(pg: Database) -> None:
    """Make an empty table of users, with the unique index on lower(email)."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS posts, users")
        connection.execute(
            "CREATE TABLE users (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, email text "
            "NOT NULL UNIQUE, name text NOT NULL, created_at timestamp NOT NULL DEFAULT now())"
        )
        connection.execute("CREATE UNIQUE INDEX ON users (lower(email))")


async def check_customer(pg: Database, customer: Callable[..., Any]) -> None:
    """Sign up one by one; then twenty at once, all of whom see no such user at first."""
    with look(pg) as connection:
        connection.execute("TRUNCATE users")

        def stored() -> list[Any]:
            return connection.execute("SELECT id, email, name FROM users ORDER BY id").fetchall()

        async with pool(pg, 20, 20) as engine:

            async def call(email: str, name: str = "Ada") -> Any:
                async with session_of(engine) as session:
                    told = await customer(session, email, name)
                if not isinstance(told, tuple) or len(told) != 2:
                    raise Incorrect(f"customer() returned {told!r}; it should be (id, created).")
                return told

            first = await call("ada@example.com")
            if not stored():
                raise Incorrect("After customer() no other session sees the user. Commit.")
            if first != (stored()[0][0], True):
                raise Incorrect(
                    f"The first call returned {first!r}; it should be {(stored()[0][0], True)}."
                )
            # In a LIKE pattern, "_" and "%" stand for anything.
            for email in ("_da@example.com", "%a@example.com"):
                told = await call(email, "Other")
                if told[0] == first[0]:
                    raise Incorrect(
                        f"{email!r} is another address, and it got the id of 'ada@example.com'. "
                        "LIKE and ILIKE take `_` and `%` for wildcards."
                    )
                connection.execute("DELETE FROM users WHERE id <> %s", [first[0]])
            for email in ("ada@example.com", " ada@example.com ", "ADA@Example.com"):
                told = await call(email, "Eve")
                if len(stored()) != 1:
                    raise Incorrect(f"{email!r} made a second user: {stored()[-1][1]!r}.")
                if stored()[0][2] != "Ada":
                    raise Incorrect(
                        f"Somebody else signed up as {email!r}, and the stored name is now "
                        f"{stored()[0][2]!r}. Nobody has proved that the address is theirs."
                    )
                if told != (first[0], False):
                    raise Incorrect(
                        f"The user exists. customer(session, {email!r}, ...) returned {told!r}; "
                        f"it should be {(first[0], False)}."
                    )
            lock = "INSERT INTO users (email, name) VALUES ('Bea@example.com', 'not committed')"
            emails = ["bea@example.com", " BEA@example.com"] * 10
            told = await behind_lock(pg, lock, [partial(call, email) for email in emails], 20)
        (number,) = [row[0] for row in stored() if row[1].lower() == "bea@example.com"]
        if sorted(told) != [(number, False)] * 19 + [(number, True)]:
            raise Incorrect(
                f"Of twenty callers, {sum(created is True for _, created in told)} were told that "
                f"they created the user, and they got the ids {sorted({i for i, _ in told})}."
            )


# Exercise 6: once more.

STARTER_6 = '''
async def again(Session, work):
    """Return the result of work(session), committed; at most three tries."""
    return ...


await ex6.check()
'''
BODY_6 = """\
    for tried in (1, 2, 3):
        try:
            async with Session() as session:
                result = await work(session)
                await session.commit()
                return result
        except DBAPIError as error:
            if tried == 3 or not error.connection_invalidated:
                raise
"""
SOLUTION_6 = STARTER_6.replace("    return ...\n", BODY_6)
ONE_SESSION_6 = """\
    async with Session() as session:
        for tried in (1, 2, 3):
            try:
                result = await work(session)
                await session.commit()
                return result
            except DBAPIError as error:
                if tried == 3 or not error.connection_invalidated:
                    raise
"""


OWN_ERROR_6 = """\
    for tried in (1, 2, 3):
        try:
            async with Session() as session:
                result = await work(session)
                await session.commit()
                return result
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
    raise RuntimeError("three tries, and no result")
"""
SAME_SESSION_6 = changed(
    ONE_SESSION_6,
    "as error:\n",
    "as error:\n                await session.rollback()\n",
)
COMMIT_APART_6 = """\
    for tried in (1, 2, 3):
        async with Session() as session:
            try:
                result = await work(session)
            except DBAPIError as error:
                if tried == 3 or not error.connection_invalidated:
                    raise
            else:
                await session.commit()
                return result
"""


async def check_again(pg: Database, again: Callable[..., Any]) -> None:
    """Let work lose its connection never, once, at the commit, and always; let it fail."""
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex6_orders")
        connection.execute("CREATE TABLE ex6_orders (id int GENERATED ALWAYS AS IDENTITY, try int)")
        async with pool(pg, 3) as engine:
            maker = async_sessionmaker(engine, expire_on_commit=False)
            tries = 0
            sessions: list[Any] = []

            def begin(session: Any) -> None:
                nonlocal tries
                tries += 1
                sessions.append(session)
                if tries > 9:
                    raise Incorrect("The work failed each time, and again() did not stop trying.")

            async def refuse(session: Any) -> None:
                begin(session)
                raise ValueError("no such order")

            def work(deadly: int, then: str = "SELECT 61", at_end: bool = False) -> Any:
                """Return work that loses its connection in its first `deadly` tries.

                Either in its middle or at its end, so that the commit is the first to notice.
                """

                async def do(session: Any) -> Any:
                    begin(session)
                    sql = f"INSERT INTO ex6_orders (try) VALUES ({tries})"
                    database = await session.connection()
                    await database.exec_driver_sql(sql)
                    pid = (await database.exec_driver_sql("SELECT pg_backend_pid()")).scalar()
                    kill = partial(connection.execute, "SELECT pg_terminate_backend(%s, 15000)")
                    if tries <= deadly and not at_end:
                        kill([pid])
                    result = (await database.exec_driver_sql(then)).scalar()
                    if tries <= deadly and at_end:
                        kill([pid])
                    return result

                return do

            async def outcome(doing: Any) -> Any:
                nonlocal tries
                tries = 0
                sessions.clear()
                try:
                    return await asyncio.wait_for(again(maker, doing), 60)
                except TimeoutError:
                    raise Incorrect("again() did not end within 60 seconds.") from None
                except Incorrect as reason:
                    if reason.__cause__ is None:
                        raise
                    return reason

            def stored() -> int:
                row = connection.execute("SELECT count(*) FROM ex6_orders").fetchone()
                return row[0] if row else 0

            async def fails_once(doing: Any, what: str, did: str, error: type) -> None:
                """Let the work fail in a way that no second try mends."""
                told = await outcome(doing)
                if not isinstance(told, Incorrect):
                    raise Incorrect(f"work() {did}, and again() returned {told!r}.")
                if tries != 1:
                    raise Incorrect(
                        f"{what} was tried {tries} times. It will not get better: repeat only "
                        "when the connection was lost."
                    )
                if not isinstance(told.__cause__, error):
                    raise Incorrect(
                        f"work() {did}, and the caller got {type(told.__cause__).__name__} in its "
                        "place. Not every error knows of connections."
                    )

            told = await outcome(work(0))
            if told != 61:
                if isinstance(told, Incorrect):
                    raise told
                raise Incorrect(f"again() returned {told!r}; work() returned 61.")
            if (rows := stored()) != 1:
                raise Incorrect(f"One piece of work added one row, but {rows} are stored.")
            told = await outcome(work(1))
            if isinstance(told, Incorrect) and tries == 1:
                raise Incorrect(
                    "The connection was lost once, and the caller got the error instead of a "
                    "second try."
                )
            if isinstance(told, Incorrect):
                raise Incorrect(
                    "The connection was lost once, and the second try failed too. A session "
                    "whose transaction broke needs a rollback; a new one needs nothing."
                )
            if told != 61:
                raise Incorrect(f"After a lost connection again() returned {told!r}, not 61.")
            if len({id(session) for session in sessions}) < tries:
                raise Incorrect(
                    "The second try got the session of the first, with the objects of the work "
                    "that broke. Give each try a session of its own."
                )
            if (rows := stored()) != 2:
                raise Incorrect(f"After a second try {rows - 1} rows are stored; not one.")
            told = await outcome(work(1, at_end=True))
            rows = stored()
            if told != 61 or rows != 3:
                what = "the error" if isinstance(told, Incorrect) else repr(told)
                raise Incorrect(
                    f"The connection was lost just before the commit. The caller got {what}, after "
                    f"{tries} tries, and {rows - 2} rows are stored. The commit can fail too."
                )
            told = await outcome(work(99))
            if not isinstance(told, Incorrect):
                raise Incorrect(
                    f"The connection was lost each time, and again() returned {told!r}."
                )
            if tries != 3:
                raise Incorrect(f"The connection was lost each time: {tries} tries, not three.")
            if not isinstance(told.__cause__, DBAPIError):
                raise Incorrect(
                    "The connection was lost each time, and the caller got another error: "
                    f"{type(told.__cause__).__name__}. Let the last one go to the caller, with "
                    "what it knows."
                )
            divide = work(0, "SELECT 1 / 0")
            await fails_once(divide, "A division by zero", "divided by zero", DBAPIError)
            await fails_once(refuse, "A ValueError of work()", "raised a ValueError", ValueError)
            if engine.pool.checkedout():  # type: ignore[attr-defined]
                raise Incorrect("At the end a session is still open.")
        connection.execute("DROP TABLE ex6_orders")


# Exercise 7: the size of a pool.

STARTER_7 = '''
def pool_size(rate, held, processes, max_connections, reserve):
    """Return pool_size for one process; raise ValueError if all together do not fit."""
    return ...


ex7.check()
'''
BODY_7 = """\
    each = math.ceil(1.5 * rate * held / processes)
    if each * processes > max_connections - reserve:
        raise ValueError("make the transactions shorter, or put a pooler in front")
    return each
"""
SOLUTION_7 = "\nimport math\n\n" + STARTER_7.replace("    return ...\n", BODY_7)


def check_pool_size(pool_size: Callable[..., Any]) -> None:
    """Compare with sizes that were computed by hand, and with one that does not fit."""
    for arguments, size, why in [
        ((200, 0.02, 2, 100, 10), 3, "4 are busy, 6 with half as many again, 3 in each process"),
        ((100, 0.03, 4, 100, 10), 2, "4.5 in four processes are more than one in each"),
        ((1000, 0.04, 6, 100, 10), 10, "60 in six processes"),
        ((110, 0.01, 1, 100, 10), 2, "1.1 are busy, 1.65 with half as many again"),
        ((10, 0.01, 3, 100, 10), 1, "a process needs at least one"),
        ((1000, 0.06, 9, 100, 10), 10, "nine times ten are 90, which just fit"),
    ]:
        try:
            told = pool_size(*arguments)
        except Incorrect as error:
            if isinstance(error.__cause__, ValueError):
                raise Incorrect(f"pool_size{arguments} refused, but it fits: {why}.") from None
            raise
        if told != size:
            raise Incorrect(f"pool_size{arguments} returned {told!r}; it is {size}: {why}.")
        if not isinstance(told, int):
            raise Incorrect(
                f"pool_size{arguments} returned {told!r}, a {type(told).__name__}. Connections "
                "are whole: return an int."
            )
    for arguments, why in [
        ((1000, 0.2, 4, 100, 10), "300 connections"),
        ((800, 0.08, 4, 100, 10), "they want 96 of 100, and 10 are reserved"),
        ((1000, 0.06, 7, 100, 10), "13 in each of seven processes are 91, and 90 may be used"),
    ]:
        try:
            told = pool_size(*arguments)
        except Incorrect as error:
            if isinstance(error.__cause__, ValueError):
                continue
            raise
        raise Incorrect(f"pool_size{arguments} returned {told!r}, but this does not fit: {why}.")


# Exercise 8: a transfer that is correct.

STARTER_8 = '''
async def transfer(session, source, target, cents):
    """Move cents, commit, return True; or change nothing and return False."""
    return ...


ex8.start()
await ex8.check()
'''
BODY_8 = """\
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
SOLUTION_8 = STARTER_8.replace("    return ...\n", BODY_8)
RULES_8 = """\
    if cents < 1 or source == target:
        raise ValueError("a transfer needs a positive amount and two accounts")
"""
SOURCE_FIRST_8 = (
    RULES_8
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
UPDATES_8 = (
    RULES_8
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
RETRY_8 = (
    RULES_8
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
PYTHONS_LOCK_8 = changed(
    STARTER_8,
    "async def transfer",
    "one = asyncio.Lock()\n\n\nasync def transfer",
    "    return ...\n",
    "    async with one:\n" + textwrap.indent(SOURCE_FIRST_8, "    "),
)
START_8 = {number: 1000 for number in range(1, 11)}


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


async def check_rules(call: Callable[..., Any], balances: Callable[[], dict[int, int]]) -> None:
    """Check what a single caller sees."""
    told = await call(1, 2, 300)
    if told is not True:
        raise Incorrect(f"transfer(session, 1, 2, 300) returned {told!r}; it should be True.")
    if balances() == START_8:
        raise Incorrect("transfer() returned True, but no other session sees a change.")
    if balances() != {**START_8, 1: 700, 2: 1300}:
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


async def check_order(pg: Database, connection: Any, transfer: Callable[..., Any]) -> None:
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
            for number in sorted(START_8, reverse=not rising):
                connection.execute("INSERT INTO accounts VALUES (%s, 1000)", [number])

        for rising in (True, False):
            for forth in (True, False):
                store(rising)
                look = partial(look_at_2, (rising, forth))
                await behind_lock(pg, LOCK_8.format(1), [partial(call, forth)], 1, look)
            if first[rising, True] != first[rising, False]:
                store(rising)
                await head_on(pg, *(partial(call, first[rising, True] == n) for n in (1, 2)))
    if first[True, True] != first[False, True]:
        raise Incorrect(
            "When account 1 is stored before account 2, transfer() locks 1 first; when 2 is "
            "stored before 1, it locks 2 first. An UPDATE moves a row, so callers who meet may "
            "see different orders. Only ORDER BY is an order."
        )


LOCK_8 = "SELECT 1 FROM accounts WHERE id = {} FOR UPDATE"


async def head_on(pg: Database, *calls: Callable[..., Any]) -> None:
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
            holder.execute(LOCK_8.format(number))

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
        free = eye.execute(LOCK_8.format(2) + " SKIP LOCKED").fetchone()
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


async def crowd(pg: Database, call: Callable[..., Any], transfers: list[Any]) -> list[Any]:
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
    wanted = dict(START_8)
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
        number=4,
        title="Orders and their lines",
        prompt="Give the options with which an order takes its lines along, in two statements.",
        setup=section("a-setup"),
        starter=STARTER_4,
        solution=SOLUTION_4,
        check=check_orders,
        hints=[
            "The database needs ondelete; the relationship needs cascade.",
            'cascade="all, delete-orphan" is what makes a line that was taken out go.',
            "passive_deletes=True makes the ORM leave the lines to the database.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_4, '{"cascade": "all, delete-orphan", "passive_deletes": True}', "{}"
                ),
                "100 lines raised IntegrityError: (psycopg.errors.NotNullViolation)",
            ),
            (changed(SOLUTION_4, '{"ondelete": "CASCADE"}', "{}"), "ForeignKeyViolation"),
            (changed(SOLUTION_4, ', "passive_deletes": True', ""), "loaded the lines first"),
            (changed(SOLUTION_4, "all, delete-orphan", "all"), "order.lines.remove(line) raised"),
        ],
        praise="The ORM and the database agree on what belongs to what.",
    ),
    Exercise(
        number=5,
        title="One customer, however written",
        prompt="Write customer(session, email, name): the id, and whether this call created it.",
        setup=section("b-setup", "b-published"),
        prepare=fill_users,
        starter=STARTER_5,
        solution=SOLUTION_5,
        check=check_customer,
        hints=[
            "sign_up_once has the first half: INSERT ... ON CONFLICT DO NOTHING RETURNING.",
            "No row came back? Then somebody has the address: select its id.",
            "Compare func.lower(User.email) with email.strip().lower().",
        ],
        wrong=[
            (STARTER_5.replace("    return ...\n", LOOK_5), "raised IntegrityError"),
            (STARTER_5.replace("    return ...\n", UPSERT_5), "Nobody has proved"),
            (
                changed(
                    SOLUTION_5,
                    "func.lower(User.email) == email.lower()",
                    "User.email == email",
                ),
                "returned (None, False)",
            ),
            (STARTER_5.replace("    return ...\n", ILIKE_5), "for wildcards"),
            (changed(SOLUTION_5, "email = email.strip()", "email = email"), "made a second user"),
            (changed(SOLUTION_5, "    await session.commit()\n", ""), "no other session sees"),
        ],
        praise="The constraint decides, and everybody learns what it decided.",
    ),
    Exercise(
        number=6,
        title="Once more",
        prompt="Write again(Session, work): up to three tries when the connection is lost.",
        setup=section("c-setup"),
        starter=STARTER_6,
        solution=SOLUTION_6,
        check=check_again,
        hints=[
            "A loop over three tries; in it, try: with everything from Session() to commit().",
            "except DBAPIError as error: error.connection_invalidated is True or False.",
            "Raise again, with a bare `raise`, in the last try and for every other error.",
        ],
        wrong=[
            (
                changed(SOLUTION_6, "tried == 3 or not error.connection_invalidated", "True"),
                "instead of a second try",
            ),
            (
                changed(SOLUTION_6, "tried == 3 or not error.connection_invalidated", "tried == 3"),
                "A division by zero",
            ),
            (STARTER_6.replace("    return ...\n", ONE_SESSION_6), "needs a rollback"),
            (changed(SOLUTION_6, "                await session.commit()\n", ""), "0 are stored"),
            (
                changed(SOLUTION_6, "(1, 2, 3)", "range(1, 6)", "tried == 3", "tried == 5"),
                "tries, not three",
            ),
            (STARTER_6.replace("    return ...\n", OWN_ERROR_6), "got another error"),
            (STARTER_6.replace("    return ...\n", SAME_SESSION_6), "session of the first"),
            (changed(SOLUTION_6, "except DBAPIError", "except Exception"), "in its place"),
            (
                changed(
                    SOLUTION_6,
                    "except DBAPIError",
                    "except Exception",
                    "not error.connection_invalidated",
                    'not getattr(error, "connection_invalidated", True)',
                ),
                "A ValueError of work()",
            ),
            (STARTER_6.replace("    return ...\n", COMMIT_APART_6), "just before the commit"),
            (changed(SOLUTION_6, "for tried in (1, 2, 3)", "while tried := 1"), "did not stop"),
        ],
        praise="A restart of the server is now a slow moment, and no error.",
    ),
    Exercise(
        number=7,
        title="The size of a pool",
        prompt="Write pool_size(rate, held, processes, max_connections, reserve).",
        setup=dict,
        starter=STARTER_7,
        solution=SOLUTION_7,
        check=check_pool_size,
        hints=[
            "On average rate * held connections are busy. Take half as many again.",
            "Divide by the processes and round up: math.ceil.",
            "Compare processes times that with max_connections - reserve.",
        ],
        wrong=[
            (changed(SOLUTION_7, "math.ceil(", "int("), "more than one in each"),
            (changed(SOLUTION_7, " / processes)", ")"), "3 in each process"),
            (
                changed(SOLUTION_7, "1.5 * rate * held /", "1.5 * math.ceil(rate * held) /"),
                "1.1 are busy",
            ),
            (changed(SOLUTION_7, "return each", "return float(each)"), "return an int"),
            (changed(SOLUTION_7, " - reserve", ""), "10 are reserved"),
            (
                changed(
                    SOLUTION_7,
                    "each * processes > max_connections",
                    "1.5 * rate * held > max_connections",
                ),
                "are 91",
            ),
            (
                changed(SOLUTION_7, "each * processes > max", "each * processes >= max"),
                "but it fits",
            ),
        ],
        praise="A small pool that is always busy beats a large one that stands in line.",
    ),
    Exercise(
        number=8,
        title="A transfer that is correct",
        prompt="Write transfer(session, source, target, cents) for fifty callers at once.",
        setup=section("e-setup", "e-model"),
        prepare=fill_accounts,
        starter=STARTER_8,
        solution=SOLUTION_8,
        check=check_transfer,
        hints=[
            "First the two ValueErrors; they need no database.",
            "Lock both accounts with one query, as in lock_in_order, and look how many came.",
            "Compare the balance after the lock. Return False before anything is changed.",
        ],
        wrong=[
            (changed(SOLUTION_8, ".with_for_update()", ""), "were told True, and"),
            (STARTER_8.replace("    return ...\n", SOURCE_FIRST_8), "a deadlock"),
            (STARTER_8.replace("    return ...\n", RETRY_8), "transfer() tried again"),
            (PYTHONS_LOCK_8, "one of them waited in Python"),
            (changed(SOLUTION_8, ".order_by(Account.id)", ""), "Only ORDER BY"),
            (STARTER_8.replace("    return ...\n", UPDATES_8), "cents are gone"),
            (changed(SOLUTION_8, RULES_8, ""), "should raise ValueError"),
            (changed(SOLUTION_8, "    await session.commit()\n", ""), "no other session sees"),
            (changed(SOLUTION_8, "cents < cents:", "cents <= cents:"), "all of them"),
        ],
        praise="No cent is lost, no account overdrawn, and nobody waits for a deadlock.",
    ),
]

"""More exercises of lesson 02's "Going deeper": times, tasks, a version, the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    changed,
    end_uncommitted,
    look,
    running,
)
from helpers.exercises.lesson_02_shared import behind_lock, pool, section, session_of

# Exercise 9: mend the published column.

STARTER_9 = """
statements = ...  # a list: ["ALTER TABLE ex9_users ..."]

ex9.check()
"""
TYPE_9 = """\
    "ALTER TABLE ex9_users ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC'",
"""
DEFAULT_9 = """\
    "ALTER TABLE ex9_users ALTER created_at SET DEFAULT now()",
"""
SOLUTION_9 = STARTER_9.replace(
    '...  # a list: ["ALTER TABLE ex9_users ..."]', f"[\n{TYPE_9}{DEFAULT_9}]"
)
NEW_COLUMN_9 = changed(
    SOLUTION_9,
    TYPE_9 + DEFAULT_9,
    """\
    "ALTER TABLE ex9_users DROP created_at",
    "ALTER TABLE ex9_users ADD created_at timestamptz NOT NULL DEFAULT now()",
""",
)
MOMENTS_9 = ["1999-12-31 23:59:59", "2026-01-15 12:00:00", "2026-07-01 00:30:00"]


def check_times(pg: Database, statements: object) -> None:
    """Run the statements on the published column in two time zones; look at the moments."""
    if isinstance(statements, str):
        statements = [statements]
    if not isinstance(statements, list | tuple) or not statements:
        raise Incorrect("`statements` should be a list of SQL statements.")
    for zone in ("Asia/Tokyo", "America/New_York"):
        end_uncommitted(pg)
        with look(pg) as connection:
            connection.execute("DROP TABLE IF EXISTS ex9_users")
            connection.execute(
                "CREATE TABLE ex9_users (id int GENERATED ALWAYS AS IDENTITY, "
                "created_at timestamp NOT NULL)"
            )
            for moment in MOMENTS_9:
                connection.execute("INSERT INTO ex9_users (created_at) VALUES (%s)", [moment])
            connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            for number, statement in enumerate(statements, start=1):
                with running(f"Statement {number}"):
                    connection.execute(statement)
            if connection.info.transaction_status != TransactionStatus.IDLE:
                raise Incorrect("After the statements a transaction is still open.")
        with look(pg) as connection:
            connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            check_column(connection, zone)
            connection.execute("DROP TABLE ex9_users")


def check_column(connection: psycopg.Connection[Any], zone: str) -> None:
    """Look at the column's type, its old values, its default, and whether NULL is refused."""

    def one(query: str) -> Any:
        with running("Reading `ex9_users.created_at`"):
            return (connection.execute(query).fetchone() or [None])[0]

    kind = one("SELECT pg_typeof(created_at)::text FROM ex9_users")
    if kind != "timestamp with time zone":
        raise Incorrect(f"`created_at` is of the type {kind!r}.")
    query = "SELECT extract(epoch FROM created_at - %s::timestamp AT TIME ZONE 'UTC')::int"
    for number, moment in enumerate(MOMENTS_9, start=1):
        found = connection.execute(f"{query} FROM ex9_users WHERE id = {number}", [moment])
        row = found.fetchone()
        if row is None:
            raise Incorrect(f"Row {number} is gone.")
        if row[0] and abs(row[0]) <= 15 * 3600:
            raise Incorrect(
                f"Run by a session in {zone}, the statements moved {moment} UTC by "
                f"{row[0] / 3600:g} hours. Say in which zone the old values are meant."
            )
        if row[0]:
            raise Incorrect(f"{moment} UTC is not there any more: its moment is lost.")
    added = "INSERT INTO ex9_users DEFAULT VALUES RETURNING extract(epoch FROM created_at - now())"
    try:
        first = connection.execute(added).fetchone() or (0,)
        second = connection.execute(added).fetchone() or (0,)
    except psycopg.errors.NotNullViolation:
        raise Incorrect(
            "A row that names no `created_at` is refused: there is no default."
        ) from None
    if first[0] is None or second[0] is None:
        raise Incorrect("A row that names no `created_at` gets NULL.")
    if abs(first[0]) > 1800:
        raise Incorrect(
            f"A session in {zone} adds a row, and its `created_at` is "
            f"{float(first[0]) / 3600:.1f} hours from now."
        )
    if one("SELECT count(DISTINCT created_at) FROM ex9_users WHERE id > 3") != 2:
        raise Incorrect("The default is a constant: two rows, one after the other, got one time.")
    try:
        connection.execute("INSERT INTO ex9_users (created_at) VALUES (NULL)")
    except psycopg.errors.NotNullViolation:
        return
    raise Incorrect("`created_at` was NOT NULL, and now NULL is accepted.")


# Exercise 10: for each, at once.

STARTER_10 = '''
async def for_each(Session, work, items):
    """Return a list: for each item the result of work(session, item), or its exception."""
    return ...


await ex10.check()
'''
BODY_10 = """\
    async def one(item):
        async with Session.begin() as session:
            return await work(session, item)

    return await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
"""
SOLUTION_10 = STARTER_10.replace("    return ...\n", BODY_10)
SHARED_10 = """\
    async with Session() as session:
        jobs = [work(session, item) for item in items]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        await session.commit()
        return results
"""
IN_TURN_10 = """\
    results = []
    for item in items:
        try:
            async with Session.begin() as session:
                results.append(await work(session, item))
        except Exception as error:
            results.append(error)
    return results
"""
COMMIT_ANYWAY_10 = """\
    async def one(item):
        async with Session() as session:
            try:
                return await work(session, item)
            finally:
                await session.commit()
"""


async def check_for_each(pg: Database, for_each: Callable[..., Any]) -> None:
    """Let twelve pieces of work come with a pool of three; one of them fails."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex10_done")
        connection.execute("CREATE TABLE ex10_done (item int)")
        sessions: list[Any] = []
        tasks: set[Any] = set()
        three, alone = asyncio.Event(), False

        async def work(session: Any, item: int) -> int:
            nonlocal alone
            sessions.append(session)
            tasks.add(asyncio.current_task())
            await session.execute(text(f"INSERT INTO ex10_done VALUES ({int(item)})"))
            if len(sessions) >= 3:
                three.set()
            try:
                await asyncio.wait_for(three.wait(), 5)
            except TimeoutError:
                alone = True
                three.set()
            if item == 5:
                raise ValueError("five")
            return 10 * item

        async with pool(pg, 3) as engine:
            maker = async_sessionmaker(engine, expire_on_commit=False)
            raised: Incorrect | None = None
            told: Any = None
            try:
                told = await asyncio.wait_for(for_each(maker, work, list(range(1, 13))), 30)
            except Incorrect as reason:
                raised = reason
            except TimeoutError:
                raised = Incorrect("for_each() did not end within 30 seconds.")
            if left := {task for task in tasks - {asyncio.current_task()} if not task.done()}:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=5)
            if len({id(session) for session in sessions}) < len(sessions):
                raise Incorrect("Two items were given the same session.")
            if raised and isinstance(raised.__cause__, ValueError):
                raise Incorrect(
                    "The work for item 5 raised, and so did for_each(). The results of the other "
                    "items are lost."
                )
            if raised:
                raise raised
            if engine.pool.checkedout():  # type: ignore[attr-defined]
                raise Incorrect("At the end a session is still open.")
        if alone:
            raise Incorrect(
                "The pool has three connections, but three items never worked at the same moment."
            )
        if not isinstance(told, list):
            raise Incorrect(f"for_each() returned a {type(told).__name__}, not a list.")
        kinds = [repr(result) for result in told]
        wanted = [repr(ValueError("five") if item == 5 else 10 * item) for item in range(1, 13)]
        if kinds != wanted:
            raise Incorrect(f"for_each() returned {told!r}; it should be [{', '.join(wanted)}].")
        rows = [row[0] for row in connection.execute("SELECT item FROM ex10_done ORDER BY item")]
        if 5 in rows:
            raise Incorrect("The work for item 5 raised, but what it had written is stored.")
        if rows != [item for item in range(1, 13) if item != 5]:
            raise Incorrect(f"Eleven items were done; stored are those of {rows}.")
        connection.execute("DROP TABLE ex10_done")


# Exercise 11: save what was read.

STARTER_11 = '''
async def save(session, page_id, version, text):
    """Store the text, commit, return the new version; or None if the page has another one."""
    return ...


ex11.start()
await ex11.check()
'''
BODY_11 = """\
    page = await session.get(Page, page_id)
    if page is None or page.version != version:
        return None
    page.text = text
    try:
        await session.commit()
    except StaleDataError:
        return None
    return page.version
"""
SOLUTION_11 = STARTER_11.replace("    return ...\n", BODY_11)
AGAIN_11 = """\
    page = await session.get(Page, page_id)
    if page is None or page.version != version:
        return None
    while True:
        try:
            page.text = text
            await session.commit()
            return page.version
        except StaleDataError:
            await session.rollback()
            await session.refresh(page)
"""


PAGES_11 = "INSERT INTO pages VALUES (1, 'About us', 1), (2, 'Terms', 7)"


def fill_pages(pg: Database) -> None:
    """Make the table of pages, with two pages."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS pages")
        connection.execute(
            "CREATE TABLE pages (id int PRIMARY KEY, text text NOT NULL, version int NOT NULL)"
        )
        connection.execute(PAGES_11)


async def check_save(pg: Database, save: Callable[..., Any]) -> None:
    """Save in turn, with old versions too; then ten at once, all of whom read the same version."""
    with look(pg) as connection:
        connection.execute("DELETE FROM pages")
        connection.execute(PAGES_11)

        def stored() -> dict[int, tuple[str, int]]:
            rows = connection.execute("SELECT id, text, version FROM pages ORDER BY id")
            return {number: (words, version) for number, words, version in rows}

        async with pool(pg, 10, 20) as engine:

            async def call(*arguments: Any) -> Any:
                async with session_of(engine) as session:
                    return await save(session, *arguments)

            told = await call(1, 1, "About Eva")
            if stored()[1] == ("About us", 1):
                raise Incorrect("After save() another session still reads the old text. Commit.")
            if stored()[1] != ("About Eva", 2):
                raise Incorrect(
                    f"The page had version 1. After save() it has {stored()[1]!r}; it should be "
                    "('About Eva', 2)."
                )
            if told != 2:
                raise Incorrect(f"save() returned {told!r}; the page's new version is 2.")
            before = stored()
            for arguments, why in [
                ((1, 1, "About Tom"), "The page has version 2, and the form came with 1"),
                ((1, 3, "About Tom"), "The page has version 2, and the form came with 3"),
                ((99, 1, "No page"), "There is no page 99"),
            ]:
                told = await call(*arguments)
                if stored() != before:
                    raise Incorrect(f"{why}, but save() changed the pages to {stored()}.")
                if told is not None:
                    raise Incorrect(f"{why}. save() returned {told!r}; it should be None.")
            told = await call(2, 7, "New terms")
            if (told, stored()[2]) != (8, ("New terms", 8)):
                raise Incorrect(
                    f"Page 2 had version 7. save() returned {told!r}, and the page has "
                    f"{stored()[2]!r}."
                )
            lock = "SELECT 1 FROM pages WHERE id = 1 FOR UPDATE"
            calls = [partial(call, 1, 2, f"text {number}") for number in range(10)]
            results = await behind_lock(pg, lock, calls, 10)
        winners = [number for number, told in enumerate(results) if told is not None]
        if len(winners) != 1:
            raise Incorrect(
                f"Ten people saved version 2 at the same moment, and {len(winners)} of them were "
                "told that theirs is stored."
            )
        if stored()[1] != (f"text {winners[0]}", 3) or results[winners[0]] != 3:
            raise Incorrect(
                f"Number {winners[0]} of ten was told the version {results[winners[0]]}, but the "
                f"page has {stored()[1]!r}."
            )


# Exercise 12: what was stored.

STARTER_12 = '''
class Customer(declarative_base()):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    revision: Mapped[int]


async def rename(session, customer_id, name):
    """Store the name, commit, return the customer as it is stored now; or None."""
    return ...


ex12.start()
await ex12.check()
'''
BODY_12 = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    customer = await session.scalar(new.returning(Customer))
    await session.commit()
    if customer:
        await session.refresh(customer)
    return customer
"""
SOLUTION_12 = STARTER_12.replace("    return ...\n", BODY_12)
PUBLISHED_12 = """\
    customer = await session.get(Customer, customer_id)
    if customer:
        customer.name = name
        await session.commit()
        await session.refresh(customer)
    return customer
"""
FLUSH_12 = """\
    customer = await session.get(Customer, customer_id)
    if customer:
        customer.name = name
        await session.flush()
        session.expunge(customer)
    await session.commit()
    return customer
"""
EXPUNGE_12 = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    customer = await session.scalar(new.returning(Customer))
    if customer:
        session.expunge(customer)
    await session.commit()
    return customer
"""
COPY_12 = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    revision = await session.scalar(new.returning(Customer.revision))
    await session.commit()
    if revision is None:
        return None
    return Customer(id=customer_id, name=name.strip().title(), revision=revision)
"""


def fill_customers(pg: Database) -> None:
    """Make the table of customers, with its trigger, and two customers."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS customers")
        connection.execute("DROP SEQUENCE IF EXISTS customers_revision")
        connection.execute("CREATE SEQUENCE customers_revision START 100 INCREMENT 7")
        connection.execute(
            "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, "
            "revision int NOT NULL DEFAULT 0)"
        )
        connection.execute("INSERT INTO customers (id, name) VALUES (1, 'Ada'), (2, 'Bob')")
        connection.execute(
            """CREATE OR REPLACE FUNCTION tidy_customer() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                NEW.name := initcap(btrim(NEW.name));
                NEW.revision := nextval('customers_revision');
                RETURN NEW;
            END $$"""
        )
        connection.execute(
            "CREATE TRIGGER tidy BEFORE UPDATE ON customers "
            "FOR EACH ROW EXECUTE FUNCTION tidy_customer()"
        )


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect the statements of every engine, so that none goes past the count."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def check_rename(pg: Database, rename: Callable[..., Any], Customer: Any) -> None:
    """Rename one who was not read before, one who was, and one who is not there."""
    names = ("id", "name", "revision")
    with look(pg) as connection, listening() as statements:

        def stored() -> dict[int, Any]:
            rows = connection.execute("SELECT id, name, revision FROM customers")
            return {row[0]: dict(zip(names, row, strict=True)) for row in rows}

        async with pool(pg, 2) as engine:
            for number, words, known in [(1, " ada king", False), (2, "bob smith 3rd ", True)]:
                before = stored()
                async with AsyncSession(engine) as session:
                    read = await session.get(Customer, number) if known else None
                    statements.clear()
                    customer = await rename(session, number, words)
                    sent = len(statements)
                    same = customer is read  # while we keep it, the session cannot forget it
                after = stored()
                if after == before:
                    raise Incorrect(
                        "After rename() another session still reads the old name. Commit."
                    )
                now = after[number]
                if after != {**before, number: now}:
                    raise Incorrect(f"rename() of customer {number} changed other customers too.")
                tidy = connection.execute("SELECT initcap(btrim(%s))", [words]).fetchone() or ("",)
                if now["name"] != tidy[0]:
                    raise Incorrect(
                        f"rename(session, {number}, {words!r}) stored the name {now['name']!r}."
                    )
                told = seen(customer, names)
                if told != now and same:
                    raise Incorrect(
                        f"The session had read the customer before. The row holds {now}, the "
                        f"returned object {told}: the object in the session was left as it was."
                    )
                if told != now:
                    raise Incorrect(
                        f"The row holds {now}, the returned object {told}. The trigger had the "
                        "last word."
                    )
                if sent > 2:
                    raise Incorrect(f"rename() sent {sent} statements. Two are enough.")
            before = stored()
            async with AsyncSession(engine) as session:
                customer = await rename(session, 99, "nobody")
            if customer is not None:
                kind = type(customer).__name__
                raise Incorrect(f"There is no customer 99, and rename() returned a {kind}.")
            if stored() != before:
                raise Incorrect("There is no customer 99, but rename() changed the table.")


def seen(customer: Any, names: Sequence[str]) -> dict[str, Any]:
    """Read what rename() returned, after its session was closed."""
    try:
        return {name: getattr(customer, name) for name in names}
    except SQLAlchemyError as error:
        raise Incorrect(
            f"The session is closed, and to read the customer raises {type(error).__name__}. "
            "What expired it, and what came after that?"
        ) from None
    except AttributeError:
        kind = type(customer).__name__
        raise Incorrect(f"rename() returned a {kind}, not a customer.") from None


EXERCISES: list[Exercise] = [
    Exercise(
        number=9,
        title="Mend the published column",
        prompt="Give SQL that makes created_at a timestamptz with a default; no moment changes.",
        setup=section("f-setup"),
        starter=STARTER_9,
        solution=SOLUTION_9,
        check=check_times,
        hints=[
            "ALTER TABLE ... ALTER created_at TYPE timestamptz has an option: USING expression.",
            "created_at AT TIME ZONE 'UTC' reads a timestamp as UTC and makes a timestamptz.",
            "A second statement: ALTER TABLE ... ALTER created_at SET DEFAULT now().",
        ],
        wrong=[
            (
                changed(SOLUTION_9, " USING created_at AT TIME ZONE 'UTC'", ""),
                "the statements moved",
            ),
            (changed(SOLUTION_9, DEFAULT_9, ""), "there is no default"),
            (changed(SOLUTION_9, "now()", "(now() AT TIME ZONE 'UTC')"), "hours from now"),
            (changed(SOLUTION_9, "now()", "'now'"), "The default is a constant"),
            (NEW_COLUMN_9, "its moment is lost"),
            (changed(SOLUTION_9, TYPE_9, ""), "'timestamp without time zone'"),
        ],
        praise="On a large table the new type rewrites every row: lesson 06 has the ways around.",
    ),
    Exercise(
        number=10,
        title="For each, at once",
        prompt="Write for_each(Session, work, items): a session and a transaction for each item.",
        setup=section("g-setup"),
        starter=STARTER_10,
        solution=SOLUTION_10,
        check=check_for_each,
        hints=[
            "Write an inner function for one item: it opens a session, and awaits the work.",
            "`async with Session.begin() as session:` commits at its end, or rolls back.",
            "gather has return_exceptions=True, and keeps the order of what it is given.",
        ],
        wrong=[
            (STARTER_10.replace("    return ...\n", SHARED_10), "the same session"),
            (STARTER_10.replace("    return ...\n", IN_TURN_10), "at the same moment"),
            (changed(SOLUTION_10, ", return_exceptions=True", ""), "so did for_each()"),
            (changed(SOLUTION_10, "Session.begin()", "Session()"), "Eleven items were done"),
            (
                changed(SOLUTION_10, BODY_10.partition("\n\n")[0] + "\n", COMMIT_ANYWAY_10),
                "what it had written is stored",
            ),
        ],
        praise="Twelve items, three connections, and one failure that harmed nobody else.",
    ),
    Exercise(
        number=11,
        title="Save what was read",
        prompt="Write save(session, page_id, version, text): stored only at the version it had.",
        setup=section("h-setup", "h-models"),
        prepare=fill_pages,
        starter=STARTER_11,
        solution=SOLUTION_11,
        check=check_save,
        hints=[
            "Read the page, and compare its version with the one that the form came with.",
            "Two requests may read the same version: the second commit raises StaleDataError.",
            "Catch it around the commit, and return None.",
        ],
        wrong=[
            (changed(SOLUTION_11, " or page.version != version", ""), "but save() changed"),
            (
                changed(SOLUTION_11, "StaleDataError:", "ZeroDivisionError:"),
                "raised StaleDataError",
            ),
            (changed(SOLUTION_11, "await session.commit()", "pass"), "still reads the old text"),
            (STARTER_11.replace("    return ...\n", AGAIN_11), "were told that theirs is stored"),
        ],
        praise="Eva keeps her text, and Tom is asked.",
    ),
    Exercise(
        number=12,
        title="What was stored",
        prompt="Write rename(session, customer_id, name): the customer as the database has it.",
        setup=section("i-setup"),
        prepare=fill_customers,
        starter=STARTER_12,
        solution=SOLUTION_12,
        check=check_rename,
        hints=[
            "The commit expires the object. Who reads it after that, and where?",
            "update(Customer).where(...).values(name=name) needs no object and no SELECT.",
            "With .returning(Customer) it gives the customer or None; refresh it after the commit.",
        ],
        wrong=[
            (changed(SOLUTION_12, "await session.refresh(customer)", "pass"), "to read the"),
            (STARTER_12.replace("    return ...\n", PUBLISHED_12), "Two are enough"),
            (
                STARTER_12.replace("    return ...\n", FLUSH_12),
                "object {'id': 1, 'name': ' ada king'",
            ),
            (STARTER_12.replace("    return ...\n", EXPUNGE_12), "was left as it was"),
            (STARTER_12.replace("    return ...\n", COPY_12), "Bob Smith 3Rd"),
            (changed(SOLUTION_12, "    await session.commit()\n", ""), "still reads the old name"),
            (changed(SOLUTION_12, ".where(Customer.id == customer_id)", ""), "other customers too"),
            (changed(SOLUTION_12, "    if customer:\n    ", ""), "rename(AsyncSession, 99"),
        ],
        praise="The caller holds what the database made of it.",
    ),
]

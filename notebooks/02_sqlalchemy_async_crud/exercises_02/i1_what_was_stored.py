"""Exercise 02i-1: what was stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from exercises_02.common import pool, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
class Customer(declarative_base()):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    revision: Mapped[int]


async def rename(session, customer_id, name):
    """Store the name, commit, return the customer as it is stored now; or None."""
    return ...


ex1.start()
await ex1.check()
'''
BODY = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    customer = await session.scalar(new.returning(Customer))
    await session.commit()
    if customer:
        await session.refresh(customer)
    return customer
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
PUBLISHED = """\
    customer = await session.get(Customer, customer_id)
    if customer:
        customer.name = name
        await session.commit()
        await session.refresh(customer)
    return customer
"""
FLUSH = """\
    customer = await session.get(Customer, customer_id)
    if customer:
        customer.name = name
        await session.flush()
        session.expunge(customer)
    await session.commit()
    return customer
"""
EXPUNGE = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    customer = await session.scalar(new.returning(Customer))
    if customer:
        session.expunge(customer)
    await session.commit()
    return customer
"""
COPY = """\
    new = update(Customer).where(Customer.id == customer_id).values(name=name)
    revision = await session.scalar(new.returning(Customer.revision))
    await session.commit()
    if revision is None:
        return None
    return Customer(id=customer_id, name=name.strip().title(), revision=revision)
"""


def prepare(pg: Place) -> None:
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


async def check(pg: Place, rename: Callable[..., Any], Customer: Any) -> None:
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
                raise Incorrect(
                    f"There is no customer 99, and rename() returned {shown(customer)}."
                )
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
        raise Incorrect(f"rename() returned {shown(customer)}, not a customer.") from None


EXERCISE = Exercise(
    title="What was stored",
    minutes=8,
    prompt="Write rename(session, customer_id, name): the customer as the database has it.",
    prepare=prepare,
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "The commit expires the object. Who reads it after that, and where?",
        "update(Customer).where(...).values(name=name) needs no object and no SELECT.",
        "With .returning(Customer) it gives the customer or None; refresh it after the commit.",
    ],
    wrong=[
        (changed(SOLUTION, "await session.refresh(customer)", "pass"), "to read the"),
        (STARTER.replace("    return ...\n", PUBLISHED), "Two are enough"),
        (
            STARTER.replace("    return ...\n", FLUSH),
            "object {'id': 1, 'name': ' ada king'",
        ),
        (STARTER.replace("    return ...\n", EXPUNGE), "was left as it was"),
        (STARTER.replace("    return ...\n", COPY), "Bob Smith 3Rd"),
        (changed(SOLUTION, "    await session.commit()\n", ""), "still reads the old name"),
        (changed(SOLUTION, ".where(Customer.id == customer_id)", ""), "other customers too"),
        (changed(SOLUTION, "    if customer:\n    ", ""), "rename(AsyncSession, 99"),
    ],
    praise="The caller holds what the database made of it.",
)

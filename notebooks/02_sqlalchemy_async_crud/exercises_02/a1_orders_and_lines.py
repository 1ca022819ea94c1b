"""Exercise 02a-1: orders and their lines."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.orm import Session, declarative_base, mapped_column, relationship, selectinload

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import begin_with, end_uncommitted, look
from helpers.exercises.running import running

STARTER = """
for_relationship = ...  # relationship("Line", **for_relationship)
for_foreign_key = ...  # ForeignKey("ex1_orders.id", **for_foreign_key)

ex1.check()
"""
SOLUTION = STARTER.replace(
    "for_relationship = ...",
    'for_relationship = {"cascade": "all, delete-orphan", "passive_deletes": True}',
).replace("for_foreign_key = ...", 'for_foreign_key = {"ondelete": "CASCADE"}')


def check(pg: Place, for_relationship: object, for_foreign_key: object) -> None:
    """Make the models with these options; delete an order, take a line out, use plain SQL."""
    if not isinstance(for_relationship, dict) or not isinstance(for_foreign_key, dict):
        raise Incorrect('Both answers are dicts, such as {"option": "value"}.')
    base: Any = declarative_base()
    with running("A model with your options"):
        order: Any = type(
            "Order",
            (base,),
            {
                "__tablename__": "ex1_orders",
                "id": mapped_column(type_=_integer(), primary_key=True),
                "lines": relationship(lambda: line, **for_relationship),
            },
        )
        key = ForeignKey("ex1_orders.id", **for_foreign_key)
        line: Any = type(
            "Line",
            (base,),
            {
                "__tablename__": "ex1_lines",
                "id": mapped_column(type_=_integer(), primary_key=True),
                "order_id": mapped_column(key, nullable=False, index=True),
            },
        )
        base.registry.configure()
    url = pg.url
    engine = begin_with(create_engine(url), "SET lock_timeout = '5s'")
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    end_uncommitted(pg)
    try:
        with look(pg) as connection:
            connection.execute("DROP TABLE IF EXISTS ex1_lines, ex1_orders")
            with running("Making the tables"):
                base.metadata.create_all(engine)
            connection.execute("INSERT INTO ex1_orders VALUES (1), (2), (3)")
            connection.execute(
                "INSERT INTO ex1_lines (order_id) SELECT n % 3 + 1 FROM generate_series(1, 300) n"
            )

            def left(number: int) -> Any:
                count = "SELECT count(*) FROM ex1_lines WHERE order_id = %s"
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
            lists = order.lines.property.lazy not in ("dynamic", "write_only")
            with Session(engine) as session, running("order.lines.remove(line)"):
                loaded = [selectinload(order.lines)] if lists else []
                found = session.get(order, 2, options=loaded)
                out = session.scalars(select(line).where(line.order_id == 2)).first()
                found.lines.remove(out)
                session.commit()
            if left(2) != 99:
                raise Incorrect(f"A line was taken out of 100; {left(2)} are stored.")
            with running("DELETE FROM ex1_orders"):
                connection.execute("DELETE FROM ex1_orders WHERE id = 3")
            if left(3):
                raise Incorrect("After a plain DELETE, lines of the order are left.")
    finally:
        engine.dispose()
        with look(pg) as connection:
            connection.execute("DROP TABLE IF EXISTS ex1_lines, ex1_orders")


def _integer() -> Any:
    from sqlalchemy import Integer

    return Integer


EXERCISE = Exercise(
    title="Orders and their lines",
    minutes=4,
    prompt="Give the options with which an order takes its lines along, in two statements.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "The database needs ondelete; the relationship needs cascade.",
        'cascade="all, delete-orphan" is what makes a line that was taken out go.',
        "passive_deletes=True makes the ORM leave the lines to the database.",
    ],
    wrong=[
        (
            changed(SOLUTION, '{"cascade": "all, delete-orphan", "passive_deletes": True}', "{}"),
            "100 lines raised IntegrityError: (psycopg.errors.NotNullViolation)",
        ),
        (changed(SOLUTION, '{"ondelete": "CASCADE"}', "{}"), "ForeignKeyViolation"),
        (changed(SOLUTION, ', "passive_deletes": True', ""), "loaded the lines first"),
        (changed(SOLUTION, "all, delete-orphan", "all"), "order.lines.remove(line) raised"),
    ],
    right=[
        changed(SOLUTION, '{"cascade"', '{"lazy": "raise", "cascade"'),
        changed(SOLUTION, '{"cascade"', '{"lazy": "write_only", "cascade"'),
        changed(SOLUTION, '"all, delete-orphan"', '"save-update, merge, delete, delete-orphan"'),
    ],
    praise="The ORM and the database agree on what belongs to what.",
)

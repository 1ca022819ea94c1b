"""Exercise 02c-1: once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker

from exercises_02.common import pool, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

STARTER = '''
async def again(Session, work):
    """Return the result of work(session), committed; at most three tries."""
    return ...


await ex1.check()
'''
BODY = """\
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
SOLUTION = STARTER.replace("    return ...\n", BODY)
ONE_SESSION = """\
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


OWN_ERROR = """\
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
OPERATIONAL = """\
    for tried in (1, 2, 3):
        try:
            async with Session() as session:
                result = await work(session)
                await session.commit()
                return result
        except OperationalError:
            if tried == 3:
                raise
"""
# All of them are OperationalError for psycopg and SQLAlchemy, as a lost connection is.
DATABASE_SAYS_NO = {
    "40P01": "A deadlock",
    "55P03": "A lock that did not come",
    "57014": "A statement that took too long",
}
SAME_SESSION = changed(
    ONE_SESSION,
    "as error:\n",
    "as error:\n                await session.rollback()\n",
)
COMMIT_APART = """\
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


async def check(pg: Place, again: Callable[..., Any]) -> None:
    """Let work lose its connection never, once, at the commit, and always; let it fail."""
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_orders")
        connection.execute("CREATE TABLE ex1_orders (id int GENERATED ALWAYS AS IDENTITY, try int)")
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
                    sql = f"INSERT INTO ex1_orders (try) VALUES ({tries})"
                    database = await session.connection()
                    await database.exec_driver_sql(sql)
                    pid = (await database.exec_driver_sql("SELECT pg_backend_pid()")).scalar()
                    kill = partial(connection.execute, "SELECT pg_terminate_backend(%s, 15000)")
                    if tries <= deadly and not at_end:
                        kill([pid])
                    found = await database.exec_driver_sql(then)
                    result = found.scalar()
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
                row = connection.execute("SELECT count(*) FROM ex1_orders").fetchone()
                return row[0] if row else 0

            async def fails_once(doing: Any, what: str, did: str, error: type) -> None:
                """Let the work fail in a way that no second try mends."""
                told = await outcome(doing)
                if not isinstance(told, Incorrect):
                    raise Incorrect(f"work() {did}, and again() returned {shown(told)}.")
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
                raise Incorrect(f"again() returned {shown(told)}; work() returned 61.")
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
                raise Incorrect(f"After a lost connection again() returned {shown(told)}, not 61.")
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
                what = "the error" if isinstance(told, Incorrect) else shown(told)
                raise Incorrect(
                    f"The connection was lost just before the commit. The caller got {what}, after "
                    f"{tries} tries, and {rows - 2} rows are stored. The commit can fail too."
                )
            told = await outcome(work(99))
            if not isinstance(told, Incorrect):
                raise Incorrect(
                    f"The connection was lost each time, and again() returned {shown(told)}."
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
            for code, what in DATABASE_SAYS_NO.items():
                no = work(0, f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
                await fails_once(no, what, f"met {what[0].lower()}{what[1:]}", DBAPIError)
            await fails_once(refuse, "A ValueError of work()", "raised a ValueError", ValueError)
            if engine.pool.checkedout():  # type: ignore[attr-defined]
                raise Incorrect("At the end a session is still open.")
        connection.execute("DROP TABLE ex1_orders")


EXERCISE = Exercise(
    title="Once more",
    minutes=10,
    prompt="Write again(Session, work): up to three tries when the connection is lost.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    equal={
        "fa624754": "three values, whatever they are: three tries",
        "76217f56": "three values, whatever they are: three tries",
        "d9bc1d7f": "three values, whatever they are: three tries",
        "794419d8": "three values, whatever they are: three tries",
    },
    hints=[
        "A loop over three tries; in it, try: with everything from Session() to commit().",
        "except DBAPIError as error: error.connection_invalidated is True or False.",
        "Raise again, with a bare `raise`, in the last try and for every other error.",
    ],
    wrong=[
        (
            changed(SOLUTION, "tried == 3 or not error.connection_invalidated", "True"),
            "instead of a second try",
        ),
        (
            changed(SOLUTION, "tried == 3 or not error.connection_invalidated", "tried == 3"),
            "A division by zero",
        ),
        (STARTER.replace("    return ...\n", ONE_SESSION), "needs a rollback"),
        (changed(SOLUTION, "                await session.commit()\n", ""), "0 are stored"),
        (
            changed(SOLUTION, "(1, 2, 3)", "range(1, 6)", "tried == 3", "tried == 5"),
            "tries, not three",
        ),
        (STARTER.replace("    return ...\n", OWN_ERROR), "got another error"),
        (STARTER.replace("    return ...\n", SAME_SESSION), "session of the first"),
        (changed(SOLUTION, "except DBAPIError", "except Exception"), "in its place"),
        (
            changed(
                SOLUTION,
                "except DBAPIError",
                "except Exception",
                "not error.connection_invalidated",
                'not getattr(error, "connection_invalidated", True)',
            ),
            "A ValueError of work()",
        ),
        (STARTER.replace("    return ...\n", COMMIT_APART), "just before the commit"),
        (
            "\nfrom sqlalchemy.exc import OperationalError\n\n"
            + STARTER.replace("    return ...\n", OPERATIONAL),
            "A deadlock was tried 3 times",
        ),
        (changed(SOLUTION, "for tried in (1, 2, 3)", "while tried := 1"), "did not stop"),
    ],
    praise="A lost connection costs one more try. While nothing answers at all, every try fails.",
)

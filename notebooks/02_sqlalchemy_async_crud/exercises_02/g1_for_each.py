"""Exercise 02g-1: for each, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from exercises_02.common import pool, shown, together
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
async def for_each(Session, work, items):
    """Return a list: for each item the result of work(session, item), or its exception."""
    return ...


await ex1.check()
'''
BODY = """\
    async def one(item):
        async with Session.begin() as session:
            return await work(session, item)

    return await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
SHARED = """\
    async with Session() as session:
        jobs = [work(session, item) for item in items]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        await session.commit()
        return results
"""
IN_TURN = """\
    results = []
    for item in items:
        try:
            async with Session.begin() as session:
                results.append(await work(session, item))
        except Exception as error:
            results.append(error)
    return results
"""
GROUP = """\
    async def one(item):
        try:
            async with Session() as session, session.begin():
                return await work(session, item)
        except Exception as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]
"""
WORDS = GROUP.replace("return error", "return str(error)")
COMMIT_ANYWAY = """\
    async def one(item):
        async with Session() as session:
            try:
                return await work(session, item)
            finally:
                await session.commit()
"""


async def check(pg: Place, for_each: Callable[..., Any]) -> None:
    """Let twelve pieces of work come with a pool of three; one of them fails."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_done")
        connection.execute("CREATE TABLE ex1_done (item int)")
        sessions: list[Any] = []
        tasks: set[Any] = set()
        three, alone = asyncio.Event(), False
        items = [4, 11, 5, 1, 9, 8, 12, 2, 7, 10, 3, 6]

        async def work(session: Any, item: int) -> int:
            nonlocal alone
            sessions.append(session)
            tasks.add(asyncio.current_task())
            await session.execute(text(f"INSERT INTO ex1_done VALUES ({int(item)})"))
            if len(sessions) >= 3:
                three.set()
            try:
                await asyncio.wait_for(three.wait(), 10)
            except TimeoutError:
                alone = True
                three.set()
            if item == 5:
                raise ValueError("five")
            if item == 8:
                await session.execute(text("SELECT 1 / 0"))
            return 10 * item

        async with pool(pg, 3) as engine:
            maker = async_sessionmaker(engine, expire_on_commit=False)
            raised: Incorrect | None = None
            told: Any = None
            await together(*(warm(engine, gate) for gate in [asyncio.Barrier(3)] * 3))
            try:
                told = await asyncio.wait_for(for_each(maker, work, items), 60)
            except Incorrect as reason:
                raised = reason
            except TimeoutError:
                raised = Incorrect("for_each() did not end within 60 seconds.")
            if left := {task for task in tasks - {asyncio.current_task()} if not task.done()}:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=5)
            if len({id(session) for session in sessions}) < len(sessions):
                raise Incorrect("Two items were given the same session.")
            if raised and isinstance(raised.__cause__, ValueError | DBAPIError):
                raise Incorrect(
                    "The work for items 5 and 8 raised, and so did for_each(). The results of the "
                    "other items are lost."
                )
            if raised:
                raise raised
            if engine.pool.checkedout():  # type: ignore[attr-defined]
                raise Incorrect("At the end a session is still open.")
            nothing = await asyncio.wait_for(for_each(maker, work, []), 30)
            if nothing != []:
                raise Incorrect(f"For no items for_each() returned {shown(nothing)}, not [].")
        if alone:
            raise Incorrect(
                "The pool has three connections, but three items never worked at the same moment."
            )
        if not isinstance(told, list):
            raise Incorrect(f"for_each() returned {shown(told)}, not a list.")
        failed = {5: ValueError, 8: DBAPIError}
        if len(told) != len(items):
            raise Incorrect(f"For twelve items for_each() returned a list of {len(told)}.")
        for item, result in zip(items, told, strict=True):
            if item in failed and not isinstance(result, failed[item]):
                raise Incorrect(
                    f"The work for item {item} raised, and the list has {shown(result)} for it. "
                    "It should be the exception that work() raised."
                )
            if item not in failed and result != 10 * item:
                raise Incorrect(
                    f"The items were {items}, and for item {item} the list has {shown(result)}; "
                    f"work() returned {10 * item}."
                )
        rows = [row[0] for row in connection.execute("SELECT item FROM ex1_done ORDER BY item")]
        if stored := failed.keys() & set(rows):
            raise Incorrect(
                f"The work for item {min(stored)} raised, but what it had written is stored."
            )
        if rows != sorted(item for item in items if item not in failed):
            raise Incorrect(f"Ten items were done; stored are those of {rows}.")
        connection.execute("DROP TABLE ex1_done")


async def warm(engine: AsyncEngine, gate: asyncio.Barrier) -> None:
    """Open one of the pool's connections, so that opening takes no time later."""
    async with engine.connect():
        await gate.wait()


EXERCISE = Exercise(
    title="For each, at once",
    minutes=6,
    prompt="Write for_each(Session, work, items): a session and a transaction for each item.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Write an inner function for one item: it opens a session, and awaits the work.",
        "`async with Session.begin() as session:` commits at its end, or rolls back.",
        "gather has return_exceptions=True, and keeps the order of what it is given.",
    ],
    wrong=[
        (STARTER.replace("    return ...\n", SHARED), "the same session"),
        (STARTER.replace("    return ...\n", IN_TURN), "at the same moment"),
        (changed(SOLUTION, ", return_exceptions=True", ""), "so did for_each()"),
        (changed(SOLUTION, "Session.begin()", "Session()"), "Ten items were done"),
        (
            changed(SOLUTION, BODY.partition("\n\n")[0] + "\n", COMMIT_ANYWAY),
            "what it had written is stored",
        ),
        (
            changed(SOLUTION, "(one(item) for item in items)", "map(one, sorted(items))"),
            "The items were",
        ),
        (STARTER.replace("    return ...\n", WORDS), "the exception that work() raised"),
    ],
    right=[STARTER.replace("    return ...\n", GROUP)],
    praise="Twelve items, three connections, and one failure that harmed nobody else.",
)

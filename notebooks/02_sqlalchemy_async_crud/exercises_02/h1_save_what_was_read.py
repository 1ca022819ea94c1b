"""Exercise 02h-1: save what was read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError

from exercises_02.common import behind_lock, pool, session_of, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
async def save(session, page_id, version, text):
    """Store the text, commit, return the new version; or None if the page has another one."""
    return ...


ex1.start()
await ex1.check()
'''
BODY = """\
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
SOLUTION = STARTER.replace("    return ...\n", BODY)
AGAIN = """\
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


ONE_UPDATE = """\
    pages = Page.__table__
    same = pages.update().where(pages.c.id == page_id, pages.c.version == version)
    new = same.values(text=text, version=version + 1).returning(pages.c.version)
    found = await session.scalar(new)
    await session.commit()
    return found
"""
PAGES = "INSERT INTO pages VALUES (1, 'About us', 1), (2, 'Terms', 7)"


def prepare(pg: Place) -> None:
    """Make the table of pages, with two pages."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS pages")
        connection.execute(
            "CREATE TABLE pages (id int PRIMARY KEY, text text NOT NULL, version int NOT NULL)"
        )
        connection.execute(PAGES)


async def check(pg: Place, save: Callable[..., Any]) -> None:
    """Save in turn, with old versions too; then ten at once, all of whom read the same version."""
    with look(pg) as connection:
        connection.execute("DELETE FROM pages")
        connection.execute(PAGES)

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
                raise Incorrect(f"save() returned {shown(told)}; the page's new version is 2.")
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
                    raise Incorrect(f"{why}. save() returned {shown(told)}; it should be None.")
            told = await call(2, 7, "New terms")
            if (told, stored()[2]) != (8, ("New terms", 8)):
                raise Incorrect(
                    f"Page 2 had version 7. save() returned {shown(told)}, and the page has "
                    f"{stored()[2]!r}."
                )
            told = await call(2, 8, "New terms")
            if stored()[2] not in [("New terms", 8), ("New terms", 9)] or told != stored()[2][1]:
                raise Incorrect(
                    f"Page 2 had version 8 and was saved with the text that it had. save() "
                    f"returned {shown(told)}, and the page has {stored()[2]!r}."
                )
            before = stored()
            try:
                told = await call(1, 2, None)
            except Incorrect as error:
                if not isinstance(error.__cause__, DBAPIError | ValueError | TypeError):
                    raise
            else:
                raise Incorrect(
                    f"The page must have a text. Without one the database refuses it, and save() "
                    f"returned {shown(told)}: as if somebody had changed the page."
                )
            if stored() != before:
                raise Incorrect(f"A text of None changed the pages to {stored()}.")
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


EXERCISE = Exercise(
    title="Save what was read",
    minutes=10,
    prompt="Write save(session, page_id, version, text): stored only at the version it had.",
    prepare=prepare,
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Read the page, and compare its version with the one that the form came with.",
        "Two requests may read the same version: the second commit raises StaleDataError.",
        "Catch it around the commit, and return None.",
    ],
    wrong=[
        (changed(SOLUTION, " or page.version != version", ""), "but save() changed"),
        (
            changed(SOLUTION, "StaleDataError:", "ZeroDivisionError:"),
            "raised StaleDataError",
        ),
        (changed(SOLUTION, "await session.commit()", "pass"), "still reads the old text"),
        (STARTER.replace("    return ...\n", AGAIN), "were told that theirs is stored"),
        (changed(SOLUTION, "except StaleDataError:", "except Exception:"), "must have a text"),
    ],
    right=[STARTER.replace("    return ...\n", ONE_UPDATE)],
    praise="Eva keeps her text, and Tom is asked.",
)

"""Exercise 02-1: the newest posts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event, text

from exercises_02.common import pool, session_of
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

STARTER = '''
async def latest(session, count):
    """Return a list of (title, name of the author), the newest post first."""
    return ...


await ex1.check()
'''
BODY = """\
    newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
    posts = await session.scalars(newest.limit(count))
    return [(post.title, post.author.name) for post in posts]
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
OWN_SESSION = """\
    async with AsyncSessionLocal() as own:
        newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
        return [(post.title, post.author.name) for post in await own.scalars(newest.limit(count))]
"""
GAPS = """\
    top = await session.scalar(select(Post.id).order_by(Post.id.desc()).limit(1))
    newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
    posts = await session.scalars(newest.where(Post.id > top - count))
    return [(post.title, post.author.name) for post in posts]
"""
LOOP = """\
    found = []
    for post in await session.scalars(select(Post).order_by(Post.id.desc()).limit(count)):
        author = await session.get(User, post.author_id)
        found.append((post.title, author.name))
    return found
"""


async def check(pg: Place, latest: Callable[..., Any]) -> None:
    """Ask for 1, 20 and 50 posts; count the statements and the rows.

    The session has deleted the second newest post, and not committed: so the ids have a gap, and
    a query outside of the session would still find it.
    """
    statements: list[str] = []
    rows: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        statements.append(statement)
        rows.append(cursor.rowcount)

    with look(pg) as connection:
        found = connection.execute(
            "SELECT posts.id, title, name FROM posts JOIN users ON users.id = author_id "
            "ORDER BY posts.id DESC LIMIT 51"
        ).fetchall()
    everything = [(title, name) for _, title, name in found]
    deleted, truth = found[1][0], everything[:1] + everything[2:]
    async with pool(pg, 2) as engine:
        event.listen(engine.sync_engine, "after_cursor_execute", note)
        for count in (1, 20, 50):
            async with session_of(engine) as session:
                await session.execute(text("DELETE FROM posts WHERE id = :id"), {"id": deleted})
                statements.clear()
                rows.clear()
                found = await latest(session, count)
            if not isinstance(found, list):
                raise Incorrect(f"latest() returned a {type(found).__name__}, not a list.")
            pairs = [tuple(pair) if isinstance(pair, Sequence) else pair for pair in found]
            if pairs == truth[:count][::-1] != truth[:count]:
                raise Incorrect("These are the newest posts, but the newest of them is last.")
            if count > 1 and pairs == everything[:count]:
                raise Incorrect(
                    "The session had deleted a post, and latest() still returned it. Ask with "
                    "the session that you get: another one does not see what it has changed."
                )
            if len(pairs) != count:
                raise Incorrect(
                    f"latest(session, {count}) returned {len(pairs)} posts. Ids can have gaps."
                )
            if pairs != truth[:count]:
                bad = next(i for i in range(count) if pairs[i] != truth[i])
                raise Incorrect(
                    f"Number {bad + 1} of the newest posts is {truth[bad]!r}; "
                    f"latest() has {pairs[bad]!r}."
                )
            if len(statements) > 2:
                raise Incorrect(
                    f"{len(statements)} statements for {count} posts: an N+1. "
                    "Two are enough for any number."
                )
            if sum(rows) > 2 * count:
                raise Incorrect(
                    f"The right posts, but {sum(rows):,} rows were fetched for {count} of them. "
                    "Let the database choose."
                )


EXERCISE = Exercise(
    title="The newest posts",
    minutes=5,
    prompt="Write latest(session, count): titles and authors in at most two statements.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "select(Post) with .order_by(Post.id.desc()) and .limit(count) finds the posts.",
        "A post has one author: .options(joinedload(Post.author)).",
        "Or select(Post.title, User.name).join(Post.author), without any object.",
    ],
    wrong=[
        (
            changed(SOLUTION, ".options(joinedload(Post.author))", ""),
            "raised MissingGreenlet",
        ),
        (STARTER.replace("    return ...\n", LOOP), "an N+1"),
        (STARTER.replace("    return ...\n", OWN_SESSION), "had deleted a post"),
        (STARTER.replace("    return ...\n", GAPS), "Ids can have gaps"),
        (changed(SOLUTION, ".desc()", ""), "Number 1 of the newest"),
        (
            changed(SOLUTION, "newest.limit(count)", "newest", "in posts]", "in posts][:count]"),
            "rows were fetched",
        ),
    ],
    praise="Two statements or one, for a page of any length.",
)

"""Exercise 02-1: the newest posts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event

from exercises_02.common import pool, session_of, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

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


COMMITS = """\
    newest = select(Post).options(joinedload(Post.author)).order_by(Post.id.desc())
    posts = list(await session.scalars(newest.limit(count)))
    await session.commit()
    return [(post.title, post.author.name) for post in posts]
"""
COLUMNS = """\
    pairs = select(Post.title, User.name).join(Post.author).order_by(Post.id.desc())
    return (await session.execute(pairs.limit(count))).all()
"""
TWO = """\
    newest = select(Post).options(selectinload(Post.author)).order_by(Post.id.desc())
    return [(p.title, p.author.name) for p in await session.scalars(newest.limit(count))]
"""

POSTS = 60
FILL = f"""
    CREATE TEMP TABLE users (LIKE users INCLUDING DEFAULTS);
    CREATE TEMP TABLE posts (LIKE posts INCLUDING DEFAULTS);
    INSERT INTO pg_temp.users (id, email, name, created_at)
    SELECT n, 'author' || n || '@example.com', 'Author ' || n % 9, now()
    FROM generate_series(1, 12) AS n;
    INSERT INTO pg_temp.posts (id, title, content, author_id, published, created_at)
    SELECT 7 * n + n * n % 5, 'Post ' || n % 50, 'words', n * n % 11 + 1, n % 2 = 0,
           now() - n * 17 % 61 * interval '1 hour'
    FROM generate_series(1, {POSTS}) AS n ORDER BY n * 37 % {POSTS + 1};
"""


async def check(pg: Place, latest: Callable[..., Any]) -> None:
    """Ask for a few posts, many, and more than there are; count the statements and the rows.

    The session has tables of its own, which hide the lesson's: ids have gaps, are stored in no
    order, and say nothing of the times of creation; two authors may have one name, and two posts
    one title. What the answer commits or changes there is nobody's.
    """
    statements: list[str] = []
    rows: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        statements.append(statement)
        rows.append(cursor.rowcount)

    async with pool(pg, 1, 2) as engine:
        async with engine.connect() as connection:
            await connection.run_sync(lambda one: one.connection.cursor().execute(FILL))
            found = await connection.exec_driver_sql(
                "SELECT title, name, author_id FROM posts JOIN users ON users.id = author_id "
                "ORDER BY posts.id DESC"
            )
            truth = [tuple(row) for row in found]
            await connection.commit()
        event.listen(engine.sync_engine, "after_cursor_execute", note)
        for count in (1, 20, 0, 2, 50, POSTS + 5):
            ended: list[str] = []
            async with session_of(engine) as session:
                for what in ("commit", "rollback"):
                    event.listen(
                        session.sync_session,
                        f"after_{what}",
                        lambda _, w=what, to=ended: to.append(w),
                    )
                await session.begin()
                statements.clear()
                rows.clear()
                found = await latest(session, count)
                sent, fetched, done = list(statements), sum(rows), list(ended)
            check_pairs(found, [pair[:2] for pair in truth], count, sent)
            check_effort(sent, fetched, truth[:count], count)
            if done:
                raise Incorrect(
                    f"latest() ended the transaction of its caller, with a {done[0]}. It only "
                    "reads: whoever began the work ends it."
                )


def check_pairs(found: Any, truth: list[Any], count: int, sent: list[str]) -> None:
    """Compare what latest() returned with the newest posts."""
    if not isinstance(found, list):
        raise Incorrect(f"latest() returned {shown(found)}, not a list.")
    for one in found:
        if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 2:
            raise Incorrect(
                f"latest() returned a list with {shown(one)} in it. Each post should be a pair "
                "(title, name of the author)."
            )
    pairs, wanted = [tuple(pair) for pair in found], truth[:count]
    if wanted and not sent:
        raise Incorrect(
            "latest() sent nothing with the session that it got. Ask with that session: another "
            "one does not see what it has changed, and needs a second connection."
        )
    if pairs == wanted[::-1] != wanted:
        raise Incorrect("These are the newest posts, but the newest of them is last.")
    if len(pairs) != len(wanted):
        raise Incorrect(
            f"latest(session, {count}) returned {len(pairs)} posts of {len(truth)}; it should be "
            f"{len(wanted)}." + (" Ids can have gaps." if len(pairs) < len(wanted) else "")
        )
    if pairs != wanted:
        bad = next(i for i, pair in enumerate(pairs) if pair != wanted[i])
        raise Incorrect(
            f"Number {bad + 1} of the newest posts is {wanted[bad]!r}; "
            f"latest() has {shown(pairs[bad])}."
        )


def check_effort(sent: list[str], fetched: int, truth: list[Any], count: int) -> None:
    """Compare what it took with what the task needs: the posts, and each author once."""
    if len(sent) > 2:
        raise Incorrect(
            f"{len(sent)} statements for {len(truth)} posts: an N+1. Two are enough for any number."
        )
    if fetched > len(truth) + max(1, len({author for _, _, author in truth})):
        raise Incorrect(
            f"The right posts, but {fetched:,} rows were fetched for {len(truth)} of them. "
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
        (STARTER.replace("    return ...\n", OWN_SESSION), "sent nothing with the session"),
        (STARTER.replace("    return ...\n", GAPS), "Ids can have gaps"),
        (changed(SOLUTION, ".desc()", ""), "Number 1 of the newest"),
        (
            changed(SOLUTION, "newest.limit(count)", "newest", "in posts]", "in posts][:count]"),
            "rows were fetched",
        ),
        (STARTER.replace("    return ...\n", COMMITS), "ended the transaction of its caller"),
        (
            changed(SOLUTION, "[(post.title, post.author.name) for post in posts]", "list(posts)"),
            "should be a pair",
        ),
        (changed(SOLUTION, "limit(count)", "limit(20)"), "returned 20 posts of 60"),
        (
            changed(SOLUTION, "    return [", "    raise SystemExit(3)\n    return ["),
            "raised SystemExit",
        ),
    ],
    right=[
        STARTER.replace("    return ...\n", COLUMNS),
        STARTER.replace("    return ...\n", TWO),
    ],
    praise="Two statements or one, for a page of any length.",
)

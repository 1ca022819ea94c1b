"""Exercise 06e-1: a slim backfill."""

from __future__ import annotations

from exercises_06.common import committed
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import STATEMENTS, changed, starter, statements
from helpers.exercises.looking import end_uncommitted, look

START = starter(1, "makes ex1_users anew, 30,000 rows")
BATCHES = """
for first in range(1, 30_001, 1_000):
    connection.execute(
        "UPDATE ex1_users SET plan = 'free' WHERE id BETWEEN %s AND %s", [first, first + 999]
    )
    connection.execute("VACUUM ex1_users")
"""
SOLUTION = START.replace(STATEMENTS, BATCHES.strip("\n"))
SIZE = "SELECT pg_relation_filenode('ex1_users'), pg_relation_size('ex1_users')"


def prepare(pg: Place) -> None:
    """Make the table, and note its file and size."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_before")
        connection.execute("""
            CREATE TABLE ex1_users (id int PRIMARY KEY, email text NOT NULL, plan text)
            WITH (autovacuum_enabled = off)
        """)
        connection.execute(
            "INSERT INTO ex1_users SELECT n, 'user' || n || '@example.com' "
            "FROM generate_series(1, 30000) AS n"
        )
        connection.execute(f"CREATE TABLE ex1_before AS {SIZE}")


def check(pg: Place) -> None:
    """Look at the rows, the file, its size and the vacuums."""
    with committed(pg):
        _judge(pg)


def _judge(pg: Place) -> None:
    with look(pg) as connection:
        rows, filled, others, strange = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE plan = 'free'), "
            "count(*) FILTER (WHERE plan <> 'free'), "
            "count(*) FILTER (WHERE email <> 'user' || id || '@example.com') FROM ex1_users"
        ).fetchone() or (0, 0, 0, 0)
        file, size = connection.execute(SIZE).fetchone() or (0, 0)
        old_file, old_size = connection.execute("SELECT * FROM ex1_before").fetchone() or (0, 1)
        # VACUUM notes the pages that it has found clean; statistics would come too late.
        (vacuumed,) = connection.execute(
            "SELECT relallvisible > 0 FROM pg_class WHERE oid = 'ex1_users'::regclass"
        ).fetchone() or (False,)
    if strange or rows != 30_000:
        raise Incorrect(
            f"The users are not those that ex1.start() made: {rows:,} rows, and {strange:,} of "
            "them with another email. Fill plan, and leave the rest as it is."
        )
    if others:
        raise Incorrect(f"{others:,} users have another plan than 'free'.")
    if not filled:
        raise NotAttempted("No row of ex1_users has the plan 'free'.")
    if filled < rows:
        raise Incorrect(f"{filled:,} of 30,000 rows have the plan 'free'.")
    if file != old_file:
        raise Incorrect("The table was written anew. All that time nobody could have read it.")
    if size > 1.33 * old_size:
        when = "VACUUM came too late to help" if vacuumed else "nobody cleared the old rows away"
        raise Incorrect(f"The table is {size / old_size:.1f} times as big as before: {when}.")


EXERCISE = Exercise(
    title="A slim backfill",
    minutes=7,
    prompt="Fill every row so that the table grows by less than a third.",
    starter=START,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "A batch leaves its old rows behind. Clear them away before the next one.",
        "A loop with an UPDATE of some thousand rows and a VACUUM ex1_users.",
    ],
    wrong=[
        (statements(START, "UPDATE ex1_users SET plan = 'free'"), "nobody cleared"),
        (
            statements(START, "UPDATE ex1_users SET plan = 'free'", "VACUUM ex1_users"),
            "came too late",
        ),
        (
            statements(START, "UPDATE ex1_users SET plan = 'free'", "VACUUM FULL ex1_users"),
            "written anew",
        ),
        (changed(SOLUTION, "30_001", "29_001"), "of 30,000 rows have"),
        (changed(SOLUTION, "'free'", "'Free'"), "have another plan than"),
        (
            changed(
                SOLUTION,
                "(autocommit=True)",
                "()",
                '    connection.execute("VACUUM ex1_users")\n',
                "",
            ),
            "are not committed",
        ),
        (
            changed(SOLUTION, "plan = 'free'", "plan = 'free', email = upper(email)"),
            "not those that",
        ),
    ],
    equal={
        "0ed84e6c": "the ranges begin one lower, and end where they did or behind",
        "367f0f6b": "the last range is the same",
        "a5929d00": "the last range is the same",
        "1e2b53a9": "the ranges overlap by a row",
        "7238d2b9": "the ranges overlap by a row",
    },
    praise="The space of one batch is used by the next.",
)

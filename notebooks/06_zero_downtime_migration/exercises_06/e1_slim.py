"""Exercise 06e-1: a slim backfill."""

from __future__ import annotations

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
    with look(pg) as connection:
        rows, filled = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE plan = 'free') FROM ex1_users"
        ).fetchone() or (0, 0)
        file, size = connection.execute(SIZE).fetchone() or (0, 0)
        old_file, old_size = connection.execute("SELECT * FROM ex1_before").fetchone() or (0, 1)
        (vacuums,) = connection.execute(
            "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'ex1_users'"
        ).fetchone() or (0,)
    if not filled:
        raise NotAttempted("No row of ex1_users has the plan 'free'.")
    if filled < rows or rows != 30_000:
        raise Incorrect(f"{filled:,} of 30,000 rows have the plan 'free'.")
    if file != old_file:
        raise Incorrect("The table was written anew. All that time nobody could have read it.")
    if size > 1.33 * old_size:
        when = "VACUUM came too late to help" if vacuums else "nobody cleared the old rows away"
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
    ],
    praise="The space of one batch is used by the next.",
)

"""Exercise 00-1: a table that everybody sees."""

from __future__ import annotations

from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.looking import end_uncommitted, look, uncommitted

# This exercise owns every table whose name begins with "visit", in any case of letters.
OWN_TABLES = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = 'public' AND lower(table_name) LIKE 'visit%'
    ORDER BY table_name
"""
COLUMNS = """
    SELECT column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'visits'
"""
KEY_COLUMNS = """
    SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid
    WHERE indrelid = 'public.visits'::regclass AND indisprimary AND attnum = ANY (indkey)
"""
STARTER = """
ex1.start()  # removes what an earlier try left

connection = pg.connect()
# Your statements go here, each as connection.execute("...")

ex1.check()
connection.close()
"""
CREATE = """connection.execute(
    "CREATE TABLE visits (id integer PRIMARY KEY, page text NOT NULL)"
)"""
INSERT = "connection.execute(\"INSERT INTO visits (id, page) VALUES (1, '/home')\")"
SOLUTION = STARTER.replace(
    '# Your statements go here, each as connection.execute("...")',
    f"{CREATE}\n{INSERT}\nconnection.commit()",
)


def prepare(pg: Place) -> None:
    """Remove the tables of earlier tries."""
    end_uncommitted(pg)
    with look(pg) as connection:
        for (name,) in connection.execute(OWN_TABLES).fetchall():
            quoted = name.replace('"', '""')
            connection.execute(f'DROP TABLE "{quoted}"')


def check(pg: Place) -> None:
    """Look at the catalog and at the rows from another session than the learner's."""
    with look(pg) as connection:
        tables = [name for (name,) in connection.execute(OWN_TABLES)]
        columns = {name: (kind, null) for name, kind, null in connection.execute(COLUMNS)}
    if "visits" not in tables:
        raise _no_table(pg, tables)
    if missing := {"id", "page"} - columns.keys():
        raise Incorrect(f"visits has no column {' and no column '.join(sorted(missing))}.")
    if columns["id"][0] not in ("smallint", "integer", "bigint"):
        raise Incorrect(f"The column id has the type {columns['id'][0]}; it should be integer.")
    if columns["page"][0] not in ("text", "character varying"):
        raise Incorrect(f"The column page has the type {columns['page'][0]}; it should be text.")
    if columns["page"][1] == "YES":
        raise Incorrect("The column page accepts NULL: a visit without a page could be stored.")
    with look(pg) as connection:
        key = [name for (name,) in connection.execute(KEY_COLUMNS)]
        (rows,) = connection.execute("SELECT count(*) FROM visits").fetchone() or (0,)
    if key != ["id"]:
        raise Incorrect("id is not the primary key: two visits could have the same id.")
    if rows == 0 and uncommitted(pg):
        raise _not_committed("the row")
    if rows != 1:
        raise Incorrect(f"visits has {rows} rows; insert exactly one.")


def _no_table(pg: Place, others: list[str]) -> Exception:
    if uncommitted(pg):
        return _not_committed("the table")
    if others:
        return Incorrect(f"Your table is called {others[0]}; the exercise asks for visits.")
    return NotAttempted("There is no table visits yet.")


def _not_committed(what: str) -> Incorrect:
    return Incorrect(
        f"Your transaction is still open, so no other session can see {what}. psycopg began it "
        "with your first statement; connection.commit() ends it."
    )


EXERCISE = Exercise(
    title="A table that everybody sees",
    minutes=7,
    prompt="Create a table visits with an integer primary key id and a text column page that "
    "must not be NULL, insert one row, and make both visible to every session.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    equal=dict.fromkeys(
        ("308d4eed", "ae6d6ebd", "cdeab684"), "any row is right, whatever its values are"
    ),
    prepare=prepare,
    hints=[
        "CREATE TABLE name (column type constraint, ...). The two constraints you need are "
        "PRIMARY KEY and NOT NULL.",
        "INSERT INTO visits (id, page) VALUES (1, '/home') adds one row.",
        "psycopg begins a transaction with the first statement. Other sessions see nothing of "
        "it before connection.commit(). The check is such another session.",
    ],
    wrong=[
        (SOLUTION.replace(" NOT NULL", ""), "accepts NULL"),
        (SOLUTION.replace("\nconnection.commit()", ""), "transaction is still open"),
        (
            SOLUTION.replace("TABLE visits", "TABLE visit").replace("INTO visits", "INTO visit"),
            "called visit;",
        ),
        (SOLUTION.replace(" PRIMARY KEY", ""), "not the primary key"),
        (SOLUTION.replace(INSERT + "\n", ""), "visits has 0 rows"),
    ],
    praise="You committed, so every session sees the table. Before, only yours did.",
)

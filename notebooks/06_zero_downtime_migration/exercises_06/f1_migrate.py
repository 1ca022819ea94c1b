"""Exercise 06f-1: addresses without case, under traffic."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from exercises_06.common import sessions_left_alone
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed, of_the_lesson
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
ex1.start()  # makes ex1_users anew


def migrate(pg):
    """Make ex1_users.email unique without regard to case, while the application runs."""
    ...


ex1.check()
'''
FUNCTION = '''
    with pg.connect(autocommit=True) as connection:
        connection.execute("""
            UPDATE ex1_users AS u SET email = u.id || '+' || u.email
            WHERE EXISTS (SELECT FROM ex1_users AS o
                          WHERE lower(o.email) = lower(u.email) AND o.id < u.id)""")
        connection.execute("DROP INDEX CONCURRENTLY IF EXISTS ex1_users_email")
        connection.execute("""CREATE UNIQUE INDEX CONCURRENTLY ex1_users_email
                              ON ex1_users (lower(email))""")
'''
SOLUTION = STARTER.replace("    ...\n", FUNCTION.lstrip("\n"))
UPDATE = FUNCTION[FUNCTION.index("        conn") : FUNCTION.index('        connection.execute("D')]
# At the end of the function: another way than the index, tried until the import is over.
INDEX = FUNCTION[FUNCTION.index('        connection.execute("D') :]
PATIENT = """        connection.execute("SET lock_timeout = '100ms'")
        while True:
            try:
                connection.execute(sql)
                return
            except psycopg.errors.LockNotAvailable:
                time.sleep(0.2)
"""
NEW = "INSERT INTO ex1_users (email, name) VALUES (%s, 'New')"


def answer(*statements: str) -> str:
    """Return the cell with these statements in place of the index; the last is tried patiently."""
    lines = [f"        connection.execute({sql!r})\n" for sql in statements[:-1]]
    lines.append(f"        sql = {statements[-1]!r}\n{PATIENT}")
    return "\nimport time\n\nimport psycopg\n\n" + changed(SOLUTION, INDEX, "".join(lines))


def trigger(body: str, events: str) -> tuple[str, str]:
    """Return the statements that make a trigger with this body."""
    return (
        "CREATE OR REPLACE FUNCTION ex1_email() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NEW; END $$",
        f"CREATE TRIGGER ex1_email BEFORE {events} ON ex1_users FOR EACH ROW "
        "EXECUTE FUNCTION ex1_email()",
    )


FIRST = ("alice@example.com", "Bob@Example.com", "CAROL@example.com")
DOUBLES = ("Alice@Example.com", "bob@example.com", "Carol@example.com")
EXPECTED = """
    SELECT count(*) FILTER (WHERE id <= 3003) AS kept,
           count(*) FILTER (WHERE id <= 3000 AND email <> coalesce(
               (%s::text[])[id],
               'user' || id || '@example.com')) AS touched,
           count(*) FILTER (WHERE id BETWEEN 3001 AND 3003 AND email = id || '+' || (%s::text[])[id - 3000])
    FROM ex1_users
"""  # noqa: E501
FILE = "SELECT pg_relation_filenode('ex1_users')"
IN_ONE_GO = """
    SELECT indexrelid::regclass::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = indexrelid
    WHERE indrelid = 'ex1_users'::regclass AND i.xmin = c.xmin
      AND indexrelid::regclass::text NOT IN ('ex1_users_pkey', 'ex1_users_email_key')
"""


def prepare(pg: Place) -> None:
    """Make the table with its three pairs."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users CASCADE")
        connection.execute("""
            CREATE TABLE ex1_users (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                email varchar(255) NOT NULL UNIQUE, name varchar(100) NOT NULL,
                logins int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now()
            )
        """)
        connection.execute(
            """
            INSERT INTO ex1_users (email, name)
            SELECT coalesce((%s::text[])[n], 'user' || n || '@example.com'), 'User ' || n
            FROM generate_series(1, 3000) AS n
        """,
            [list(FIRST)],
        )
        connection.execute(
            "INSERT INTO ex1_users (email, name) SELECT unnest(%s::text[]), 'Double'",
            [list(DOUBLES)],
        )
        connection.execute("ANALYZE ex1_users")


def _end_import(pg: Place, importing: Any, migrated: threading.Event) -> None:
    """Commit when a session has waited for the import for 1.5 s, or the migration is over."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    deadline = time.monotonic() + 10
    with look(pg) as observer:
        while not migrated.wait(0.02) and time.monotonic() < deadline:
            if observer.execute(waiting, [importing.info.backend_pid]).fetchone() != (0,):
                migrated.wait(1.5)
                break
    with contextlib.suppress(psycopg.OperationalError):  # somebody has ended the session
        importing.commit()


def check(pg: Place, migrate: Callable[..., object]) -> None:
    """Migrate under traffic and beside an open import; look at what both sides got."""
    prepare(pg)
    with look(pg) as connection:
        file = connection.execute(FILE).fetchone()
    traffic = of_the_lesson("06", "traffic")
    with sessions_left_alone(pg), pg.connect() as importing:
        importing.execute(
            "INSERT INTO ex1_users (email, name) VALUES ('import@example.com', 'Import')"
        )
        migrated = threading.Event()
        end = threading.Thread(target=_end_import, args=(pg, importing, migrated), daemon=True)
        try:
            with traffic.Traffic(
                pg, table="ex1_users", settings="SET lock_timeout = '800ms'"
            ) as app:
                end.start()
                try:
                    migrate(pg)
                finally:
                    migrated.set()
                    end.join(20)
        finally:
            with contextlib.suppress(psycopg.OperationalError):
                importing.commit()
        ended = importing.closed
    if ended:
        raise Incorrect("Your migration ended the import's session, and its user is lost.")
    with look(pg) as connection:
        if app.failed:
            waited = all(error.startswith("LockNotAvailable") for error in app.failed)
            why = (
                " Your statement waited for the import, and the application queued behind it."
                if waited
                else ""
            )
            raise Incorrect(
                f"{len(app.failed)} requests failed, the first with {app.failed[0]}.{why}"
            )
        if app.lost:
            raise Incorrect(f"{app.lost} writes of the application are not in the table.")
        kept, touched, renamed = (
            connection.execute(EXPECTED, [list(FIRST), list(DOUBLES)]).fetchone() or (0,) * 3
        )
        if kept != 3003:
            raise Incorrect(f"{3003 - kept} users were deleted, with all that they own.")
        refused = _refused(connection, "IMPORT@example.com")
        if not refused and not touched and not renamed:
            raise NotAttempted(
                "Nothing has changed: IMPORT@example.com was accepted as a new user."
            )
        if touched:
            raise Incorrect(f"{touched} users lost their address who should have kept it.")
        if renamed != 3:
            raise Incorrect(
                f"{renamed} of the 3 doubles have their id in front of the address as it was."
            )
        _judge_addresses(pg, connection, refused)
        _judge_building(connection, file)


def _judge_addresses(pg: Place, connection: psycopg.Connection[Any], refused: bool) -> None:
    """Add addresses that are there in another case, a new one, and two at the same moment."""
    if not refused:
        invalid = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index "
            "WHERE indrelid = 'ex1_users'::regclass AND NOT indisvalid"
        ).fetchone()
        if invalid:
            raise Incorrect(
                f"IMPORT@example.com was accepted: the index {invalid[0]} is invalid, and IF NOT "
                "EXISTS leaves it so. Drop what a failed attempt has left, then build it."
            )
        raise Incorrect(
            "IMPORT@example.com was accepted, though import@example.com exists. A constraint "
            "must compare the addresses in one case."
        )
    for there in ("user2999@example.com", "3001+Alice@Example.com"):
        if not _refused(connection, there.upper()):
            raise Incorrect(f"{there.upper()} was accepted, though {there} exists.")
    if _refused(connection, "Import@example.org"):
        raise Incorrect("Nobody has the address Import@example.org, and it is refused.")
    with pg.connect(connect_timeout=5) as first:
        first.execute(NEW, ["both@example.com"])
        try:
            if not _refused(connection, "BOTH@example.com"):
                raise Incorrect(
                    "Two sessions added both@example.com and BOTH@example.com at the same moment, "
                    "and neither waited for the other. A trigger does not see what is not "
                    "committed yet; a unique index does."
                )
        finally:
            first.rollback()


def _judge_building(connection: psycopg.Connection[Any], file: Any) -> None:
    """On this small table a long lock is short, so the check asks how the work was done.

    CREATE INDEX enters an index into both catalogues in one transaction. CONCURRENTLY comes back
    to pg_index in later ones.
    """
    if connection.execute(FILE).fetchone() != file:
        raise Incorrect("The table was written anew. On a big one nobody can use it for that time.")
    if found := connection.execute(IN_ONE_GO).fetchone():
        raise Incorrect(
            f"The index {found[0]} was built in one go. On a big table no writer can work for "
            "that time. CONCURRENTLY lets them go on."
        )


def _refused(connection: psycopg.Connection[Any], email: str) -> bool:
    """Whether a user with this address cannot be added; to have to wait for another is a no."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL lock_timeout = '300ms'")
            connection.execute(NEW, [email])
    except psycopg.Error:
        return True
    return False


EXERCISE = Exercise(
    title="Addresses without case, under traffic",
    minutes=9,
    prompt="Make ex1_users.email unique without regard to case while the application runs.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "Two steps: first the doubles, then an index on lower(email). Which kind of index "
        "lets writers go on?",
        "An UPDATE of the rows for which another with the same lower(email) and a smaller id "
        "exists; then CREATE UNIQUE INDEX CONCURRENTLY, on a connection in autocommit mode.",
    ],
    wrong=[
        (changed(SOLUTION, "UNIQUE INDEX CONCURRENTLY", "UNIQUE INDEX"), "requests failed"),
        (changed(SOLUTION, UPDATE, ""), "raised UniqueViolation"),
        (
            changed(
                SOLUTION,
                "UPDATE ex1_users AS u SET email = u.id || '+' || u.email",
                "DELETE FROM ex1_users AS u",
            ),
            "were deleted",
        ),
        (changed(SOLUTION, "o.id < u.id", "o.id > u.id"), "should have kept it"),
        (
            changed(SOLUTION, "u.id || '+' || u.email", "u.id || '+' || lower(u.email)"),
            "the address as it was",
        ),
        (changed(SOLUTION, "(lower(email))", "(email)"), "must compare the addresses"),
        (
            answer(
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ex1_users_email "
                "ON ex1_users (lower(email))"
            ),
            "is invalid",
        ),
        (
            answer(*trigger("NEW.email := lower(NEW.email);", "INSERT")),
            "3001+ALICE@EXAMPLE.COM was accepted",
        ),
        (
            answer(
                *trigger(
                    "IF EXISTS (SELECT FROM ex1_users WHERE lower(email) = lower(NEW.email) "
                    "AND id <> NEW.id) THEN RAISE unique_violation; END IF;",
                    "INSERT OR UPDATE OF email",
                )
            ),
            "at the same moment",
        ),
        (
            answer(
                "ALTER TABLE ex1_users ADD CHECK (email = lower(email)) NOT VALID",
            ),
            "and it is refused",
        ),
        (
            answer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction' AND datname = current_database()",
                "CREATE UNIQUE INDEX ex1_users_email ON ex1_users (lower(email))",
            ),
            "ended the import's session",
        ),
        (
            answer("CREATE UNIQUE INDEX ex1_users_email ON ex1_users (lower(email))"),
            "built in one go",
        ),
    ],
    equal={
        "915bbca3": "the connection is closed when the function has ended",
        "4bf1e379": "the table is new, so there is nothing to drop",
        "e73c46e3": "the table is new, so there is nothing to drop",
    },
    praise="Zero failed requests, no lost write, and the final schema. That is a migration "
    "without downtime.",
)

"""Exercises 4 to 9 of lesson 06, one for each section of "Going deeper"."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from helpers.base.paths import NOTEBOOKS
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    changed,
    end_uncommitted,
    look,
    running,
)
from helpers.exercises.deeper import STATEMENTS, only_database, starter, statements
from helpers.exercises.lesson_06_shared import Attempt

# 4: patience.

STARTER_4 = '''
def patiently(connection, sql):
    """Run the statement; give up a place in the queue after half a second, and come back."""
    ...


ex4.check()
'''
FUNCTION_4 = """
    connection.execute("SET lock_timeout = '500ms'")
    while True:
        try:
            connection.execute(sql)
            return
        except psycopg.errors.LockNotAvailable:
            time.sleep(random.uniform(0.1, 0.3))
"""
SOLUTION_4 = STARTER_4.replace("    ...\n", FUNCTION_4.lstrip("\n"))
SOLUTION_4 = "\nimport random\nimport time\n\nimport psycopg\n\n" + SOLUTION_4
WAITING = "SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = %s"
PATIENCE = 2.5  # seconds in one queue: half a second was asked for, and a machine can be slow
TURNS = 4  # how often the function gives up before the lock is free
TOO_LONG = 1.0  # seconds in the queue at its shortest turn, which not every turn can be slow for
FULL_4 = "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$"


def check_patiently(pg: Database, patiently: Callable[..., object]) -> None:
    """Hold a lock until the function has given up some times; then it must succeed, slowly."""
    sql = "ALTER TABLE ex4_users ADD COLUMN note text DEFAULT ex4_slow()"
    with look(pg) as observer, pg.connect() as holder:
        observer.execute("DROP TABLE IF EXISTS ex4_users")
        observer.execute("CREATE TABLE ex4_users (id int)")
        observer.execute("INSERT INTO ex4_users VALUES (1)")
        observer.execute("""
            CREATE OR REPLACE FUNCTION ex4_slow() RETURNS text VOLATILE LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_sleep(0.7); RETURN 'slow'; END $$
        """)
        holder.execute("SELECT * FROM ex4_users")
        with Attempt(pg, patiently, sql) as attempt:
            try:
                _watch(observer, attempt, sql)
            finally:
                holder.rollback()
            attempt.thread.join(5)
        after = observer.execute(
            "SELECT count(*) FROM pg_attribute "
            "WHERE attrelid = 'ex4_users'::regclass AND attname = 'note'"
        ).fetchone()
        if not attempt.ended:
            raise Incorrect(
                "The lock has been free for 5 s, and the statement, which works for 0.7 s, is not "
                "done. Limit the time that it waits for the lock, not its whole time."
            )
        if attempt.raised:
            raise attempt.raised[0]
        runs = attempt.runs_of(sql)
        if after != (1,):
            if not runs and not _attempted(pg, patiently):
                raise NotAttempted("Your function did nothing.")
            if len(runs) > 1:
                raise Incorrect(
                    f"After {len(runs)} attempts the statement has not been done: your function "
                    "gave up for good, or did not commit."
                )
            raise Incorrect("Your function returned, but the statement has not been done.")
        if _shortest_pause(runs) < 0.005:
            raise Incorrect("Your function queues again at once, without a pause.")
        shortest = min((ended - began for began, ended in runs[:-1]), default=0)
        if shortest >= TOO_LONG:
            raise Incorrect(
                f"Each attempt stood in the queue for {shortest:.1f} s or more, and everybody "
                "behind it. Half a second is the limit."
            )
        for failing, why in ((sql, "the column is there already"), (FULL_4, "the disk is full")):
            with Attempt(pg, patiently, failing) as again:
                again.thread.join(3)
            if not again.ended:
                raise Incorrect(
                    f"When the statement fails for another reason (here {why}), your function "
                    "tries it for ever. Only LockNotAvailable is worth another try."
                )
            if not again.raised:
                raise Incorrect(
                    f"When the statement fails for another reason (here {why}), your function "
                    "returns as if all were well. Let other errors through."
                )


def _shortest_pause(runs: list[tuple[float, float]]) -> float:
    """Return the shortest time between two runs, in seconds."""
    return min((after[0] - before[1] for before, after in itertools.pairwise(runs)), default=1.0)


def _watch(observer: Any, attempt: Attempt, sql: str) -> None:
    """Return when the session has left the queue TURNS times, or its thread ended."""
    given_up, runs, since = 0, 0, None
    deadline = time.monotonic() + 12
    while attempt.thread.is_alive() and given_up < TURNS and time.monotonic() < deadline:
        (waiting,) = observer.execute(WAITING, [attempt.pid]).fetchone() or (False,)
        before, runs = runs, len(attempt.runs_of(sql))
        ended = runs > before  # also when the next one stands in the queue already
        if since is not None and (ended or not waiting):
            given_up, since = given_up + 1, None
        if waiting and since is None:
            since = time.monotonic()
        if since is not None and time.monotonic() - since > PATIENCE:
            raise Incorrect(
                f"After {PATIENCE} s your statement still stood in the queue, and everybody "
                "behind it. It needs a limit, and a pause between two attempts."
            )
        time.sleep(0.005)


def _attempted(pg: Database, patiently: Callable[..., object]) -> bool:
    """Whether the function sends its statement at all, when nobody holds a lock."""
    with look(pg) as connection, pg.connect(autocommit=True) as work:
        patiently(work, "CREATE TABLE ex4_attempted ()")
        (there,) = connection.execute("SELECT to_regclass('ex4_attempted')").fetchone() or (None,)
        connection.execute("DROP TABLE IF EXISTS ex4_attempted")
    return there is not None


# 5: both ways.

START_5 = starter(5, "makes ex5_users anew")
BODY_5 = """
    IF TG_OP = 'INSERT' THEN
        NEW.phone := coalesce(NEW.phone, NEW.mobile);
        NEW.mobile := coalesce(NEW.mobile, NEW.phone);
    ELSIF NEW.mobile IS DISTINCT FROM OLD.mobile THEN
        NEW.phone := NEW.mobile;
    ELSE
        NEW.mobile := NEW.phone;
    END IF;
"""


def answer_5(body: str, events: str = "INSERT OR UPDATE") -> str:
    """Return a cell that makes a trigger with this body."""
    return statements(
        START_5,
        f"""CREATE OR REPLACE FUNCTION ex5_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN{body}    RETURN NEW;
END $$""",
        f"""CREATE TRIGGER ex5_sync BEFORE {events} ON ex5_users
FOR EACH ROW EXECUTE FUNCTION ex5_sync()""",
    )


TRIALS_5 = (
    (
        "The old version adds a user",
        "INSERT INTO ex5_users (phone) VALUES ('+1 555 1')",
        "+1 555 1",
    ),
    (
        "The new version adds a user",
        "INSERT INTO ex5_users (mobile) VALUES ('+1 555 2')",
        "+1 555 2",
    ),
    (
        "The old version changes a number",
        "UPDATE ex5_users SET phone = '+1 555 3' WHERE id = 1",
        "+1 555 3",
    ),
    (
        "The new version changes a number",
        "UPDATE ex5_users SET mobile = '+1 555 4' WHERE id = 1",
        "+1 555 4",
    ),
    (
        "The new version changes an old user's number",
        "UPDATE ex5_users SET mobile = '+1 555 5' WHERE id = 2",
        "+1 555 5",
    ),
    (
        "The old version changes a number that has a mobile",
        "UPDATE ex5_users SET phone = '+1 555 6' WHERE id = 2",
        "+1 555 6",
    ),
)
UNCHANGED_5 = (  # it may fill mobile, and need not
    "The old version saves an old user's number unchanged",
    "UPDATE ex5_users SET phone = phone WHERE id = 3",
    "555 3",
)


def prepare_phones(pg: Database) -> None:
    """Make the table without a trigger."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex5_users")
        connection.execute("""
            CREATE TABLE ex5_users (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phone text NOT NULL, mobile text
            )
        """)
        connection.execute("INSERT INTO ex5_users (phone) VALUES ('555 1'), ('555 2'), ('555 3')")


def check_phones(pg: Database) -> None:
    """Write as both versions do, look at both columns, and take everything back."""
    with look(pg) as connection:
        triggers = connection.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ex5_users'::regclass "
            "AND NOT tgisinternal"
        ).fetchone()
        if triggers == (0,):
            raise NotAttempted("ex5_users has no trigger yet.")
        with connection.transaction(force_rollback=True):
            for trial in (*TRIALS_5, UNCHANGED_5):
                what, sql, wanted = trial
                with running(f"{what}: that"):
                    row = connection.execute(f"{sql} RETURNING id".encode()).fetchone()
                # Not RETURNING phone, mobile: an AFTER trigger may write them, too.
                found = (
                    row
                    and connection.execute(
                        "SELECT phone, mobile FROM ex5_users WHERE id = %s", row
                    ).fetchone()
                )
                still_empty = trial is UNCHANGED_5 and found == (wanted, None)
                if found != (wanted, wanted) and not still_empty:
                    raise Incorrect(
                        f"{what}, {wanted!r}; then phone and mobile are {found}."
                        if found
                        else f"{what}, and the row is not written. Does the trigger return NEW?"
                    )


# 6: who can work?

OPERATIONS_6 = {
    "analyze": "ANALYZE ex6_users",
    "trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON ex6_users FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "drop constraint": "ALTER TABLE ex6_users DROP CONSTRAINT ex6_positive",
    "foreign key": "ALTER TABLE ex6_users ADD FOREIGN KEY (city) REFERENCES ex6_cities NOT VALID",
}
STARTER_6 = """
who = {
    "analyze": ...,  # ANALYZE users
    "trigger": ...,  # CREATE TRIGGER t BEFORE UPDATE ON users ...
    "drop constraint": ...,  # ALTER TABLE users DROP CONSTRAINT ...
    "foreign key": ...,  # ALTER TABLE users ADD FOREIGN KEY ... NOT VALID
}

ex6.check()
"""


def answer_6(*who: str) -> str:
    """Return the cell with these four answers."""
    cell = STARTER_6
    for word in who:
        cell = cell.replace(": ...,", f': "{word}",', 1)
    return cell


def check_who(pg: Database, who: dict[str, Any]) -> None:
    """Run each operation in a transaction, and ask for the locks of a reader and a writer."""
    if any(value is ... for value in who.values()):
        raise NotAttempted("Write your answers in place of the `...`, all four.")
    if strange := set(who.values()) - {"nobody", "readers", "everybody"}:
        raise Incorrect(f'{strange.pop()!r} is none of "nobody", "readers", "everybody".')
    with look(pg) as other, pg.connect() as connection:
        other.execute("DROP TABLE IF EXISTS ex6_users, ex6_cities")
        other.execute("CREATE TABLE ex6_cities (id int PRIMARY KEY)")
        other.execute(
            "CREATE TABLE ex6_users (id int, city int, CONSTRAINT ex6_positive CHECK (id > 0))"
        )
        for name, sql in OPERATIONS_6.items():
            connection.execute(sql)
            free = [_free(other, mode) for mode in ("ACCESS SHARE", "ROW EXCLUSIVE")]
            connection.rollback()
            true = "everybody" if all(free) else "readers" if free[0] else "nobody"
            if who.get(name) != true:
                got = ["was refused" if not one else "was granted" for one in free]
                raise Incorrect(
                    f"For {name!r} you say {who.get(name)!r}. The check ran it, and meanwhile the "
                    f"lock of a SELECT {got[0]} and the lock of an UPDATE {got[1]}."
                )


def _free(connection: psycopg.Connection[Any], mode: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(f"LOCK TABLE ex6_users IN {mode} MODE NOWAIT".encode())
    except psycopg.errors.LockNotAvailable:
        return False
    return True


# 7: find the broken ones.

STARTER_7 = '''
query = ...  # """SELECT ..."""

ex7.check()
'''
RIGHT_7 = (
    "SELECT indrelid::regclass::text, indexrelid::regclass::text\n"
    "           FROM pg_index WHERE NOT indisvalid"
)


def answer_7(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER_7.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def check_invalid(pg: Database, query: str) -> None:
    """Leave invalid indexes of several kinds behind, and run the query."""
    with look(pg) as connection, _other_schema(connection) as elsewhere:
        connection.execute("DROP TABLE IF EXISTS ex7_users, ex7_orders")
        connection.execute("CREATE TABLE ex7_users (id int PRIMARY KEY, email text)")
        connection.execute("CREATE TABLE ex7_orders (id int PRIMARY KEY, code text, note text)")
        connection.execute("INSERT INTO ex7_users VALUES (1, 'a'), (2, 'A')")
        connection.execute("INSERT INTO ex7_orders VALUES (1, 'x', 'y'), (2, 'x', 'z')")
        connection.execute("CREATE INDEX ex7_note ON ex7_orders (note)")
        for name, on in (
            ("ex7_email", "ex7_users (lower(email))"),
            ("ex7_code", "ex7_orders (code)"),
            elsewhere,
        ):
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {on}".encode())
        with contextlib.suppress(psycopg.errors.DivisionByZero):  # one that is not unique
            connection.execute("CREATE INDEX CONCURRENTLY ex7_half ON ex7_orders ((9 / (id - 1)))")
        with pg.connect() as report:  # and one that is complete, but had to wait for a report
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT 1")
            connection.execute("SET lock_timeout = '300ms'")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                connection.execute("CREATE INDEX CONCURRENTLY ex7_late ON ex7_users (email)")
            connection.execute("SET lock_timeout = 0")
        with running("Your query"):
            rows = connection.execute(query.encode()).fetchall()
        found = set(rows)
        true = set(connection.execute(RIGHT_7.encode()).fetchall())
        connection.execute("DROP TABLE ex7_users, ex7_orders")
    if {row[::-1] for row in found} == true:
        raise Incorrect("The table comes first, then the index.")
    if any(len(row) != 2 or not all(isinstance(text, str) for text in row) for row in found):
        raise Incorrect("Each row has two texts: table and index, each as ::regclass::text.")
    if missing := true - found:
        raise Incorrect(f"Your query misses {' on '.join(sorted(missing)[0][::-1])}.")
    if extra := found - true:
        raise Incorrect(f"{sorted(extra)[0][1]} is a good index.")
    if len(rows) > len(found):
        raise Incorrect("Some index has several rows. One row for each is enough.")


@contextlib.contextmanager
def _other_schema(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Make a table in a schema of its own; give the index that is to fail there.

    Its name begins with the lesson's own schema: others may be at work in this database.
    """
    (own,) = connection.execute("SELECT current_schema()").fetchone() or ("public",)
    schema = psycopg.sql.Identifier(f"{own}_archive")
    table = psycopg.sql.Identifier(f"{own}_archive", "ex7_old").as_string(connection)
    drop = psycopg.sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema)
    connection.execute(drop)
    connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(schema))
    try:
        connection.execute(f"CREATE TABLE {table} AS SELECT 1 AS id UNION ALL SELECT 1".encode())
        yield "ex7_old_id", f"{table} (id)"
    finally:
        connection.execute(drop)


# 8: a slim backfill.

START_8 = starter(8, "makes ex8_users anew, 30,000 rows")
BATCHES_8 = """
for first in range(1, 30_001, 1_000):
    connection.execute(
        "UPDATE ex8_users SET plan = 'free' WHERE id BETWEEN %s AND %s", [first, first + 999]
    )
    connection.execute("VACUUM ex8_users")
"""
SOLUTION_8 = START_8.replace(STATEMENTS, BATCHES_8.strip("\n"))
SIZE_8 = "SELECT pg_relation_filenode('ex8_users'), pg_relation_size('ex8_users')"


def prepare_slim(pg: Database) -> None:
    """Make the table, and note its file and size."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex8_users, ex8_before")
        connection.execute("""
            CREATE TABLE ex8_users (id int PRIMARY KEY, email text NOT NULL, plan text)
            WITH (autovacuum_enabled = off)
        """)
        connection.execute(
            "INSERT INTO ex8_users SELECT n, 'user' || n || '@example.com' "
            "FROM generate_series(1, 30000) AS n"
        )
        connection.execute(f"CREATE TABLE ex8_before AS {SIZE_8}")


def check_slim(pg: Database) -> None:
    """Look at the rows, the file, its size and the vacuums."""
    with look(pg) as connection:
        rows, filled = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE plan = 'free') FROM ex8_users"
        ).fetchone() or (0, 0)
        file, size = connection.execute(SIZE_8).fetchone() or (0, 0)
        old_file, old_size = connection.execute("SELECT * FROM ex8_before").fetchone() or (0, 1)
        (vacuums,) = connection.execute(
            "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'ex8_users'"
        ).fetchone() or (0,)
    if not filled:
        raise NotAttempted("No row of ex8_users has the plan 'free'.")
    if filled < rows or rows != 30_000:
        raise Incorrect(f"{filled:,} of 30,000 rows have the plan 'free'.")
    if file != old_file:
        raise Incorrect("The table was written anew. All that time nobody could have read it.")
    if size > 1.33 * old_size:
        when = "VACUUM came too late to help" if vacuums else "nobody cleared the old rows away"
        raise Incorrect(f"The table is {size / old_size:.1f} times as big as before: {when}.")


# 9: addresses without case, under traffic.

STARTER_9 = '''
ex9.start()  # makes ex9_users anew


def migrate(pg):
    """Make ex9_users.email unique without regard to case, while the application runs."""
    ...


ex9.check()
'''
FUNCTION_9 = '''
    with pg.connect(autocommit=True) as connection:
        connection.execute("""
            UPDATE ex9_users AS u SET email = u.id || '+' || u.email
            WHERE EXISTS (SELECT FROM ex9_users AS o
                          WHERE lower(o.email) = lower(u.email) AND o.id < u.id)""")
        connection.execute("DROP INDEX CONCURRENTLY IF EXISTS ex9_users_email")
        connection.execute("""CREATE UNIQUE INDEX CONCURRENTLY ex9_users_email
                              ON ex9_users (lower(email))""")
'''
SOLUTION_9 = STARTER_9.replace("    ...\n", FUNCTION_9.lstrip("\n"))
UPDATE_9 = FUNCTION_9[
    FUNCTION_9.index("        conn") : FUNCTION_9.index('        connection.execute("D')
]
# At the end of the function: another way than the index, tried until the import is over.
INDEX_9 = FUNCTION_9[FUNCTION_9.index('        connection.execute("D') :]
PATIENT_9 = """        connection.execute("SET lock_timeout = '100ms'")
        while True:
            try:
                connection.execute(sql)
                return
            except psycopg.errors.LockNotAvailable:
                time.sleep(0.2)
"""
NEW_9 = "INSERT INTO ex9_users (email, name) VALUES (%s, 'New')"


def answer_9(*statements: str) -> str:
    """Return the cell with these statements in place of the index; the last is tried patiently."""
    lines = [f"        connection.execute({sql!r})\n" for sql in statements[:-1]]
    lines.append(f"        sql = {statements[-1]!r}\n{PATIENT_9}")
    return "\nimport time\n\nimport psycopg\n\n" + changed(SOLUTION_9, INDEX_9, "".join(lines))


def trigger_9(body: str, events: str) -> tuple[str, str]:
    """Return the statements that make a trigger with this body."""
    return (
        "CREATE OR REPLACE FUNCTION ex9_email() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NEW; END $$",
        f"CREATE TRIGGER ex9_email BEFORE {events} ON ex9_users FOR EACH ROW "
        "EXECUTE FUNCTION ex9_email()",
    )


DOUBLES = ("Alice@Example.com", "BOB@example.com", "Carol@example.com")
EXPECTED = """
    SELECT count(*) FILTER (WHERE id <= 3003) AS kept,
           count(*) FILTER (WHERE id <= 3000 AND email <> coalesce(
               (ARRAY['alice@example.com', 'bob@example.com', 'carol@example.com'])[id],
               'user' || id || '@example.com')) AS touched,
           count(*) FILTER (WHERE id BETWEEN 3001 AND 3003 AND email = id || '+' || (%s::text[])[id - 3000])
    FROM ex9_users
"""  # noqa: E501


def prepare_addresses(pg: Database) -> None:
    """Make the table with its three pairs."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex9_users CASCADE")
        connection.execute("""
            CREATE TABLE ex9_users (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                email varchar(255) NOT NULL UNIQUE, name varchar(100) NOT NULL,
                logins int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now()
            )
        """)
        connection.execute("""
            INSERT INTO ex9_users (email, name)
            SELECT coalesce(
                (ARRAY['alice@example.com', 'bob@example.com', 'carol@example.com'])[n],
                'user' || n || '@example.com'), 'User ' || n
            FROM generate_series(1, 3000) AS n
        """)
        connection.execute(
            "INSERT INTO ex9_users (email, name) SELECT unnest(%s::text[]), 'Double'",
            [list(DOUBLES)],
        )
        connection.execute("ANALYZE ex9_users")


def _end_import(pg: Database, importing: Any, migrated: threading.Event) -> None:
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


def check_migrate(pg: Database, migrate: Callable[..., object]) -> None:
    """Migrate under traffic and beside an open import; look at what both sides got."""
    prepare_addresses(pg)
    sys.path.insert(0, str(NOTEBOOKS / "06_zero_downtime_migration"))
    traffic = importlib.import_module("traffic")
    with pg.connect() as importing:
        importing.execute(
            "INSERT INTO ex9_users (email, name) VALUES ('import@example.com', 'Import')"
        )
        migrated = threading.Event()
        end = threading.Thread(target=_end_import, args=(pg, importing, migrated), daemon=True)
        try:
            with traffic.Traffic(
                pg, table="ex9_users", settings="SET lock_timeout = '800ms'"
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
            connection.execute(EXPECTED, [list(DOUBLES)]).fetchone() or (0,) * 3
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


def _judge_addresses(pg: Database, connection: psycopg.Connection[Any], refused: bool) -> None:
    """Add addresses that are there in another case, a new one, and two at the same moment."""
    if not refused:
        invalid = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index "
            "WHERE indrelid = 'ex9_users'::regclass AND NOT indisvalid"
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
        first.execute(NEW_9, ["both@example.com"])
        try:
            if not _refused(connection, "BOTH@example.com"):
                raise Incorrect(
                    "Two sessions added both@example.com and BOTH@example.com at the same moment, "
                    "and neither waited for the other. A trigger does not see what is not "
                    "committed yet; a unique index does."
                )
        finally:
            first.rollback()


def _refused(connection: psycopg.Connection[Any], email: str) -> bool:
    """Whether a user with this address cannot be added; to have to wait for another is a no."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL lock_timeout = '300ms'")
            connection.execute(NEW_9, [email])
    except psycopg.Error:
        return True
    return False


EXERCISES = [
    Exercise(
        number=4,
        title="Patience",
        prompt="Run a statement that gives up its place in the queue and comes back.",
        setup=only_database("06a"),
        starter=STARTER_4,
        solution=SOLUTION_4,
        check=check_patiently,
        hints=[
            "SET lock_timeout first. Which exception comes when the time is over?",
            "A loop: try the statement and return; on psycopg.errors.LockNotAvailable sleep.",
        ],
        wrong=[
            (changed(SOLUTION_4, "SET lock_timeout = '500ms'", "SELECT 1"), "still stood in"),
            (
                changed(SOLUTION_4, "time.sleep(random.uniform(0.1, 0.3))", "raise"),
                "raised LockNot",
            ),
            (
                changed(SOLUTION_4, "time.sleep(random.uniform(0.1, 0.3))", "return"),
                "Your function returned, but",
            ),
            (
                changed(SOLUTION_4, "time.sleep(random.uniform(0.1, 0.3))", "pass"),
                "without a pause",
            ),
            (
                changed(
                    SOLUTION_4,
                    "lock_timeout",
                    "statement_timeout",
                    "LockNotAvailable",
                    "QueryCanceled",
                ),
                "not its whole time",
            ),
            (
                changed(SOLUTION_4, "psycopg.errors.LockNotAvailable", "Exception"),
                "is there already), your function tries",
            ),
            (
                changed(SOLUTION_4, "psycopg.errors.LockNotAvailable", "psycopg.OperationalError"),
                "is full), your function tries",
            ),
            (changed(SOLUTION_4, "500ms", "1500ms"), "Half a second is the limit"),
            (
                changed(SOLUTION_4, "while True:", "for _ in range(3):"),
                "gave up for good",
            ),
            (
                changed(
                    SOLUTION_4,
                    "            time.sleep(random.uniform(0.1, 0.3))",
                    "            time.sleep(random.uniform(0.1, 0.3))\n"
                    "        except psycopg.Error:\n            return",
                ),
                "as if all were well",
            ),
        ],
        praise="Whatever comes into your way, nobody waits for you longer than half a second.",
    ),
    Exercise(
        number=5,
        title="Both ways",
        prompt="Write a trigger that keeps phone and mobile equal for two versions.",
        setup=only_database("06b"),
        starter=START_5,
        solution=answer_5(BODY_5),
        check=check_phones,
        prepare=prepare_phones,
        hints=[
            "On INSERT the empty column takes the other's value. On UPDATE, the one that changed "
            "wins.",
            "TG_OP tells which it is. NEW.mobile IS DISTINCT FROM OLD.mobile: the new version "
            "has written.",
        ],
        wrong=[
            (
                answer_5("\n    NEW.mobile := NEW.phone;\n"),
                "The new version adds a user: that raised",
            ),
            (answer_5(BODY_5, "INSERT"), "The old version changes a number, "),
            (
                answer_5(
                    "\n    NEW.phone := coalesce(NEW.phone, NEW.mobile);"
                    "\n    NEW.mobile := coalesce(NEW.phone, NEW.mobile);\n"
                ),
                "The new version changes a number, ",
            ),
            (answer_5(BODY_5, "UPDATE"), "The old version adds a user, "),
            (
                answer_5(
                    changed(
                        BODY_5, "NEW.mobile IS DISTINCT FROM OLD.mobile", "NEW.mobile IS NOT NULL"
                    )
                ),
                "a number that has a mobile, ",
            ),
            (
                answer_5(
                    "\n    IF TG_OP = 'INSERT' THEN"
                    "\n        NEW.phone := coalesce(NEW.phone, NEW.mobile);"
                    "\n        NEW.mobile := NEW.phone;"
                    "\n    ELSIF NEW.phone <> OLD.phone THEN"
                    "\n        NEW.mobile := NEW.phone;"
                    "\n    ELSE"
                    "\n        NEW.phone := NEW.mobile;"
                    "\n    END IF;\n"
                ),
                "number unchanged: that raised",
            ),
        ],
        praise="Each version sees its own column, and both see the same number.",
    ),
    Exercise(
        number=6,
        title="Who can work?",
        prompt="Say for four operations who can work on the table meanwhile.",
        setup=only_database("06c"),
        starter=STARTER_6,
        solution=answer_6("everybody", "readers", "nobody", "readers"),
        check=check_who,
        hints=[
            "Try them: examine(...) answers. Or look up the four locks in the documentation.",
            "Two of the four take SHARE ROW EXCLUSIVE, which a SELECT gets along with.",
        ],
        wrong=[
            (answer_6("nobody", "nobody", "nobody", "nobody"), "For 'analyze' you say"),
            (answer_6("everybody", "nobody", "nobody", "nobody"), "For 'trigger' you say"),
            (answer_6("everybody", "readers", "nobody", "nobody"), "For 'foreign key' you say"),
            (answer_6("everybody", "readers", "all", "readers"), "none of"),
        ],
        praise="Asked, not quoted. In doubt, examine() answers for any statement.",
    ),
    Exercise(
        number=7,
        title="Find the broken ones",
        prompt="Write a query that lists the invalid indexes with their tables.",
        setup=only_database("06d"),
        starter=STARTER_7,
        solution=answer_7(RIGHT_7),
        check=check_invalid,
        hints=[
            "pg_index has a row for each index. indrelid is the table, indexrelid the index.",
            "WHERE NOT indisvalid.",
        ],
        wrong=[
            (answer_7(RIGHT_7.replace(" WHERE NOT indisvalid", "")), "is a good index"),
            (
                answer_7(
                    "SELECT indexrelid::regclass::text, indrelid::regclass::text "
                    "FROM pg_index WHERE NOT indisvalid"
                ),
                "The table comes first",
            ),
            (
                answer_7(
                    "SELECT tablename::text, indexname::text FROM pg_indexes "
                    "WHERE indexname LIKE '%email%'"
                ),
                "Your query misses ex7_code on ex7_orders",
            ),
            (answer_7(RIGHT_7 + " AND indisunique"), "misses ex7_half on ex7_orders"),
            (
                answer_7(
                    RIGHT_7 + " AND EXISTS (SELECT FROM pg_class WHERE oid = indrelid "
                    "AND relnamespace = current_schema()::regnamespace)"
                ),
                "_archive.ex7_old",
            ),
            (
                answer_7(
                    RIGHT_7.replace(
                        "WHERE",
                        "JOIN pg_attribute ON attrelid = indexrelid OR attrelid = indrelid WHERE",
                    )
                ),
                "has several rows",
            ),
            (
                answer_7(RIGHT_7.replace("NOT indisvalid", "NOT indisready")),
                "misses ex7_late on ex7_users",
            ),
            (
                answer_7("SELECT indrelid, indexrelid FROM pg_index WHERE NOT indisvalid"),
                "two texts",
            ),
        ],
        praise="Put it on the dashboard: it should always be empty.",
    ),
    Exercise(
        number=8,
        title="A slim backfill",
        prompt="Fill every row so that the table grows by less than a third.",
        setup=only_database("06e"),
        starter=START_8,
        solution=SOLUTION_8,
        check=check_slim,
        prepare=prepare_slim,
        hints=[
            "A batch leaves its old rows behind. Clear them away before the next one.",
            "A loop with an UPDATE of some thousand rows and a VACUUM ex8_users.",
        ],
        wrong=[
            (statements(START_8, "UPDATE ex8_users SET plan = 'free'"), "nobody cleared"),
            (
                statements(START_8, "UPDATE ex8_users SET plan = 'free'", "VACUUM ex8_users"),
                "came too late",
            ),
            (
                statements(START_8, "UPDATE ex8_users SET plan = 'free'", "VACUUM FULL ex8_users"),
                "written anew",
            ),
            (changed(SOLUTION_8, "30_001", "29_001"), "of 30,000 rows have"),
        ],
        praise="The space of one batch is used by the next.",
    ),
    Exercise(
        number=9,
        title="Addresses without case, under traffic",
        prompt="Make ex9_users.email unique without regard to case while the application runs.",
        setup=only_database("06f"),
        starter=STARTER_9,
        solution=SOLUTION_9,
        check=check_migrate,
        prepare=prepare_addresses,
        hints=[
            "Two steps: first the doubles, then an index on lower(email). Which kind of index "
            "lets writers go on?",
            "An UPDATE of the rows for which another with the same lower(email) and a smaller id "
            "exists; then CREATE UNIQUE INDEX CONCURRENTLY, on a connection in autocommit mode.",
        ],
        wrong=[
            (changed(SOLUTION_9, "UNIQUE INDEX CONCURRENTLY", "UNIQUE INDEX"), "requests failed"),
            (changed(SOLUTION_9, UPDATE_9, ""), "raised UniqueViolation"),
            (
                changed(
                    SOLUTION_9,
                    "UPDATE ex9_users AS u SET email = u.id || '+' || u.email",
                    "DELETE FROM ex9_users AS u",
                ),
                "were deleted",
            ),
            (changed(SOLUTION_9, "o.id < u.id", "o.id > u.id"), "should have kept it"),
            (
                changed(SOLUTION_9, "u.id || '+' || u.email", "u.id || '+' || lower(u.email)"),
                "the address as it was",
            ),
            (changed(SOLUTION_9, "(lower(email))", "(email)"), "must compare the addresses"),
            (
                answer_9(
                    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ex9_users_email "
                    "ON ex9_users (lower(email))"
                ),
                "is invalid",
            ),
            (
                answer_9(*trigger_9("NEW.email := lower(NEW.email);", "INSERT")),
                "3001+ALICE@EXAMPLE.COM was accepted",
            ),
            (
                answer_9(
                    *trigger_9(
                        "IF EXISTS (SELECT FROM ex9_users WHERE lower(email) = lower(NEW.email) "
                        "AND id <> NEW.id) THEN RAISE unique_violation; END IF;",
                        "INSERT OR UPDATE OF email",
                    )
                ),
                "at the same moment",
            ),
            (
                answer_9(
                    "ALTER TABLE ex9_users ADD CHECK (email = lower(email)) NOT VALID",
                ),
                "and it is refused",
            ),
            (
                answer_9(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE state = 'idle in transaction' AND datname = current_database()",
                    "CREATE UNIQUE INDEX ex9_users_email ON ex9_users (lower(email))",
                ),
                "ended the import's session",
            ),
        ],
        praise=(
            "Zero failed requests, no lost write, and the final schema. That is a migration "
            "without downtime."
        ),
    ),
]

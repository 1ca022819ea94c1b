"""Exercise 06b-1: both ways."""

from __future__ import annotations

from exercises_06.common import committed
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed, starter, statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

START = starter(1, "makes ex1_users anew")
BODY = """
    IF TG_OP = 'INSERT' THEN
        NEW.phone := coalesce(NEW.phone, NEW.mobile);
        NEW.mobile := coalesce(NEW.mobile, NEW.phone);
    ELSIF NEW.mobile IS DISTINCT FROM OLD.mobile THEN
        NEW.phone := NEW.mobile;
    ELSE
        NEW.mobile := NEW.phone;
    END IF;
"""


def answer(body: str, events: str = "INSERT OR UPDATE") -> str:
    """Return a cell that makes a trigger with this body."""
    return statements(
        START,
        f"""CREATE OR REPLACE FUNCTION ex1_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN{body}    RETURN NEW;
END $$""",
        f"""CREATE TRIGGER ex1_sync BEFORE {events} ON ex1_users
FOR EACH ROW EXECUTE FUNCTION ex1_sync()""",
    )


TRIALS = (
    (
        "The old version adds a user",
        "INSERT INTO ex1_users (phone) VALUES ('+1 555 1')",
        "+1 555 1",
    ),
    (
        "The new version adds a user",
        "INSERT INTO ex1_users (mobile) VALUES ('+1 555 2')",
        "+1 555 2",
    ),
    (
        "The old version changes a number",
        "UPDATE ex1_users SET phone = '+1 555 3' WHERE id = 1",
        "+1 555 3",
    ),
    (
        "The new version changes a number",
        "UPDATE ex1_users SET mobile = '+1 555 4' WHERE id = 1",
        "+1 555 4",
    ),
    (
        "The new version changes an old user's number",
        "UPDATE ex1_users SET mobile = '+1 555 5' WHERE id = 2",
        "+1 555 5",
    ),
    (
        "The new version empties a number",
        "UPDATE ex1_users SET mobile = '' WHERE id = 2",
        "",
    ),
    (
        "The old version changes a number that has a mobile",
        "UPDATE ex1_users SET phone = '+1 555 6' WHERE id = 2",
        "+1 555 6",
    ),
)
UNCHANGED = (  # it may fill mobile, and need not
    "The old version saves an old user's number unchanged",
    "UPDATE ex1_users SET phone = phone WHERE id = 3",
    "555 3",
)

OWN_FUNCTIONS = """
    SELECT DISTINCT tgfoid::regprocedure::text FROM pg_trigger AS own
    JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = to_regclass('ex1_users') AND pronamespace = current_schema()::regnamespace
      AND NOT EXISTS (SELECT FROM pg_trigger AS other
                      WHERE other.tgfoid = own.tgfoid AND other.tgrelid <> own.tgrelid)
"""
SEVERAL = (
    "The new version changes all numbers in one statement",
    "UPDATE ex1_users SET mobile = '+1 555 7' || id",
    "The old version changes all numbers in one statement",
    "UPDATE ex1_users SET phone = '+1 555 8' || id",
)


def prepare(pg: Place) -> None:
    """Make the table without a trigger."""
    end_uncommitted(pg)
    with look(pg) as connection:
        functions = connection.execute(OWN_FUNCTIONS).fetchall()
        connection.execute("DROP TABLE IF EXISTS ex1_users")
        for (function,) in functions:  # CREATE FUNCTION without OR REPLACE is to work again
            connection.execute(f"DROP FUNCTION {function}".encode())
        connection.execute("""
            CREATE TABLE ex1_users (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phone text NOT NULL, mobile text
            )
        """)
        connection.execute("INSERT INTO ex1_users (phone) VALUES ('555 1'), ('555 2'), ('555 3')")


def check(pg: Place) -> None:
    """Write as both versions do, look at both columns, and take everything back."""
    with committed(pg), look(pg) as connection:
        triggers = connection.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ex1_users'::regclass "
            "AND NOT tgisinternal"
        ).fetchone()
        if triggers == (0,):
            raise NotAttempted("ex1_users has no trigger yet.")
        with connection.transaction(force_rollback=True):
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a trigger may be deferred
            for trial in (*TRIALS, UNCHANGED):
                what, sql, wanted = trial
                with running(f"{what}: that"):
                    row = connection.execute(f"{sql} RETURNING id".encode()).fetchone()
                # Not RETURNING phone, mobile: an AFTER trigger may write them, too.
                found = (
                    row
                    and connection.execute(
                        "SELECT phone, mobile FROM ex1_users WHERE id = %s", row
                    ).fetchone()
                )
                still_empty = trial is UNCHANGED and found == (wanted, None)
                if found != (wanted, wanted) and not still_empty:
                    raise Incorrect(
                        f"{what}, {wanted!r}; then phone and mobile are {found}."
                        if found
                        else f"{what}, and the row is not written. Does the trigger return NEW?"
                    )
            for what, sql in zip(SEVERAL[::2], SEVERAL[1::2], strict=True):
                with running(f"{what}: that"):
                    connection.execute(sql.encode())
                wanted = sql.split("'")[1]
                differ = connection.execute(
                    "SELECT phone, mobile FROM ex1_users "
                    "WHERE phone IS DISTINCT FROM %(new)s || id OR mobile IS DISTINCT FROM phone",
                    {"new": wanted},
                ).fetchone()
                if differ:
                    raise Incorrect(f"{what}; then phone and mobile of a user are {differ}.")


EXERCISE = Exercise(
    title="Both ways",
    minutes=14,
    prompt="Write a trigger that keeps phone and mobile equal for two versions.",
    starter=START,
    solution=answer(BODY),
    check=check,
    prepare=prepare,
    hints=[
        "On INSERT the empty column takes the other's value. On UPDATE, the one that changed wins.",
        "TG_OP tells which it is. NEW.mobile IS DISTINCT FROM OLD.mobile: the new version "
        "has written.",
    ],
    wrong=[
        (
            answer("\n    NEW.mobile := NEW.phone;\n"),
            "The new version adds a user: that raised",
        ),
        (answer(BODY, "INSERT"), "The old version changes a number, "),
        (
            answer(
                "\n    NEW.phone := coalesce(NEW.phone, NEW.mobile);"
                "\n    NEW.mobile := coalesce(NEW.phone, NEW.mobile);\n"
            ),
            "The new version changes a number, ",
        ),
        (answer(BODY, "UPDATE"), "The old version adds a user, "),
        (
            answer(
                changed(BODY, "NEW.mobile IS DISTINCT FROM OLD.mobile", "NEW.mobile IS NOT NULL")
            ),
            "a number that has a mobile, ",
        ),
        (
            answer(
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
        (answer(BODY).replace("(autocommit=True)", "()"), "are not committed"),
        (
            answer(
                BODY.replace(
                    "NEW.phone := NEW.mobile;\n    ELSE",
                    "NEW.phone := nullif(NEW.mobile, '');\n    ELSE",
                )
            ),
            "empties a number: that raised",
        ),
    ],
    right=[
        answer(BODY).replace("OR REPLACE ", ""),
        answer(
            "\n    IF TG_OP = 'UPDATE' THEN"
            "\n        IF NEW.phone IS DISTINCT FROM OLD.phone THEN NEW.mobile := NEW.phone;"
            "\n        ELSE NEW.phone := coalesce(NEW.mobile, NEW.phone); END IF;"
            "\n    ELSE"
            "\n        NEW.phone := coalesce(NEW.phone, NEW.mobile);"
            "\n        NEW.mobile := NEW.phone;"
            "\n    END IF;\n"
        ),
    ],
    equal={
        "15ca8cb8": "ex1.start() removes the function of an earlier try",
        "7b4714ba": "in an INSERT the old row is empty, and the other branches do the same",
    },
    praise="Each version sees its own column, and both see the same number.",
)

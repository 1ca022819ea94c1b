"""Exercise 06c-1: who can work."""

from __future__ import annotations

from typing import Any

import psycopg

from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.looking import look

OPERATIONS = {
    "analyze": "ANALYZE ex1_users",
    "trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON ex1_users FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "drop constraint": "ALTER TABLE ex1_users DROP CONSTRAINT ex1_positive",
    "foreign key": "ALTER TABLE ex1_users ADD FOREIGN KEY (city) REFERENCES ex1_cities NOT VALID",
}
STARTER = """
who = {
    "analyze": ...,  # ANALYZE users
    "trigger": ...,  # CREATE TRIGGER t BEFORE UPDATE ON users ...
    "drop constraint": ...,  # ALTER TABLE users DROP CONSTRAINT ...
    "foreign key": ...,  # ALTER TABLE users ADD FOREIGN KEY ... NOT VALID
}

ex1.check()
"""


def answer(*who: str) -> str:
    """Return the cell with these four answers."""
    cell = STARTER
    for word in who:
        cell = cell.replace(": ...,", f': "{word}",', 1)
    return cell


def check(pg: Place, who: Any) -> None:
    """Run each operation in a transaction, and ask for the locks of a reader and a writer."""
    if not isinstance(who, dict):
        raise Incorrect(f"`who` is of the type {type(who).__name__}. It is a dictionary: keep it.")
    if missing := OPERATIONS.keys() - who.keys():
        raise Incorrect(f"`who` has no answer for {sorted(missing)[0]!r}. Keep all four keys.")
    if any(value is ... for value in who.values()):
        raise NotAttempted("Write your answers in place of the `...`, all four.")
    for name in OPERATIONS:
        if not isinstance(who[name], str):
            raise Incorrect(f"For {name!r} you give a {type(who[name]).__name__}, not one word.")
        if who[name] not in ("nobody", "readers", "everybody"):
            raise Incorrect(f'{who[name]!r} is none of "nobody", "readers", "everybody".')
    with look(pg) as other, pg.connect() as connection:
        other.execute("DROP TABLE IF EXISTS ex1_users, ex1_cities")
        other.execute("CREATE TABLE ex1_cities (id int PRIMARY KEY)")
        other.execute(
            "CREATE TABLE ex1_users (id int, city int, CONSTRAINT ex1_positive CHECK (id > 0))"
        )
        for name, sql in OPERATIONS.items():
            connection.execute(sql)
            free = [_free(other, mode) for mode in ("ACCESS SHARE", "ROW EXCLUSIVE")]
            connection.rollback()
            true = "everybody" if all(free) else "readers" if free[0] else "nobody"
            if who[name] != true:
                got = ["was refused" if not one else "was granted" for one in free]
                raise Incorrect(
                    f"For {name!r} you say {who[name]!r}. The check ran it, and meanwhile the "
                    f"lock of a SELECT {got[0]} and the lock of an UPDATE {got[1]}."
                )


def _free(connection: psycopg.Connection[Any], mode: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(f"LOCK TABLE ex1_users IN {mode} MODE NOWAIT".encode())
    except psycopg.errors.LockNotAvailable:
        return False
    return True


EXERCISE = Exercise(
    title="Who can work?",
    minutes=6,
    prompt="Say for four operations who can work on the table meanwhile.",
    starter=STARTER,
    solution=answer("everybody", "readers", "nobody", "readers"),
    check=check,
    hints=[
        "Try them: examine(...) answers. Or look up the four locks in the documentation.",
        "Two of the four take SHARE ROW EXCLUSIVE, which a SELECT gets along with.",
    ],
    wrong=[
        (answer("nobody", "nobody", "nobody", "nobody"), "For 'analyze' you say"),
        (answer("everybody", "nobody", "nobody", "nobody"), "For 'trigger' you say"),
        (answer("everybody", "readers", "nobody", "nobody"), "For 'foreign key' you say"),
        (answer("everybody", "readers", "all", "readers"), "none of"),
        (
            STARTER.replace("...,", '["readers", "writers"],', 1).replace(": ...,", ': "nobody",'),
            "you give a list",
        ),
        (
            '\nwho = ["everybody", "readers", "nobody", "readers"]\n\nex1.check()\n',
            "of the type list",
        ),
        (
            answer("everybody", "readers", "nobody", "readers").replace('"trigger"', '"triggers"'),
            "has no answer for",
        ),
    ],
    praise="Asked, not quoted. In doubt, examine() answers for any statement.",
)

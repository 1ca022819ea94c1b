"""Exercise 01c-1: the name first."""

from __future__ import annotations

from typing import Any

import psycopg

from exercises_01.common import first, generated
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed, starter, statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

START = starter(1, "makes ex1_products anew")
COLUMN_6 = "ALTER TABLE ex1_products ADD COLUMN search_vector tsvector"
NAME = "setweight(to_tsvector('english', name), 'A')"
TEXT = "to_tsvector('english', coalesce(description, ''))"
SOLUTION = statements(
    START,
    f"""{COLUMN_6} GENERATED ALWAYS AS (
    {NAME} ||
    setweight({TEXT}, 'D')
) STORED""",
)
#: Products that the answer has not seen. Each of these words is in one name, and in others'
#: descriptions from once to so often that the vector holds no more of it.
NAMES = ("trackball", "cable", "tablet", "pen", "joystick")
OFTEN = (1, 2, 4, 10, 50, 255, 2_000)
NEW = 1_000_001  # the first id
TRIAL: list[tuple[str, str | None]] = [
    ("Trackball", "Pointing device for the desk"),
    ("Cables", "To connect things"),
    ("Graphics Tablets", None),
    ("Pens and Brushes", ""),
    ("A very long name of a thing that has at its end, after many other words, a joystick", "Big"),
    *((f"Kit {count}", "trackball " * count) for count in OFTEN),
    *((f"Set {count}", "for the joystick, " * count) for count in OFTEN),
    *((f"Bag {count}", "A pen beside a tablet. " * count) for count in OFTEN),
]
ADD = """
    INSERT INTO ex1_products (id, name, description) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s)
"""
# https://www.postgresql.org/docs/17/textsearch-controls.html#TEXTSEARCH-RANKING
RANKED = """
    SELECT id, ts_rank(search_vector, query), to_tsvector('english', name) @@ query,
           regexp_count(description, %s, 1, 'i')
    FROM ex1_products, to_tsquery('english', %s) AS query WHERE search_vector @@ query
"""
HAVE = """
    SELECT id, name, description,
           to_tsvector('english', name || ' ' || coalesce(description, '')) @@ query
    FROM ex1_products, to_tsquery('english', %s) AS query ORDER BY id
"""


def prepare(pg: Place) -> None:
    """Make a small table without a search column."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_products")
        connection.execute("""
            CREATE TABLE ex1_products (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name text NOT NULL, description text
            )
        """)
        connection.execute("""
            INSERT INTO ex1_products (name, description) VALUES
                ('Desk Mat', 'Keeps keyboard and mouse in place. Fits any keyboard and any mouse'),
                ('Mechanical Keyboard', 'RGB lights for gamers'), ('Wireless Mouse', NULL)
        """)


def check(pg: Place) -> None:
    """Insert products, look at the order of the hits, and take everything back."""
    with look(pg) as connection:
        generated(connection, "ex1_products", pg)
        with connection.transaction(force_rollback=True):
            with running("Adding products to your table"):
                for number, product in enumerate(TRIAL, NEW):
                    connection.execute(ADD, [number, *product])
            old = first(connection, f"SELECT count(*) FROM ex1_products WHERE id < {NEW}")
            if old != 3:
                raise Incorrect(f"ex1_products has {old} products; it had 3.")
            for word in (*NAMES, "gamer", "device", "wallpaper"):
                found = connection.execute(RANKED, [word, word]).fetchall()
                check_found(word, {id: rank for id, rank, _, _ in found}, connection)
                check_order(word, found)


def check_found(word: str, found: dict[int, float], connection: psycopg.Connection[Any]) -> None:
    """Incorrect unless a search for the word finds all products that have it, and no other."""
    for id, name, text, has in connection.execute(HAVE, [word]):
        kind = "no description" if text is None else f"the description {(text or '')[:40]!r}"
        if has and id not in found:
            raise Incorrect(
                f"The product {name!r} with {kind} is not found by {word!r} in a search with the "
                "configuration english."
            )
        if id in found and not has:
            raise Incorrect(f"The product {name!r} with {kind} is found by {word!r}.")


def check_order(word: str, found: list[tuple[int, float, bool, int]]) -> None:
    """Incorrect unless a product with the word in its name comes before those without."""
    named = [rank for _, rank, in_name, _ in found if in_name]
    others = [(often, rank) for _, rank, in_name, often in found if not in_name]
    if not named or not others:
        return
    once = max((rank for often, rank in others if often == 1), default=0)
    often, best = max(others, key=lambda other: other[1])
    if once >= min(named) and min(named) < 0.1:
        raise Incorrect(
            f"A product that has {word!r} once, in its description, does not come after one that "
            "has it in its name: a hit in the name has no greater weight."
        )
    if once >= min(named):
        raise Incorrect(
            f"A product that has {word!r} once, in its description, does not come after one that "
            "has it in its name: the description has the weight of a name too."
        )
    if best >= min(named):
        raise Incorrect(
            f"A product that has {word!r} {often:,} times in its description does not come after "
            "one that has it in its name."
        )


EXERCISE = Exercise(
    title="The name first",
    minutes=6,
    prompt="Add a generated column search_vector to ex1_products, with the configuration english, "
    "so that a product with the word in its name ranks before all that have it only in the "
    "description, and a product is found by every word of its name and its description that is "
    "no stop word.",
    starter=START,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "ALTER TABLE ex1_products ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (...) "
        "STORED.",
        "Analyse name and description separately, put setweight(..., 'A') around the name "
        "only, and join the two vectors with ||.",
        "A vector joined with NULL is NULL. What is the vector of a description that is NULL?",
    ],
    wrong=[
        (
            statements(
                START,
                f"{COLUMN_6} GENERATED ALWAYS AS (to_tsvector('english', name || ' ' || "
                "coalesce(description, ''))) STORED",
            ),
            "no greater weight",
        ),
        (
            SOLUTION.replace("'D'", "'A'"),
            "the weight of a name too",
        ),
        (
            SOLUTION.replace("coalesce(description, '')", "description"),
            "with no description is not found",
        ),
        (
            statements(
                START,
                COLUMN_6,
                f"UPDATE ex1_products SET search_vector = {NAME} || {TEXT}",
            ),
            "an ordinary column",
        ),
        (
            statements(
                START,
                f"""{COLUMN_6} GENERATED ALWAYS AS (to_tsvector('english',
    repeat(name || ' ', 10) || coalesce(description, ''))) STORED""",
            ),
            "255 times in its description",
        ),
        (changed(SOLUTION, "english", "simple"), "product 'Trackball' with"),
        (
            statements(
                START,
                f"{COLUMN_6} GENERATED ALWAYS AS ({NAME}) STORED",
            ),
            "'Kit 1' with the description",
        ),
        (changed(SOLUTION, "autocommit=True", ""), "transaction is still open"),
    ],
    right=[
        statements(
            START,
            f"""{COLUMN_6} GENERATED ALWAYS AS (
    {TEXT} || setweight(to_tsvector('english', name), 'B')
) STORED""",
        ),
        statements(
            START,
            "DROP TABLE IF EXISTS ex1_products",
            """CREATE TABLE ex1_products (id int GENERATED ALWAYS AS IDENTITY, name text,
    description text, search_vector tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('english', name), 'A')
    || coalesce(to_tsvector('english', description), '')) STORED)""",
            """INSERT INTO ex1_products (name, description) VALUES
    ('Desk Mat', 'Keeps keyboard and mouse in place. Fits any keyboard and any mouse'),
    ('Mechanical Keyboard', 'RGB lights for gamers'), ('Wireless Mouse', NULL)""",
        ),
    ],
    equal={"e952aa43": "D is the weight of a lexeme that was given none"},
    praise="The labels tell ts_rank where a word came from.",
)

"""Exercise 01c-1: the name first."""

from __future__ import annotations

from exercises_01.common import generated
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import starter, statements
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
TRIAL = """
    INSERT INTO ex1_products (name, description) VALUES
        ('Trackball', 'Pointing device for the desk'), ('Graphics Tablet', NULL),
        ('Cleaning Kit', 'For every trackball: cleans a trackball, its trackball cup, a trackball')
"""
# https://www.postgresql.org/docs/17/textsearch-controls.html#TEXTSEARCH-RANKING
RANKED = """
    SELECT name, round(ts_rank(search_vector, query)::numeric, 3)
    FROM ex1_products, to_tsquery('english', %s) AS query
    WHERE search_vector @@ query ORDER BY 2 DESC, name
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
        generated(connection, "ex1_products")
        with connection.transaction(force_rollback=True):
            with running("Adding products to your table"):
                connection.execute(TRIAL)
            ranks = dict(connection.execute(RANKED, ["trackball"]).fetchall())
            tablets = connection.execute(RANKED, ["tablet"]).fetchall()
            devices = connection.execute(RANKED, ["device"]).fetchall()
    if "Trackball" not in ranks:
        raise Incorrect("The product 'Trackball' is not found by its name.")
    if not tablets:
        raise Incorrect("'Graphics Tablet' has no description, and a search does not find it.")
    if not devices or "Cleaning Kit" not in ranks:
        raise Incorrect("Words that are only in the description are not found.")
    if ranks["Trackball"] > ranks["Cleaning Kit"]:
        return
    if ranks["Trackball"] < 0.1:
        raise Incorrect(
            "A product that mentions 'trackball' four times comes before the one that is called "
            "so: a hit in the name has no greater weight."
        )
    raise Incorrect(
        "'Cleaning Kit' comes before 'Trackball': its description has the weight of a name too."
    )


EXERCISE = Exercise(
    title="The name first",
    minutes=6,
    prompt="Add a generated column search_vector to ex1_products, so that a product with the "
    "word in its name ranks before all that have it only in the description, and every "
    "product can be found by its name.",
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
            "weight of a name too",
        ),
        (
            SOLUTION.replace("coalesce(description, '')", "description"),
            "has no description",
        ),
        (
            statements(
                START,
                COLUMN_6,
                f"UPDATE ex1_products SET search_vector = {NAME} || {TEXT}",
            ),
            "an ordinary column",
        ),
    ],
    praise="The labels tell ts_rank where a word came from.",
)

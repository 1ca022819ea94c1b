"""Exercise 01-1: an index that is used."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exercises_01.common import catalogue, reading
from helpers import show
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = '''
slow = """SELECT id FROM products
          WHERE to_tsvector('english', name || ' ' || description)
                @@ to_tsquery('english', 'chess')"""
fast = ...  # a string with your query

ex1.check()
'''
PLACE = "...  # a string with your query"
#: Products that the answer has not seen, and whether the colleague's query finds them.
UNSEEN = [
    ("Chess", "", True),
    ("Board", "for CHESS players", True),
    ("chess", "chess and chess", True),
    ("Chessboard", "64 squares", False),
    ("Draughts", "not a game of kings", False),
]


def answer(query: str) -> str:
    """Return exercise 1's cell with this query as the answer."""
    return STARTER.replace(PLACE, f'"{query}"')


def compare(rows: list[Any], wanted: set[int], also: set[int]) -> None:
    """Incorrect unless the rows are the ids in `wanted`, each once; those in `also` may be there.

    `also` has products without a description, which the colleague's expression cannot find.
    """
    if rows and not isinstance(rows[0][0], int):
        kind = type(rows[0][0]).__name__
        raise Incorrect(f"Your query returns {kind}; return one id a row, in the first column.")
    found = Counter(row[0] for row in rows)
    if missing := len(wanted - found.keys()):
        raise Incorrect(f"Your query misses {missing} of the {len(wanted)} products.")
    if extra := len(found.keys() - wanted - also):
        raise Incorrect(f"Your query finds {extra} products that the colleague's does not.")
    if twice := sum(count > 1 for count in found.values()):
        raise Incorrect(
            f"Your query returns {twice} products more than once; the colleague's query returns "
            "each once."
        )


def check(pg: Place, fast: object) -> None:
    """Compare the rows with the colleague's, on new products too; then see what the plan reads."""
    if not isinstance(fast, str):
        raise Incorrect(f"`fast` is {type(fast).__name__}; it should be a string with a query.")
    with look(pg) as connection:
        found = set(catalogue(connection, "chess"))
        bare = "SELECT id FROM products WHERE description IS NULL"
        also = {id for (id,) in connection.execute(bare)}
    with reading(pg) as connection, running("Your query"):
        rows = connection.execute(fast.encode()).fetchall()
        plan = show.plan(connection, fast)
    compare(rows, found - also, also)
    check_unseen(pg, fast, found - also, also)
    if not plan.uses("idx_products_search"):
        raise Incorrect(
            "The rows are right, but the plan does not read the index. The condition must use the "
            f"very expression that the index was made on. The plan is: {plan.shape}."
        )
    if "Seq Scan" in plan.node_types:
        raise Incorrect("Your query reads the index, and then the whole table as well.")


def check_unseen(pg: Place, fast: str, wanted: set[int], also: set[int]) -> None:
    """Add products, compare again, and take everything back."""
    with look(pg) as connection, connection.transaction(force_rollback=True):
        (last,) = connection.execute("SELECT max(id) FROM products").fetchone() or (0,)
        for number, (name, description, matches) in enumerate(UNSEEN, last + 1):
            connection.execute(
                "INSERT INTO products (id, name, description) VALUES (%s, %s, %s)",
                [number, name, description],
            )
            wanted = wanted | {number} if matches else wanted
        # As a part of a statement: it cannot commit.
        query = f"SELECT * FROM (\n{fast.rstrip().rstrip(';')}\n) AS answer"
        with running("With more products in the table your query"):
            rows = connection.execute(query.encode()).fetchall()
    try:
        compare(rows, wanted, also)
    except Incorrect as reason:
        raise Incorrect(f"After more products were added: {reason}") from None


SOLUTION = answer("SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'chess')")
BOTH = (
    "SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'chess') UNION{} "
    "SELECT id FROM products WHERE to_tsvector('english', name || ' ' || description) @@ "
    "to_tsquery('english', 'chess')"
)
EXERCISE = Exercise(
    title="An index that is used",
    minutes=4,
    prompt="Write a query that finds the colleague's products, each once, through the index.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "The index is on a column. The colleague computes the column's content anew.",
        "Put the column search_vector on the left side of @@.",
    ],
    wrong=[
        (
            answer("SELECT id FROM products WHERE name ILIKE '%chess%'"),
            "Not yet: Your query misses",
        ),
        (
            answer(
                "SELECT id FROM products WHERE to_tsvector('english', name || ' ' || "
                "COALESCE(description, '')) @@ to_tsquery('english', 'chess')"
            ),
            "does not read the index",
        ),
        (answer(BOTH.format(" ALL")), "more than once"),
        (answer(BOTH.format("")), "the whole table as well"),
        (
            answer("SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'che:*')"),
            "that the colleague's does not",
        ),
        (
            SOLUTION.replace("'chess')\"", "'chess') ORDER BY id LIMIT 54\""),
            "After more products were added",
        ),
        (answer("SELECT id FROM products WHERE search_vector @@ 'chess"), "raised"),
        (
            answer(
                "CREATE INDEX ON products USING GIN "
                "(to_tsvector('english', name || ' ' || description))"
            ),
            "changes the database",
        ),
    ],
    right=[
        answer(
            "SELECT id FROM products, websearch_to_tsquery('english', 'chess') AS query "
            "WHERE search_vector @@ query ORDER BY id;"
        ),
        answer(
            "SELECT id, name FROM products WHERE search_vector @@ to_tsquery('english', 'chess') "
            "-- each id once"
        ),
    ],
    equal={
        "248cc857": "plainto_tsquery makes the same query of the one word chess",
        "56e4a36f": "websearch_to_tsquery makes the same query of the one word chess",
        "e4393035": "the lexeme of chess is chess in both configurations",
    },
    praise="The expression must be the indexed one. An equal value is not enough.",
)

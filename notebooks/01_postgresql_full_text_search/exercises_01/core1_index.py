"""Exercise 01-1: an index that is used."""

from __future__ import annotations

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


def answer(query: str) -> str:
    """Return exercise 1's cell with this query as the answer."""
    return STARTER.replace(PLACE, f'"{query}"')


def check(pg: Place, fast: object) -> None:
    """Compare the rows with the search's, then ask the planner what it reads."""
    if not isinstance(fast, str):
        raise Incorrect(f"`fast` is {type(fast).__name__}; it should be a string with a query.")
    with look(pg) as connection:
        wanted = set(catalogue(connection, "chess"))
    with reading(pg) as connection, running("Your query"):
        rows = connection.execute(fast.encode()).fetchall()
        plan = show.plan(connection, fast)
    if rows and not isinstance(rows[0][0], int):
        kind = type(rows[0][0]).__name__
        raise Incorrect(f"Your query returns {kind}; return one id a row, in the first column.")
    found = {row[0] for row in rows}
    if missing := len(wanted - found):
        raise Incorrect(f"Your query misses {missing} of the {len(wanted)} products.")
    if extra := len(found - wanted):
        raise Incorrect(f"Your query finds {extra} products that the colleague's does not.")
    if not plan.uses("idx_products_search"):
        raise Incorrect(
            "The rows are right, but the plan does not read idx_products_search. The condition "
            f"must use the very expression that the index was made on. The plan is: {plan.shape}."
        )


EXERCISE = Exercise(
    title="An index that is used",
    minutes=4,
    prompt="Write a query that finds the colleague's products through the index.",
    starter=STARTER,
    solution=answer(
        "SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'chess')"
    ),
    check=check,
    hints=[
        "The index is on a column. The colleague computes the column's content anew.",
        "Put the column search_vector on the left side of @@.",
    ],
    wrong=[
        (answer("SELECT id FROM products WHERE name ILIKE '%chess%'"), "misses"),
        (
            answer(
                "SELECT id FROM products WHERE to_tsvector('english', name || ' ' || "
                "COALESCE(description, '')) @@ to_tsquery('english', 'chess')"
            ),
            "does not read idx_products_search",
        ),
        (
            answer("SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'che:*')"),
            "that the colleague's does not",
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
    praise="The expression must be the indexed one. An equal value is not enough.",
)

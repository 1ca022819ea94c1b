"""The exercises of lesson 01's core: an index that is used, empty queries, a search box."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from helpers import show
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    lesson_01_deeper,
    look,
    running,
)

Search = Callable[..., Any]

MATCHES = """
    SELECT id FROM products WHERE search_vector @@ websearch_to_tsquery('english', %s) ORDER BY id
"""
RANKS = """
    SELECT id, ts_rank(search_vector, websearch_to_tsquery('english', %s)) FROM products
    WHERE id = ANY (%s)
"""


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do: the table with its 100,000 rows."""
    from helpers import check, lab, shop
    from helpers.paths import NOTEBOOKS

    pg = lab.postgres("01")
    published = NOTEBOOKS / "01_postgresql_full_text_search" / "published.sql"
    with pg.connect(autocommit=True) as connection:
        connection.execute(published.read_bytes())
        shop.load_products(connection, 100_000)
        connection.execute("VACUUM ANALYZE products")
    return {"pg": pg, "lab": lab, "shop": shop, "show": show, "check": check}


# Exercise 1: the index belongs to one expression.

STARTER_1 = '''
slow = """SELECT id FROM products
          WHERE to_tsvector('english', name || ' ' || description)
                @@ to_tsquery('english', 'chess')"""
fast = ...  # a string with your query

ex1.check()
'''
SOLUTION_1 = STARTER_1.replace(
    "...  # a string with your query",
    "\"SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'chess')\"",
)


def wrong_1(query: str) -> str:
    """Return exercise 1's cell with this query as the answer."""
    return STARTER_1.replace("...  # a string with your query", f'"{query}"')


def check_index(pg: Database, fast: object) -> None:
    """Compare the rows with the search's, then ask the planner what it reads."""
    if not isinstance(fast, str):
        raise Incorrect(f"`fast` is {type(fast).__name__}; it should be a string with a query.")
    with look(pg) as connection, running("Your query"):
        rows = connection.execute(fast.encode()).fetchall()
        plan = show.plan(connection, fast)
    with look(pg) as connection:
        wanted = {id for (id,) in connection.execute(MATCHES, ["chess"])}
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


# Exercise 2: is anything left of the query?

STARTER_2 = '''
def has_words(text):
    """True when a search for this text looks for at least one word."""
    return ...


ex2.check()
'''
SOLUTION_2 = STARTER_2.replace(
    "    return ...\n",
    "    with pg.connect() as connection:\n"
    "        query = \"SELECT numnode(websearch_to_tsquery('english', %s)) > 0\"\n"
    "        return connection.execute(query, [text]).fetchone()[0]\n",
)
TYPED = ["chess", "wireless mouse", "laptop &", '"text editor" -video', "c++", "", "   "]
TYPED += ["!!!", "the", "AT&T", "it's", "The Who"]


def check_has_words(pg: Database, has_words: Callable[[str], object]) -> None:
    """Ask for ordinary, odd and empty texts; PostgreSQL knows the answer."""
    with look(pg) as connection:
        for text in TYPED:
            query = "SELECT websearch_to_tsquery('english', %s)::text"
            (left,) = connection.execute(query, [text]).fetchone() or ("",)
            answer = has_words(text)
            if not isinstance(answer, bool):
                kind = type(answer).__name__
                raise Incorrect(f"has_words({text!r}) returned {kind}; it should be True or False.")
            if answer and not left:
                raise Incorrect(
                    f"has_words({text!r}) is True, but PostgreSQL looks for nothing: it drops stop "
                    "words and signs. Ask what is left of the query."
                )
            if left and not answer:
                raise Incorrect(f"has_words({text!r}) is False, but it looks for {left}.")


# Exercise 3: the search box.

STARTER_3 = '''
def search(text, page=1):
    """Return ten (id, name) pairs: the best match first."""
    return ...


ex3.check()
'''
BODY_3 = '''\
    query = """SELECT id, name FROM products, websearch_to_tsquery('english', %s) AS query
               WHERE search_vector @@ query
               ORDER BY ts_rank(search_vector, query) DESC, id LIMIT 10 OFFSET %s"""
    with pg.connect() as connection:
        return connection.execute(query, [text, 10 * (page - 1)]).fetchall()
'''
SOLUTION_3 = STARTER_3.replace("    return ...\n", BODY_3)


def wrong_3(old: str, new: str) -> str:
    """Return the solution of exercise 3 with one part replaced."""
    changed = SOLUTION_3.replace(old, new)
    if changed == SOLUTION_3:
        raise ValueError(f"{old!r} is not in the solution")
    return changed


def ids(rows: Any, call: str) -> list[int]:
    """Return the ids of one page of results; Incorrect when they are not (id, name) pairs."""
    if not isinstance(rows, list):
        raise Incorrect(f"{call} returned {type(rows).__name__}; it should be a list.")
    for row in rows:
        if not isinstance(row, tuple) or len(row) != 2 or not isinstance(row[0], int):
            raise Incorrect(f"{call} returned {row!r}; each result should be a pair (id, name).")
    return [id for id, _ in rows]


def check_search(pg: Database, search: Search) -> None:
    """Search for odd texts, then read every page of a word and some pages of a common one."""
    if (first := search("chess")) is None:
        raise NotAttempted("`search` returns nothing yet.")
    if len(ids(first, "search('chess')")) != 10:
        raise Incorrect(f"search('chess') returned {len(first)} results; a page has ten.")
    for text in ["wireless mouse", "laptop &", "it's", "100%", "'; DROP TABLE products; --", '"']:
        ids(search(text), f"search({text!r})")
    for text in ["", "the"]:
        if search(text) != []:
            raise Incorrect(f"search({text!r}) should return an empty list: no word is left.")
    with look(pg) as connection:
        for text in ["mouse", '"text editor" -video', "chess or checkers"]:
            wanted = [id for (id,) in connection.execute(MATCHES, [text])]
            pages = range(1, -(-len(wanted) // 10) + 2)
            read = [ids(search(text, page), f"search({text!r}, {page})") for page in pages]
            check_pages(connection, text, read, wanted)
        pages = range(1, 31)
        read = [ids(search("library", page), f"search('library', {page})") for page in pages]
        check_pages(connection, "library", read, None)


def check_pages(
    connection: Any, text: str, pages: list[list[int]], wanted: list[int] | None
) -> None:
    """Look at consecutive pages: complete (when `wanted` is given), best first, nothing twice."""
    seen = [id for page in pages for id in page]
    if len(seen) != len(set(seen)):
        twice = len(seen) - len(set(seen))
        raise Incorrect(
            f"{twice} products came on more than one page of search({text!r}). "
            "Equal ranks have no order until you give them one."
        )
    if wanted is not None and set(seen) != set(wanted):
        lost, extra = len(set(wanted) - set(seen)), len(set(seen) - set(wanted))
        advice = "Which function reads quotes, `or` and the minus sign?"
        if text.isalpha():
            advice = "Page 1 begins with the best product, at OFFSET 0."
        raise Incorrect(
            f"All pages of search({text!r}) together miss {lost} of {len(wanted)} products and "
            f"hold {extra} that do not match. {advice}"
        )
    full = [page for page in pages if page][:-1]
    if any(len(page) != 10 for page in full):
        raise Incorrect(f"A page of search({text!r}) has not ten results, and it is not the last.")
    rank = dict(connection.execute(RANKS, [text, seen]).fetchall())
    if any(rank[a] < rank[b] for a, b in pairwise(seen)):
        raise Incorrect(f"search({text!r}) shows a product before another with a better ts_rank.")


EXERCISES = [
    Exercise(
        number=1,
        title="An index that is used",
        prompt="Write a query that finds the colleague's products through the index.",
        setup=setup,
        starter=STARTER_1,
        solution=SOLUTION_1,
        check=check_index,
        hints=[
            "The index is on a column. The colleague computes the column's content anew.",
            "Put the column search_vector on the left side of @@.",
        ],
        wrong=[
            (wrong_1("SELECT id FROM products WHERE name ILIKE '%chess%'"), "misses"),
            (
                wrong_1(
                    "SELECT id FROM products WHERE to_tsvector('english', name || ' ' || "
                    "COALESCE(description, '')) @@ to_tsquery('english', 'chess')"
                ),
                "does not read idx_products_search",
            ),
            (
                wrong_1(
                    "SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'che:*')"
                ),
                "that the colleague's does not",
            ),
            (wrong_1("SELECT id FROM products WHERE search_vector @@ 'chess"), "raised"),
        ],
        praise="The expression must be the indexed one. An equal value is not enough.",
    ),
    Exercise(
        number=2,
        title="Is there anything to look for?",
        prompt="Write a function that says whether a search for a text looks for any word.",
        setup=setup,
        starter=STARTER_2,
        solution=SOLUTION_2,
        check=check_has_words,
        hints=[
            "Let PostgreSQL read the text with websearch_to_tsquery, then count what is left.",
            "numnode(query) is 0 for an empty query. Pass the text as a parameter: "
            'connection.execute("SELECT ... %s ...", [text]).fetchone()[0]',
        ],
        wrong=[
            (STARTER_2.replace("return ...", "return bool(text.strip())"), "is True, but"),
            (SOLUTION_2.replace("websearch_to_tsquery", "to_tsquery"), "raised SyntaxError"),
            (SOLUTION_2.replace(" > 0", ""), "returned int"),
            (SOLUTION_2.replace("> 0", "= 1"), "is False, but"),
        ],
        praise="Now the page can say: please enter a word. That is more help than: no results.",
    ),
    Exercise(
        number=3,
        title="The search box",
        prompt="Write a search function with pages that takes whatever people type.",
        setup=setup,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_search,
        hints=[
            "Start from the published query. Three things change: the function that reads the "
            "text, the ORDER BY, and LIMIT with OFFSET.",
            "The query is a parameter: websearch_to_tsquery('english', %s).",
            "Page 1 has OFFSET 0, page 2 has OFFSET 10. After the rank, order by id.",
        ],
        wrong=[
            (wrong_3("websearch_to_tsquery", "to_tsquery"), "raised SyntaxError"),
            (wrong_3(" DESC, id LIMIT", " DESC LIMIT"), "more than one page"),
            (wrong_3("websearch_to_tsquery", "plainto_tsquery"), "reads quotes"),
            (wrong_3("10 * (page - 1)", "10 * page"), "at OFFSET 0"),
            (wrong_3("DESC, id", ", id"), "better ts_rank"),
        ],
        praise="That is a search box that you can put on a page.",
    ),
    *lesson_01_deeper.EXERCISES,
]

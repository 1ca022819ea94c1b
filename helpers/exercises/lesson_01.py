"""The exercises of lesson 01's core: an index that is used, empty queries, a search box."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import psycopg

from helpers import show
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    changed,
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
#: How often the table was read from start to end, and the index: the server's own counters.
SCANS = """
    SELECT seq_scan, (SELECT idx_scan FROM pg_stat_user_indexes
                      WHERE indexrelname = 'idx_products_search')
    FROM pg_stat_user_tables WHERE relname = 'products'
"""


def notebook_cell(name: str) -> str:
    """Return the source of one of the notebook's cells, by its id."""
    import nbformat

    from helpers.base.paths import NOTEBOOKS

    lesson = nbformat.read(NOTEBOOKS / "01_postgresql_full_text_search.ipynb", as_version=4)
    return str(next(cell.source for cell in lesson.cells if cell.id == name))


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do: the table with its 100,000 rows."""
    from helpers import check, lab, shop
    from helpers.base.paths import NOTEBOOKS

    pg = lab.postgres("01")
    published = NOTEBOOKS / "01_postgresql_full_text_search" / "published.sql"
    with pg.connect(autocommit=True) as connection:
        connection.execute(published.read_bytes())
        shop.load_products(connection, 100_000)
        connection.execute("VACUUM ANALYZE products")
    names: dict[str, Any] = {"pg": pg, "lab": lab, "shop": shop, "show": show, "check": check}
    exec(notebook_cell("s2-clean"), names)  # the learner's `clean`
    return names


@contextmanager
def reading(pg: Database) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection for the learner's query: it can read, and it cannot change anything."""
    with look(pg) as connection:
        # Another configuration than the lesson's: a query that does not name one shows.
        connection.execute(
            "SET default_transaction_read_only = on; SET default_text_search_config = 'simple'"
        )
        try:
            yield connection
        except Incorrect as error:
            if isinstance(error.__cause__, psycopg.errors.ReadOnlySqlTransaction):
                raise Incorrect(
                    "Your statement changes the database. Write one SELECT. (A second index would "
                    "be used too, but every write would pay for it.)"
                ) from None
            raise


def catalogue(connection: psycopg.Connection[Any], text: str) -> list[int]:
    """Return the ids that match; NotAttempted when the lesson's table is not there yet."""
    try:
        found = [id for (id,) in connection.execute(MATCHES, [text])]
    except psycopg.errors.UndefinedTable:
        found = []
    if not found:
        raise NotAttempted("The catalogue is not in the table products. Run the cells above first.")
    return found


# Exercise 1: the index belongs to one expression.

STARTER_1 = '''
slow = """SELECT id FROM products
          WHERE to_tsvector('english', name || ' ' || description)
                @@ to_tsquery('english', 'chess')"""
fast = ...  # a string with your query

ex1.check()
'''
PLACE_1 = "...  # a string with your query"


def answer_1(query: str) -> str:
    """Return exercise 1's cell with this query as the answer."""
    return STARTER_1.replace(PLACE_1, f'"{query}"')


def check_index(pg: Database, fast: object) -> None:
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


# Exercise 2: is anything left of the query?

STARTER_2 = """
question = ...  # a string: SQL with %s for the text; true or false

ex2.check()
"""
PLACE_2 = "...  # a string: SQL with %s for the text; true or false"
TYPED = ["chess", "zzyzx", "wireless mouse", "laptop &", '"text editor" -video', "c++", ""]
TYPED += ["   ", "!!!", "the", "AT&T", "it's", "The Who"]


def answer_2(query: str) -> str:
    """Return exercise 2's cell with this query as the answer."""
    return STARTER_2.replace(PLACE_2, f'"{query}"')


def check_question(pg: Database, question: object) -> None:
    """Ask for ordinary, odd and empty texts; PostgreSQL knows the answer."""
    if not isinstance(question, str):
        raise Incorrect(f"`question` is {type(question).__name__}; it should be a string of SQL.")
    if question.count("%s") != 1:
        raise Incorrect("The text goes where %s stands, and your SQL needs it exactly once.")
    for text in TYPED:
        with look(pg) as connection:
            query = "SELECT websearch_to_tsquery('english', %s)::text"
            (left,) = connection.execute(query, [text]).fetchone() or ("",)
        with reading(pg) as connection, running(f"Your SQL, for the text {text!r},"):
            (answer, *_) = connection.execute(question.encode(), [text]).fetchone() or (None,)
        if not isinstance(answer, bool):
            kind = type(answer).__name__
            raise Incorrect(f"For {text!r} your SQL returns {kind}; it should be true or false.")
        if answer and not left:
            raise Incorrect(
                f"For {text!r} the answer is true, but PostgreSQL looks for nothing: it drops stop "
                "words and signs. Name the configuration 'english', and count what is left."
            )
        if left and not answer:
            raise Incorrect(
                f"For {text!r} the answer is false, but it looks for {left}. "
                "Whether a product has the word is another question."
            )


# Exercise 3: the search box.

STARTER_3 = '''
def search(text, page=1):
    """Return ten (id, name) pairs: the best match first."""
    with pg.connect() as connection:
        rows = ...  # connection.execute(sql, values).fetchall()
    return rows


ex3.check()
'''
BODY_3 = '''\
        sql = """SELECT id, name FROM products, websearch_to_tsquery('english', %s) AS query
                 WHERE search_vector @@ query
                 ORDER BY ts_rank(search_vector, query) DESC, id LIMIT 10 OFFSET %s"""
        rows = connection.execute(sql, [clean(text), 10 * (page - 1)]).fetchall()
'''
SOLUTION_3 = STARTER_3.replace(
    "        rows = ...  # connection.execute(sql, values).fetchall()\n", BODY_3
)
ODD = ["laptop &", "it's", "100%", "'; DROP TABLE products; --", '"', "-" * 40, "a\0b"]
ODD += ["chess or " * 20_000]


def ids(rows: Any, call: str) -> list[int]:
    """Return the ids of one page of results; Incorrect when they are not (id, name) pairs."""
    if not isinstance(rows, list):
        raise Incorrect(f"{call} returned {type(rows).__name__}; it should be a list.")
    for row in rows:
        if not isinstance(row, tuple | list) or len(row) != 2 or not isinstance(row[0], int):
            raise Incorrect(f"{call} returned {row!r}; each result should be a pair (id, name).")
    return [id for id, _ in rows]


def check_search(pg: Database, search: Search) -> None:
    """Search once and see what was read; then odd texts; then page after page."""
    with look(pg) as connection:
        wanted = catalogue(connection, "mouse")
        before = connection.execute(SCANS).fetchone()
        first = ids(search("mouse"), "search('mouse')")
        check_scans(connection, before)
    if len(first) != 10:
        raise Incorrect(f"search('mouse') returned {len(first)} results; a page has ten.")
    if ids(search("mouse", 2), "search('mouse', 2)") == first:
        raise Incorrect("search('mouse', 2) returns page 1 again: use `page` in the OFFSET.")
    for text in ["", "the"]:
        if search(text) != []:
            raise Incorrect(f"search({text!r}) should return an empty list: no word is left.")
    for text in ODD:
        shown = repr(text) if len(text) < 50 else f"a text of {len(text):,} characters"
        with running(f"`search`, for {shown},"):
            ids(getattr(search, "__wrapped__", search)(text), f"search({shown})")
    with look(pg) as connection:
        for text in ["mouse", '"text editor" -video', "chess or checkers"]:
            wanted = [id for (id,) in connection.execute(MATCHES, [text])]
            pages = range(1, -(-len(wanted) // 10) + 2)
            read = [ids(search(text, page), f"search({text!r}, {page})") for page in pages]
            check_pages(connection, text, read, wanted)
        read = [ids(search("library", n), f"search('library', {n})") for n in range(1, 16)]
        check_pages(connection, "library", read, None)


def check_scans(connection: psycopg.Connection[Any], before: Any) -> None:
    """Incorrect when the search since `before` read the whole table instead of the index.

    A session reports its counts when it ends, or a second later; so wait for either of the two.
    """
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        now = connection.execute(SCANS).fetchone()
        if now and now[1] > before[1]:
            return
        if now and now[0] > before[0]:
            raise Incorrect(
                "search('mouse') read the whole table. Compare the column search_vector, on which "
                "the index was made."
            )
        time.sleep(0.02)


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
        solution=answer_1(
            "SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'chess')"
        ),
        check=check_index,
        hints=[
            "The index is on a column. The colleague computes the column's content anew.",
            "Put the column search_vector on the left side of @@.",
        ],
        wrong=[
            (answer_1("SELECT id FROM products WHERE name ILIKE '%chess%'"), "misses"),
            (
                answer_1(
                    "SELECT id FROM products WHERE to_tsvector('english', name || ' ' || "
                    "COALESCE(description, '')) @@ to_tsquery('english', 'chess')"
                ),
                "does not read idx_products_search",
            ),
            (
                answer_1(
                    "SELECT id FROM products WHERE search_vector @@ to_tsquery('english', 'che:*')"
                ),
                "that the colleague's does not",
            ),
            (answer_1("SELECT id FROM products WHERE search_vector @@ 'chess"), "raised"),
            (
                answer_1(
                    "CREATE INDEX ON products USING GIN "
                    "(to_tsvector('english', name || ' ' || description))"
                ),
                "changes the database",
            ),
        ],
        praise="The expression must be the indexed one. An equal value is not enough.",
    ),
    Exercise(
        number=2,
        title="Is there anything to look for?",
        prompt="Write SQL that says whether a search for a text looks for any word.",
        setup=setup,
        starter=STARTER_2,
        solution=answer_2("SELECT numnode(websearch_to_tsquery('english', %s)) > 0"),
        check=check_question,
        hints=[
            "Let PostgreSQL read the text with websearch_to_tsquery, then count what is left.",
            "numnode(query) is 0 for an empty query. Compare it with 0.",
        ],
        wrong=[
            (answer_2("SELECT trim(%s) <> ''"), "it drops stop words"),
            (answer_2("SELECT numnode(to_tsquery('english', %s)) > 0"), "raised SyntaxError"),
            (answer_2("SELECT numnode(websearch_to_tsquery('english', %s))"), "returns int"),
            (
                answer_2(
                    "SELECT EXISTS (SELECT 1 FROM products WHERE search_vector @@ "
                    "websearch_to_tsquery('english', %s))"
                ),
                "is another question",
            ),
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
            "The query is a parameter: websearch_to_tsquery('english', %s), with clean(text).",
            "Page 1 has OFFSET 0, page 2 has OFFSET 10. After the rank, order by id.",
        ],
        wrong=[
            (changed(SOLUTION_3, "websearch_to_tsquery", "to_tsquery"), "raised SyntaxError"),
            (changed(SOLUTION_3, "clean(text)", "text"), "tsquery stack too small"),
            (changed(SOLUTION_3, " DESC, id LIMIT", " DESC LIMIT"), "more than one page"),
            (changed(SOLUTION_3, "websearch_to_tsquery", "plainto_tsquery"), "reads quotes"),
            (changed(SOLUTION_3, "10 * (page - 1)", "10 * page"), "at OFFSET 0"),
            (changed(SOLUTION_3, "10 * (page - 1)", "0"), "page 1 again"),
            (changed(SOLUTION_3, "DESC, id", ", id"), "better ts_rank"),
            (
                changed(
                    SOLUTION_3, "WHERE search_vector @@", "WHERE to_tsvector('english', name) @@"
                ),
                "read the whole table",
            ),
        ],
        praise="That is a search box that you can put on a page.",
    ),
    *lesson_01_deeper.EXERCISES,
]

"""Exercise 01-3: the search box."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import psycopg

from exercises_01.common import MATCHES, catalogue
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look
from helpers.exercises.running import running

Search = Callable[..., Any]
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


STARTER = '''
def search(text, page=1):
    """Return ten (id, name) pairs: the best match first."""
    with pg.connect() as connection:
        rows = ...  # connection.execute(sql, values).fetchall()
    return rows


ex3.check()
'''
BODY = '''\
        sql = """SELECT id, name FROM products, websearch_to_tsquery('english', %s) AS query
                 WHERE search_vector @@ query
                 ORDER BY ts_rank(search_vector, query) DESC, id LIMIT 10 OFFSET %s"""
        rows = connection.execute(sql, [clean(text), 10 * (page - 1)]).fetchall()
'''
SOLUTION = STARTER.replace(
    "        rows = ...  # connection.execute(sql, values).fetchall()\n", BODY
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


def check(pg: Place, search: Search) -> None:
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


EXERCISE = Exercise(
    title="The search box",
    minutes=6,
    prompt="Write a search function with pages that takes whatever people type.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Start from the published query. Three things change: the function that reads the "
        "text, the ORDER BY, and LIMIT with OFFSET.",
        "The query is a parameter: websearch_to_tsquery('english', %s), with clean(text).",
        "Page 1 has OFFSET 0, page 2 has OFFSET 10. After the rank, order by id.",
    ],
    wrong=[
        (changed(SOLUTION, "websearch_to_tsquery", "to_tsquery"), "raised SyntaxError"),
        (changed(SOLUTION, "clean(text)", "text"), "tsquery stack too small"),
        (changed(SOLUTION, " DESC, id LIMIT", " DESC LIMIT"), "more than one page"),
        (changed(SOLUTION, "websearch_to_tsquery", "plainto_tsquery"), "reads quotes"),
        (changed(SOLUTION, "10 * (page - 1)", "10 * page"), "at OFFSET 0"),
        (changed(SOLUTION, "10 * (page - 1)", "0"), "page 1 again"),
        (changed(SOLUTION, "DESC, id", ", id"), "better ts_rank"),
        (
            changed(SOLUTION, "WHERE search_vector @@", "WHERE to_tsvector('english', name) @@"),
            "read the whole table",
        ),
    ],
    praise="That is a search box that you can put on a page.",
)

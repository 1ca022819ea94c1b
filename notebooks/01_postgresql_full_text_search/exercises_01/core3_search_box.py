"""Exercise 01-3: the search box."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql

from exercises_01.common import asking, catalogue, function, with_settings
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

Search = Callable[..., Any]
Hits = dict[int, tuple[str, float]]  # of each product that matches: name and rank
TEN = 10
HITS = """
    SELECT id, name, ts_rank(search_vector, query)
    FROM {}, websearch_to_tsquery('english', %s) AS query WHERE search_vector @@ query
"""
#: How often the table was read from start to end, through its GIN indexes, and through others.
SCANS = """
    SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'products'::regclass),
           coalesce(sum(idx_scan) FILTER (WHERE amname = 'gin'), 0),
           coalesce(sum(idx_scan) FILTER (WHERE amname <> 'gin'), 0)
    FROM pg_stat_user_indexes JOIN pg_class i ON i.oid = indexrelid JOIN pg_am a ON a.oid = i.relam
    WHERE relid = 'products'::regclass
"""
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
CALLS = 5  # more than what another session reads at the same moment

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
ROWS = "        rows = ...  # connection.execute(sql, values).fetchall()\n"
SOLUTION = STARTER.replace(ROWS, BODY)

#: What people type, and a plain text that asks for the same.
ODD = {
    "quokka &": "quokka",
    "quokka's": "quokka",
    "'quokka": "quokka",
    '"quokka': "quokka",
    "quokka %": "quokka",
    "%s quokka": "quokka s",
    "quokka \\": "quokka",
    "quokka\0": "quokka",
    "quokka " + "-" * 40: "quokka",
    "-" * 40 + " quokka": "quokka",
    "quokka or " * 20_000: "quokka",
    "quokka'; DROP TABLE products; --": "quokka drop table products",
    '"pond axolotl"': '"pond axolotl"',
    "quokka or wombat": "quokka or wombat",
    "axolotl -pond": "axolotl -pond",
    "QUOKKAS": "quokka",
    "the": "the",
    "   ": "",
    "": "",
    '"': "",
}
#: Products that the answer has not seen: name, description and how many of them.
UNSEEN: list[tuple[str, str | None, int]] = [
    ("Quokka", "A small wallaby", 120),  # equal names and equal ranks
    ("Quokka", None, 6),
    ("Quokka quokka", "quokka, quokka and quokka", 4),
    ("Drop table", "quokka products with s", 3),
    ("Wombat", "burrows", 10),  # exactly one page
    ("Numbat", "termites", 1),
    ("Axolotl", "of the pond", 3),
    ("Pond axolotl", "walks", 12),
    ("", "axolotl", 2),
]


@contextmanager
def unseen(pg: Place) -> Iterator[str]:
    """Make another table products in a schema of its own; remove it at the end."""
    schema = f"{pg.name[-40:]}_unseen"
    name = sql.Identifier(schema)
    products = [(title, text) for title, text, count in UNSEEN for _ in range(count)]
    numbers = list(range(1, len(products) + 1))
    random.Random(1).shuffle(numbers)  # the order of ids is not that of the rows
    remove = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name)
    with look(pg) as connection:
        connection.execute("SET client_min_messages = error")
        connection.execute(remove)
        try:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
            like = "CREATE TABLE {}.products (LIKE products INCLUDING ALL)"
            connection.execute(sql.SQL(like).format(name))
            add = "INSERT INTO {}.products (id, name, description) VALUES (%s, %s, %s)"
            rows = [(number, *product) for number, product in zip(numbers, products, strict=True)]
            connection.cursor().executemany(sql.SQL(add).format(name), rows)
            connection.execute(sql.SQL("ANALYZE {}.products").format(name))
            (path,) = connection.execute("SHOW search_path").fetchone() or ("public",)
            yield f"{schema},{path}".replace(" ", "").replace('"$user",', "")
        finally:
            connection.execute(remove)


def hits(connection: psycopg.Connection[Any], text: str) -> Hits:
    """Return what a search for a text must find."""
    query = sql.SQL(HITS).format(sql.Identifier("products"))
    return {id: (name, rank) for id, name, rank in connection.execute(query, [text])}


def shown(text: str, page: int | None = None) -> str:
    """Return the call in words, a long text cut."""
    short = repr(text) if len(text) <= 50 else f"{text[:30]!r} and so on"
    return f"search({short}, {page})" if page else f"search({short})"


def page_of(rows: Any, call: str) -> list[tuple[int, str]]:
    """Return one page of results; Incorrect when they are not at most ten (id, name) pairs."""
    if not isinstance(rows, list):
        raise Incorrect(f"{call} returned {type(rows).__name__}; it should be a list.")
    for row in rows:
        if not isinstance(row, tuple | list) or len(row) != 2 or not isinstance(row[0], int):
            kinds = type(row).__name__
            if isinstance(row, tuple | list):
                kinds += f" of {', '.join(type(value).__name__ for value in row) or 'nothing'}"
            raise Incorrect(f"{call} has a {kinds} in it; each result should be a pair (id, name).")
    if len(rows) > TEN:
        raise Incorrect(f"{call} returned {len(rows)} results; a page has ten.")
    return [(row[0], row[1]) for row in rows]


def pages_of(search: Search, text: str, count: int) -> list[list[tuple[int, str]]]:
    """Return the first pages of a search."""
    rest = range(2, count + 1)
    return [
        page_of(search(text), shown(text)),
        *(page_of(search(text, page), shown(text, page)) for page in rest),
    ]


def advice(text: str) -> str:
    """Return a sentence for texts that mean more than their words."""
    if text.isalpha() or ODD.get(text) != text:
        return ""
    return " Which function reads what people type, with quotes, `or` and the minus sign?"


def check_pages(text: str, pages: list[list[tuple[int, str]]], wanted: Hits) -> None:
    """Look at consecutive pages: what is there matches, best first, nothing twice, nothing lost."""
    seen = [id for page in pages for id, _ in page]
    ranks = sorted((rank for _, rank in wanted.values()), reverse=True)
    if extra := set(seen) - wanted.keys():
        raise Incorrect(
            f"{shown(text)} finds {len(extra)} products that do not match.{advice(text)}"
        )
    for id, name in (pair for page in pages for pair in page):
        if name != wanted[id][0]:
            raise Incorrect(
                f"{shown(text)} calls product {id} {name!r}; its name is {wanted[id][0]!r}."
            )
    if pages[0] and len(wanted) > TEN and pages[1] == pages[0]:
        raise Incorrect(f"{shown(text, 2)} returns page 1 again.")
    if len(pages[0]) == len(pages[1]) == TEN and pages[1][:-1] == pages[0][1:]:
        raise Incorrect(f"{shown(text, 2)} begins with the second result of page 1.")
    lost = wanted.keys() - set(seen)

    def rank(ids: set[int]) -> list[float]:
        return [wanted[id][1] for id in ids]

    least, best = min(rank(lost), default=0), max(rank(set(seen)), default=0)
    if seen and len(lost) == TEN and least >= best:
        raise Incorrect(f"{shown(text)} leaves the first ten results out. Page 1 has OFFSET 0.")
    if seen and wanted[seen[0]][1] < ranks[0]:
        raise Incorrect(f"{shown(text)} does not begin with the best match.")
    if any(wanted[a][1] < wanted[b][1] for a, b in pairwise(seen)):
        raise Incorrect(f"{shown(text)} has a product before another with a better ts_rank.")
    if len(seen) != len(set(seen)):
        raise Incorrect(
            f"{len(seen) - len(set(seen))} products came on more than one page of {shown(text)}. "
            "Products of the same rank, and of the same name, need an order too."
        )
    check_lost(text, pages, wanted)


def check_lost(text: str, pages: list[list[tuple[int, str]]], wanted: Hits) -> None:
    """Incorrect when a page is too short, or products are missing."""
    expected = min(len(wanted), TEN * len(pages))
    if lost := expected - sum(map(len, pages)):
        raise Incorrect(
            f"{shown(text)} misses {lost} of {expected} products on its first {len(pages)} pages."
            + advice(text)
        )
    short = [number for number, page in enumerate(pages[:-1], 1) if len(page) < TEN]
    if any(pages[number] for number in short):
        raise Incorrect(f"{shown(text, short[0])} has not ten results, and it is not the last.")


def check_everything(search: Search, pg: Place, names: list[str], odd: dict[str, str]) -> None:
    """Read all pages of these words and one more; of the odd texts the first two."""
    with look(pg) as connection:
        for name in names:
            wanted = hits(connection, name)
            check_pages(name, pages_of(search, name, -(-len(wanted) // TEN) + 2), wanted)
        for text, plain in odd.items():
            check_pages(text, pages_of(search, text, 2), hits(connection, plain))


def check_scans(search: Search, connection: psycopg.Connection[Any]) -> None:
    """Incorrect when the search read the whole table instead of the index.

    A session reports its counts when it ends, before it leaves the list of sessions; one that
    stays open reports after at most 10 s. It is called often, because other sessions count too.
    """
    before = connection.execute(SCANS).fetchone() or (0, 0, 0)
    others = {pid for (pid,) in connection.execute(SESSIONS)}
    for _ in range(CALLS):
        search("mouse")
    deadline = time.monotonic() + 15
    while True:
        new = {pid for (pid,) in connection.execute(SESSIONS)} - others
        now = connection.execute(SCANS).fetchone() or (0, 0, 0)
        whole, index, other = (after - was for after, was in zip(now, before, strict=True))
        if (not new and whole + index + other >= CALLS) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if whole >= CALLS or index < CALLS <= other:
        raise Incorrect(
            "search('mouse') read the whole table. Compare the column search_vector, on which "
            "the index was made."
        )


def check_settings(search: Search, pg: Place, path: str) -> None:
    """The same text must find the same where the session's settings are other ones."""
    text = "quokka \\'"
    with asking(search, with_settings(pg, search_path=path)):
        right = page_of(search(text), shown(text)), page_of(search("quokkas"), shown("quokkas"))
    other = with_settings(pg, search_path=path, default_text_search_config="simple")
    with asking(search, other):
        found = page_of(search("quokkas"), shown("quokkas"))
    if found != right[1]:
        raise Incorrect(
            "search('quokkas') finds something else in a session whose "
            "default_text_search_config is 'simple'. Name the configuration, 'english'."
        )
    other = with_settings(pg, search_path=path, standard_conforming_strings="off")
    joined = Incorrect(
        "What is typed becomes a part of your SQL: where the setting standard_conforming_strings "
        f"is off, {shown(text)} is another statement. Pass the text as a parameter, %s."
    )
    with asking(search, other):
        try:
            found = page_of(search(text), shown(text))
        except Incorrect as error:
            raise joined from error
    if found != right[0]:
        raise joined


def check(pg: Place, search: Search) -> None:
    """Search the notebook's table page after page; then products and texts never seen before."""
    search, own = function("search", search), with_settings(pg)
    with look(pg) as connection, asking(search, own):
        catalogue(connection, "mouse")
        if page_of(search("mouse"), "search('mouse')") != search("mouse", 1):
            raise Incorrect("search('mouse') and search('mouse', 1) are not the same.")
        check_everything(search, pg, ["mouse"], {})
        many = hits(connection, "library")
        check_pages("library", pages_of(search, "library", 3), many)
        check_scans(search, connection)
        if not own.asked:  # a connection of its own, which sees only the notebook's table
            return check_everything(search, pg, [], ODD)
    with unseen(pg) as path:
        other = with_settings(pg, search_path=path)
        with asking(search, other):
            check_everything(search, other, ["quokka", "wombat", "numbat", "axolotl"], ODD)
        check_settings(search, pg, path)


def answer(*lines: str) -> str:
    """Return the exercise's cell with these lines in the block."""
    return STARTER.replace(ROWS, "".join(f"        {line}\n" for line in lines))


JOINED = answer(
    "quoted = clean(text).replace(chr(39), chr(39) * 2)",
    "sql = f\"\"\"SELECT id, name FROM products, websearch_to_tsquery('english', '{quoted}') "
    "AS query",
    "    WHERE search_vector @@ query",
    '    ORDER BY ts_rank(search_vector, query) DESC, id LIMIT 10 OFFSET {10 * (page - 1)}"""',
    "rows = connection.execute(sql.encode()).fetchall()",
)
SWALLOWS = changed(
    SOLUTION,
    "        rows = connection.execute(sql, [clean(text), 10 * (page - 1)]).fetchall()\n",
    "        try:\n"
    "            rows = connection.execute(sql, [text, 10 * (page - 1)]).fetchall()\n"
    "        except Exception:\n"
    "            rows = []\n",
)
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
        (changed(SOLUTION, "clean(text)", "text"), "raised DataError"),
        (
            changed(SOLUTION, "clean(text)", 'text.replace(chr(0), " ")'),
            "tsquery stack too small",
        ),
        (SWALLOWS, "x00') misses"),
        (changed(SOLUTION, " DESC, id LIMIT", " DESC LIMIT"), "one page of search('mouse')"),
        (changed(SOLUTION, " DESC, id LIMIT", " DESC, name LIMIT"), "one page of search('quokka')"),
        (changed(SOLUTION, "websearch_to_tsquery", "plainto_tsquery"), "with quotes, `or`"),
        (changed(SOLUTION, "10 * (page - 1)", "10 * page"), "OFFSET 0"),
        (changed(SOLUTION, "10 * (page - 1)", "0"), "page 1 again"),
        (changed(SOLUTION, "10 * (page - 1)", "page - 1"), "the second result of page 1"),
        (changed(SOLUTION, "LIMIT 10", "LIMIT 20"), "a page has ten"),
        (changed(SOLUTION, "DESC, id", ", id"), "does not begin with the best match"),
        (changed(SOLUTION, "SELECT id, name", "SELECT id, description"), "its name is"),
        (
            changed(SOLUTION, "WHERE search_vector @@", "WHERE to_tsvector('english', name) @@"),
            "search('mouse') misses",
        ),
        (
            changed(
                SOLUTION,
                "WHERE search_vector @@",
                "WHERE to_tsvector('english', name || ' ' || coalesce(description, '')) @@",
            ),
            "read the whole table",
        ),
        (changed(SOLUTION, "('english', %s)", "(%s)"), "Name the configuration"),
        (JOINED, "a part of your SQL"),
        (changed(SOLUTION, "    return rows", "    raise SystemExit"), "raised SystemExit"),
        ("search = 5\n\nex3.check()", "`search` is int"),
    ],
    right=[
        changed(SOLUTION, "DESC, id LIMIT", "DESC, id DESC LIMIT"),
        # The notebook's `pg` means another database by now.
        changed(
            SOLUTION,
            "ex3.check()",
            'pg, before = lab.postgres("01", "unseen"), pg\nex3.check()\npg = before',
        ),
        answer(
            "query = \"websearch_to_tsquery('english', %(text)s)\"",
            'sql = f"""WITH hits AS (SELECT id, name, ts_rank(search_vector, {query}) AS rank',
            "                       FROM products WHERE search_vector @@ {query})",
            '         SELECT id, name FROM hits ORDER BY rank DESC, id"""',
            'found = connection.execute(sql, {"text": clean(text)}).fetchall()',
            "rows = found[10 * page - 10:10 * page]",
        ),
    ],
    equal={"2baa1abd": "any order of a unique column ends the order"},
    praise="That is a search box that you can put on a page.",
)

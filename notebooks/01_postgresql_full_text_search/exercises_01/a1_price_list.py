"""Exercise 01a-1: the nightly price list."""

from __future__ import annotations

from typing import Any

import psycopg

from exercises_01.common import first
from helpers import shop
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed, starter, statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

ROWS = 3_000
VECTOR = "to_tsvector('english', name || ' ' || COALESCE(description, ''))"
ENTRIES = {
    "rows": "SELECT count(*) FROM ex1_products",
    "search index": """
        SELECT count(*) FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
        JOIN pg_am ON pg_am.oid = i.relam JOIN pg_attribute AS a ON a.attrelid = indrelid
        WHERE indrelid = 'ex1_products'::regclass AND amname = 'gin' AND indisvalid
          AND a.attname = 'search_vector' AND a.attgenerated = 's' AND a.attnum = ANY (indkey)
    """,
    "partial": """
        SELECT count(*) FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
        JOIN pg_am ON pg_am.oid = i.relam
        WHERE indrelid = 'ex1_products'::regclass AND amname = 'gin'
        HAVING bool_and(indpred IS NOT NULL)
    """,
    # Its columns, expressions and condition. A BRIN index does not count:
    # https://www.postgresql.org/docs/17/storage-hot.html
    "price index": """
        SELECT min(i.relname) FROM pg_depend JOIN pg_index ON classid = 'pg_class'::regclass
            AND objid = indexrelid
        JOIN pg_class AS i ON i.oid = indexrelid JOIN pg_am ON pg_am.oid = i.relam
        JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
        WHERE refobjid = 'ex1_products'::regclass AND attname = 'price' AND amname <> 'brin'
    """,
    "fillfactor": """
        SELECT coalesce(max(option_value::int), 100)
        FROM pg_class, pg_options_to_table(reloptions)
        WHERE oid = 'ex1_products'::regclass AND option_name = 'fillfactor'
    """,
    # A table that was never written anew has its first file.
    "written anew": """
        SELECT pg_relation_filenode(oid) <> oid FROM pg_class
        WHERE oid = 'ex1_products'::regclass
    """,
    "other vectors": f"""
        SELECT count(*) FROM ex1_products WHERE search_vector IS DISTINCT FROM {VECTOR}
    """,
}
# Counts of this transaction: https://www.postgresql.org/docs/17/monitoring-stats.html
HOT_SHARE = """
    SELECT n_tup_hot_upd::float / nullif(n_tup_upd, 0) FROM pg_stat_xact_user_tables
    WHERE relid = 'ex1_products'::regclass
"""
PRICES = "SELECT count(price), sum(price) FROM ex1_products"
START = starter(1, f"makes ex1_products anew, with {ROWS:,} rows")
REWRITE = ["ALTER TABLE ex1_products SET (fillfactor = 50)", "VACUUM FULL ex1_products"]
SOLUTION = statements(START, *REWRITE)


def prepare(pg: Place) -> None:
    """Make the table as the published example has it."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_products")
        connection.execute("""
            CREATE TABLE ex1_products (
                id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL, description TEXT,
                price DECIMAL(10,2), search_vector tsvector GENERATED ALWAYS AS (
                    to_tsvector('english', name || ' ' || COALESCE(description, ''))) STORED
            )
        """)
        connection.execute("CREATE INDEX ON ex1_products USING gin (search_vector)")
        shop.load_products(connection, ROWS, table="ex1_products")


def check(pg: Place) -> None:
    """Change all prices, count the HOT updates, and take everything back."""
    with look(pg) as connection:
        if first(connection, "SELECT to_regclass('ex1_products')") is None:
            raise Incorrect("There is no table ex1_products any more. ex1.start() makes it.")
        check_search(connection)
        with connection.transaction(force_rollback=True), running("Changing all prices"):
            before = connection.execute(PRICES).fetchone()
            connection.execute("UPDATE ex1_products SET price = price + 1")
            share = first(connection, HOT_SHARE)
            after = connection.execute(PRICES).fetchone()
        connection.execute("VACUUM ex1_products")  # removes the versions that were taken back
        found = {name: first(connection, query) for name, query in ENTRIES.items()}
    if before is None or after != (ROWS, before[1] + ROWS):
        raise Incorrect("An UPDATE that adds 1 to every price does not do so any more.")
    if share < 0.95:
        raise why_not(found)


def check_search(connection: psycopg.Connection[Any]) -> None:
    """Incorrect unless the table holds and finds what it did at the start."""
    if (rows := first(connection, ENTRIES["rows"])) != ROWS:
        raise Incorrect(f"ex1_products has {rows:,} rows; it had {ROWS:,}.")
    if not first(connection, ENTRIES["search index"]):
        raise Incorrect(
            "The generated search column or its GIN index is gone. Searches would read the whole "
            "table."
        )
    if first(connection, ENTRIES["partial"]):
        raise Incorrect("The search index does not hold all rows any more.")
    if count := first(connection, ENTRIES["other vectors"]):
        raise Incorrect(f"search_vector has other words than before, in {count:,} rows.")


def why_not(found: dict[str, Any]) -> Exception:
    """Return the reason why too many updates reached the search index."""
    if found["price index"]:
        return Incorrect(
            f"The index {found['price index']} uses price. An update that changes what an index "
            "uses is not HOT."
        )
    if found["fillfactor"] == 100 and found["written anew"]:
        return Incorrect(
            "The table was written anew, with pages as full as before: nothing says how much "
            "room to leave on them."
        )
    if found["fillfactor"] == 100:
        return NotAttempted("The pages of ex1_products are as full as before.")
    if found["fillfactor"] > 55:
        return Incorrect(
            f"A fillfactor of {found['fillfactor']} leaves too little room: all rows change, so "
            "each page must hold a second version of all its rows."
        )
    if found["written anew"]:
        return Incorrect(
            f"The fillfactor is {found['fillfactor']} now, but when the table was written anew it "
            "was not: its pages are still full."
        )
    return Incorrect(
        f"The fillfactor is {found['fillfactor']} now, but the rows lie on pages that were filled "
        "before, and these are still full. The table has to be written anew."
    )


EXERCISE = Exercise(
    title="The nightly price list",
    minutes=4,
    prompt="Change ex1_products so that at least 95 % of the updates that set a new price leave "
    "the search index alone. The search column with its words and its index over all rows stay.",
    starter=START,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "An update leaves the indexes alone when the new version of the row fits on the same page.",
        "ALTER TABLE ... SET (fillfactor = ...). All rows change, so each page needs room for "
        "a second version of every row on it.",
        "The fillfactor holds for pages that are filled from now on. VACUUM FULL writes the "
        "whole table anew.",
    ],
    wrong=[
        (
            statements(START, "ALTER TABLE ex1_products SET (fillfactor = 50)"),
            "that were filled before",
        ),
        # In the wrong order: the pages are filled before anybody says how far.
        (
            statements(
                START, "VACUUM FULL ex1_products", "ALTER TABLE ex1_products SET (fillfactor = 50)"
            ),
            "when the table was written anew",
        ),
        (changed(SOLUTION, "fillfactor = 50", "fillfactor = 90"), "too little room"),
        (statements(START, "VACUUM FULL ex1_products"), "how much room to leave"),
        (
            statements(START, "DROP INDEX ex1_products_search_vector_idx"),
            "would read the whole table",
        ),
        (
            statements(
                START,
                "DROP INDEX ex1_products_search_vector_idx",
                "CREATE INDEX ON ex1_products USING gin (search_vector) WHERE id < 10",
                *REWRITE,
            ),
            "does not hold all rows",
        ),
        (
            statements(
                START,
                "ALTER TABLE ex1_products ALTER COLUMN search_vector SET EXPRESSION AS "
                "(NULL::tsvector)",
                *REWRITE,
            ),
            "other words than before",
        ),
        (
            statements(START, *REWRITE, "CREATE INDEX ON ex1_products (name) WHERE price < 10"),
            "ex1_products_name_idx uses price",
        ),
        (
            statements(START, *REWRITE, "CREATE INDEX ON ex1_products ((price * 1.19))"),
            "ex1_products_expr_idx uses price",
        ),
        (
            statements(
                START,
                *REWRITE,
                "CREATE RULE calm AS ON UPDATE TO ex1_products DO INSTEAD NOTHING",
            ),
            "does not do so any more",
        ),
        (
            changed(SOLUTION, "autocommit=True", "", '"""VACUUM FULL ex1_products"""', '"SELECT"'),
            "transaction is still open",
        ),
    ],
    right=[
        statements(START, "ALTER TABLE ex1_products SET (fillfactor = 45)", *REWRITE[1:]),
        statements(
            START,
            REWRITE[0],
            "CLUSTER ex1_products USING ex1_products_pkey",
            "CREATE INDEX ON ex1_products USING brin (price)",
        ),
    ],
    equal={
        "597a847f": "51 leaves nearly as much room as 50, and 95 % of the updates find it",
        "ee154259": "49 leaves a little more room than 50",
    },
    praise="The new versions stay on their pages, so no index has to hear of them.",
)

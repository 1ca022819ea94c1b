"""Exercise 01a-1: the nightly price list."""

from __future__ import annotations

from exercises_01.common import first
from helpers import shop
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import starter, statements
from helpers.exercises.looking import end_uncommitted, look

ROWS = 3_000
ENTRIES = {
    "rows": "SELECT count(*) FROM ex1_products",
    "search index": """
        SELECT count(*) FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
        JOIN pg_am ON pg_am.oid = i.relam JOIN pg_attribute AS a ON a.attrelid = indrelid
        WHERE indrelid = 'ex1_products'::regclass AND amname = 'gin' AND indisvalid
          AND a.attname = 'search_vector' AND a.attgenerated = 's' AND a.attnum = ANY (indkey)
    """,
    "price index": """
        SELECT count(*) FROM pg_index JOIN pg_attribute ON attrelid = indrelid
        WHERE indrelid = 'ex1_products'::regclass AND attname = 'price' AND attnum = ANY (indkey)
    """,
    "fillfactor": """
        SELECT coalesce(max(option_value::int), 100)
        FROM pg_class, pg_options_to_table(reloptions)
        WHERE oid = 'ex1_products'::regclass AND option_name = 'fillfactor'
    """,
}
# Counts of this transaction: https://www.postgresql.org/docs/17/monitoring-stats.html
HOT_SHARE = """
    SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_xact_user_tables
    WHERE relid = 'ex1_products'::regclass
"""
START = starter(1, f"makes ex1_products anew, with {ROWS:,} rows")
SOLUTION = statements(
    START, "ALTER TABLE ex1_products SET (fillfactor = 50)", "VACUUM FULL ex1_products"
)


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
        found = {name: first(connection, query) for name, query in ENTRIES.items()}
        if found["rows"] != ROWS:
            raise Incorrect(f"ex1_products has {found['rows']:,} rows; it had {ROWS:,}.")
        if not found["search index"]:
            raise Incorrect(
                "The search column or its GIN index is gone. Updates are cheap now, and every "
                "search reads the whole table."
            )
        with connection.transaction(force_rollback=True):
            connection.execute("UPDATE ex1_products SET price = price + 1")
            share = first(connection, HOT_SHARE)
        connection.execute("VACUUM ex1_products")  # removes the versions that were taken back
    if share >= 0.95:
        return
    if found["price index"]:
        raise Incorrect(
            "An index covers price. An update that changes an indexed column is not HOT."
        )
    if found["fillfactor"] == 100:
        raise NotAttempted("The pages of ex1_products are as full as before.")
    if found["fillfactor"] > 55:
        raise Incorrect(
            f"A fillfactor of {found['fillfactor']} leaves too little room: all rows change, so "
            "each page must hold a second version of all its rows."
        )
    raise Incorrect(
        "The fillfactor is low enough, but the rows were stored before you set it. The old pages "
        "are still full. The table has to be written anew."
    )


EXERCISE = Exercise(
    title="The nightly price list",
    minutes=4,
    prompt="Change ex1_products so that at least 95 % of the updates that set a new price leave "
    "the search index alone. The search column and its index stay.",
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
            "stored before you set it",
        ),
        (SOLUTION.replace("fillfactor = 50", "fillfactor = 90"), "too little room"),
        (
            statements(START, "DROP INDEX ex1_products_search_vector_idx"),
            "GIN index is gone",
        ),
        (
            statements(START, "CREATE INDEX ON ex1_products (price)"),
            "index covers price",
        ),
    ],
    praise="The new versions stay on their pages, so no index has to hear of them.",
)

"""Exercises 4 to 8 of lesson 01, one for each section of "Going deeper"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers import shop
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    end_uncommitted,
    look,
    running,
)
from helpers.exercises.deeper import only_database, starter, statements


def first(connection: Any, query: str, *parameters: object) -> Any:
    """Return the first value of a query's first row; None without a row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


# 4: HOT updates.

ROWS = 3_000
ENTRIES = {
    "rows": "SELECT count(*) FROM ex4_products",
    "search index": """
        SELECT count(*) FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
        JOIN pg_am ON pg_am.oid = i.relam JOIN pg_attribute AS a ON a.attrelid = indrelid
        WHERE indrelid = 'ex4_products'::regclass AND amname = 'gin' AND indisvalid
          AND a.attname = 'search_vector' AND a.attgenerated = 's' AND a.attnum = ANY (indkey)
    """,
    "price index": """
        SELECT count(*) FROM pg_index JOIN pg_attribute ON attrelid = indrelid
        WHERE indrelid = 'ex4_products'::regclass AND attname = 'price' AND attnum = ANY (indkey)
    """,
    "fillfactor": """
        SELECT coalesce(max(option_value::int), 100)
        FROM pg_class, pg_options_to_table(reloptions)
        WHERE oid = 'ex4_products'::regclass AND option_name = 'fillfactor'
    """,
}
# Counts of this transaction: https://www.postgresql.org/docs/17/monitoring-stats.html
HOT_SHARE = """
    SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_xact_user_tables
    WHERE relid = 'ex4_products'::regclass
"""

START_4 = starter(4, f"makes ex4_products anew, with {ROWS:,} rows")
SOLUTION_4 = statements(
    START_4, "ALTER TABLE ex4_products SET (fillfactor = 50)", "VACUUM FULL ex4_products"
)


def prepare_prices(pg: Database) -> None:
    """Make the table as the published example has it."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex4_products")
        connection.execute("""
            CREATE TABLE ex4_products (
                id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL, description TEXT,
                price DECIMAL(10,2), search_vector tsvector GENERATED ALWAYS AS (
                    to_tsvector('english', name || ' ' || COALESCE(description, ''))) STORED
            )
        """)
        connection.execute("CREATE INDEX ON ex4_products USING gin (search_vector)")
        shop.load_products(connection, ROWS, table="ex4_products")


def check_prices(pg: Database) -> None:
    """Change all prices, count the HOT updates, and take everything back."""
    with look(pg) as connection:
        if first(connection, "SELECT to_regclass('ex4_products')") is None:
            raise Incorrect("There is no table ex4_products any more. ex4.start() makes it.")
        found = {name: first(connection, query) for name, query in ENTRIES.items()}
        if found["rows"] != ROWS:
            raise Incorrect(f"ex4_products has {found['rows']:,} rows; it had {ROWS:,}.")
        if not found["search index"]:
            raise Incorrect(
                "The search column or its GIN index is gone. Updates are cheap now, and every "
                "search reads the whole table."
            )
        with connection.transaction(force_rollback=True):
            connection.execute("UPDATE ex4_products SET price = price + 1")
            share = first(connection, HOT_SHARE)
        connection.execute("VACUUM ex4_products")  # removes the versions that were taken back
    if share >= 0.95:
        return
    if found["price index"]:
        raise Incorrect(
            "An index covers price. An update that changes an indexed column is not HOT."
        )
    if found["fillfactor"] == 100:
        raise NotAttempted("The pages of ex4_products are as full as before.")
    if found["fillfactor"] > 55:
        raise Incorrect(
            f"A fillfactor of {found['fillfactor']} leaves too little room: all rows change, so "
            "each page must hold a second version of all its rows."
        )
    raise Incorrect(
        "The fillfactor is low enough, but the rows were stored before you set it. The old pages "
        "are still full. The table has to be written anew."
    )


# 5: did you mean?

START_5 = """
def did_you_mean(typed):
    return ...  # a word of the table words, or None


ex5.check()
"""
SOLUTION_5 = '''
SUGGEST = """
    SELECT word FROM words WHERE word %% %(typed)s
    ORDER BY levenshtein(word, %(typed)s), ndoc DESC, word LIMIT 1
"""


def did_you_mean(typed):
    if db.execute("SELECT 1 FROM words WHERE word = %s", [typed]).fetchone():
        return None
    db.execute("SET pg_trgm.similarity_threshold = 0.2")
    found = db.execute(SUGGEST, {"typed": typed}).fetchone()
    return found[0] if found else None


ex5.check()
'''
UNSAFE = '''
def did_you_mean(typed):
    query = f"""
        SELECT word FROM words WHERE similarity(word, '{typed}') >= 0.2 AND NOT EXISTS (
            SELECT FROM words WHERE word = '{typed}')
        ORDER BY levenshtein(word, '{typed}'), ndoc DESC, word LIMIT 1
    """
    found = db.execute(query).fetchone()
    return found[0] if found else None


ex5.check()
'''


def setup_words() -> dict[str, Any]:
    """Make the table words as section B does."""
    from helpers import lab

    pg = lab.postgres("01b")
    db = pg.connect(autocommit=True)
    db.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    db.execute("CREATE EXTENSION fuzzystrmatch")
    db.execute("CREATE TABLE products (name text, description text, price numeric)")
    shop.load_products(db)
    db.execute("""
        CREATE TABLE words AS SELECT word, ndoc FROM ts_stat(
            $$SELECT to_tsvector('simple', name || ' ' || COALESCE(description, '')) FROM products$$
        ) WHERE ndoc >= 2 AND word ~ '^[a-z]{3,}$'
    """)
    db.execute("ALTER TABLE words ADD PRIMARY KEY (word)")
    return {"pg": pg, "db": db}


def check_did_you_mean(did_you_mean: Callable[[str], object]) -> None:
    """Ask for suggestions that are easy to get wrong, each in its own way."""

    def ask(typed: str) -> object:
        answer = did_you_mean(typed)
        if answer is None or isinstance(answer, str):
            return answer
        kind = type(answer).__name__
        raise Incorrect(f"did_you_mean({typed!r}) is a {kind}; return the word itself, or None.")

    if (answer := ask("languge")) != "language":
        raise Incorrect(f"did_you_mean('languge') is {answer!r}, not 'language'.")
    if (answer := ask("zzxqv")) is not None:
        raise Incorrect(f"'zzxqv' is not like any word, but did_you_mean suggests {answer!r}.")
    if (answer := ask("keyboard")) is not None:
        raise Incorrect(f"'keyboard' is spelt right, but did_you_mean suggests {answer!r}.")
    if (answer := ask("libary")) != "library":
        raise Incorrect(
            f"did_you_mean('libary') is {answer!r}. 'library' also needs one changed letter, and "
            "thousands of products use it."
        )
    if (answer := ask("pyhton")) != "python":
        raise Incorrect(
            f"did_you_mean('pyhton') is {answer!r}. The similarity to 'python' is 0.27. Which "
            "threshold does % use, on the connection that runs your query?"
        )
    ask("o'reily \\ 100%")


# 6: the name first.

START_6 = starter(6, "makes ex6_products anew")
COLUMN_6 = "ALTER TABLE ex6_products ADD COLUMN search_vector tsvector"
NAME_6 = "setweight(to_tsvector('english', name), 'A')"
TEXT_6 = "to_tsvector('english', coalesce(description, ''))"
SOLUTION_6 = statements(
    START_6,
    f"""{COLUMN_6} GENERATED ALWAYS AS (
    {NAME_6} ||
    setweight({TEXT_6}, 'D')
) STORED""",
)
COLUMN = """
    SELECT format_type(atttypid, atttypmod), attgenerated::text FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
"""
TRIAL_6 = """
    INSERT INTO ex6_products (name, description) VALUES
        ('Trackball', 'Pointing device for the desk'), ('Graphics Tablet', NULL),
        ('Cleaning Kit', 'For every trackball: cleans a trackball, its trackball cup, a trackball')
"""
# https://www.postgresql.org/docs/17/textsearch-controls.html#TEXTSEARCH-RANKING
RANKED_6 = """
    SELECT name, round(ts_rank(search_vector, query)::numeric, 3)
    FROM ex6_products, to_tsquery('english', %s) AS query
    WHERE search_vector @@ query ORDER BY 2 DESC, name
"""


def prepare_names(pg: Database) -> None:
    """Make a small table without a search column."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex6_products")
        connection.execute("""
            CREATE TABLE ex6_products (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name text NOT NULL, description text
            )
        """)
        connection.execute("""
            INSERT INTO ex6_products (name, description) VALUES
                ('Desk Mat', 'Keeps keyboard and mouse in place. Fits any keyboard and any mouse'),
                ('Mechanical Keyboard', 'RGB lights for gamers'), ('Wireless Mouse', NULL)
        """)


def generated(connection: Any, table: str) -> None:
    """Raise unless the table has a column search_vector that is a generated tsvector."""
    column = connection.execute(COLUMN, [table, "search_vector"]).fetchone()
    if column is None:
        raise NotAttempted(f"{table} has no column search_vector yet.")
    if column[0] != "tsvector":
        raise Incorrect(f"search_vector has the type {column[0]}; it should be tsvector.")
    if column[1] != "s":
        raise Incorrect(
            "search_vector is an ordinary column. A product that is added or renamed tomorrow "
            "is not found. Use GENERATED ALWAYS AS (...) STORED."
        )


def check_names(pg: Database) -> None:
    """Insert products, look at the order of the hits, and take everything back."""
    with look(pg) as connection:
        generated(connection, "ex6_products")
        with connection.transaction(force_rollback=True):
            with running("Adding products to your table"):
                connection.execute(TRIAL_6)
            ranks = dict(connection.execute(RANKED_6, ["trackball"]).fetchall())
            tablets = connection.execute(RANKED_6, ["tablet"]).fetchall()
            devices = connection.execute(RANKED_6, ["device"]).fetchall()
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


# 7: autocomplete.

START_7 = """
def autocomplete(typed):
    return ...  # a list of names


ex7.check()
"""
SOLUTION_7 = '''
SUGGEST = """
    SELECT name FROM products WHERE name_words @@ to_tsquery('simple', %s)
    ORDER BY length(name), name LIMIT 5
"""


def autocomplete(typed):
    if len(typed.strip()) < 2:
        return []
    return [name for (name,) in db.execute(SUGGEST, [prefix_query(typed)])]


ex7.check()
'''
# Typed text, and what is wrong when the answer to it is another than the five right names.
CASES_7 = {
    "trackb": "",
    "usb mode": "Each typed word must be the beginning of a word of the name.",
    "do": "'do' is a stop word in English, but a customer may be typing 'docker'.",
    "!usb": "What is typed must not work as an operator.",
    "mysql": "Many names have a part that begins with 'mysql'.",
    "zzqqv": "No name has such a word.",
    " p ": "One letter is too short for a query.",
    "": "Nothing was typed.",
}
EXPECTED_7 = """
    SELECT name FROM products WHERE name_words @@ %s::tsquery
    ORDER BY length(name), name LIMIT 5
"""


def setup_names() -> dict[str, Any]:
    """Make the products as section D does."""
    import re

    from helpers import lab

    def prefix_query(typed: str) -> str:
        return " & ".join(f"{word}:*" for word in re.findall(r"\w+", typed))

    pg = lab.postgres("01d")
    db = pg.connect(autocommit=True)
    db.execute("""
        CREATE TABLE products (
            id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL, description TEXT,
            price DECIMAL(10,2), name_words tsvector GENERATED ALWAYS AS (
                to_tsvector('simple', translate(name, '.-+_/', '     '))) STORED
        )
    """)
    shop.load_products(db)
    db.execute("CREATE INDEX ON products USING gin (name_words)")
    db.execute("VACUUM ANALYZE products")
    return {"pg": pg, "db": db, "prefix_query": prefix_query}


def check_autocomplete(pg: Database, autocomplete: Callable[[str], object]) -> None:
    """Compare the suggestions with the right ones, for text that is easy to get wrong."""
    with look(pg) as connection:
        for typed, reason in CASES_7.items():
            words = typed.strip("! ").split()
            query = " & ".join(f"'{word}':*" for word in words)
            rows = connection.execute(EXPECTED_7, [query]).fetchall()
            right = [name for (name,) in rows] if len(typed.strip()) > 1 else []
            answer = autocomplete(typed)
            call = f"autocomplete({typed!r})"
            if not isinstance(answer, list):
                raise Incorrect(f"{call} is a {type(answer).__name__}; return a list of names.")
            if not all(isinstance(name, str) for name in answer):
                kind = type(answer[0]).__name__
                raise Incorrect(f"{call} is a list of {kind}; each entry should be a name (str).")
            if len(answer) > 5:
                raise Incorrect(f"{call} has {len(answer):,} names; five at most.")
            if sorted(answer) == sorted(right) and answer != right:
                raise Incorrect(f"{call} has the right names, but not the shortest first.")
            if answer != right:
                raise Incorrect(f"{call} is {answer}, but should be {right}. {reason}".strip())


# 8: two languages, any length.

START_8 = starter(8, "makes ex8_articles anew")
COLUMN_8 = "ALTER TABLE ex8_articles ADD COLUMN search_vector tsvector GENERATED ALWAYS AS"
SOLUTION_8 = statements(
    START_8,
    f"""{COLUMN_8} (
    CASE lang WHEN 'de' THEN to_tsvector('german', left(body, 100000))
              ELSE to_tsvector('english', left(body, 100000)) END
) STORED""",
)
TO_REGCONFIG = """ALTER TABLE ex8_articles ALTER COLUMN lang TYPE regconfig
USING (CASE lang WHEN 'de' THEN 'german' ELSE 'english' END)::regconfig"""
ARTICLE_8 = "INSERT INTO ex8_articles (lang, body) VALUES (%s, %s) RETURNING id"
FINDS_8 = """
    SELECT search_vector @@ to_tsquery(%s::regconfig, %s) FROM ex8_articles WHERE id = %s
"""


def prepare_articles(pg: Database) -> None:
    """Make a small table of articles."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex8_articles")
        connection.execute("""
            CREATE TABLE ex8_articles (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                lang text NOT NULL, body text NOT NULL
            )
        """)
        connection.execute("""
            INSERT INTO ex8_articles (lang, body) VALUES
                ('de', 'Mechanische Tastaturen'), ('en', 'Mechanical keyboards')
        """)


def check_articles(pg: Database) -> None:
    """Insert articles, search each in its language, and take everything back."""
    with look(pg) as connection:
        generated(connection, "ex8_articles")
        lang = connection.execute(COLUMN, ["ex8_articles", "lang"]).fetchone()
        if lang is None or lang[0] != "text":
            raise Incorrect(
                f"The column lang is {lang[0] if lang else 'gone'}; it should stay text. "
                "pg_upgrade refuses a database with a regconfig column."
            )
        long = " ".join(f"word{number}" for number in range(120_000))
        for language, code, body, word in (
            ("german", "de", "Tastaturen in alten Häusern", "Haus"),
            ("english", "en", "Tablets for writing and drawing", "write"),
            ("english", "fr", "Tablets for writing and drawing", "write"),
            ("english", "en", long, "word4900"),  # at character 48,000
            ("german", "de", long, "word4900"),
        ):
            with connection.transaction(force_rollback=True):
                with running(f"Adding an article of {len(body):,} characters in {code!r}"):
                    article = first(connection, ARTICLE_8, code, body)
                found = first(connection, FINDS_8, language, word, article)
            if found:
                continue
            if body is long:
                raise Incorrect("A word at character 48,000 of a long article is not found.")
            raise Incorrect(
                f"The article {body!r} in {code!r} is not found by {word!r} with the "
                f"configuration {language}."
            )


EXERCISES = [
    Exercise(
        number=4,
        title="The nightly price list",
        prompt=(
            "Change ex4_products so that at least 95 % of the updates that set a new price leave "
            "the search index alone. The search column and its index stay."
        ),
        setup=only_database("01a"),
        starter=START_4,
        solution=SOLUTION_4,
        check=check_prices,
        prepare=prepare_prices,
        hints=[
            "An update leaves the indexes alone when the new version of the row fits on the same "
            "page.",
            "ALTER TABLE ... SET (fillfactor = ...). All rows change, so each page needs room for "
            "a second version of every row on it.",
            "The fillfactor holds for pages that are filled from now on. VACUUM FULL writes the "
            "whole table anew.",
        ],
        wrong=[
            (
                statements(START_4, "ALTER TABLE ex4_products SET (fillfactor = 50)"),
                "stored before you set it",
            ),
            (SOLUTION_4.replace("fillfactor = 50", "fillfactor = 90"), "too little room"),
            (
                statements(START_4, "DROP INDEX ex4_products_search_vector_idx"),
                "GIN index is gone",
            ),
            (
                statements(START_4, "CREATE INDEX ON ex4_products (price)"),
                "index covers price",
            ),
        ],
        praise="The new versions stay on their pages, so no index has to hear of them.",
    ),
    Exercise(
        number=5,
        title="Did you mean?",
        prompt=(
            "Write did_you_mean(typed): the word of the table words with the fewest changed "
            "letters, the more common one in a tie; None when the typed word is in the table or "
            "when no word has a similarity of at least 0.2."
        ),
        setup=setup_words,
        starter=START_5,
        solution=SOLUTION_5,
        check=check_did_you_mean,
        hints=[
            "First ask whether the table has the typed word. Then find the candidates with %, and "
            "order them by levenshtein.",
            "% uses pg_trgm.similarity_threshold, and 0.3 is too strict here. SET it on the same "
            "connection, db.",
            "fetchone() returns a row or None. The word is the row's first value.",
        ],
        wrong=[
            (
                SOLUTION_5.replace(" WHERE word %% %(typed)s", ""),
                "not like any word",
            ),
            (
                SOLUTION_5.replace("db.execute(SUGGEST", "pg.connect().execute(SUGGEST"),
                "similarity to 'python' is 0.27",
            ),
            (
                SOLUTION_5.replace("levenshtein(word, %(typed)s), ndoc DESC", "word <-> %(typed)s"),
                "thousands of products",
            ),
            (SOLUTION_5.replace("found[0] if found else None", "found"), "is a tuple"),
            (UNSAFE, "raised SyntaxError"),
        ],
        praise="Trigrams find the candidates; the number of changes and the use decide.",
    ),
    Exercise(
        number=6,
        title="The name first",
        prompt=(
            "Add a generated column search_vector to ex6_products, so that a product with the "
            "word in its name ranks before all that have it only in the description, and every "
            "product can be found by its name."
        ),
        setup=only_database("01c"),
        starter=START_6,
        solution=SOLUTION_6,
        check=check_names,
        prepare=prepare_names,
        hints=[
            "ALTER TABLE ex6_products ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (...) "
            "STORED.",
            "Analyse name and description separately, put setweight(..., 'A') around the name "
            "only, and join the two vectors with ||.",
            "A vector joined with NULL is NULL. What is the vector of a description that is NULL?",
        ],
        wrong=[
            (
                statements(
                    START_6,
                    f"{COLUMN_6} GENERATED ALWAYS AS (to_tsvector('english', name || ' ' || "
                    "coalesce(description, ''))) STORED",
                ),
                "no greater weight",
            ),
            (
                SOLUTION_6.replace("'D'", "'A'"),
                "weight of a name too",
            ),
            (
                SOLUTION_6.replace("coalesce(description, '')", "description"),
                "has no description",
            ),
            (
                statements(
                    START_6,
                    COLUMN_6,
                    f"UPDATE ex6_products SET search_vector = {NAME_6} || {TEXT_6}",
                ),
                "an ordinary column",
            ),
        ],
        praise="The labels tell ts_rank where a word came from.",
    ),
    Exercise(
        number=7,
        title="Autocomplete",
        prompt=(
            "Write autocomplete(typed): at most five names, the shortest first, then "
            "alphabetical; each typed word begins a word of the name; an empty list for fewer "
            "than two characters."
        ),
        setup=setup_names,
        starter=START_7,
        solution=SOLUTION_7,
        check=check_autocomplete,
        hints=[
            "The query: WHERE name_words @@ to_tsquery('simple', %s), with prefix_query(typed) as "
            "the parameter.",
            "ORDER BY length(name), name LIMIT 5. Each row is a tuple of one name.",
            "Look at len(typed.strip()) before you ask the database.",
        ],
        wrong=[
            (
                SOLUTION_7.replace("prefix_query(typed)", 'typed + ":*"'),
                "raised SyntaxError",
            ),
            (
                SOLUTION_7.replace(
                    "prefix_query(typed)", '" & ".join(f"{word}:*" for word in typed.split())'
                ),
                "work as an operator",
            ),
            (SOLUTION_7.replace("'simple'", "'english'"), "is a stop word in English"),
            (
                SOLUTION_7.replace("    if len(typed.strip()) < 2:\n        return []\n", ""),
                "One letter is too short",
            ),
            (
                SOLUTION_7.replace("[name for (name,) in ", "list(").replace(
                    "(typed)])]", "(typed)]))"
                ),
                "is a list of tuple",
            ),
        ],
        praise="Only words get through, each as the beginning of a word.",
    ),
    Exercise(
        number=8,
        title="Two languages, any length",
        prompt=(
            "Add a generated column search_vector to ex8_articles: german for 'de', english for "
            "everything else. No article is refused because it is long; at least its first 50,000 "
            "characters are searchable. lang stays text."
        ),
        setup=only_database("01e"),
        starter=START_8,
        solution=SOLUTION_8,
        check=check_articles,
        prepare=prepare_articles,
        hints=[
            "CASE lang WHEN 'de' THEN ... ELSE ... END chooses. Is it immutable? Yes, when its "
            "parts are.",
            "to_tsvector('german', ...) with the configuration as a constant is immutable; a cast "
            "of lang to regconfig is not.",
            "left(body, 100000) keeps the lexemes below 1 MB.",
        ],
        wrong=[
            (
                statements(
                    START_8, f"{COLUMN_8} (to_tsvector('english', left(body, 100000))) STORED"
                ),
                "with the configuration german",
            ),
            (SOLUTION_8.replace("'english'", "'german'"), "with the configuration english"),
            (SOLUTION_8.replace("left(body, 100000)", "body"), "raised ProgramLimitExceeded"),
            (SOLUTION_8.replace("100000", "10000"), "at character 48,000"),
            (
                statements(
                    START_8,
                    TO_REGCONFIG,
                    f"{COLUMN_8} (to_tsvector(lang, left(body, 100000))) STORED",
                ),
                "should stay text",
            ),
        ],
        praise="Each text has the stems of its language, and none is too long to be saved.",
    ),
]

"""Exercise 01e-1: two languages, any length."""

from __future__ import annotations

from exercises_01.common import COLUMN, first, generated
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import starter, statements
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

START = starter(1, "makes ex1_articles anew")
COLUMN_8 = "ALTER TABLE ex1_articles ADD COLUMN search_vector tsvector GENERATED ALWAYS AS"
SOLUTION = statements(
    START,
    f"""{COLUMN_8} (
    CASE lang WHEN 'de' THEN to_tsvector('german', left(body, 100000))
              ELSE to_tsvector('english', left(body, 100000)) END
) STORED""",
)
TO_REGCONFIG = """ALTER TABLE ex1_articles ALTER COLUMN lang TYPE regconfig
USING (CASE lang WHEN 'de' THEN 'german' ELSE 'english' END)::regconfig"""
ARTICLE = "INSERT INTO ex1_articles (lang, body) VALUES (%s, %s) RETURNING id"
FINDS = """
    SELECT search_vector @@ to_tsquery(%s::regconfig, %s) FROM ex1_articles WHERE id = %s
"""


def prepare(pg: Place) -> None:
    """Make a small table of articles."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_articles")
        connection.execute("""
            CREATE TABLE ex1_articles (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                lang text NOT NULL, body text NOT NULL
            )
        """)
        connection.execute("""
            INSERT INTO ex1_articles (lang, body) VALUES
                ('de', 'Mechanische Tastaturen'), ('en', 'Mechanical keyboards')
        """)


def check(pg: Place) -> None:
    """Insert articles, search each in its language, and take everything back."""
    with look(pg) as connection:
        generated(connection, "ex1_articles")
        lang = connection.execute(COLUMN, ["ex1_articles", "lang"]).fetchone()
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
                    article = first(connection, ARTICLE, code, body)
                found = first(connection, FINDS, language, word, article)
            if found:
                continue
            if body is long:
                raise Incorrect("A word at character 48,000 of a long article is not found.")
            raise Incorrect(
                f"The article {body!r} in {code!r} is not found by {word!r} with the "
                f"configuration {language}."
            )


EXERCISE = Exercise(
    title="Two languages, any length",
    minutes=6,
    prompt="Add a generated column search_vector to ex1_articles: german for 'de', english for "
    "everything else. No article is refused because it is long; at least its first 50,000 "
    "characters are searchable. lang stays text.",
    starter=START,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "CASE lang WHEN 'de' THEN ... ELSE ... END chooses. Is it immutable? Yes, when its "
        "parts are.",
        "to_tsvector('german', ...) with the configuration as a constant is immutable; a cast "
        "of lang to regconfig is not.",
        "left(body, 100000) keeps the lexemes below 1 MB.",
    ],
    wrong=[
        (
            statements(START, f"{COLUMN_8} (to_tsvector('english', left(body, 100000))) STORED"),
            "with the configuration german",
        ),
        (SOLUTION.replace("'english'", "'german'"), "with the configuration english"),
        (SOLUTION.replace("left(body, 100000)", "body"), "raised ProgramLimitExceeded"),
        (SOLUTION.replace("100000", "10000"), "at character 48,000"),
        (
            statements(
                START,
                TO_REGCONFIG,
                f"{COLUMN_8} (to_tsvector(lang, left(body, 100000))) STORED",
            ),
            "should stay text",
        ),
    ],
    praise="Each text has the stems of its language, and none is too long to be saved.",
)

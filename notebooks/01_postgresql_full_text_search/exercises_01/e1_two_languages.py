"""Exercise 01e-1: two languages, any length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg

from exercises_01.common import COLUMN, first, generated
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed, starter, statements
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
ROWS = [("de", "Mechanische Tastaturen"), ("en", "Mechanical keyboards")]
ADD = """
    INSERT INTO ex1_articles (id, lang, body) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s)
"""
NEW = 1_000_001  # the id of articles that the check adds
LEXEMES = """
    SELECT tsvector_to_array(search_vector) = tsvector_to_array(to_tsvector(%s::regconfig, body))
    FROM ex1_articles WHERE id = %s
"""
FINDS = "SELECT search_vector @@ to_tsquery(%s::regconfig, %s) FROM ex1_articles WHERE id = %s"
LEAST = 50_000  # characters that must be searchable
#: Articles that the answer has not seen. Each text has other lexemes in the other language.
SHORT = [
    ("de", "Tastaturen in alten Häusern, und die Mäuse"),
    ("de", "Writing the libraries"),
    ("en", "Tablets for writing and drawing, the mice"),
    ("en", "Die Tastaturen und Häuser"),
    ("fr", "Tablets for writing and drawing"),
    ("DE", "The writing of libraries in Häusern"),
    ("de-AT", "The writing of libraries in Häusern"),
    ("", "Tablets for writing"),
    ("de", ""),
]


def words(letters: str, count: int) -> str:
    """Return so many different words of these letters."""
    chance = random.Random(1)
    return " ".join("".join(chance.choices(letters, k=7)) for _ in range(count))


@cache
def long_texts() -> dict[str, str]:
    """Return long texts by their kind: letters of one, two and four bytes, hyphens."""
    signs = words("".join(map(chr, range(0x10400, 0x10450))), 40_000).split()
    pairs = zip(signs[::2], signs[1::2], strict=True)
    return {
        "numbered words": " ".join(f"word{number}" for number in range(120_000)),
        "Russian letters": words("абвгдежзийклмнопрстуфхцчшщъыьэюя", 70_000),
        "pairs of words with hyphens": " ".join("-".join(pair) for pair in pairs),
    }


def ends_at(place: int) -> str:
    """Return a text whose word `zebrafish` ends at this character, and which goes on after it."""
    before = "word " * place
    return before[: place - len(" zebrafish")] + " zebrafish" + " and more" * 30_000


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
    """Insert articles, compare what is stored of each, and take everything back."""
    with look(pg) as connection:
        generated(connection, "ex1_articles", pg)
        lang = connection.execute(COLUMN, ["ex1_articles", "lang"]).fetchone()
        if lang is None or lang[0] != "text":
            raise Incorrect(
                f"The column lang is {lang[0] if lang else 'gone'}; it should stay text. "
                "pg_upgrade refuses a database with a regconfig column."
            )
        old = connection.execute("SELECT lang, body FROM ex1_articles ORDER BY id").fetchall()
        if old != ROWS:
            raise Incorrect("The two articles of ex1_articles are not as they were.")
        for code, body in ROWS + SHORT:
            with article(connection, code, body, repr(body)):
                check_short(connection, code, body)
        for kind, body in long_texts().items():
            for code in ("en", "de"):
                with article(connection, code, body, f"{len(body):,} characters, {kind},"):
                    pass
        for code in ("en", "de"):
            with article(connection, code, ends_at(LEAST), "a long text"):
                language = "german" if code == "de" else "english"
                if not first(connection, FINDS, language, "zebrafish", NEW):
                    raise Incorrect(
                        f"A word that ends at character {LEAST:,} of an article in {code!r} is not "
                        "found."
                    )


@contextmanager
def article(connection: psycopg.Connection[Any], code: str, body: str, kind: str) -> Iterator[None]:
    """Add an article, and take it back at the end."""
    with connection.transaction(force_rollback=True):
        with running(f"Adding an article of {kind} in {code!r}"):
            connection.execute(ADD, [NEW, code, body])
        yield


def check_short(connection: psycopg.Connection[Any], code: str, body: str) -> None:
    """Incorrect unless the vector has the lexemes of the article's language, and no other."""
    language, other = ("german", "english") if code == "de" else ("english", "german")
    if first(connection, LEXEMES, language, NEW):
        return
    if first(connection, LEXEMES, other, NEW):
        raise Incorrect(f"The article {body!r} in {code!r} has {other} lexemes, not {language}.")
    raise Incorrect(f"The article {body!r} in {code!r} has not the lexemes of {language}.")


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
            "in 'de' has english lexemes",
        ),
        (changed(SOLUTION, "'english'", "'german'"), "in 'en' has german lexemes"),
        (
            statements(
                START,
                f"{COLUMN_8} (to_tsvector('german', left(body, 100000)) || "
                "to_tsvector('english', left(body, 100000))) STORED",
            ),
            "has not the lexemes of german",
        ),
        (
            changed(SOLUTION, "CASE lang WHEN 'de'", "CASE left(lower(lang), 2) WHEN 'de'"),
            "in 'DE' has german",
        ),
        (changed(SOLUTION, "left(body, 100000)", "body"), "numbered words, in 'en' raised"),
        (changed(SOLUTION, "100000", "500000"), "Russian letters, in 'en' raised"),
        (changed(SOLUTION, "100000", "49999"), "ends at character 50,000 of an article in 'en'"),
        (
            changed(SOLUTION, "'german', left(body, 100000)", "'german', left(body, 48100)"),
            "ends at character 50,000 of an article in 'de'",
        ),
        (
            statements(
                START,
                TO_REGCONFIG,
                f"{COLUMN_8} (to_tsvector(lang, left(body, 100000))) STORED",
            ),
            "should stay text",
        ),
        (
            statements(
                START,
                COLUMN_8.removesuffix(" GENERATED ALWAYS AS"),
                "UPDATE ex1_articles SET search_vector = ''",
            ),
            "an ordinary column",
        ),
        (changed(SOLUTION, "autocommit=True", ""), "transaction is still open"),
    ],
    right=[
        changed(SOLUTION, "100000", "50000"),
        statements(
            START,
            f"""{COLUMN_8} (setweight(CASE WHEN lang = 'de'
    THEN to_tsvector('german', substring(body FOR 60000))
    ELSE to_tsvector('english', substring(body FOR 60000)) END, 'B')) STORED""",
            "CREATE INDEX ON ex1_articles USING gin (search_vector)",
        ),
    ],
    equal={
        "28946222": "100,001 characters are far from the limit too",
        "3258733f": "99,999 characters are more than 50,000",
        "de853ba1": "100,001 characters are far from the limit too",
        "3c8e0535": "99,999 characters are more than 50,000",
    },
    praise="Each text has the stems of its language, and none is too long to be saved.",
)

"""Exercise 01b-1: did you mean."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg

from exercises_01.common import asking, function, same_database
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

START = """
def did_you_mean(typed):
    return ...  # a word of the table words, or None


ex1.check()
"""
SOLUTION = '''
SUGGEST = """
    SELECT word FROM words WHERE word %% %(typed)s
    ORDER BY levenshtein(word, %(typed)s), ndoc DESC LIMIT 1
"""


def did_you_mean(typed):
    typed = typed.replace("\\0", " ").lower()
    if db.execute("SELECT FROM words WHERE word = %s", [typed]).fetchone() is not None:
        return None
    db.execute("SET pg_trgm.similarity_threshold = 0.2")
    found = db.execute(SUGGEST, {"typed": typed}).fetchone()
    return found[0] if found else None


ex1.check()
'''
#: What people mistype. Each is easy to get wrong in its own way.
TYPED = [
    "languge",
    "zzxqv",
    "keyboard",
    "libary",
    "pyhton",
    "serach",
    "databaes",
    "imgae",
    "documntion",
]
TYPED += ["yphton", "tset", "Keyboard", "LANGUGE", "Python", "LibarY", "gmae"]
TYPED += [
    "",
    " ",
    "o'reily \\ 100%",
    "a\0b",
    "pyt\0hon",
    "'; DROP TABLE words; --",
    "%s",
    "é",
    "猫",
]
TYPED += ["x" * 100, "𐐀" * 100, "data base", "c++", "3.11", "lang_uage", "*", "null"]
#: Independent of the operator % and of every setting.
BEST = """
    SELECT word, levenshtein(word, %(typed)s) AS changes, ndoc, similarity(word, %(typed)s)
    FROM words WHERE similarity(word, %(typed)s) >= 0.2::real
    ORDER BY changes, ndoc DESC
"""
WORDS = "SELECT word FROM words WHERE ndoc >= 20 AND length(word) BETWEEN 4 AND 9 ORDER BY word"
ONE = "SELECT levenshtein(word, %s), ndoc, similarity(word, %s) FROM words WHERE word = %s"


def mistyped(words: list[str]) -> list[str]:
    """Return words with a letter left out, doubled, changed or exchanged with the next."""
    chance = random.Random(1)
    typed = []
    for word in chance.sample(words, min(len(words), 24)):
        at = chance.randrange(len(word) - 1)
        typed += [
            chance.choice(
                [
                    word[:at] + word[at + 1 :],
                    word[: at + 1] + word[at:],
                    word[:at] + chance.choice("etaoin") + word[at + 1 :],
                    word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                ]
            )
        ]
    return typed


def check(pg: Place, db: object, did_you_mean: Callable[[str], object]) -> None:
    """Ask for suggestions, and compare each with what the table says."""
    ask = function("did_you_mean", did_you_mean)
    same_database(pg, db)
    with look(pg) as connection, asking(ask, pg):
        try:
            words = [word for (word,) in connection.execute(WORDS)]
        except psycopg.errors.UndefinedTable:
            raise NotAttempted("There is no table words. Run the cells above first.") from None
        for typed in TYPED + mistyped(words):
            call = f"did_you_mean({typed!r})"
            answer = ask(typed)
            if answer is not None and not isinstance(answer, str):
                kind = type(answer).__name__
                raise Incorrect(f"{call} is a {kind}; return the word itself, or None.")
            compare(connection, call, typed.replace("\0", " ").lower(), answer)


def compare(connection: psycopg.Connection[Any], call: str, typed: str, answer: str | None) -> None:
    """Incorrect unless the answer is the best word for what was typed, or one as good."""
    if connection.execute("SELECT FROM words WHERE word = %s", [typed]).fetchone() is not None:
        if answer is not None:
            raise Incorrect(f"{typed!r} is in the table, but {call} is {answer!r}, not None.")
        return
    best = connection.execute(BEST, {"typed": typed}).fetchone()
    if best is None:
        if answer is not None:
            raise Incorrect(
                f"{call} is {answer!r}, but no word has a similarity of at least 0.2 to it."
            )
        return
    word, changes, used, similarity = best
    if answer is None:
        raise Incorrect(
            f"{call} is None, but {word!r} has a similarity of {similarity:.2f}. Which threshold "
            "does % use, on the connection that runs your query?"
        )
    own = connection.execute(ONE, [typed, typed, answer]).fetchone()
    if own is None:
        raise Incorrect(f"{call} is {answer!r}, which is not in the table words.")
    if own[2] < 0.2 - 1e-6:
        raise Incorrect(f"{call} is {answer!r}, which has a similarity of only {own[2]:.2f}.")
    if own[0] > changes:
        raise Incorrect(
            f"{call} is {answer!r}, which needs {own[0]} changed letters; {word!r} needs {changes}."
        )
    if own[1] < used:
        raise Incorrect(
            f"{call} is {answer!r}, which {own[1]:,} products use. {word!r} needs as few changed "
            f"letters, and {used:,} products use it."
        )


UNSAFE = '''
def did_you_mean(typed):
    typed = typed.lower()
    query = f"""
        SELECT word FROM words WHERE similarity(word, '{typed}') >= 0.2 AND NOT EXISTS (
            SELECT FROM words WHERE word = '{typed}')
        ORDER BY levenshtein(word, '{typed}'), ndoc DESC, word LIMIT 1
    """
    found = db.execute(query).fetchone()
    return found[0] if found else None


ex1.check()
'''
IN_PYTHON = '''
def did_you_mean(typed):
    typed = typed.replace(chr(0), " ").lower()
    with pg.connect() as connection:
        rows = connection.execute(
            """SELECT word, levenshtein(word, %(t)s), ndoc FROM words
               WHERE similarity(word, %(t)s) >= 0.2 OR word = %(t)s""", {"t": typed}).fetchall()
    if any(row[0] == typed for row in rows):
        return None
    return min(rows, key=lambda row: (row[1], -row[2]), default=[None])[0]


ex1.check()
'''
FILTER = "WHERE word %% %(typed)s"
ORDER = "levenshtein(word, %(typed)s), ndoc DESC"
EXERCISE = Exercise(
    title="Did you mean?",
    minutes=10,
    prompt="Write did_you_mean(typed): of the words in the table words with a similarity of at "
    "least 0.2, the one with the fewest changed letters, the more common one in a tie; None "
    "when the typed word is in the table or when there is no such word.",
    starter=START,
    solution=SOLUTION,
    check=check,
    hints=[
        "Lower the case, and replace NUL. Then ask whether the table has the typed word. Then "
        "find the candidates with %, and order them by levenshtein.",
        "% uses pg_trgm.similarity_threshold, and 0.3 is too strict here. SET it on the same "
        "connection, db.",
        "fetchone() returns a row or None. The word is the row's first value.",
    ],
    wrong=[
        (changed(SOLUTION, f" {FILTER}", ""), "did_you_mean('zzxqv') is"),
        (
            changed(SOLUTION, "db.execute(SUGGEST", "pg.connect().execute(SUGGEST"),
            "did_you_mean('pyhton') is None, but 'python' has a similarity of 0.27",
        ),
        (changed(SOLUTION, ORDER, "word <-> %(typed)s"), "is 'libart'"),
        (changed(SOLUTION, ORDER, "ndoc DESC, levenshtein(word, %(typed)s)"), "is 'server'"),
        (changed(SOLUTION, " ndoc DESC ", " ndoc "), "is 'libtry'"),
        (
            changed(SOLUTION, FILTER, "WHERE similarity(word, %(typed)s) >= 0.26"),
            "did_you_mean('imgae') is",
        ),
        (
            changed(SOLUTION, "threshold = 0.2", "threshold = 0.15"),
            "'yphton') is 'photon'",
        ),
        (
            changed(SOLUTION, FILTER, "WHERE levenshtein(word, %(typed)s) <= 2"),
            "'documntion') is None",
        ),
        (
            changed(SOLUTION, FILTER, f"{FILTER} AND left(word, 1) = left(%(typed)s, 1)"),
            "is 'tss'",
        ),
        (changed(SOLUTION, "found[0] if found else None", "found"), "is a tuple"),
        (changed(SOLUTION, ".lower()", ""), "did_you_mean('Keyboard') is 'keyboard'"),
        (changed(SOLUTION, '.replace("\\0", " ")', ""), "raised DataError"),
        (
            changed(SOLUTION, "return found[0] if found else None", "return typed"),
            "not in the table",
        ),
        (UNSAFE, "raised SyntaxError"),
        ("did_you_mean = 'word'\n\nex1.check()", "`did_you_mean` is str"),
    ],
    right=[
        IN_PYTHON,
        changed(SOLUTION, "ndoc DESC LIMIT 1", "ndoc DESC, word DESC"),
        changed(SOLUTION, FILTER, "WHERE similarity(word, %(typed)s) >= 0.2"),
        # The notebook's `pg` means another database by now.
        changed(
            IN_PYTHON,
            "ex1.check()",
            'pg, before = lab.postgres("01b", "unseen"), pg\nex1.check()\npg = before',
        ),
    ],
    equal={
        "59576c9f": "fetchone takes the first row of all",
        "9c35cc37": "fetchone takes the first row of two",
        "14c1fb0c": "the row has one value, which is the first and the last",
    },
    praise="Trigrams find the candidates; the number of changes and the use decide.",
)

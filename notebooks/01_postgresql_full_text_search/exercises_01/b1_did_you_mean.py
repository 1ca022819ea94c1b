"""Exercise 01b-1: did you mean."""

from __future__ import annotations

from collections.abc import Callable

from helpers.exercises import Exercise, Incorrect

START = """
def did_you_mean(typed):
    return ...  # a word of the table words, or None


ex1.check()
"""
SOLUTION = '''
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


ex1.check()
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


ex1.check()
'''


def check(did_you_mean: Callable[[str], object]) -> None:
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


EXERCISE = Exercise(
    title="Did you mean?",
    minutes=10,
    prompt="Write did_you_mean(typed): the word of the table words with the fewest changed "
    "letters, the more common one in a tie; None when the typed word is in the table or "
    "when no word has a similarity of at least 0.2.",
    starter=START,
    solution=SOLUTION,
    check=check,
    hints=[
        "First ask whether the table has the typed word. Then find the candidates with %, and "
        "order them by levenshtein.",
        "% uses pg_trgm.similarity_threshold, and 0.3 is too strict here. SET it on the same "
        "connection, db.",
        "fetchone() returns a row or None. The word is the row's first value.",
    ],
    wrong=[
        (
            SOLUTION.replace(" WHERE word %% %(typed)s", ""),
            "not like any word",
        ),
        (
            SOLUTION.replace("db.execute(SUGGEST", "pg.connect().execute(SUGGEST"),
            "similarity to 'python' is 0.27",
        ),
        (
            SOLUTION.replace("levenshtein(word, %(typed)s), ndoc DESC", "word <-> %(typed)s"),
            "thousands of products",
        ),
        (SOLUTION.replace("found[0] if found else None", "found"), "is a tuple"),
        (UNSAFE, "raised SyntaxError"),
    ],
    praise="Trigrams find the candidates; the number of changes and the use decide.",
)
